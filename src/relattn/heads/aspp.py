"""Atrous spatial pyramid pooling.

Chen, Papandreou, Schroff, Adam, "Rethinking Atrous Convolution for Semantic Image Segmentation", arXiv 1706.05587,
section 3.3: the mean of the image, a 1x1 convolution, and 3x3 convolutions of rates 6, 12 and 18 at output stride 16
(doubled at output stride 8), each to 256 channels, concatenated and fused by a 1x1 convolution.

The fused features have 512 channels and go directly to the classifier, as in the public code behind OCNet's
experiments, which arXiv 1904.02998 follows: 15.87 M parameters with 2048 input channels and 19 classes. Published code
differs here: DeepLabv3 fuses to 256 channels and adds a 3x3 convolution (16.13 M); others have branches of 512 channels
and fuse with a 3x3 convolution (42.22 M).
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from relattn.errors import InputError
from relattn.heads.convolution import Activation, Convolution


class ASPP(nn.Module):
    """Atrous spatial pyramid pooling: `(B, channels, h, w)` to `(B, width, h, w)`.

    In training, the batch norm of the image-mean branch needs at least two images per batch.
    """

    def __init__(
        self,
        channels: int,
        *,
        width: int = 512,
        branch: int = 256,
        rates: Sequence[int] = (12, 24, 36),
        dropout: float = 0.1,
        activation: Activation = "relu",
    ) -> None:
        """Build the head.

        Args:
            channels: Channels of the backbone's last stage.
            width: Channels of the output.
            branch: Channels of each branch.
            rates: Dilations of the 3x3 convolutions.
            dropout: Probability with which a whole channel of the output is dropped in training.
            activation: As in `Convolution`.

        Raises:
            InputError: If a rate is below 1.
        """
        super().__init__()
        if min(rates, default=1) < 1:
            raise InputError(f"ASPP: rates is {tuple(rates)}, expected dilations of at least 1.")
        self.image = Convolution(channels, branch, activation=activation)
        self.branches = nn.ModuleList([Convolution(channels, branch, activation=activation)])
        self.branches.extend(Convolution(channels, branch, 3, dilation=rate, activation=activation) for rate in rates)
        self.fuse = Convolution((2 + len(rates)) * branch, width, activation=activation, dropout=dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Map `(B, channels, h, w)` to the fused features `(B, width, h, w)`.

        Raises:
            InputError: In training, if the batch has a single image.
        """
        image = self.image(x.mean(dim=(2, 3), keepdim=True)).expand(-1, -1, *x.shape[2:])
        fused: Tensor = self.fuse(torch.cat([image, *(branch(x) for branch in self.branches)], dim=1))
        return fused
