"""Residual networks for 32x32 images, depth 6n + 2.

He, Zhang, Ren, Sun, "Deep Residual Learning for Image Recognition", CVPR 2016, section 4.2: three stages of n basic
blocks with 16, 32 and 64 channels, and shortcuts of option A, which have no parameters. ResNet-110 is n = 18;
ResNet-218 (arXiv 1904.02998, Table 7) is n = 36.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from relattn.errors import InputError


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with batch norm and a parameter-free shortcut (option A)."""

    def __init__(self, inputs: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)
        self.added = channels - inputs

    def forward(self, x: Tensor) -> Tensor:
        """Map `(B, inputs, H, W)` to `(B, channels, H / stride, W / stride)`."""
        shortcut, (rows, columns) = x, self.conv1.stride  # read here because last_stride=1 changes it
        if rows > 1 or self.added:
            shortcut = F.pad(x[:, :, ::rows, ::columns], (0, 0, 0, 0, 0, self.added))
        y = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        return self.relu(y + shortcut)


def stage(inputs: int, channels: int, blocks: int, *, stride: int) -> nn.Sequential:
    """Blocks of one width, the first of which changes the width and the size of the map."""
    first = BasicBlock(inputs, channels, stride)
    return nn.Sequential(first, *(BasicBlock(channels, channels, stride=1) for _ in range(blocks - 1)))


class ResNetCIFAR(nn.Module):
    """ResNet of depth 6n + 2 for small images, with the interface of a timm model.

    Attributes:
        feature_info: Channels, stride (`reduction`) and module name of each stage, as in timm.
        num_features: Channels of the last stage.
    """

    def __init__(self, depth: int, *, num_classes: int = 10, in_chans: int = 3) -> None:
        """Build the network.

        Args:
            depth: Layers with weights: 20, 32, 44, 56, 110, 218, or any 6n + 2.
            num_classes: Outputs of the classifier; 0 leaves it out and `forward` returns pooled features.
            in_chans: Channels of the image.

        Raises:
            InputError: If the depth is not 6n + 2.
        """
        super().__init__()
        if depth < 8 or (depth - 2) % 6:
            below = max(8, depth - (depth - 2) % 6)
            raise InputError(
                f"ResNet for CIFAR: depth is {depth}, expected 6n + 2, for example {below} or {below + 6}."
            )
        blocks = (depth - 2) // 6
        widths = (16, 32, 64)
        self.conv1 = nn.Conv2d(in_chans, widths[0], 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        self.relu = nn.ReLU(inplace=True)
        self.layer1 = stage(widths[0], widths[0], blocks, stride=1)
        self.layer2 = stage(widths[0], widths[1], blocks, stride=2)
        self.layer3 = stage(widths[1], widths[2], blocks, stride=2)
        self.num_features = widths[-1]
        self.feature_info = [
            {"num_chs": channels, "reduction": 2**index, "module": f"layer{index + 1}"}
            for index, channels in enumerate(widths)
        ]
        self.fc = nn.Linear(self.num_features, num_classes) if num_classes else nn.Identity()
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward_features(self, x: Tensor) -> Tensor:
        """Map images `(B, in_chans, H, W)` to the last stage's features `(B, 64, H / 4, W / 4)`."""
        x = self.relu(self.bn1(self.conv1(x)))
        features: Tensor = self.layer3(self.layer2(self.layer1(x)))
        return features

    def forward(self, x: Tensor) -> Tensor:
        """Map images `(B, in_chans, H, W)` to logits `(B, num_classes)`."""
        logits: Tensor = self.fc(self.forward_features(x).mean(dim=(2, 3)))
        return logits
