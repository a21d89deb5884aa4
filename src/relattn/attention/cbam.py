"""Convolutional block attention module (CBAM): a gate for every channel and one for every position.

Woo, Park, Lee, Kweon, "CBAM: Convolutional Block Attention Module", ECCV 2018, Eqs. (2) and (3):

    M_c(x) = sigmoid(W1 relu(W0 mean(x)) + W1 relu(W0 max(x)))    (2), mean and max over positions, shared W0 and W1
    M_s(x) = sigmoid(f([mean(x), max(x)]))                        (3), mean and max over channels, f a 7x7 convolution

As in the authors' code, batch norm follows f; as in Eq. (2), W0 and W1 have no biases.

Deviations: the hidden layer has C/8 channels; the original has C/16. With C/8, a ResNet-50 with four modules has the
26.4 M parameters that the RGA paper reports for CBAM-C (CVPR 2020, Table 3); with C/16 it has 25.7 M. Its 26.1 M for
CBAM-S cannot come from these equations: their spatial half has 98 weights and a batch norm, which gives 25.1 M. The
paper also says that features are embedded by 1x1 convolutions before pooling, which may apply to CBAM-C too. Embedding
to C/8 in place of W0 would give the same number of parameters, so the published numbers cannot settle the question, and
this module keeps the original design.
"""

from typing import Literal, get_args

import torch
from torch import Tensor, nn

from relattn.attention.arguments import check_choice, check_odd, check_whole
from relattn.attention.base import Attention
from relattn.attention.mask_init import MaskInit, begin
from relattn.attention.rematerialisation import cheap

Mode = Literal["channel_spatial", "spatial_channel", "spatial", "channel"]


class ChannelGate(nn.Module):
    """Eq. (2): `(B, C, H, W)` to the mask `(B, C, 1, 1)`."""

    def __init__(self, channels: int, reduction: int, mask_init: MaskInit) -> None:
        super().__init__()
        hidden = max(1, channels // reduction)
        squeeze, score = nn.Linear(channels, hidden, bias=False), nn.Linear(hidden, channels, bias=False)
        self.layers = nn.Sequential(squeeze, nn.ReLU(inplace=True), score)  # W0 and W1
        begin(score, mask_init)

    def forward(self, x: Tensor) -> Tensor:
        """Return the mask of the channels."""
        scores = self.layers(x.mean(dim=(2, 3))) + self.layers(x.amax(dim=(2, 3)))
        return torch.sigmoid(scores)[:, :, None, None]


class SpatialGate(nn.Module):
    """Eq. (3): `(B, C, H, W)` to the mask `(B, 1, H, W)`."""

    def __init__(self, kernel: int, mask_init: MaskInit) -> None:
        super().__init__()
        self.score = nn.Conv2d(2, 1, kernel, padding=kernel // 2, bias=False)  # f
        self.norm = nn.BatchNorm2d(1)
        begin(self.norm, mask_init)

    def forward(self, x: Tensor) -> Tensor:
        """Return the mask of the positions."""
        pooled = torch.cat([x.mean(dim=1, keepdim=True), x.amax(dim=1, keepdim=True)], dim=1)
        return torch.sigmoid(self.norm(self.score(pooled)))


class CBAM(Attention):
    """Convolutional block attention module: channels, positions, or both, one after the other.

    Shapes: `(B, C, H, W)` to `(B, C, H, W)`, any H and W. Records `channel` `(B, C, 1, 1)` and `spatial`
    `(B, 1, H, W)`.

    The original is placed inside every residual block; the RGA paper compares it after every stage.

    Cite: Woo et al., "CBAM: Convolutional Block Attention Module", ECCV 2018.
    """

    def __init__(
        self,
        channels: int,
        *,
        size: tuple[int, int] | None = None,
        mode: Mode = "channel_spatial",
        reduction: int = 8,
        kernel: int = 7,
        mask_init: MaskInit = "released",
    ) -> None:
        """Build the gates that `mode` asks for.

        Args:
            channels: Channels C of the input.
            size: Height and width of the input; not needed.
            mode: `"channel_spatial"` (CBAM-CS, the original's order), `"spatial_channel"`, `"spatial"` (CBAM-S) or
                `"channel"` (CBAM-C).
            reduction: Ratio of the input's channels to the hidden channels of the channel gate, which has at least one.
                The original uses 16.
            kernel: Side of the spatial gate's convolution.
            mask_init: How masks begin: as `"released"` by the authors, or as `"half"` or `"open"`, which this suite
                adds (`mask_init`). Channel gates have no bias, so they can begin at 1/2 but not open.

        Raises:
            InputError: If `mode` or `mask_init` is unknown, `reduction` is below 1, `kernel` is not odd, or
                `mask_init` needs a bias (`"open"`), which channel gates do not have.
        """
        super().__init__(channels, size=size)
        check_choice("CBAM", "mode", mode, get_args(Mode))
        check_whole("CBAM", "reduction", reduction)
        check_odd("CBAM", "kernel", kernel)
        check_choice("CBAM", "mask_init", mask_init, get_args(MaskInit))
        self.mode = mode
        self.channel = ChannelGate(channels, reduction, mask_init) if mode != "spatial" else None
        self.spatial = SpatialGate(kernel, mask_init) if mode != "channel" else None

    def extra_repr(self) -> str:
        """Show what the module was built for."""
        return f"{self.channels}, mode={self.mode!r}"

    def forward(self, x: Tensor) -> Tensor:
        """Modulate `(B, C, H, W)` by its masks.

        Raises:
            InputError: If `x` is not a map with the channels that the module was built for.
        """
        self.check(x)
        for name in self.mode.split("_"):
            mask: Tensor = getattr(self, name)(x).to(x.dtype)
            self.record(name, mask)
            x = cheap(torch.mul, x, mask)
        return x
