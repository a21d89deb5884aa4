"""Every attention of the catalogue, every recipe and every timm name fulfils the contract of an attention module.

The computation of each module is tested in its own file. These tests cover what all modules promise, including ones
added later.
"""

import copy
import functools
import pickle
import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
import timm
import torch
from contract import assert_near, check_contract, images, prepare
from torch import Tensor, nn
from torch.func import functional_call

import relattn.attention
from relattn.attention import Attention, NonLocal, Timm
from relattn.attention.base import outermost
from relattn.attention.timm_attention import BLOCK, CONVOLUTION
from relattn.cli import catalogue
from relattn.errors import InputError
from relattn.figures import capture

CHANNELS, SIZE = 16, (8, 4)
WIDER = {"gc": 64}  # a sixteenth of 16 is one channel, and the layer norm of one channel is a constant

CLASSES = sorted(set(relattn.attention.__all__) - {"Attention"})
RECIPES = sorted(catalogue.recipes("attention"))

NEEDED = {
    "Chain": {"modules": [NonLocal, partial(relattn.attention.RGA, mode="spatial")]},
    "FadeIn": {"attention": partial(relattn.attention.StRA, heads=2)},
    "FixedSize": {"grid": (4, 3), "attention": relattn.attention.RGA},
}
"""Arguments that a class requires."""

TIMM = {
    "halo": {"block_size": 4},
    "bat": {"block_size": 4, "drop_rate": 0.0},
    "lcbam": {"rd_ratio": 0.5},  # one hidden value would be off for most inputs
    "ge": {"use_mlp": False},  # timm 1.0.31 cannot build the default
}
"""Arguments that fit timm's modules to a small map."""

CASES = [*CLASSES, *RECIPES, *(f"timm:{name}" for name in (*BLOCK, *CONVOLUTION))]

SIZED = {
    "RGA",
    "FC",
    "Chain",
    "rga_c",
    "rga_cs",
    "rga_parallel",
    "rga_s",
    "rga_sc",
    "rga_sc_open",
    "fc_s",
    "fc_sc",
    "non_local_rga_s",
}
SIZED |= {"timm:bottleneck"}
"""Modules with weights for every position, which need `size` and accept no other."""

BLOCKS = {"timm:halo", "timm:bat"}
"""Modules that cut maps into blocks of 4x4."""

each_case = pytest.mark.parametrize("case", CASES)
each_module = pytest.mark.parametrize(
    "case", [pytest.param(case, marks=pytest.mark.slow) if case in RECIPES else case for case in CASES]
)
"""Recipes are their classes with other arguments, and these forms are tested in the files of the classes."""


@functools.cache
def factory(case: str) -> Callable[..., Attention]:
    """Returns a function that builds a case from channels and size."""
    from relattn.cli.costs import factory as of_recipe

    if case in CLASSES:
        return partial(getattr(relattn.attention, case), **NEEDED.get(case, {}))
    if case.startswith("timm:"):
        name = case.removeprefix("timm:")
        return partial(Timm, name=name, **TIMM.get(name, {}))
    found = of_recipe(case, None)
    assert found is not None
    return found


def built(case: str) -> partial[Attention]:
    return partial(factory(case), channels_of(case), size=SIZE)


def channels_of(case: str) -> int:
    return WIDER.get(case, CHANNELS)


def features(case: str) -> Tensor:
    return images(2, channels_of(case), SIZE)


@each_module
def test_types_formats_gradients_and_batch_norm(case):
    check_contract(built(case), features(case))


@each_module
@pytest.mark.parametrize("training", [True, pytest.param(False, marks=pytest.mark.slow)], ids=["train", "eval"])
def test_gradients_equal_finite_differences(case, training):
    module = prepare(built(case), training=training)
    names = [name for name, _ in module.named_parameters()]

    def call(x: Tensor, *parameters: Tensor) -> Tensor:
        return functional_call(module, dict(zip(names, parameters, strict=True)), (x,))

    inputs = (features(case).requires_grad_(), *module.parameters())
    assert torch.autograd.gradcheck(call, inputs, fast_mode=True)


@each_module
def test_copies_and_pickles_compute_the_same_and_the_device_is_kept(case):
    module = prepare(built(case), training=True)
    module(features(case).requires_grad_()).sum().backward()  # whatever a step leaves behind must be copied or dropped
    module.eval()
    expected = module(features(case))
    for twin in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        assert torch.equal(twin(features(case)), expected)
    assert module.to("meta")(features(case).to("meta")).device.type == "meta"


def kept(module: nn.Module) -> list[str]:
    """The tensors among the attributes of a module or its parts, besides parameters and buffers."""
    return [
        f"{name}.{attribute}"
        for name, part in module.named_modules()
        for attribute, value in vars(part).items()
        if isinstance(value, Tensor)
    ]


class Saved:
    """Counts the tensors and bytes that a forward pass keeps for the backward pass."""

    def __init__(self) -> None:
        self.tensors = self.bytes = 0

    def pack(self, value: Tensor) -> Tensor:
        self.tensors += 1
        self.bytes += value.numel() * value.element_size()
        return value

    @classmethod
    def of(cls, module: nn.Module, x: Tensor) -> tuple[int, int]:
        found = cls()
        with torch.autograd.graph.saved_tensors_hooks(found.pack, lambda value: value):
            module(x.requires_grad_())
        return found.tensors, found.bytes


@each_module
def test_nothing_is_kept_without_capture(case, monkeypatch):
    module = prepare(built(case), training=True)
    before = Saved.of(module, features(case))
    module.eval()
    with capture(module) as maps:
        module(features(case))
    assert not any(value.requires_grad for found in maps.values() for value in found.values())
    assert all(part.recorder is None for part in module.modules() if isinstance(part, Attention))
    module(features(case).requires_grad_())
    assert kept(module) == []
    monkeypatch.setattr(Attention, "record", lambda *_: None)
    assert before == Saved.of(module.train(), features(case))


@each_case
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.sampled(3)
def test_one_position_is_enough(case, dtype):
    make, channels = factory(case), channels_of(case)
    if case in BLOCKS:
        with pytest.raises(InputError, match="into which 1x1 cannot be cut"):
            make(channels, size=(1, 1))
        return
    for training in (True, False):
        torch.manual_seed(0)
        module = make(channels, size=(1, 1), dtype=dtype).train(training)
        x = torch.randn(2, channels, 1, 1).to(dtype).requires_grad_()
        output = module(x)
        assert output.shape == x.shape
        output.float().square().sum().backward()
        values = [output, x.grad, module.regularization(), *(parameter.grad for parameter in module.parameters())]
        assert all(value.isfinite().all() for value in values if value is not None)


@each_module
def test_device_and_dtype_are_those_of_timm(case):
    made = factory(case)(channels_of(case), size=SIZE, device="meta", dtype=torch.bfloat16)
    state = [*made.parameters(), *(buffer for buffer in made.buffers() if buffer.is_floating_point())]
    assert all((value.device.type, value.dtype) == ("meta", torch.bfloat16) for value in state)
    with pytest.raises((TypeError, InputError), match="diameter"):
        factory(case)(channels_of(case), size=SIZE, diameter=1)


def test_timm_builds_them_into_its_networks():
    options = {"block_args": {"attn_layer": relattn.attention.SqueezeExcitation}, "dtype": torch.bfloat16}
    network = timm.create_model("test_resnet", **options)
    assert len(outermost(network)) == 4
    assert network(torch.randn(2, 3, 32, 32).bfloat16()).dtype == torch.bfloat16


@each_case
def test_what_does_not_fit_is_an_error_that_says_so(case):
    make = factory(case)
    if case in SIZED:
        with pytest.raises(InputError, match=r"size=\(height, width\)"):
            make(CHANNELS)
        with pytest.raises(InputError, match=r"8, 4\)|8x4"):
            make(CHANNELS, size=SIZE)(images(1, CHANNELS, (4, 3)).float())
    else:
        assert make(CHANNELS).size is None
    with pytest.raises(InputError, match="channels is 0"):
        make(0, size=SIZE)
    with pytest.raises(InputError, match=rf"built for inputs \(B, {channels_of(case)}, .*got \(1, 24, 8, 4\)"):
        make(channels_of(case), size=SIZE)(images(1, 24, SIZE).float())


def refusal(make: Callable[..., Attention], channels: int, size: tuple[int, int]) -> str | None:
    """The error of a module for these channels and this size, or None if it accepts them."""
    try:
        output = make(channels, size=size).eval()(images(1, channels, size).float())
    except InputError as error:
        return str(error)
    assert output.shape == (1, channels, *size)
    return None


@each_case
def test_a_module_takes_any_channels_and_size_or_says_which_do_not_fit(case):
    for channels, size in ((18, SIZE), (17, SIZE), (CHANNELS, (7, 5)), (CHANNELS, (1, 1))):
        said = refusal(factory(case), channels, size)
        assert said is None or any(what in said for what in (str(channels), "{}x{}".format(*size), str(size)))


@pytest.mark.parametrize("case", ["StRA", "SASA", "timm:halo", "timm:bottleneck"])
def test_heads_that_do_not_divide_the_channels_are_named(case):
    assert re.search(r"18 channels|channels is 18", refusal(factory(case), 18, SIZE))


@pytest.fixture
def fresh_compiler() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.mark.usefixtures("fresh_compiler")
@pytest.mark.slow  # test_stra.py compiles RGA and StRA each time
@each_case
def test_compiles_into_one_graph(case):
    module = prepare(built(case), training=True).float()
    x = features(case).float()
    expected = module(x)
    assert_near(torch.compile(module, backend="eager", fullgraph=True)(x), expected, 1e-6)


FIRST = {catalogue.class_path("attention", recipe): recipe for recipe in reversed(RECIPES)}
"""A recipe of each class."""


@pytest.mark.parametrize(
    "recipe", [name if name in FIRST.values() else pytest.param(name, marks=pytest.mark.slow) for name in RECIPES]
)
def test_a_recipe_has_its_place_in_a_network(recipe):
    from relattn.backbones import build

    network = build("test_resnet", attention=factory(recipe), size=(64, 32))
    found = outermost(network)
    assert len(found) == {"stage": 4, "block": 4, "after_block": 2, "convolution": 1}[found[0].placement]
    with torch.no_grad():
        assert network.eval()(torch.randn(1, 3, 64, 32)).shape == (1, 96)


def index() -> dict[str, list[str]]:
    """The cells of each recipe's line in the table of docs/attention."""
    text = (Path(__file__).parents[2] / "docs" / "attention" / "README.md").read_text()
    lines = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| `")]
    return {cells[0].strip("`"): cells[1:] for cells in lines}


def test_every_recipe_is_in_the_index():
    assert sorted(index()) == RECIPES


@pytest.mark.slow
def test_the_index_has_the_parameters_that_a_resnet_50_has():
    from relattn.backbones import build

    options = {"size": (256, 128), "last_stride": 1}
    with torch.device("meta"):
        plain = sum(parameter.numel() for parameter in build("resnet50", **options).parameters())
        for recipe, (_, _, where, modules, added) in index().items():
            network = build("resnet50", attention=factory(recipe), **options)
            found = outermost(network)
            assert (where, int(modules)) == (found[0].placement, len(found)), recipe
            total = sum(parameter.numel() for parameter in network.parameters())
            assert int(added.replace(",", "").replace("\N{MINUS SIGN}", "-")) == total - plain, recipe
