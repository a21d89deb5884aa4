"""Sums over neighbourhoods, in either form, against unfolded copies."""

import pytest
import torch
from contract import assert_near, images
from torch import nn

from relattn.attention import shifts
from relattn.attention.shifts import Comparison, Neighbourhood, WeightedSum, Window


@pytest.fixture(params=["shifted", "banded"])
def form_of_sums(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways to compute the sums, whatever the size."""
    monkeypatch.setattr(Window, "banded", lambda self, _: request.param == "banded" and self.width > self.margin)
    return request.param


@pytest.mark.parametrize(("kernel", "size"), [(3, (3, 2)), (5, (4, 3)), (7, (2, 1)), (3, (1, 1)), (7, (2, 4))], ids=str)
def test_sums_equal_unfolding_and_pass_gradcheck(kernel, size, form_of_sums):
    window, generator = Window(kernel, *size), torch.Generator().manual_seed(0)
    maps, others = torch.randn(2, 1, 2, 2, *size, generator=generator, dtype=torch.float64).requires_grad_()
    weights = torch.randn(1, 2, kernel**2, *size, generator=generator, dtype=torch.float64).requires_grad_()
    around = nn.functional.unfold(maps.flatten(1, 2), kernel, padding=kernel // 2).view(1, 2, 2, kernel**2, *size)
    assert_near(WeightedSum.apply(maps, weights, window), (around * weights[:, :, None]).sum(3))
    assert_near(Comparison.apply(others, maps, window), (around * others[:, :, :, None]).sum(2))
    assert torch.autograd.gradcheck(lambda x, a: WeightedSum.apply(x, a, window), (maps, weights), fast_mode=True)
    assert torch.autograd.gradcheck(lambda q, k: Comparison.apply(q, k, window), (others, maps), fast_mode=True)
    assert torch.autograd.gradgradcheck(lambda x, a: WeightedSum.apply(x, a, window), (maps, weights), fast_mode=True)
    assert torch.autograd.gradgradcheck(lambda q, k: Comparison.apply(q, k, window), (others, maps), fast_mode=True)


def test_half_precision_sums_are_accumulated_in_single(form_of_sums):
    neighbourhood, x = Neighbourhood(7, 2), images(1, 16, (6, 5))
    weights = torch.rand(1, 2, 49, 6, 5, dtype=torch.float64)
    expected = neighbourhood.weighted_sum(x.bfloat16().double(), weights.bfloat16().double())
    found = neighbourhood.weighted_sum(x.bfloat16(), weights.bfloat16())
    assert found.dtype == torch.bfloat16
    assert_near(found.double(), expected, 2**-8)  # one rounding, not 49


def test_the_form_of_sums_follows_the_size():
    small, large = torch.empty(1, 8, 64, 16, 8), torch.empty(1, 8, 64, 64, 32)
    assert not Window(3, 16, 8).banded(small)
    assert Window(7, 16, 8).banded(small)
    assert not Window(7, 64, 32).banded(large)
    assert Window(3, 16, 8).banded(small.to("meta"))  # another device than a CPU
    assert not Window(3, 16, 8).banded(torch.empty(1, 32, 16, 16, 8, device="meta"))  # larger than unfolding
    assert shifts.BANDED_UP_TO.keys() == {"cpu", "elsewhere"}
