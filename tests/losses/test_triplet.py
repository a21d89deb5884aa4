"""The triplet loss against its definition, triplet by triplet."""

import pytest
import torch

from relattn.errors import InputError
from relattn.losses import BatchHardTriplet, batch_hard_triplet


def reference(features: torch.Tensor, identities: torch.Tensor, margin: float) -> torch.Tensor:
    terms = []
    for anchor, identity in zip(features, identities, strict=True):
        distances = (features - anchor).square().sum(1)
        positive = max(distances[identities == identity].clamp(min=1e-12).sqrt())
        negative = min(distances[identities != identity].clamp(min=1e-12).sqrt())
        terms.append((margin + positive - negative).clamp(min=0))
    return torch.stack(terms).mean()


@pytest.mark.parametrize("margin", [0.0, 0.3, 5.0])
def test_loss_and_gradient_are_the_definition_s(margin: float) -> None:
    torch.manual_seed(0)
    identities = torch.tensor([3, 3, 3, 5, 5, 9])  # 9 has one image
    features = torch.randn(6, 8, requires_grad=True)
    again = features.detach().double().requires_grad_()
    found, expected = batch_hard_triplet(features, identities, margin), reference(again, identities, margin)
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-6)
    found.backward()
    expected.backward()
    torch.testing.assert_close(features.grad.double(), again.grad, rtol=1e-4, atol=1e-5)


def test_equal_features_give_the_margin_and_finite_gradients() -> None:
    features = torch.ones(4, 3, requires_grad=True)
    loss = batch_hard_triplet(features, torch.tensor([0, 0, 1, 1]))
    loss.backward()
    assert loss.item() == pytest.approx(0.3)
    assert features.grad.isfinite().all()


def test_distances_are_float32_under_autocast() -> None:
    features, identities = 100 + torch.randn(6, 64), torch.tensor([0, 0, 1, 1, 2, 2])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = batch_hard_triplet(features, identities)
    torch.testing.assert_close(found, batch_hard_triplet(features, identities), rtol=0, atol=0)


def test_one_identity_is_refused() -> None:
    with pytest.raises(InputError, match="all 4 images are of one"):
        batch_hard_triplet(torch.randn(4, 3), torch.zeros(4))


def test_the_class_is_the_function_with_its_options() -> None:
    features, identities = torch.randn(6, 4), torch.tensor([0, 0, 1, 1, 2, 2])
    found, expected = BatchHardTriplet(0.7)(features, identities), batch_hard_triplet(features, identities, 0.7)
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
    with pytest.raises(InputError, match="margin is -1, expected 0 or more"):
        BatchHardTriplet(-1)


@pytest.mark.parametrize("shape", [(4, 1), (3,), ()])
def test_identities_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=r"expected \(B,\) and \(B, D\)"):
        batch_hard_triplet(torch.randn(4, 8), torch.zeros(shape, dtype=torch.int64))
