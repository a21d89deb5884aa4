"""Features concatenated with their attended version, for segmentation.

Zhang et al., arXiv 1904.02998, section 4.2: "We apply our RGA-SC module on the feature map of the last convolutional
layer and concatenate it with the original features". Images vary in size, but RGA's weights depend on it, so "RoIAlign
... pool[s] the arbitrary sized spatial features to a fixed sized feature map".

This is the pattern of OCNet (Yuan and Wang, arXiv 1809.00916), whose setting the paper follows, with attention in place
of object context. With x the last features before the classifier,

    y = dropout(act(norm(W [A(x), x])))               W a 1x1 convolution, 2C to C

The paper states neither the fixed size, nor how the attended map is resized to the size of the original, nor the width
of W; `mode` selects the interpretation.
"""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from relattn.attention import FixedSize
from relattn.attention.base import Attention
from relattn.errors import InputError
from relattn.heads.convolution import Activation, Convolution

ContextMode = Literal["pooled", "masks", "full"]


class RelationContext(nn.Module):
    """Concatenates features with their attended version and fuses both: `(B, C, h, w)` to `(B, C, h, w)`."""

    def __init__(
        self,
        channels: int,
        *,
        attention: Callable[..., Attention],
        mode: ContextMode = "pooled",
        pool: tuple[int, int] = (48, 48),
        size: tuple[int, int] | None = None,
        dropout: float = 0.05,
        activation: Activation = "relu",
    ) -> None:
        """Build attention and the fusion.

        Args:
            channels: Channels C.
            attention: Factory of the attention module, called as `attention(channels, size=(h, w))`: an attention class
                or a partial of one.
            mode: `"pooled"`, the literal reading of the paper: the features are pooled to a grid of fixed size,
                attended there and resized to their own size; only the original features keep detail finer than the
                grid. `"masks"`: only the change made by attention passes through the grid, and is added to the features
                at their own size. `"full"`: attention at the features' own size, without a grid; a module whose weights
                depend on the size then accepts only features of `size`.
            pool: Height and width of the grid.
            size: Height and width of the features, for `"full"`.
            dropout: Probability with which a whole channel of the output is dropped in training.
            activation: As in `Convolution`.

        Raises:
            InputError: If `mode` is unknown, or attention needs a size that is not given.
        """
        super().__init__()
        self.attention: Attention
        if mode == "full":
            self.attention = attention(channels, size=size)
        elif mode in ("pooled", "masks"):
            self.attention = FixedSize(
                channels,
                size=size,
                grid=pool,
                attention=attention,
                restore="features" if mode == "pooled" else "modulation",
            )
        else:
            raise InputError(f"RelationContext: mode is {mode!r}, expected 'pooled', 'masks' or 'full'.")
        self.fuse = Convolution(2 * channels, channels, activation=activation, dropout=dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Map `(B, C, h, w)` to the fused features `(B, C, h, w)`."""
        fused: Tensor = self.fuse(torch.cat([self.attention(x), x], dim=1))
        return fused
