"""Pyramid pooling.

Zhao, Shi, Qi, Wang, Jia, "Pyramid Scene Parsing Network", CVPR 2017, section 3.2: means over grids of 1x1, 2x2, 3x3 and
6x6 cells, each reduced by a 1x1 convolution to a quarter of the channels, resized and concatenated with the input, and
fused by a 3x3 convolution. With 2048 input channels, the head and a classifier of 19 classes have 23.08 M parameters,
as in the authors' code.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from relattn.adaptive_pooling import pool
from relattn.errors import InputError
from relattn.heads.convolution import Activation, Convolution


class PPM(nn.Module):
    """Pyramid pooling module: `(B, channels, h, w)` to `(B, width, h, w)`.

    In training, the batch norm of the coarsest grid, a single cell, needs at least two images per batch.
    """

    def __init__(
        self,
        channels: int,
        *,
        width: int = 512,
        bins: Sequence[int] = (1, 2, 3, 6),
        dropout: float = 0.1,
        activation: Activation = "relu",
        align_corners: bool = True,
    ) -> None:
        """Build the head.

        Args:
            channels: Channels of the backbone's last stage.
            width: Channels of the output.
            bins: Cells per side of each grid.
            dropout: Probability with which a whole channel of the output is dropped in training.
            activation: As in `Convolution`.
            align_corners: Whether resizing aligns the centres of the grids' corner cells with the corner pixels.

        Raises:
            InputError: If there are no bins, one is below 1, or there are more bins than channels.
        """
        super().__init__()
        if not bins or min(bins) < 1 or len(bins) > channels:
            raise InputError(f"PPM: bins is {tuple(bins)}, expected 1 to {channels} numbers of cells per side, from 1.")
        self.bins, self.align_corners = tuple(bins), align_corners
        branch = channels // len(self.bins)
        self.branches = nn.ModuleList(Convolution(channels, branch, activation=activation) for _ in self.bins)
        self.fuse = Convolution(channels + len(self.bins) * branch, width, 3, activation=activation, dropout=dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Map `(B, channels, h, w)` to the fused features `(B, width, h, w)`.

        Raises:
            InputError: In training, if the batch has a single image and `bins` contains 1.
        """
        parts = [x]
        for cells, branch in zip(self.bins, self.branches, strict=True):
            # On a GPU, the gradient of torch's own pooling is not deterministic, and is refused where it has to be.
            exact = torch.are_deterministic_algorithms_enabled()
            pooled = branch(pool(x, (cells, cells)) if exact else F.adaptive_avg_pool2d(x, cells))
            parts.append(F.interpolate(pooled, size=x.shape[2:], mode="bilinear", align_corners=self.align_corners))
        fused: Tensor = self.fuse(torch.cat(parts, dim=1))
        return fused
