"""Non-local attention and its simplified form against sums over positions, and what is kept for the backward pass."""

from functools import partial

import pytest
import torch
from contract import assert_near, check_against, check_contract, convolve, images, normalise, prepare, recorded
from torch import Tensor

from relattn.attention import NonLocal, OriginalNonLocal, SimplifiedNonLocal
from relattn.errors import InputError

FORMS = [
    {"kind": "embedded_gaussian"},
    {"kind": "dot_product"},
    {"kind": "embedded_gaussian", "subsample": 2},
    {"kind": "dot_product", "subsample": 2, "inner": 5},
]
each_form = pytest.mark.parametrize("form", FORMS, ids=lambda form: "-".join(map(str, form.values())))


def build(**form) -> partial[NonLocal]:
    return partial(NonLocal, 6, **{"inner": 3, **form})


def pool(x: Tensor, side: int) -> Tensor:
    """Max pooling, window by window; what does not fill a window is left out."""
    rows = [
        torch.stack(
            [
                x[:, :, side * row : side * (row + 1), side * column : side * (column + 1)].amax(dim=(2, 3))
                for column in range(x.shape[3] // side)
            ],
            dim=2,
        )
        for row in range(x.shape[2] // side)
    ]
    return torch.stack(rows, dim=2)


def weights_of(module: NonLocal, x: Tensor) -> tuple[Tensor, Tensor]:
    """f / C of Eq. (1), `(B, N, M)`, one pair of positions at a time, and g `(B, k, M)`."""
    k = module.inner
    source = pool(x, module.subsample)
    theta = convolve(x, module.theta.weight).flatten(2)
    phi = convolve(source, module.phi_and_g.weight[:k]).flatten(2)
    g = convolve(source, module.phi_and_g.weight[k:]).flatten(2)
    images_of_weights = []
    for image in range(len(x)):
        rows = []
        for i in range(theta.shape[2]):
            row = torch.stack([(theta[image, :, i] * phi[image, :, j]).sum() for j in range(phi.shape[2])])
            if module.kind == "embedded_gaussian":
                rows.append(torch.exp(row) / torch.exp(row).sum())
            else:
                rows.append(row / len(row))
        images_of_weights.append(torch.stack(rows))
    return torch.stack(images_of_weights), g


def reference(module: NonLocal, x: Tensor) -> Tensor:
    """Eq. (6)."""
    weights, g = weights_of(module, x)
    y = torch.einsum("bnm,bkm->bkn", weights, g).unflatten(2, x.shape[2:])
    return x + normalise(convolve(y, module.output.weight), module.norm)


def simplified(module: SimplifiedNonLocal, x: Tensor) -> Tensor:
    """Eq. (2) of GCNet, in which W_v still stands inside of the sum; (3) takes it out."""
    scores = torch.exp(convolve(x, module.score.weight)).flatten(1)
    change = torch.zeros_like(x[:, :, 0, 0])
    for j, position in enumerate(x.flatten(2).unbind(dim=2)):
        change = change + (scores[:, j] / scores.sum(dim=1))[:, None] * (position @ module.value.weight.T)
    return x + change[:, :, None, None]


@each_form
def test_non_local_equals_the_sum_over_positions(form):
    check_against(build(**form), reference, images(2, 6, (4, 5)))


@each_form
def test_non_local_keeps_the_contract(form):
    check_contract(build(**form), images(3, 6, (4, 5)))


def test_the_original_is_half_as_wide_and_pools_by_two():
    module = OriginalNonLocal(6)
    assert (module.inner, module.subsample) == (3, 2)
    check_against(partial(OriginalNonLocal, 6), reference, images(2, 6, (4, 5)))


def test_simplified_non_local_equals_the_sum_over_positions():
    check_against(partial(SimplifiedNonLocal, 6), simplified)


def test_simplified_non_local_keeps_the_contract():
    check_contract(partial(SimplifiedNonLocal, 6))


@pytest.mark.parametrize("attention", [NonLocal, SimplifiedNonLocal])
def test_they_begin_as_the_identity(attention):
    x = images().float()
    torch.testing.assert_close(attention(6)(x), x, rtol=0, atol=0)


@each_form
def test_recorded_weights_are_those_of_the_equation(form):
    module = prepare(build(**form))
    found = recorded(module, images())
    assert found.keys() == {"weights"}
    assert_near(found["weights"], weights_of(module, images())[0])


def test_the_simplified_map_is_recorded_and_sums_to_one():
    found = recorded(prepare(partial(SimplifiedNonLocal, 6)), images())
    assert found["spatial"].shape == (3, 1, 4, 3)
    assert_near(found["spatial"].sum(dim=(1, 2, 3)), torch.ones(3, dtype=torch.float64))


@pytest.mark.parametrize("kind", ["embedded_gaussian", "dot_product"])
@pytest.mark.parametrize("form", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_no_weight_of_every_pair_is_kept_for_the_backward_pass(kind, form, dtype):
    positions = 32 * 32
    module = NonLocal(16, kind=kind).to(dtype)
    x = images(1, 16, (32, 32)).to(dtype).to(memory_format=form).requires_grad_()
    module.recompute = "nothing"  # for the hook to see what is kept
    kept: list[int] = []

    def keep(value: Tensor) -> Tensor:
        kept.append(value.numel())
        return value

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda value: value):
        (x.flatten(2).mT @ x.flatten(2)).softmax(dim=2).sum()
        seen = max(kept)
        kept.clear()
        output = module(x)
    assert seen == positions**2  # the hook sees what is there
    assert 0 < max(kept) <= x.numel()
    output.sum().backward()


def test_parameters_are_four_times_channels_times_inner():
    for channels, inner in [(8, 2), (256, 64), (3, 1)]:
        found = sum(parameter.numel() for parameter in NonLocal(channels).parameters())
        assert found == 4 * channels * inner + 2 * channels
    assert sum(parameter.numel() for parameter in SimplifiedNonLocal(8).parameters()) == 8 * 8 + 8


def test_what_cannot_be_is_an_error_that_says_so():
    with pytest.raises(InputError, match="inner is 0"):
        NonLocal(8, inner=0)
    with pytest.raises(InputError, match="kind is 'gaussian', expected one of embedded_gaussian"):
        NonLocal(8, kind="gaussian")
    with pytest.raises(InputError, match="subsample is 4, more than the input's 8x3: choose at most 3"):
        NonLocal(8, size=(8, 3), subsample=4)
    with pytest.raises(InputError, match="choose at most 3"):
        NonLocal(6, subsample=4)(images().float())
