"""What counts as the early stages of a network."""

from functools import partial

import pytest
import torch

from relattn.attention import RGA, FadeIn, StRA
from relattn.backbones import EarlyStages, build


@pytest.mark.parametrize(
    ("name", "last"),
    [("resnet18", "layer4."), ("mobilenetv2_100", "blocks.5."), ("densenet121", "features.transition3.")],
)
def test_all_before_the_last_stage_is_early(name: str, last: str) -> None:
    with torch.device("meta"):
        network = build(name, size=(64, 32))
    early = {id(parameter) for parameter in EarlyStages(network).parameters}
    names = [key for key, parameter in network.named_parameters() if id(parameter) in early]
    late = [key for key, parameter in network.named_parameters() if id(parameter) not in early]
    assert names
    assert next(key for key in late).startswith(last)
    assert not any(key.startswith(last) for key in names)
    order = [key for key, _ in network.named_parameters()]
    assert order == names + late  # nothing in between


def test_attention_is_trained_while_the_stages_rest() -> None:
    network = build("test_resnet", attention=RGA, size=(64, 32))
    early = EarlyStages(network)
    ids = {id(parameter) for parameter in early.parameters}
    assert not any(id(parameter) in ids for parameter in network.attention.parameters())
    network.train()
    early.train(False)
    before = network.bn1.running_mean.clone(), network.layer4[0].bn1.running_mean.clone()
    network(torch.randn(2, 3, 64, 32))
    assert torch.equal(network.bn1.running_mean, before[0])
    assert not torch.equal(network.layer4[0].bn1.running_mean, before[1])
    early.train(True)
    assert network.bn1.training


@pytest.mark.parametrize("fades", [False, True])
def test_attention_in_place_of_early_convolutions_is_trained(fades: bool) -> None:
    attention = partial(FadeIn, attention=StRA) if fades else StRA
    network = build("test_resnet", attention=attention, stages=[3, 4], size=(64, 32))
    early = EarlyStages(network)
    ids = {id(parameter) for parameter in early.parameters}
    convolution = network.layer3[0].conv2
    replaced = {id(parameter) for parameter in convolution.base.parameters()} if fades else set()
    assert replaced <= ids
    assert not {id(parameter) for parameter in convolution.parameters()} - replaced & ids
    early.train(False)
    assert all(module.training for module in convolution.modules() if isinstance(module, StRA))
