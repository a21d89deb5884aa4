"""The contract of every attention module, as checks that the tests of each module call."""

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

from relattn.attention import Attention
from relattn.figures import capture


def images(batch: int = 3, channels: int = 6, size: tuple[int, int] = (4, 3)) -> Tensor:
    """Random features in float64."""
    generator = torch.Generator().manual_seed(1)
    return torch.randn(batch, channels, *size, generator=generator, dtype=torch.float64)


def prepare(build: Callable[[], Attention], *, training: bool = False) -> Attention:
    """A module in float64 without trivial initial values: no zeros, and batch norms with real statistics."""
    torch.manual_seed(0)
    module = build().double().train(training)
    for child in module.modules():
        if isinstance(child, nn.BatchNorm2d):
            nn.init.uniform_(child.weight, 0.5, 1.5)
            nn.init.uniform_(child.bias, 0.1, 0.5)
            nn.init.uniform_(child.running_mean, -0.5, 0.0)
            nn.init.uniform_(child.running_var, 0.5, 1.5)
    for parameter in module.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.5)
    return module


def assert_near(actual: Tensor, expected: Tensor, tolerance: float = 1e-10, *, what: str = "output") -> None:
    """Compare relative to the largest expected value, or to 0.001 if all are smaller."""
    assert actual.shape == expected.shape, what
    scale = expected.abs().max().clamp(min=1e-3)
    error = (actual - expected).abs().max()
    assert error <= tolerance * scale, f"{what}: error {error:.2e}, largest value {scale:.2e}"


def normalise(x: Tensor, norm: nn.BatchNorm2d) -> Tensor:
    """Batch norm of `(B, channels, ...)` from its definition; running statistics are not updated."""
    shape = (1, -1, *[1] * (x.ndim - 2))
    mean, variance = norm.running_mean, norm.running_var
    if norm.training:
        rows = x.transpose(0, 1).flatten(1)
        mean, variance = rows.mean(dim=1), rows.var(dim=1, correction=0)
    standard = (x - mean.reshape(shape)) / (variance.reshape(shape) + norm.eps) ** 0.5
    return norm.weight.reshape(shape) * standard + norm.bias.reshape(shape)


def convolve(x: Tensor, weight: Tensor) -> Tensor:
    """A 1x1 convolution of `(B, inputs, H, W)` with a weight `(outputs, inputs, ...)`."""
    return torch.einsum("oi,bihw->bohw", weight.flatten(1), x)


def check_against(
    build: Callable[[], Attention], reference: Callable[[Attention, Tensor], Tensor], x: Tensor | None = None
) -> None:
    """Check output, and gradients of input and parameters, against a slow reference, in training and in eval mode."""
    for training in (True, False):
        module = prepare(build, training=training)
        twin = copy.deepcopy(module)
        ours = (images() if x is None else x).clone().requires_grad_()
        theirs = ours.detach().clone().requires_grad_()
        output, expected = module(ours), reference(twin, theirs)
        assert_near(output, expected)
        direction = torch.randn_like(expected)
        for loss in ((output * direction).sum(), (expected * direction).sum()):
            loss.backward()
        assert_near(ours.grad, theirs.grad, what="gradient of the input")
        for (name, parameter), other in zip(module.named_parameters(), twin.parameters(), strict=True):
            assert other.grad.any(), f"{name} has no part in the reference"
            assert_near(parameter.grad, other.grad, what=f"gradient of {name}")


INVARIANT = {"module.conv_attn.bias"}
"""Parameters without effect, whose gradients are only rounding: a softmax over positions cancels this one."""


def check_contract(build: Callable[[], Attention], x: Tensor | None = None, *, exact: float = 1e-10) -> None:
    """Check shape, dtype, memory format, autocast, gradients, state and copies; only batch norm may depend on mode."""
    x = images() if x is None else x
    module = prepare(build)
    expected = module(x)
    assert expected.shape == x.shape
    for weights in (torch.contiguous_format, torch.channels_last):
        placed = copy.deepcopy(module).to(memory_format=weights)
        for form in (torch.contiguous_format, torch.channels_last):
            output = placed(x.to(memory_format=form))
            assert output.is_contiguous(memory_format=form), (weights, form)
            assert_near(output, expected, exact)
    single = copy.deepcopy(module).float()
    assert single(x.float()).dtype == torch.float32
    assert_near(single(x.float()).double(), expected, 1e-4)
    for dtype in (torch.float32, torch.bfloat16):
        with torch.autocast("cpu", torch.bfloat16):
            output = single(x.to(dtype))
        assert output.dtype == dtype
        assert_near(output.double(), expected, 0.1)
    half = copy.deepcopy(module).bfloat16()
    assert half(x.bfloat16()).dtype == torch.bfloat16
    assert_near(half(x.bfloat16()).double(), expected, 0.1)

    loaded = prepare(build)
    loaded.load_state_dict(module.state_dict())
    assert_near(loaded(x), expected, exact)

    trained = copy.deepcopy(module).train()
    norms = [child for child in trained.modules() if isinstance(child, nn.BatchNorm2d)]
    for norm in norms:
        norm.eval()
    assert_near(trained(x), expected, exact)

    trained.train()
    trained(x.clone().requires_grad_()).square().sum().backward()
    for name, parameter in trained.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.any() or name in INVARIANT, name


def recorded(module: Attention, x: Tensor) -> dict[str, Tensor]:
    """The maps of one forward pass; nothing is stored before or after it."""
    module(x)
    assert module.recorder is None
    with capture(module) as maps:
        module(x)
    assert module.recorder is None
    assert not any(value.requires_grad for value in maps[""].values())
    return maps[""]
