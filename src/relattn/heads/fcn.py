"""The plain head: one 3x3 convolution.

The head of the segmentation baselines of arXiv 1904.02998, Table 6, in the setting of OCNet (Yuan and Wang, arXiv
1809.00916), which the paper's section 4.2 follows; after Long, Shelhamer, Darrell, "Fully Convolutional Networks for
Semantic Segmentation", CVPR 2015. It also reads an earlier stage for the auxiliary loss.
"""

from torch import Tensor, nn

from relattn.heads.convolution import Activation, Convolution


class FCN(nn.Sequential):
    """Convolution 3x3 to `width` channels: `(B, channels, h, w)` to `(B, width, h, w)`."""

    def __init__(
        self, channels: int, *, width: int = 512, dropout: float = 0.05, activation: Activation = "relu"
    ) -> None:
        """Build the head.

        Args:
            channels: Channels of the backbone's last stage.
            width: Channels of the output.
            dropout: Probability with which a whole channel of the output is dropped in training.
            activation: As in `Convolution`.
        """
        super().__init__(Convolution(channels, width, 3, activation=activation, dropout=dropout))


class AuxiliaryHead(nn.Module):
    """A plain head and its classifier, for the auxiliary loss: `(B, channels, h, w)` to `(B, num_classes, h, w)`.

    Zhao et al., "Pyramid Scene Parsing Network", CVPR 2017, section 3.3; OCNet weights this loss by 0.4.
    """

    def __init__(
        self,
        channels: int,
        num_classes: int,
        *,
        width: int = 512,
        dropout: float = 0.05,
        activation: Activation = "relu",
    ) -> None:
        """Build the head; arguments as in `FCN`, and the number of classes."""
        super().__init__()
        self.head = FCN(channels, width=width, dropout=dropout, activation=activation)
        self.classifier = nn.Conv2d(width, num_classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map `(B, channels, h, w)` to the logits of every position, `(B, num_classes, h, w)`."""
        logits: Tensor = self.classifier(self.head(x))
        return logits
