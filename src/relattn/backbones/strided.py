"""1x1 convolutions with a stride and few input channels, on a CPU.

In channels-last order, oneDNN computes the gradient of their weights with a buffer that is too small (its issue 6035):
the gradient is wrong, or the process crashes or hangs. The stems of RepVGG and MobileOne have such convolutions.
Without padding, a 1x1 convolution with a stride equals one without on every n-th row and column, which has no such bug.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

BLOCK = 16
"""oneDNN's largest block of input channels, with AVX-512 (8 with AVX2); convolutions with fewer are affected."""


class Subsampled(nn.Conv2d):
    """A 1x1 convolution that takes every n-th row and column first where its weights need a gradient on a CPU."""

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if input.device.type != "cpu" or not torch.is_grad_enabled():
            return super()._conv_forward(input, weight, bias)
        rows, columns = self.stride
        return F.conv2d(input[..., ::rows, ::columns], weight, bias)


def subsample_strided(network: nn.Module) -> None:
    """Make the affected 1x1 convolutions of a network `Subsampled`; weights and results stay the same."""
    for module in network.modules():
        if (
            type(module) is nn.Conv2d
            and module.kernel_size == (1, 1)
            and max(module.stride) > 1
            and module.padding == (0, 0)
            and module.groups == 1
            and module.in_channels < BLOCK
        ):
            module.__class__ = Subsampled


__all__ = ["Subsampled", "subsample_strided"]
