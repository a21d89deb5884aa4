"""1x1 convolutions with a stride and few input channels keep their gradients on a CPU."""

import copy

import pytest
import torch
from torch import nn

from relattn.backbones import build
from relattn.backbones.strided import Subsampled, subsample_strided


@pytest.mark.parametrize("channels", [1, 3, 7])
def test_gradients_are_those_of_the_convolution(channels: int) -> None:
    own = nn.Conv2d(channels, 8, 1, stride=2)
    reference = copy.deepcopy(own).double()  # which oneDNN does not compute
    subsample_strided(own)
    assert type(own) is Subsampled  # or the next lines may end this process
    images = torch.randn(4, channels, 17, 32)
    x = images.to(memory_format=torch.channels_last).requires_grad_()
    y = images.double().requires_grad_()
    found = own.to(memory_format=torch.channels_last)(x)
    expected = reference(y)
    change = torch.randn(expected.shape)
    found.backward(change)
    expected.backward(change.double())
    gradients = zip((x, *own.parameters()), (y, *reference.parameters()), strict=True)
    for one, other in [(found, expected), *((mine.grad, theirs.grad) for mine, theirs in gradients)]:
        torch.testing.assert_close(one.double(), other, rtol=1e-4, atol=1e-4)


def test_stems_of_the_networks_that_have_such_convolutions_are_replaced() -> None:
    network = build("mobileone_s0", num_classes=2, size=(32, 32))
    assert [name for name, module in network.named_modules() if type(module) is Subsampled] == ["stem.conv_scale.conv"]
    network = network.to(memory_format=torch.channels_last).train()
    network(torch.randn(4, 3, 32, 32).to(memory_format=torch.channels_last)).sum().backward()


def test_other_convolutions_stay() -> None:
    network = nn.Sequential(
        nn.Conv2d(3, 8, 1),
        nn.Conv2d(3, 8, 3, stride=2),
        nn.Conv2d(3, 8, 1, stride=2, padding=1),
        nn.Conv2d(16, 8, 1, stride=2),
        nn.Conv2d(4, 8, 1, stride=2, groups=2),
    )
    subsample_strided(network)
    assert {type(module) for module in network} == {nn.Conv2d}
