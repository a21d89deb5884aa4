"""Densely connected networks for 32x32 images.

Huang, Liu, van der Maaten, Weinberger, "Densely Connected Convolutional Networks", CVPR 2017: three dense blocks with
growth rate k = 12. The basic network starts with 16 channels and depth 3n + 4; DenseNet-BC starts with 2k channels,
puts a 1x1 bottleneck of 4k channels before each 3x3 convolution, halves the channels in each transition, and has depth
6n + 4.

arXiv 1904.02998, Table 7, lists a DenseNet-BC of depth 115, but (115 - 4) / 6 = 18.5 is not an integer. Its 0.97M
parameters are those of n = 18, depth 112.
"""

import math

import torch
from torch import Tensor, nn

from relattn.errors import InputError


class DenseLayer(nn.Module):
    """Batch norm, ReLU and 3x3 convolution to `growth` new channels, after a 1x1 bottleneck if asked for."""

    def __init__(self, inputs: int, growth: int, *, bottleneck: bool) -> None:
        super().__init__()
        width = 4 * growth if bottleneck else inputs
        self.bottleneck = (
            nn.Sequential(nn.BatchNorm2d(inputs), nn.ReLU(inplace=True), nn.Conv2d(inputs, width, 1, bias=False))
            if bottleneck
            else nn.Identity()
        )
        self.bn = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.conv = nn.Conv2d(width, growth, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Append `growth` channels to `(B, inputs, H, W)`."""
        return torch.cat([x, self.conv(self.relu(self.bn(self.bottleneck(x))))], dim=1)


class Transition(nn.Sequential):
    """Batch norm, ReLU, 1x1 convolution and 2x2 average pooling between two dense blocks."""

    def __init__(self, inputs: int, compression: float) -> None:
        super().__init__()
        self.outputs = math.floor(inputs * compression)
        self.bn = nn.BatchNorm2d(inputs)
        self.relu = nn.ReLU(inplace=True)
        self.conv = nn.Conv2d(inputs, self.outputs, 1, bias=False)
        self.pool = nn.AvgPool2d(2)


def dense_block(inputs: int, layers: int, growth: int, *, bottleneck: bool) -> nn.Sequential:
    """Layers that each read all channels before them and append `growth`."""
    return nn.Sequential(*(DenseLayer(inputs + i * growth, growth, bottleneck=bottleneck) for i in range(layers)))


class DenseNetCIFAR(nn.Module):
    """DenseNet and DenseNet-BC for small images, with the interface of a timm model.

    A stage ends with its transition, so stage 1 of DenseNet-BC-100 gives 16x16x108, where arXiv 1904.02998 puts RGA.
    The paper says "after the first dense block", but only after the transition do its stated sizes and parameters
    match.

    Attributes:
        feature_info: Channels, stride (`reduction`) and module name of each stage, as in timm.
        num_features: Channels of the last stage.
    """

    def __init__(
        self,
        layers: int,
        *,
        growth: int = 12,
        bottleneck: bool = False,
        initial: int | None = None,
        compression: float | None = None,
        num_classes: int = 10,
        in_chans: int = 3,
    ) -> None:
        """Build the network.

        Args:
            layers: Dense layers in each of the three blocks; the depth is 3 layers + 4, or 6 layers + 4 with
                bottlenecks.
            growth: Channels k that each layer adds.
            bottleneck: Whether the network is DenseNet-BC.
            initial: Channels of the first convolution; by default 16, or 2k with bottlenecks.
            compression: Fraction of the channels that a transition keeps; by default 1, or 0.5 with bottlenecks.
            num_classes: Outputs of the classifier; 0 leaves it out and `forward` returns pooled features.
            in_chans: Channels of the image.

        Raises:
            InputError: If `layers` or `growth` is below 1, or `compression` is not in (0, 1].
        """
        super().__init__()
        compression = (0.5 if bottleneck else 1.0) if compression is None else compression
        if layers < 1 or growth < 1 or not 0 < compression <= 1:
            raise InputError(
                f"DenseNet for CIFAR: layers is {layers}, growth {growth} and compression {compression}; expected at "
                "least 1, at least 1, and more than 0 but at most 1."
            )
        channels = initial or (2 * growth if bottleneck else 16)
        self.conv = nn.Conv2d(in_chans, channels, 3, padding=1, bias=False)
        self.block1 = dense_block(channels, layers, growth, bottleneck=bottleneck)
        self.transition1 = Transition(channels + layers * growth, compression)
        self.block2 = dense_block(self.transition1.outputs, layers, growth, bottleneck=bottleneck)
        self.transition2 = Transition(self.transition1.outputs + layers * growth, compression)
        self.block3 = dense_block(self.transition2.outputs, layers, growth, bottleneck=bottleneck)
        channels = self.transition2.outputs + layers * growth
        self.feature_info = [
            {"num_chs": self.transition1.outputs, "reduction": 2, "module": "transition1"},
            {"num_chs": self.transition2.outputs, "reduction": 4, "module": "transition2"},
            {"num_chs": channels, "reduction": 4, "module": "norm"},
        ]
        self.norm = nn.Sequential(nn.BatchNorm2d(channels), nn.ReLU(inplace=True))
        self.num_features = channels
        self.classifier = nn.Linear(channels, num_classes) if num_classes else nn.Identity()
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(module, nn.Linear):
                nn.init.zeros_(module.bias)

    def forward_features(self, x: Tensor) -> Tensor:
        """Map images `(B, in_chans, H, W)` to the last stage's features `(B, num_features, H / 4, W / 4)`."""
        x = self.transition1(self.block1(self.conv(x)))
        x = self.transition2(self.block2(x))
        features: Tensor = self.norm(self.block3(x))
        return features

    def forward(self, x: Tensor) -> Tensor:
        """Map images `(B, in_chans, H, W)` to logits `(B, num_classes)`."""
        logits: Tensor = self.classifier(self.forward_features(x).mean(dim=(2, 3)))
        return logits
