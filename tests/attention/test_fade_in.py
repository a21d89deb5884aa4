"""Attention that fades in: no effect at first, full effect at the end."""

from functools import partial

import pytest
import torch
from contract import assert_near, check_against, images
from torch import Tensor, nn

from relattn.attention import RGA, SASA, FadeIn, StRA
from relattn.backbones import build
from relattn.errors import InputError

SMALL = partial(StRA, heads=2)


def make(stride: int = 1) -> FadeIn:
    module = FadeIn(6, attention=SMALL)
    module.take_place_of(nn.Conv2d(6, 6, 3, stride=stride, padding=1, bias=False))
    return module


def reference(module: FadeIn, x: Tensor) -> Tensor:
    """The blend, channel by channel."""
    plain, attended = module.base(x), module.pool(module.attention(x))
    channels = zip(module.gate, plain.unbind(dim=1), attended.unbind(dim=1), strict=True)
    return torch.stack([(1 - gate) * base + gate * other for gate, base, other in channels], dim=1)


@pytest.mark.parametrize("stride", [1, 2])
def test_output_and_gradients_equal_the_equation(stride):
    check_against(partial(make, stride), reference)


@pytest.mark.parametrize("attention", [StRA, SASA, RGA])
@pytest.mark.parametrize("last_stride", [1, 2])
@pytest.mark.sampled(6)
def test_a_network_begins_as_the_one_without_attention_and_all_weights_learn(attention, last_stride):
    options = {"size": (64, 32), "last_stride": last_stride, "zero_init_last": False}
    plain = build("resnet18", **options)
    network = build("resnet18", attention=partial(FadeIn, attention=attention), **options)
    torch.manual_seed(0)
    for key, value in network.state_dict().items():
        name = key.replace(".base.", ".")
        if name in plain.state_dict():
            plain.state_dict()[name].copy_(value)
    x = torch.randn(2, 3, 64, 32)
    assert torch.equal(network(x), plain(x))
    parts = [module for module in network.modules() if isinstance(module, FadeIn)]
    assert len(parts) == (4 if attention is RGA else 2)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    direction = torch.randn(2, 512)
    for step in range(2):
        optimizer.zero_grad()
        (network(x) * direction).sum().backward()
        for part in parts:
            assert part.gate.grad.any()
            assert step == 0 or all(parameter.grad.any() for parameter in part.parameters())
        optimizer.step()


def test_with_gates_of_one_it_is_the_wrapped_module():
    module = FadeIn(6, attention=SMALL).double()
    nn.init.ones_(module.gate)
    module.eval()
    assert_near(module(images()), module.attention(images()))


def test_it_belongs_where_the_wrapped_module_belongs_and_hands_on_its_loss():
    module = FadeIn(6, attention=SMALL)
    assert module.placement == "convolution"
    assert FadeIn(6, size=(4, 3), attention=RGA).placement == "stage"
    module(images().float())
    assert module.regularization() > 0
    assert module.regularization() == module.regularization(), "it may be read any number of times"
    module.eval()(images().float())
    assert module.regularization() is None


def test_a_convolution_of_other_channels_is_refused():
    with pytest.raises(InputError, match="6 channels and cannot take the place of a convolution from 6 to 8"):
        FadeIn(6, attention=SMALL).take_place_of(nn.Conv2d(6, 8, 3))
