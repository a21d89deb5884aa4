"""Cross entropy of pixels, all or the hard ones, against loops over pixels in float64."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from relattn.errors import InputError
from relattn.losses import OHEMCrossEntropy, PixelCrossEntropy, ohem_cross_entropy, segmentation_cross_entropy

CLASSES = 4
WEIGHT = torch.tensor([0.5, 1.0, 2.0, 1.5])
each_weight = pytest.mark.parametrize("weight", [None, WEIGHT], ids=["plain", "weighted"])


def batch(ignored: float = 0.3) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(2, CLASSES, 6, 5, generator=generator)
    labels = torch.randint(CLASSES, (2, 6, 5), generator=generator)
    labels[torch.rand(2, 6, 5, generator=generator) < ignored] = 255
    return logits.requires_grad_(), labels


def reference(logits: Tensor, labels: Tensor, threshold: float, min_kept: int, weight: Tensor | None) -> Tensor:
    """Pixel by pixel; a `threshold` of 1 keeps all."""
    pixels = []
    for image, row, column in (labels != 255).nonzero().tolist():
        label = int(labels[image, row, column])
        scores = logits[image, :, row, column].double()
        probability = scores[label].exp() / scores.exp().sum()
        pixels.append((probability.item(), probability, 1.0 if weight is None else float(weight[label])))
    pixels.sort(key=lambda pixel: pixel[0])
    kept = [pixel for place, pixel in enumerate(pixels) if pixel[0] <= threshold or place < min_kept]
    if not kept:
        return 0 * logits.double().sum()
    return -sum(w * p.log() for _, p, w in kept) / sum(w for _, _, w in kept)


def check(found: Tensor, expected: Tensor, logits: Tensor) -> None:
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-6)
    (mine,) = torch.autograd.grad(found, logits)
    (other,) = torch.autograd.grad(expected, logits)
    torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-6)


@each_weight
def test_cross_entropy_is_torch_s_mean(weight) -> None:
    logits, labels = batch()
    check(segmentation_cross_entropy(logits, labels, weight=weight), reference(logits, labels, 1, 0, weight), logits)
    expected = F.cross_entropy(logits, labels, weight, ignore_index=255)
    torch.testing.assert_close(segmentation_cross_entropy(logits, labels, weight=weight), expected)
    torch.use_deterministic_algorithms(True)
    try:  # another form, since torch's is not deterministic on a GPU
        again = segmentation_cross_entropy(logits, labels, weight=weight)
        check(again, reference(logits, labels, 1, 0, weight), logits)
    finally:
        torch.use_deterministic_algorithms(False)


@each_weight
@pytest.mark.parametrize(("threshold", "min_kept"), [(0.7, 0), (0.7, 5), (0.05, 10), (0.0, 1), (0.0, 1000), (1.0, 3)])
def test_hard_pixels_are_the_definition_s(threshold, min_kept, weight) -> None:
    logits, labels = batch()
    found = ohem_cross_entropy(logits, labels, threshold=threshold, min_kept=min_kept, weight=weight)
    check(found, reference(logits, labels, threshold, min_kept, weight), logits)


def test_keeping_all_is_plain_cross_entropy_and_hard_pixels_cost_more() -> None:
    logits, labels = batch()
    plain = segmentation_cross_entropy(logits, labels)
    torch.testing.assert_close(ohem_cross_entropy(logits, labels), plain)  # fewer pixels than the minimum number kept
    assert ohem_cross_entropy(logits, labels, min_kept=0) > plain


def test_easy_pixels_have_no_gradient() -> None:
    logits, labels = batch(ignored=0)
    (gradient,) = torch.autograd.grad(ohem_cross_entropy(logits, labels, threshold=0.3, min_kept=0), logits)
    probability = logits.softmax(1).gather(1, labels[:, None])[:, 0]
    torch.testing.assert_close(gradient.abs().sum(1) > 0, probability <= 0.3)


@each_weight
@pytest.mark.parametrize("loss", [segmentation_cross_entropy, ohem_cross_entropy])
def test_without_labels_the_loss_is_0_and_so_are_gradients(loss, weight) -> None:
    logits, labels = batch(ignored=2)
    found = loss(logits, labels, weight=weight)
    found.backward()
    assert found.item() == 0
    assert not logits.grad.any()
    assert math.isnan(F.cross_entropy(logits, labels, ignore_index=255).item())


@pytest.mark.parametrize("loss", [segmentation_cross_entropy, ohem_cross_entropy])
def test_half_precision_is_computed_in_single(loss) -> None:
    logits, labels = batch()
    rounded = logits.detach().bfloat16()
    assert loss(rounded, labels).dtype == torch.float32
    torch.testing.assert_close(loss(rounded, labels), loss(rounded.float(), labels), rtol=0, atol=0)


def test_sure_predictions_stay_finite() -> None:
    logits = torch.tensor([1000.0, 0, 0, 0]).view(1, 4, 1, 1).expand(1, 4, 2, 2).clone().requires_grad_()
    for label, expected in ((0, 0.0), (1, 1000.0)):
        found = ohem_cross_entropy(logits, torch.full((1, 2, 2), label), min_kept=1)
        assert found.item() == expected
        assert torch.autograd.grad(found, logits)[0].isfinite().all()


def test_a_threshold_that_is_no_probability_is_an_error() -> None:
    logits, labels = batch()
    with pytest.raises(InputError, match=r"threshold is 70 and min_kept is 100000"):
        ohem_cross_entropy(logits, labels, threshold=70)


@each_weight
def test_classes_are_the_functions_with_their_options(weight) -> None:
    logits, labels = batch()
    labels = labels.where(labels != 255, 9)
    options = {"weight": weight, "ignore": 9}
    for loss, expected in (
        (PixelCrossEntropy(ignore=9), segmentation_cross_entropy(logits, labels, **options)),
        (OHEMCrossEntropy(0.4, 3, ignore=9), ohem_cross_entropy(logits, labels, threshold=0.4, min_kept=3, **options)),
    ):
        torch.testing.assert_close(loss(logits, labels, weight), expected, rtol=0, atol=0)
    with pytest.raises(InputError, match="threshold is 7 and min_kept is 1, expected a probability"):
        OHEMCrossEntropy(7, 1)
