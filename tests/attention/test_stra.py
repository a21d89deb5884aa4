"""Structure-regularized attention against slow formulas, position by position, and its diversity term."""

import copy
import gc
import json
import pickle
import weakref
from collections.abc import Callable
from functools import partial

import pytest
import torch
from contract import assert_near, check_against, check_contract, convolve, images, normalise, prepare, recorded
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.func import functional_call

from relattn.attention import RGA, SASA, Chain, StRA
from relattn.attention.rematerialisation import Saved
from relattn.attention.shifts import Neighbourhood, Window
from relattn.attention.stra import diversity
from relattn.cli.main import run
from relattn.costs.measure import kept_memory
from relattn.costs.unfolded import has_neighbourhoods, unfolded

HEADS, CHANNELS, SIZE = 2, 8, (4, 3)
FORMS = [
    {},
    {"gate": "softmax"},
    {"parts": "local"},
    {"parts": "no_interaction"},
    {"kernel": 5, "heads": 4},
    {"variant": "released"},
    {"variant": "released", "parts": "no_interaction", "gate": "softmax"},
    {"variant": "released", "parts": "local", "kernel": 7},
]


def name_of(options: dict) -> str:
    return "-".join(str(value) for value in options.values()) or "default"


each_form = pytest.mark.parametrize("form", FORMS, ids=name_of)
narrow = partial(StRA, CHANNELS, reduction=2)


def make(form: dict) -> StRA:
    return narrow(**{"heads": HEADS, **form})


def with_fixed_biases(form: dict) -> StRA:
    """Biases before a batch norm as buffers, because in training their gradients are only rounding."""
    module = make(form)
    for child in module.modules():
        if isinstance(child, nn.Conv2d) and child.bias is not None:
            value = torch.randn_like(child.bias)
            del child.bias
            child.register_buffer("bias", value)
    return module


def features() -> Tensor:
    return images(2, CHANNELS, SIZE)


def grouped(x: Tensor, layers: nn.Sequential, heads: int) -> Tensor:
    """A 1x1 convolution in groups and its batch norm, group by group."""
    return normalise(apart(x, layers[0], heads), layers[1])


def apart(x: Tensor, layer: nn.Conv2d, heads: int) -> Tensor:
    """A 1x1 convolution in groups, group by group."""
    parts = zip(x.chunk(heads, dim=1), layer.weight.chunk(heads), strict=True)
    output = torch.cat([convolve(part, weight) for part, weight in parts], dim=1)
    return output if layer.bias is None else output + layer.bias[:, None, None]


def two_layers(x: Tensor, layers: nn.Sequential, heads: int, *, released: bool) -> Tensor:
    hidden = grouped(x, layers[0], heads)
    return grouped(torch.tanh(hidden) if released else hidden.clamp(min=0), layers[2], heads)


def neighbours(position: tuple[int, int], size: tuple[int, int], kernel: int) -> list[tuple[int, int] | None]:
    """The K x K positions around one, in raster order; None outside of the map."""
    radius = kernel // 2
    around = range(-radius, radius + 1)
    every = [(position[0] + row, position[1] + column) for row in around for column in around]
    return [(y, x) if 0 <= y < size[0] and 0 <= x < size[1] else None for y, x in every]


def local_reference(module: StRA, x: Tensor) -> list[Tensor]:
    """Eq. (4) for each head, position by position: G maps `(B, C / G, H, W)`."""
    heads, local = module.heads, module.local
    if module.variant == "released":  # the first G maps are nu, then come K K of omega for each head
        maps, each = two_layers(x, local.logits, heads, released=True), local.neighbourhood.kernel**2
        nu = [maps[:, head, None] for head in range(heads)]
        omega = [maps[:, heads + head * each : heads + (head + 1) * each] for head in range(heads)]
        values = apart(x, local.values, heads).chunk(heads, dim=1)
    else:
        omega = two_layers(x, local.omega, heads, released=False).chunk(heads, dim=1)
        nu = two_layers(x, local.nu, heads, released=False).chunk(heads, dim=1)
        values = grouped(x, local.values, heads).chunk(heads, dim=1)
    found = []
    for head in range(heads):
        rows = []
        for y in range(x.shape[2]):
            for column in range(x.shape[3]):
                around = neighbours((y, column), tuple(x.shape[2:]), local.neighbourhood.kernel)
                logits = torch.stack(
                    [
                        omega[head][:, j, y, column] + (nu[head][:, 0, at[0], at[1]] if at else 0)
                        for j, at in enumerate(around)
                    ]
                )
                weights = logits.exp() / logits.exp().sum(dim=0)
                rows.append(sum(weights[j, :, None] * values[head][:, :, *at] for j, at in enumerate(around) if at))
        found.append(torch.stack(rows, dim=2).unflatten(2, x.shape[2:]))
    return found


def masks_reference(module: StRA, s: list[Tensor]) -> Tensor:
    """M of section 4.3, `(B, G, N)`."""
    if module.variant == "released":
        logits = two_layers(torch.cat(s, dim=1), module.mode.mask, module.heads, released=True)
    else:
        logits = apart(torch.cat(s, dim=1), module.mode.mask, module.heads)
        logits = normalise(logits, module.mode.mask_norm)
    powers = logits.flatten(2).exp()
    return powers / powers.sum(dim=2, keepdim=True)


def gates_reference(
    module: StRA, s: list[Tensor], vectors: list[Tensor], norm: nn.BatchNorm2d | None = None
) -> list[Tensor]:
    """r of Eq. (5): G maps `(B, H, W)`."""
    logits = [torch.einsum("bchw,bc->bhw", part, vector) for part, vector in zip(s, vectors, strict=True)]
    if norm is not None:
        logits = normalise(torch.stack(logits, dim=1), norm).unbind(dim=1)
    if module.mode.gate == "sigmoid":
        return [1 / (1 + torch.exp(-value)) for value in logits]
    total = sum(value.exp() for value in logits)
    return [value.exp() / total for value in logits]


def reference(module: StRA, x: Tensor) -> Tensor:
    s = local_reference(module, x)
    if module.mode is None:
        return torch.cat(s, dim=1)
    masks = masks_reference(module, s)
    modes = [torch.einsum("bcn,bn->bc", part.flatten(2), masks[:, head]) for head, part in enumerate(s)]
    interacted = []
    for mode in modes:  # Eq. (6)
        products = torch.stack([(mode * other).sum(dim=1) for other in modes])
        if module.variant == "released":
            products = products / (products**2).sum(dim=0) ** 0.5 * len(modes) ** 0.5
        weights = products.exp() / products.exp().sum(dim=0)
        interacted.append(sum(weights[j, :, None] * other for j, other in enumerate(modes)))
    full = module.parts == "full"
    steps = [(interacted if full else modes, None)]
    if module.variant == "released":
        steps = list(zip([modes, interacted][: 1 + full], module.mode.similarity_norms, strict=True))
    for vectors, norm in steps:
        gates = gates_reference(module, s, vectors, norm)
        s = [part + gate[:, None] * z[:, :, None, None] for part, gate, z in zip(s, gates, vectors, strict=True)]
    return torch.cat(s, dim=1)


@each_form
def test_output_and_gradients_equal_the_reference(form):
    check_against(partial(with_fixed_biases, form), reference, features())


@each_form
def test_contract(form):
    check_contract(partial(with_fixed_biases, form), features())


@pytest.mark.parametrize("form", [{}, {"variant": "released"}], ids=name_of)
def test_gradcheck(form):
    module = prepare(partial(StRA, 4, heads=2, reduction=1, **form), training=True)
    names = [name for name, _ in module.named_parameters()]

    def call(x: Tensor, *parameters: Tensor) -> Tensor:
        return functional_call(module, dict(zip(names, parameters, strict=True)), (x,))

    inputs = (images(2, 4, (2, 2)).requires_grad_(), *module.parameters())
    assert torch.autograd.gradcheck(call, inputs, fast_mode=True)


@pytest.mark.parametrize("kernel", [3, 5, 7])
@pytest.mark.parametrize("heads", [4, 8, 16, 32])
def test_sizes_of_table_3(kernel, heads):
    module = StRA(64, heads=heads, kernel=kernel)
    assert module(torch.randn(2, 64, 7, 7)).shape == (2, 64, 7, 7)
    hidden = heads * max(1, 64 // (4 * heads))
    first, last = (
        64 * hidden // heads + 2 * hidden,
        hidden // heads * heads * (kernel**2 + 1) + 2 * heads * (kernel**2 + 1),
    )
    value, mask = 64 * 64 // heads + 2 * 64, 64 + 2 * heads
    assert sum(parameter.numel() for parameter in module.parameters()) == 2 * first + last + value + mask


def test_parameters_at_the_last_stage_of_a_resnet50():
    assert sum(parameter.numel() for parameter in StRA(512).parameters()) == 52_656


def test_the_released_variant_starts_as_released():
    torch.manual_seed(0)
    module = StRA(512, variant="released")
    assert sum(parameter.numel() for parameter in module.parameters()) == 47_272
    convolutions = {name: child for name, child in module.named_modules() if isinstance(child, nn.Conv2d)}
    assert {
        name: (child.out_channels, child.in_channels, child.bias is None) for name, child in convolutions.items()
    } == {
        "local.logits.0.0": (128, 512, False),
        "local.logits.2.0": (80, 128, False),
        "local.values": (512, 512, True),
        "mode.mask.0.0": (64, 512, False),
        "mode.mask.2.0": (8, 64, False),
    }
    for name, child in convolutions.items():
        assert child.groups == 8
        if child.weight.numel() > 1000:
            assert child.weight.std().item() == pytest.approx((2 / child.out_channels) ** 0.5, rel=0.1), name
        if child.bias is not None:
            assert not child.bias.any(), name


@pytest.mark.parametrize("variant", ["paper", "released"])
def test_the_diversity_term_is_its_formula(variant):
    module = prepare(partial(make, {"diversity_weight": 0.1, "variant": variant}), training=True)
    module(features())
    masks = masks_reference(module, local_reference(module, features()))
    per_image = [HEADS - sum(image[:, i].max() for i in range(image.shape[1])) for image in masks]
    term = module.regularization()
    assert term.shape == ()
    assert_near(term, 0.1 * sum(per_image) / len(per_image))

    apart = torch.zeros(1, 2, 2, 2)
    apart[0, 0, 0, 0] = apart[0, 1, 1, 0] = 1
    assert diversity(apart) == 0
    assert diversity(torch.full((1, 4, 2, 2), 0.25)) == 3  # all alike: the maximum, G - 1


def test_the_diversity_term_belongs_to_the_last_forward_and_can_be_read_again():
    module = prepare(partial(make, {}), training=True)
    assert module.regularization() is None
    x = features().requires_grad_()
    module(x)
    first = module.regularization()
    module(2 * x)
    second = module.regularization()
    assert second != first
    assert module.regularization() is second
    second.backward()
    assert module.mode.mask.weight.grad.any()
    assert module.local.omega[0][0].weight.grad.any()
    assert module.regularization() is second, "also after the backward pass, for a record"
    module.eval()(x)
    assert module.regularization() is None, "none in evaluation"


class Kept:
    """Counts what autograd keeps for backward passes, for as long as it is kept."""

    def __init__(self, value: Tensor) -> None:
        self.value = value

    @staticmethod
    def of(step: Callable[[], None]) -> int:
        """The amount that is still kept after a step."""
        alive: list[weakref.ref[Kept]] = []

        def pack(value: Tensor) -> Kept:
            kept = Kept(value.detach())  # a value with a graph would keep the graph that keeps it
            alive.append(weakref.ref(kept))
            return kept

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda kept: kept.value):
            step()
        remade = [thing for thing in gc.get_objects() if isinstance(thing, Saved)]  # of which the hook sees nothing
        return sum(reference() is not None for reference in alive) + len(remade)


@pytest.mark.parametrize("recompute", ["cheap", "all", "nothing"])
def test_no_graph_is_kept_longer_than_needed(recompute):
    module = prepare(partial(make, {}), training=True)
    module.recompute = recompute

    def step() -> None:
        output = module(features().requires_grad_())
        term = module.regularization()
        (output.sum() + term).backward()
        assert module.regularization() is term, "computing it again leaves the term of the first pass"

    assert Kept.of(step) == 0

    def unread() -> None:
        module(features().requires_grad_())

    assert Kept.of(unread) > 0
    assert Kept.of(lambda: (unread(), module.eval()(features()))) == 0, "the next forward lets it go"


@pytest.mark.parametrize("form", [{"parts": "local"}, {"diversity_weight": 0.0}], ids=name_of)
def test_no_diversity_term_where_there_is_nothing_to_weight(form):
    module = make(form).train()
    module(features().float())
    assert module.regularization() is None


def test_a_module_with_a_pending_term_can_be_copied():
    module = make({}).train()
    module(features().float())
    for twin in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        assert twin.regularization() is None
        assert list(twin.state_dict()) == list(module.state_dict())
    assert module.regularization() is not None


def test_recorded_maps():
    module = prepare(partial(make, {}))
    maps = recorded(module, features())
    assert {name: tuple(value.shape) for name, value in maps.items()} == {
        "affinity": (2, HEADS, 9, *SIZE),
        **dict.fromkeys(["local", "masks", "gates", "output"], (2, HEADS, *SIZE)),
    }
    ones = torch.ones(2, HEADS, dtype=torch.float64)
    assert_near(maps["affinity"].sum(dim=2), ones[..., None, None].expand(-1, -1, *SIZE))
    assert_near(maps["masks"].sum(dim=(2, 3)), ones)
    assert_near(maps["masks"].flatten(2), masks_reference(module, local_reference(module, features())))
    assert_near(maps["output"], module(features()).unflatten(1, (HEADS, -1)).abs().mean(dim=2))
    assert recorded(make({"parts": "local"}), features().float()).keys() == {"affinity", "local", "output"}


def test_little_is_kept_for_the_backward_pass():
    x, weights = torch.randn(2, 256, 16, 8).requires_grad_(), torch.rand(2, 8, 9, 16, 8).requires_grad_()

    class Sum(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.neighbourhood = Neighbourhood(3, 8)

        def forward(self, x: Tensor) -> Tensor:
            return self.neighbourhood.weighted_sum(x.clone(), weights)  # of inputs nothing would be counted

    fast = kept_memory(Sum(), x)
    assert fast == x.nbytes
    assert 3 * fast < kept_memory(unfolded(Sum()), x)
    module = StRA(256, parts="local")
    assert 3 * kept_memory(module, x) < kept_memory(unfolded(module), x)


def test_the_unfolded_form_has_the_same_weights_and_outputs():
    module = prepare(partial(make, {}))
    slow = unfolded(module)
    assert_near(slow(features()), module(features()))
    assert "weighted_sum" not in vars(module.local.neighbourhood), "the original must stay as it is"
    assert has_neighbourhoods(module)
    assert not has_neighbourhoods(nn.Conv2d(3, 3, 1))


def test_the_benchmark_sets_the_unfolded_form_beside(tmp_path, capsys):
    arguments = "--attention stra sasa --channels 64 --size 8x4 --batch_size 2 --rounds 1 --warmup 1"
    assert run(["benchmark", *arguments.split(), "--json", str(tmp_path / "cost.json")]) == 0
    costs = json.loads((tmp_path / "cost.json").read_text())["costs"]
    assert [cost["name"] for cost in costs] == ["stra", "stra, unfolded", "sasa", "sasa, unfolded"]
    for ours, slow in (costs[:2], costs[2:]):
        assert ours["parameters"] == slow["parameters"]
        assert ours["kept_bytes"] < slow["kept_bytes"]
    assert "x kept" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("form", "backend"),
    [
        ({}, "eager"),
        pytest.param({}, "aot_eager", marks=pytest.mark.slow),
        pytest.param({"variant": "released", "gate": "softmax"}, "aot_eager", marks=pytest.mark.slow),
    ],
    ids=str,
)
@pytest.mark.slow
def test_compiled_equals_eager(form, backend):
    """With RGA before it, which this compiles too; a second step has the loss term of its own images."""
    torch.compiler.reset()
    parts = [partial(RGA, embedding_ratio=2, reduction_ratio=2), lambda channels, size: with_fixed_biases(form)]
    module = prepare(partial(Chain, CHANNELS, size=SIZE, modules=parts), training=True)
    eager = copy.deepcopy(module)
    compiled = torch.compile(module, fullgraph=True, backend=backend)
    for scale in (1, 2):
        found = []
        for network, source in ((compiled, module), (eager, eager)):
            x = (scale * features()).requires_grad_()
            output = network(x)
            term = source.regularization()
            assert source.regularization() is not None
            (output.square().sum() + term).backward()
            found.append([output, term, x.grad, *(parameter.grad for parameter in source.parameters())])
        for ours, theirs in zip(*found, strict=True):
            assert_near(ours, theirs)


@pytest.mark.slow  # tests/export traces each attention
def test_exported_with_any_batch_size_equals_eager():
    module = prepare(partial(make, {}))
    shapes = {"x": {0: torch.export.Dim("batch", min=1, max=64)}}
    program = torch.export.export(module, (features(),), dynamic_shapes=shapes)
    x = images(5, CHANNELS, SIZE)
    assert_near(program.module()(x), module(x))


@pytest.mark.slow
@pytest.mark.parametrize("banded", [True, False])
def test_compiled_by_inductor_equals_eager(banded, monkeypatch):
    monkeypatch.setattr(Window, "banded", lambda *_: banded)
    torch.compiler.reset()
    module = prepare(partial(make, {}), training=True)
    eager = copy.deepcopy(module)
    compiled = torch.compile(module, fullgraph=True)
    x, eager_x = features().requires_grad_(), features().requires_grad_()
    output, expected = compiled(x), eager(eager_x)
    assert_near(output, expected)
    output.square().sum().backward()
    expected.square().sum().backward()
    assert_near(x.grad, eager_x.grad)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"heads": 3}, "StRA: heads is 3, which does not divide the 8 channels.*1, 2, 4, 8 would"),
        ({"heads": 0}, "heads is 0"),
        ({"heads": 2, "kernel": 4}, "kernel is 4, expected an odd number of at least 3: 3, 5, 7"),
        ({"heads": 2, "kernel": 1}, "kernel is 1, expected an odd number of at least 3"),
        ({"heads": 2, "reduction": 0}, "reduction is 0, expected a whole number of at least 1"),
        ({"heads": 2, "diversity_weight": -1.0}, "diversity_weight is -1.0, expected a number of at least 0"),
        ({"heads": 2, "diversity_weight": float("nan")}, "diversity_weight is nan, expected a number"),
        ({"heads": 8.0}, "heads is 8.0, expected a whole number"),
        ({"heads": 2, "kernel": 3.0}, "kernel is 3.0, expected an odd number"),
        ({"heads": 2, "parts": "local", "gate": "softmax"}, "gate is 'softmax', but has no effect without mode"),
        ({"heads": 2, "gate": "tanh"}, "gate is 'tanh', expected one of sigmoid, softmax"),
        ({"heads": 2, "parts": "mode"}, "parts is 'mode', expected one of full, local, no_interaction"),
        ({"heads": 2, "variant": "code"}, "variant is 'code', expected one of paper, released"),
        ({"heads": 2, "size": (0, 2)}, r"size is \(0, 2\)"),
    ],
    ids=str,
)
def test_wrong_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        StRA(CHANNELS, **arguments)


@pytest.mark.parametrize("shape", [(2, 6, 4, 3), (8, 4, 3)], ids=str)
def test_wrong_inputs_are_refused(shape):
    with pytest.raises(ValueError, match=r"built for inputs \(B, 8, H, W\) and got"):
        make({})(torch.zeros(shape))


LOCAL = [partial(StRA, heads=2), partial(StRA, heads=2, variant="released"), partial(SASA, heads=2)]


@pytest.mark.parametrize("build", LOCAL)
def test_transforms_and_traces_take_the_plain_sums(build: Callable[[int], nn.Module]) -> None:
    module = prepare(lambda: build(8)).eval()
    x = images(2, 8, (4, 3))
    expected = module(x)
    assert_near(torch.jit.trace(module, (x,), check_trace=False)(x), expected)

    def loss(image: Tensor) -> Tensor:
        return module(image[None]).square().sum()

    apart = torch.stack([torch.func.grad(loss)(image) for image in x])
    assert_near(torch.func.vmap(torch.func.grad(loss))(x), apart)
    direction = torch.ones_like(x)
    with forward_ad.dual_level():
        slope = forward_ad.unpack_dual(module(forward_ad.make_dual(x, direction)).square().sum()).tangent
    assert_near(slope, (apart * direction).sum())


@pytest.mark.parametrize("build", LOCAL)
def test_an_empty_batch_gives_an_empty_map(build: Callable[[int], nn.Module]) -> None:
    assert build(8).eval()(torch.zeros(0, 8, 4, 3)).shape == (0, 8, 4, 3)
