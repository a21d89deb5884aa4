"""Attention modules one after the other, in Python and from YAML."""

from collections.abc import Callable
from functools import partial

import jsonargparse
import pytest
import torch
import yaml
from contract import assert_near, check_contract, images, prepare
from torch import Tensor, nn

from relattn.attention import RGA, Attention, Chain, NonLocal, SqueezeExcitation
from relattn.cli import catalogue
from relattn.cli.main import run
from relattn.errors import InputError
from relattn.figures import capture

SIZE = (4, 3)
SPATIAL = partial(RGA, mode="spatial", embedding_ratio=2, reduction_ratio=2)


class Shift(Attention):
    """Adds a weight, and has a loss term: its square."""

    def __init__(self, channels: int, *, size: tuple[int, int] | None = None, by: float = 1.0):
        super().__init__(channels, size=size)
        self.by = nn.Parameter(torch.tensor(by))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.by

    def regularization(self) -> Tensor:
        return self.by.square()


def test_parts_are_applied_in_order_with_the_channels_and_size_of_the_chain():
    module = prepare(partial(Chain, 6, size=SIZE, modules=[NonLocal, SPATIAL]))
    first, second = module.parts
    assert isinstance(first, NonLocal)
    assert isinstance(second, RGA)
    assert [(part.channels, part.size) for part in module.parts] == [(6, SIZE)] * 2
    assert_near(module(images()), second(first(images())))
    assert (module(images()) - first(second(images()))).abs().max() > 1e-3


def test_contract():
    check_contract(partial(Chain, 6, size=SIZE, modules=[NonLocal, partial(SqueezeExcitation, reduction=2)]))


def test_loss_terms_of_the_parts_are_summed():
    factories = [partial(Shift, by=2.0), NonLocal, partial(Shift, by=3.0)]
    module = Chain(6, modules=factories)
    total = module.regularization()
    assert total.ndim == 0
    assert total.item() == 13
    total.backward()
    assert [part.by.grad.item() for part in module.parts if isinstance(part, Shift)] == [4, 6]
    assert Chain(6, modules=[NonLocal]).regularization() is None


def test_parts_record_under_their_own_names():
    module = Chain(6, size=SIZE, modules=[NonLocal, SPATIAL]).eval()
    with torch.no_grad(), capture(module) as maps:
        module(images().float())
    assert {name: set(found) for name, found in maps.items()} == {
        "": set(),
        "parts.0": {"weights"},
        "parts.1": {"spatial"},
    }


def test_an_empty_chain_is_an_error():
    with pytest.raises(InputError, match="modules is empty"):
        Chain(6, modules=[])


def parse(content: dict) -> Callable[..., Attention]:
    """What the command line makes of a configured attention."""
    parser = jsonargparse.ArgumentParser()
    parser.add_argument("--attention", type=Callable[..., Attention])
    content = {key: value for key, value in content.items() if key != "backbones"}
    return parser.instantiate(parser.parse_object({"attention": content})).attention


RECIPES = [
    *("nl", "nl_dot_product", "snl", "se", "cbam_s", "cbam_c", "cbam_cs", "fc_s", "fc_c", "fc_sc"),
    *("non_local_rga_s", "eca", "gc"),
]


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_builds_its_attention(name):
    module = parse(yaml.safe_load((catalogue.conf() / "attention" / f"{name}.yaml").read_text()))(32, size=SIZE)
    assert isinstance(module, Attention)
    assert module(images(channels=32).float()).shape == (3, 32, *SIZE)
    if name == "non_local_rga_s":
        assert [type(part) for part in module.parts] == [NonLocal, RGA]
        assert module.parts[1].mode == "spatial"


def test_a_wrong_argument_of_a_part_is_an_error():
    part = {"class_path": "relattn.attention.NonLocal", "init_args": {"iner": 3}}
    with pytest.raises(jsonargparse.ArgumentError, match="iner"):
        parse_strictly({"class_path": "relattn.attention.Chain", "init_args": {"modules": [part]}})


def parse_strictly(content: dict) -> None:
    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    parser.add_argument("--attention", type=Callable[..., Attention])
    parser.parse_object({"attention": content})


@pytest.mark.slow  # it starts Lightning
def test_the_command_line_takes_the_chain_of_the_paper(capsys):
    with pytest.raises(SystemExit) as stopped:
        run(["fit", "--task", "classification", "--attention", "non_local_rga_s", "--print_config"])
    assert stopped.value.code in (0, None)
    asked = yaml.safe_load(capsys.readouterr().out)["model"]["init_args"]["attention"]
    assert asked["class_path"] == "relattn.attention.Chain"
    paths = [part["class_path"] for part in asked["init_args"]["modules"]]
    assert paths == ["relattn.attention.NonLocal", "relattn.attention.RGA"]
