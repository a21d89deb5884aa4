"""Squeeze-and-excitation: a gate for every channel, computed from the means of all channels.

Hu, Shen, Sun, "Squeeze-and-Excitation Networks", CVPR 2018, Eqs. (2) to (4):

    z_c = mean of channel c over all positions    (2)
    s = sigmoid(W2 relu(W1 z))                    (3), W1 from C to C/r, W2 back to C
    y_c = s_c x_c                                 (4)

As in Eq. (3), W1 and W2 have no biases.

The RGA paper does not make clear how many of them it compares with. Its supplement adds "our attention modules RGA-SC
or other attention modules" once after each of the four stages (Table 1), but the 27.6 M parameters of its Table 3 match
one in each of the 16 blocks, as in SE's own paper (27.57 M; one per stage gives 25.75 M). `SqueezeExcitation` follows
the number of parameters, `StageSqueezeExcitation` the supplement.
"""

from typing import ClassVar

import torch
from torch import Tensor, nn

from relattn.attention.arguments import check_whole
from relattn.attention.base import Attention, Placement


class SqueezeExcitation(Attention):
    """Squeeze-and-excitation, inside every residual block.

    Shapes: `(B, C, H, W)` to `(B, C, H, W)`, any H and W. Records `channel` `(B, C, 1, 1)`.

    Cite: Hu et al., "Squeeze-and-Excitation Networks", CVPR 2018.
    """

    placement: ClassVar[Placement] = "block"

    def __init__(self, channels: int, *, size: tuple[int, int] | None = None, reduction: int = 16) -> None:
        """Build the two layers of the gate.

        Args:
            channels: Channels C of the input.
            size: Height and width of the input; not needed.
            reduction: r, ratio of the input's channels to those of the hidden layer, which has at least one.

        Raises:
            InputError: If `reduction` is below 1.
        """
        super().__init__(channels, size=size)
        check_whole("SqueezeExcitation", "reduction", reduction)
        hidden = max(1, channels // reduction)
        self.reduce = nn.Linear(channels, hidden, bias=False)  # W1
        self.expand = nn.Linear(hidden, channels, bias=False)  # W2

    def forward(self, x: Tensor) -> Tensor:
        """Gate the channels of `(B, C, H, W)`.

        Raises:
            InputError: If `x` is not a map with the channels that the module was built for.
        """
        self.check(x)
        gate = torch.sigmoid(self.expand(self.reduce(x.mean(dim=(2, 3))).relu()))
        mask = gate.to(x.dtype)[:, :, None, None]
        self.record("channel", mask)
        return x * mask


class StageSqueezeExcitation(SqueezeExcitation):
    """Squeeze-and-excitation once after each stage, as in the supplement of the RGA paper; see above."""

    placement: ClassVar[Placement] = "stage"
