"""The convolution that segmentation heads are made of."""

from typing import Literal

from torch import Tensor, nn

from relattn.errors import InputError

Activation = Literal["relu", "leaky_relu"]


class Convolution(nn.Sequential):
    """A convolution that keeps the size, batch norm, an activation, and dropout of whole channels.

    The convolution has no bias, because the norm after it would cancel one. Public heads that have a bias there (OCNet)
    have a few hundred parameters more and compute the same function.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int = 1,
        *,
        dilation: int = 1,
        activation: Activation = "relu",
        dropout: float = 0.0,
    ) -> None:
        """Build the layers.

        Args:
            inputs: Channels of the input.
            outputs: Channels of the output.
            kernel: Side of the kernel, odd.
            dilation: Distance between the kernel's samples, in pixels.
            activation: `"relu"`, or `"leaky_relu"` with slope 0.01, the default of OCNet's fused norm.
            dropout: Probability with which a channel of an image is dropped in training.

        Raises:
            InputError: If `activation` is unknown.
        """
        if activation not in ("relu", "leaky_relu"):
            raise InputError(f"activation is {activation!r}, expected 'relu' or 'leaky_relu'.")
        padding = dilation * (kernel // 2)
        layers: list[nn.Module] = [
            nn.Conv2d(inputs, outputs, kernel, padding=padding, dilation=dilation, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True) if activation == "relu" else nn.LeakyReLU(0.01, inplace=True),
        ]
        super().__init__(*layers, *([nn.Dropout2d(dropout)] if dropout else []))

    def forward(self, x: Tensor) -> Tensor:
        """Map `(B, inputs, h, w)` to `(B, outputs, h, w)`.

        Raises:
            InputError: If batch norm would have to normalise a channel with a single value.
        """
        # Synchronized norms also count the images of other processes and raise their own error if there are none.
        norm = self[1]
        if norm.training and isinstance(norm, nn.BatchNorm2d) and x.shape[0] * x.shape[2] * x.shape[3] == 1:
            raise InputError(
                "Batch norm cannot train on one value for each channel: this branch pools an image to 1x1, and the "
                "batch of this process is one image. Give each process at least 2 images, or synchronize batch norm "
                "between processes."
            )
        return super().forward(x)
