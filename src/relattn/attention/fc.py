"""Fully connected attention (FC-S, FC-C, FC-S/C): every position, or every channel, has its own weights.

The RGA paper (Zhang et al., CVPR 2020, section 4.2, Tables 2 and 3) compares with the attention of Liu, Yuan, Zhou and
Li, "Spatial and Temporal Mutual Promotion for Video-based Person Re-identification", AAAI 2019, in these words: "fully
connection over the (channel-pooled) spatial feature maps", "a FC layer over spatially average pooled features", and
"before their pooling, the features are further embedded through 1x1 convolutions". With e = relu(norm(W_e x)), W_e from
C to C/8 channels:

    a_s = sigmoid(W2 relu(W1 mean of e over channels))    FC-S, W1 from N = H W positions to N/8, W2 back to N
    a_c = sigmoid(W mean of e over positions)             FC-C, W from C/8 to C

This reading, with both ratios 8, gives the paper's numbers of parameters for a ResNet-50 with four modules: 26.9 M for
FC-S (26.2 M without the embedding) and 26.4 M for FC-C.

The paper does not say how its parallel form, FC-S/C, joins the two masks: see `FC`. W, W1 and W2 have biases.
"""

from typing import Literal, get_args

import torch
from torch import Tensor, nn

from relattn.attention.arguments import check_choice, check_idle, check_whole
from relattn.attention.base import Attention
from relattn.attention.mask_init import MaskInit, begin
from relattn.attention.rematerialisation import cheap
from relattn.attention.rga import Pointwise
from relattn.errors import InputError

Mode = Literal["spatial", "channel", "parallel", "spatial_channel", "channel_spatial"]
Fusion = Literal["average", "product"]


class SpatialGate(nn.Module):
    """FC-S: `(B, C, H, W)` to the mask `(B, 1, H, W)`."""

    def __init__(self, channels: int, positions: int, ratio: int, mask_init: MaskInit) -> None:
        super().__init__()
        hidden = max(1, positions // ratio)
        self.embed = Pointwise(channels, max(1, channels // ratio))
        squeeze, score = nn.Linear(positions, hidden), nn.Linear(hidden, positions)
        self.layers = nn.Sequential(squeeze, nn.ReLU(inplace=True), score)  # W1 and W2
        begin(score, mask_init)

    def forward(self, x: Tensor) -> Tensor:
        """Return the mask of the positions."""
        pooled = self.embed(x).mean(dim=1, keepdim=True)
        mask: Tensor = torch.sigmoid(self.layers(pooled.flatten(2))).unflatten(2, x.shape[2:])
        return mask


class ChannelGate(nn.Module):
    """FC-C: `(B, C, H, W)` to the mask `(B, C, 1, 1)`."""

    def __init__(self, channels: int, ratio: int, mask_init: MaskInit) -> None:
        super().__init__()
        width = max(1, channels // ratio)
        self.embed = Pointwise(channels, width)
        self.score = nn.Linear(width, channels)  # W
        begin(self.score, mask_init)

    def forward(self, x: Tensor) -> Tensor:
        """Return the mask of the channels."""
        return torch.sigmoid(self.score(self.embed(x).mean(dim=(2, 3))))[:, :, None, None]


class FC(Attention):
    """Fully connected attention: over positions, channels, or both.

    Shapes: `(B, C, H, W)` to `(B, C, H, W)`; a spatial mask fixes H and W to `size`. Records `spatial` `(B, 1, H, W)`
    and `channel` `(B, C, 1, 1)`.

    Cite: Zhang et al., "Relation-Aware Global Attention for Person Re-identification", CVPR 2020, after Liu et al.,
    "Spatial and Temporal Mutual Promotion for Video-based Person Re-identification", AAAI 2019.
    """

    def __init__(
        self,
        channels: int,
        *,
        size: tuple[int, int] | None = None,
        mode: Mode = "parallel",
        ratio: int = 8,
        fusion: Fusion = "average",
        mask_init: MaskInit = "released",
    ) -> None:
        """Build the masks that `mode` asks for.

        Args:
            channels: Channels C of the input.
            size: Height and width of the input; required unless `mode` is `"channel"`.
            mode: `"spatial"` (FC-S), `"channel"` (FC-C), `"parallel"` (FC-S/C), or one after the other:
                `"spatial_channel"` or `"channel_spatial"`.
            ratio: Ratio of the inputs to the outputs of embeddings and hidden layers, which have at least one output.
            fusion: How the parallel mode joins its masks, which the paper leaves open: their `"average"`, as RGA does
                here, or their `"product"`.
            mask_init: How masks begin: `"released"`, here PyTorch's default initialisation of the last layer, or
                `"half"` or `"open"`, which this suite adds (`mask_init`).

        Raises:
            InputError: If a required `size` is missing, `mode`, `fusion` or `mask_init` is unknown, `fusion` is set
                where it has no effect, or `ratio` is below 1.
        """
        super().__init__(channels, size=size)
        check_choice("FC", "mode", mode, get_args(Mode))
        check_choice("FC", "fusion", fusion, get_args(Fusion))
        if mode != "parallel":
            check_idle("FC", "fusion", fusion, "average", f"with mode {mode!r}")
        check_whole("FC", "ratio", ratio)
        check_choice("FC", "mask_init", mask_init, get_args(MaskInit))
        self.mode, self.fusion = mode, fusion
        self.spatial: SpatialGate | None = None
        if mode != "channel":
            if self.size is None:
                raise InputError(
                    f"FC with mode={mode!r} has weights of its own for every position: pass size=(height, width), for "
                    f"example FC({channels}, size=(64, 32)), or use mode='channel'."
                )
            self.spatial = SpatialGate(channels, self.size[0] * self.size[1], ratio, mask_init)
        self.channel = ChannelGate(channels, ratio, mask_init) if mode != "spatial" else None

    def extra_repr(self) -> str:
        """Show what the module was built for."""
        return f"{self.channels}, size={self.size}, mode={self.mode!r}"

    def mask(self, name: str, x: Tensor) -> Tensor:
        """One mask of `x`: `spatial`, `(B, 1, H, W)`, or `channel`, `(B, C, 1, 1)`."""
        mask: Tensor = getattr(self, name)(x).to(x.dtype)
        self.record(name, mask)
        return mask

    def forward(self, x: Tensor) -> Tensor:
        """Modulate `(B, C, H, W)` by its masks.

        Raises:
            InputError: If `x` does not have the module's channels or, with a spatial mask, its size.
        """
        self.check(x, None if self.spatial is None else self.size)
        if self.mode == "parallel":
            spatial, channel = self.mask("spatial", x), self.mask("channel", x)
            return x * (spatial * channel if self.fusion == "product" else (spatial + channel) / 2)
        for name in self.mode.split("_"):
            x = cheap(torch.mul, x, self.mask(name, x))
        return x
