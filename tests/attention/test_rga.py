"""RGA in factored form against the materialised reference, and the contract of an attention module."""

import copy
from functools import partial

import pytest
import torch
from contract import assert_near, check_contract, images
from materialised import reference
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils._python_dispatch import TorchDispatchMode

from relattn.attention import RGA

CHANNELS, SIZE = 6, (4, 3)

FORMS = [
    *({"mode": mode} for mode in ("spatial", "channel", "spatial_channel", "channel_spatial")),
    *({"mode": "parallel", "fusion": fusion} for fusion in ("average", "product", "convolution")),
]
EMBEDDINGS = [{"embedding": embedding} for embedding in ("asymmetric", "symmetric", "none")]
INPUTS = [
    *EMBEDDINGS,
    *({**embedding, "original": False} for embedding in EMBEDDINGS),
    {"relation": False},
    *({**embedding, "kernel": 3} for embedding in EMBEDDINGS),
    {"kernel": 3, "original": False},
    {"kernel": 5, "relation": False},
]


FORM_AND_INPUTS = [*((form, INPUTS[0]) for form in FORMS), *((FORMS[2], inputs) for inputs in INPUTS[1:])]
"""Every form with the default inputs of its masks, and every choice of inputs with both masks."""


def name_of(options: dict) -> str:
    return "-".join(str(value) if isinstance(value, str) else key for key, value in options.items())


each_form = pytest.mark.parametrize("form", FORMS, ids=name_of)
each_pair = pytest.mark.parametrize(("form", "inputs"), FORM_AND_INPUTS, ids=name_of)


def make(channels: int = CHANNELS, size: tuple[int, int] = SIZE, *, training: bool = True, **options) -> RGA:
    """An RGA in float64 whose batch norms have weights and statistics that matter."""
    torch.manual_seed(0)
    options = {"embedding_ratio": 2, "reduction_ratio": 2, **options}
    module = RGA(channels, size=size, **options).double().train(training)
    for norm in norms(module):
        for value, low, high in [
            (norm.weight, 0.5, 1.5),
            (norm.bias, 0.1, 0.5),  # above zero, so that no ReLU is always off and every gradient is put to the test
            (norm.running_mean, -0.5, 0.0),
            (norm.running_var, 0.5, 1.5),
        ]:
            nn.init.uniform_(value, low, high)
    return module


def norms(module: nn.Module) -> list[nn.BatchNorm2d]:
    return [child for child in module.modules() if isinstance(child, nn.BatchNorm2d)]


def gradients(module: nn.Module, output: Tensor, x: Tensor) -> dict[str, Tensor]:
    """Gradients of a random projection of `output` for the input and every parameter, by name."""
    generator = torch.Generator().manual_seed(2)
    direction = torch.randn(output.shape, generator=generator, dtype=torch.float64).to(output.dtype)
    named = {"input": x, **dict(module.named_parameters())}
    found = torch.autograd.grad((output * direction).sum(), list(named.values()))
    return dict(zip(named, found, strict=True))


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


class LargestTensor(TorchDispatchMode):
    """Records the number of elements of the largest tensor that any operation returns, including views."""

    def __init__(self) -> None:
        super().__init__()
        self.elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for value in result if isinstance(result, tuple | list) else [result]:
            if isinstance(value, Tensor):
                self.elements = max(self.elements, value.numel())
        return result


@each_pair
@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
def test_output_gradients_and_statistics_equal_the_materialised_reference(form, inputs, training):
    module = make(training=training, **form, **inputs)
    slow = copy.deepcopy(module)
    x, slow_x = images().requires_grad_(), images().requires_grad_()

    output, (expected, *_) = module(x), reference(slow, slow_x)

    assert_near(output, expected)
    found = gradients(module, output, x)
    for name, gradient in gradients(slow, expected, slow_x).items():
        assert gradient.any(), f"{name} has no part in the reference"
        assert_near(found[name], gradient, what=f"gradient of {name}")
    for norm, slow_norm in zip(norms(module), norms(slow), strict=True):
        assert_near(norm.running_mean, slow_norm.running_mean, what="running mean")
        assert_near(norm.running_var, slow_norm.running_var, what="running variance")
        assert norm.num_batches_tracked == int(training)


@pytest.mark.parametrize(("form", "inputs"), FORM_AND_INPUTS[: len(FORMS) + 2], ids=name_of)
def test_relations_and_recorded_masks_equal_the_reference(form, inputs):
    module = make(training=False, **form, **inputs)
    _, masks, relations = reference(copy.deepcopy(module), images())

    found = module.relations(images())
    module.recorder = {}
    module(images())

    assert found.keys() == relations.keys() == module.recorder.keys()
    for name in found:
        assert_near(found[name], relations[name], what=f"{name} relations")
        assert_near(module.recorder[name], masks[name], what=f"{name} mask")
        assert not module.recorder[name].requires_grad


@pytest.mark.parametrize(("form", "training"), [(FORMS[2], True), (FORMS[-1], False)], ids=str)
def test_gradcheck(form, training):
    module = make(4, (2, 2), training=training, **form)
    names = [name for name, _ in module.named_parameters()]

    def call(x: Tensor, *parameters: Tensor) -> Tensor:
        return functional_call(module, dict(zip(names, parameters, strict=True)), (x,))

    x = images(2, 4, (2, 2)).requires_grad_()
    assert torch.autograd.gradcheck(call, (x, *module.parameters()), fast_mode=True)


@each_form
def test_contract(form):
    check_contract(partial(make, **form))


@pytest.mark.parametrize(
    ("mode", "channels", "size", "embedding"),
    [("spatial", 8, (16, 8), "asymmetric"), ("channel", 128, (4, 2), "symmetric"), ("spatial", 8, (16, 8), "none")],
    ids=str,
)
def test_no_tensor_as_large_as_the_relations_is_made(mode, channels, size, embedding):
    nodes = 128
    module = make(channels, size, mode=mode, embedding_ratio=8, embedding=embedding)
    x = images(1, channels, size).requires_grad_()

    with LargestTensor() as largest:
        gradients(module, module(x), x)
    with LargestTensor() as largest_of_reference, torch.no_grad():
        reference(module, x)

    assert largest_of_reference.elements == 2 * nodes * nodes  # the recorder sees what is there
    assert largest.elements == 2 * nodes * (nodes // 8)  # the weights of varphi


@pytest.mark.slow  # one of them is compiled with StRA, see test_stra.py
@each_form
def test_compiled_equals_eager(form):
    check_compiled(form, "aot_eager")


@pytest.mark.slow
def test_compiled_by_inductor_equals_eager():
    check_compiled({"mode": "spatial_channel"}, "inductor")


def check_compiled(form: dict, backend: str) -> None:
    torch.compiler.reset()
    module = make(**form)
    eager = copy.deepcopy(module)
    compiled = torch.compile(module, fullgraph=True, backend=backend)
    x, eager_x = images().requires_grad_(), images().requires_grad_()

    output, expected = compiled(x), eager(eager_x)

    assert_near(output, expected)
    found = gradients(module, output, x)
    for name, gradient in gradients(eager, expected, eager_x).items():
        assert_near(found[name], gradient, what=f"gradient of {name}")


@pytest.mark.slow  # tests/export traces each attention
@each_form
def test_exported_with_any_batch_size_equals_eager(form):
    module = make(training=False, **form)
    shapes = {"x": {0: torch.export.Dim("batch", min=1, max=64)}}
    program = torch.export.export(module, (images(),), dynamic_shapes=shapes)
    for batch in (3, 5):
        assert_near(program.module()(images(batch)), module(images(batch)))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, r"pass size=\(height, width\).*RGA\(6, size="),
        ({"size": (4, 0)}, r"size is \(4, 0\), expected .*at least 1"),
        ({"size": (4, 3, 2)}, r"size is \(4, 3, 2\), expected \(height, width\)"),
        ({"size": SIZE, "embedding_ratio": 0}, "embedding_ratio is 0, expected a whole number of at least 1"),
        ({"size": SIZE, "reduction_ratio": 0}, "reduction_ratio is 0, expected a whole number of at least 1"),
        ({"size": SIZE, "relation": False, "original": False}, "relation and original are both False"),
        ({"size": 8}, r"size is 8, expected \(height, width\)"),
        ({"size": (4, 2.5)}, r"size is \(4, 2.5\), expected \(height, width\)"),
        ({"size": SIZE, "kernel": 2}, "kernel is 2, expected an odd number"),
        ({"size": SIZE, "kernel": 3, "mode": "channel"}, "kernel is 3, but has no effect without a spatial mask"),
        ({"size": SIZE, "kernel": 3.0}, "kernel is 3.0, expected an odd number"),
        ({"size": SIZE, "embedding_ratio": 2.5}, "embedding_ratio is 2.5, expected a whole number"),
        ({"size": SIZE, "relation": "no"}, "relation is 'no', expected True or False"),
        ({"size": SIZE, "relation": False, "embedding": "none"}, "embedding is 'none', but has no effect without rel"),
        ({"size": SIZE, "mode": "spatial", "fusion": "product"}, "fusion is 'product', but has no effect with mode"),
        ({"size": SIZE, "mode": "sc"}, "mode is 'sc', expected one of spatial, channel, spatial_channel"),
        ({"size": SIZE, "embedding": "both"}, "embedding is 'both', expected one of asymmetric, symmetric, none"),
        ({"size": SIZE, "fusion": "sum"}, "fusion is 'sum', expected one of average, product, convolution"),
    ],
    ids=str,
)
def test_wrong_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        RGA(CHANNELS, **arguments)


def test_no_channels_are_refused():
    with pytest.raises(ValueError, match="channels is 0, expected a whole number of at least 1"):
        RGA(0, size=SIZE)


@pytest.mark.parametrize("shape", [(2, 6, 3, 4), (2, 5, 4, 3), (6, 4, 3), (2, 6, 4, 3, 1)], ids=str)
@pytest.mark.parametrize("method", ["forward", "relations"])
def test_wrong_inputs_are_refused(shape, method):
    module = make()
    with pytest.raises(ValueError) as error:  # noqa: PT011  (the message is checked below)
        getattr(module, method)(torch.zeros(shape))
    assert "(B, 6, 4, 3)" in str(error.value)
    assert str(shape) in str(error.value)


@each_pair
def test_narrow_widths_are_at_least_one(form, inputs):
    module = RGA(4, size=(2, 2), **form, **inputs)  # ratios of 8
    output = module(images(2, 4, (2, 2)).float())
    assert output.shape == (2, 4, 2, 2)
    assert output.isfinite().all()
    assert min(parameter.numel() for parameter in module.parameters()) == 1


@pytest.mark.parametrize(
    ("channels", "size", "ratio", "expected"),
    [(16, (32, 32), 4, 1_329_772), (108, (16, 16), 8, 48_505), (400, (16, 16), 8, 142_088)],
)
def test_parameters_on_cifar_networks(channels, size, ratio, expected):
    assert count(RGA(channels, size=size, embedding_ratio=ratio, reduction_ratio=ratio)) == expected


def mask_parameters(features: int, nodes: int, s1: int, s2: int) -> int:
    """Parameters of Eqs. (1) to (3) with batch norms, from the widths that the paper gives."""
    k, n = max(1, features // s1), max(1, nodes // s1)
    m = max(1, (n + 1) // s2)
    theta_phi_psi = 3 * (features * k + 2 * k)
    varphi = 2 * nodes * n + 2 * n
    return theta_phi_psi + varphi + (n + 1) * m + 2 * m + m + 2


@pytest.mark.parametrize(
    ("channels", "size", "s1", "s2"),
    [
        (3, (2, 2), 1, 2),
        (16, (5, 4), 2, 8),
        (21, (2, 2), 8, 2),
        (21, (5, 4), 1, 8),
        (3, (5, 4), 8, 8),
        (16, (2, 2), 2, 2),
    ],
    ids=str,
)
def test_parameters_follow_the_closed_formula(channels, size, s1, s2):
    positions = size[0] * size[1]
    expected = {
        "spatial": mask_parameters(channels, positions, s1, s2),
        "channel": mask_parameters(positions, channels, s1, s2),
    }
    for mode in expected:
        assert count(RGA(channels, size=size, mode=mode, embedding_ratio=s1, reduction_ratio=s2)) == expected[mode]
    both = RGA(channels, size=size, embedding_ratio=s1, reduction_ratio=s2)
    assert count(both) == expected["spatial"] + expected["channel"]
