"""How the masks of attention modules begin.

A mask is the sigmoid of a last layer: a batch norm in RGA and in CBAM's spatial mask, a linear layer in FC, and one
without a bias in CBAM's channel mask. As released, the batch norm begins with scale 1, so the logits have unit variance
and masks begin as noise with a standard deviation of 0.2. The features of a trained network are multiplied by this
noise, with RGA-SC after four stages eight times.

The other starts come from this suite, not from a paper. They set the scale to 0, so every mask begins as a constant
that is the same for all images. Only the last layer has a gradient in the first step; the layers before it have one
from the second step on.

- `half`: bias 0, masks of 1/2, the mean of the released ones. The sigmoid is steepest there, so masks learn. The next
  batch norm cancels the factor as long as it normalises with batch statistics; if norms keep their trained statistics
  (frozen stages), the output of the network changes.
- `open`: bias 4, masks of 0.98. The network begins nearly as the one without attention, whatever its norms do. The
  slope of the sigmoid is 14 times smaller than at 1/2, so masks hardly learn in a short training.
"""

from typing import Literal

import torch
from torch import nn

from relattn.errors import InputError

MaskInit = Literal["released", "half", "open"]

STARTS: dict[MaskInit, tuple[float, float]] = {"half": (0.0, 0.0), "open": (0.0, 4.0)}
"""For each start, the factor on the scale of the last layer, and its bias."""


def begin(layer: nn.BatchNorm2d | nn.Linear, mask_init: MaskInit) -> None:
    """Initialise the last layer of a mask.

    Args:
        layer: The layer before the sigmoid. Without a bias, masks can begin at 1/2 but not elsewhere.
        mask_init: How masks begin; `"released"` leaves the layer as it is.

    Raises:
        InputError: If the layer has no bias and the start needs one.
    """
    if mask_init == "released":
        return
    scale, bias = STARTS[mask_init]
    with torch.no_grad():
        layer.weight.mul_(scale)
        if layer.bias is not None:
            layer.bias.fill_(bias)
        elif bias:
            raise InputError(
                f"mask_init is {mask_init!r}, which needs a bias ahead of the sigmoid, and the last layer has none: "
                "expected 'released' or 'half'."
            )
