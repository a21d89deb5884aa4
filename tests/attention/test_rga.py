"""RGA in factored form against the materialised reference, and the contract of an attention module."""

import copy
import itertools

import pytest
import torch
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
]


def name_of(options: dict) -> str:
    return "-".join(str(value) if isinstance(value, str) else key for key, value in options.items())


each_form = pytest.mark.parametrize("form", FORMS, ids=name_of)
each_input = pytest.mark.parametrize("inputs", INPUTS, ids=name_of)
train_and_eval = pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])


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


def images(batch: int = 3, channels: int = CHANNELS, size: tuple[int, int] = SIZE) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(batch, channels, *size, generator=generator, dtype=torch.float64)


def assert_near(actual: Tensor, expected: Tensor, tolerance: float = 1e-10, *, what: str = "output") -> None:
    """Compare relative to the largest expected value, or to 0.001 where all are smaller.

    A convolution from one channel to one before a batch norm has next to no gradient, all of it rounding.
    """
    assert actual.shape == expected.shape, what
    scale = expected.abs().max().clamp(min=1e-3)
    error = (actual - expected).abs().max()
    assert error <= tolerance * scale, f"{what}: error {error:.2e}, largest value {scale:.2e}"


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
    """Remembers the number of elements of the largest tensor that any operation returns, views included."""

    def __init__(self) -> None:
        super().__init__()
        self.elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for value in result if isinstance(result, tuple | list) else [result]:
            if isinstance(value, Tensor):
                self.elements = max(self.elements, value.numel())
        return result


@each_form
@each_input
@train_and_eval
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


@each_form
@pytest.mark.parametrize("embedding", EMBEDDINGS, ids=name_of)
def test_relations_and_recorded_masks_equal_the_reference(form, embedding):
    module = make(training=False, **form, **embedding)
    _, masks, relations = reference(copy.deepcopy(module), images())

    found = module.relations(images())
    module.recorder = {}
    module(images())

    assert found.keys() == relations.keys() == module.recorder.keys()
    for name in found:
        assert_near(found[name], relations[name], what=f"{name} relations")
        assert_near(module.recorder[name], masks[name], what=f"{name} mask")
        assert not module.recorder[name].requires_grad


@pytest.mark.parametrize("form", [FORMS[2], FORMS[-1]], ids=name_of)
@train_and_eval
def test_gradcheck(form, training):
    module = make(4, (2, 2), training=training, **form)
    names = [name for name, _ in module.named_parameters()]

    def call(x: Tensor, *parameters: Tensor) -> Tensor:
        return functional_call(module, dict(zip(names, parameters, strict=True)), (x,))

    x = images(2, 4, (2, 2)).requires_grad_()
    assert torch.autograd.gradcheck(call, (x, *module.parameters()))


@each_form
def test_single_precision_is_close(form):
    module = make(training=False, **form)
    expected = module(images())
    output = copy.deepcopy(module).float()(images().float())
    assert output.dtype == torch.float32
    assert_near(output.double(), expected, 1e-5)


@each_form
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@train_and_eval
def test_autocast_keeps_the_input_dtype_and_stays_close(form, dtype, training):
    module = make(training=training, **form)
    expected = copy.deepcopy(module)(images())
    with torch.autocast("cpu", torch.bfloat16):
        output = module.float()(images().to(dtype))
    assert output.dtype == dtype
    assert_near(output.double(), expected, 0.1)


@each_form
def test_half_precision_module_keeps_its_dtype(form):
    module = make(training=False, **form)
    expected = module(images())
    output = copy.deepcopy(module).bfloat16()(images().bfloat16())
    assert output.dtype == torch.bfloat16
    assert_near(output.double(), expected, 0.1)


@each_form
@pytest.mark.parametrize("weights", [torch.contiguous_format, torch.channels_last])
def test_memory_format_of_the_input_is_kept(form, weights):
    module = make(training=False, **form)
    expected = module(images())
    module = module.to(memory_format=weights)

    contiguous = module(images())
    last = module(images().to(memory_format=torch.channels_last))

    assert contiguous.is_contiguous()
    assert last.is_contiguous(memory_format=torch.channels_last)
    assert_near(contiguous, expected)
    assert_near(last, expected)


@pytest.mark.parametrize(
    ("mode", "channels", "size"), [("spatial", 16, (32, 32)), ("channel", 1024, (4, 4))], ids=["spatial", "channel"]
)
@pytest.mark.parametrize("embedding", EMBEDDINGS, ids=name_of)
def test_no_tensor_as_large_as_the_relations_is_made(mode, channels, size, embedding):
    nodes = 1024
    module = make(channels, size, mode=mode, embedding_ratio=16, **embedding)
    x = images(1, channels, size).requires_grad_()

    with LargestTensor() as largest:
        gradients(module, module(x), x)
    with LargestTensor() as largest_of_reference, torch.no_grad():
        reference(module, x)

    assert largest_of_reference.elements == 2 * nodes * nodes  # the recorder sees what is there
    assert largest.elements == 2 * nodes * (nodes // 16)  # the weights of varphi


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


@each_form
def test_exported_with_any_batch_size_equals_eager(form):
    module = make(training=False, **form)
    shapes = {"x": {0: torch.export.Dim("batch", min=1, max=64)}}
    program = torch.export.export(module, (images(),), dynamic_shapes=shapes)
    for batch in (3, 5):
        assert_near(program.module()(images(batch)), module(images(batch)))


@each_form
def test_deepcopy_and_state_dict_round_trip(form):
    module = make(training=False, **form)
    expected = module(images())
    twin = copy.deepcopy(module)
    loaded = RGA(CHANNELS, size=SIZE, embedding_ratio=2, reduction_ratio=2, **form).double().eval()
    loaded.load_state_dict(module.state_dict())
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.zero_()

    assert torch.equal(twin(images()), expected)
    assert torch.equal(loaded(images()), expected)
    assert not torch.equal(module(images()), expected)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, r"pass size=\(height, width\).*RGA\(6, size="),
        ({"size": (4, 0)}, r"size is \(4, 0\), expected .*at least 1"),
        ({"size": (4, 3, 2)}, r"size is \(4, 3, 2\), expected \(height, width\)"),
        ({"size": SIZE, "embedding_ratio": 0}, "embedding_ratio is 0 .*expected at least 1"),
        ({"size": SIZE, "reduction_ratio": 0}, "reduction_ratio is 0, expected at least 1"),
        ({"size": SIZE, "relation": False, "original": False}, "relation and original are both False"),
    ],
    ids=str,
)
def test_wrong_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        RGA(CHANNELS, **arguments)


def test_no_channels_are_refused():
    with pytest.raises(ValueError, match="channels is 0, expected at least 1"):
        RGA(0, size=SIZE)


@pytest.mark.parametrize("shape", [(2, 6, 3, 4), (2, 5, 4, 3), (6, 4, 3), (2, 6, 4, 3, 1)], ids=str)
@pytest.mark.parametrize("method", ["forward", "relations"])
def test_wrong_inputs_are_refused(shape, method):
    module = make()
    with pytest.raises(ValueError) as error:  # noqa: PT011  (the message is checked below)
        getattr(module, method)(torch.zeros(shape))
    assert "(B, 6, 4, 3)" in str(error.value)
    assert str(shape) in str(error.value)


@each_form
@each_input
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
    list(itertools.product((3, 16, 21), ((2, 2), (5, 4)), (1, 2, 8), (2, 8))),
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
