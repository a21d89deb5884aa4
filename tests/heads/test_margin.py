"""Margins against slow formulas in float64, at the ends of the cosine, and in half precision."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from relattn.errors import InputError
from relattn.heads import ArcFace, CosFace, Softmax

LABELS = torch.tensor([2, 0, 1, 2, 1, 0])


def inputs(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    """Features (6, 5) of any length, and weights (3, 5)."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(6, 5, generator=generator, dtype=dtype), torch.randn(3, 5, generator=generator, dtype=dtype)


def filled(head: CosFace | ArcFace, weight: Tensor) -> CosFace | ArcFace:
    head.weight = torch.nn.Parameter(weight)
    return head


def slow(features: Tensor, weight: Tensor, kind: str, *, s: float, m: float) -> list[list[float]]:
    """Logits, angle by angle."""
    rows = []
    for feature, label in zip(features.tolist(), LABELS.tolist(), strict=True):
        row = []
        for identity, vector in enumerate(weight.tolist()):
            dot = sum(a * b for a, b in zip(feature, vector, strict=True))
            cosine = dot / math.hypot(*feature) / math.hypot(*vector)
            if identity == label:
                cosine = math.cos(math.acos(cosine) + m) if kind == "arc" else cosine - m
            row.append(s * cosine)
        rows.append(row)
    return rows


@pytest.mark.parametrize(("s", "m"), [(20.0, 0.15), (64.0, 0.5)])
def test_logits_are_those_of_the_papers(s: float, m: float) -> None:
    features, weight = inputs()
    for kind, head in (("arc", ArcFace(5, 3, s=s, m=m, past_pi="none")), ("cos", CosFace(5, 3, s=s, m=m))):
        plain = filled(head, weight)(features)
        expected = torch.tensor(slow(features, weight, kind, s=s, m=m), dtype=torch.float64)
        torch.testing.assert_close(head.with_margin(plain, LABELS), expected, rtol=0, atol=1e-12 * s)
        without = torch.tensor(slow(features, weight, "cos", s=s, m=0), dtype=torch.float64)
        torch.testing.assert_close(plain, without, rtol=0, atol=1e-12 * s)


def test_the_defaults_are_the_papers() -> None:
    assert (ArcFace(5, 3).s, ArcFace(5, 3).m) == (20, 0.15)
    assert (CosFace(5, 3).s, CosFace(5, 3).m) == (20, 0.2)


@pytest.mark.parametrize(
    "options", [{"past_pi": "none"}, {"past_pi": "linear", "m": 1.0}, {"past_pi": "easy"}, None], ids=str
)
def test_gradients_are_those_of_finite_differences(options: dict | None) -> None:
    features, weight = (part.requires_grad_() for part in inputs())

    def loss(features: Tensor, weight: Tensor) -> Tensor:
        head = CosFace(5, 3) if options is None else ArcFace(5, 3, **options)
        del head.weight
        head.weight = weight
        return F.cross_entropy(head.with_margin(head(features), LABELS), LABELS)

    assert torch.autograd.gradcheck(loss, (features, weight))


def test_straight_through_counts_in_the_loss_and_not_in_the_gradient() -> None:
    cosines = torch.linspace(-0.99, 0.99, 9, dtype=torch.float64, requires_grad=True)
    exact, straight = ArcFace(5, 3, m=0.5), ArcFace(5, 3, m=0.5, gradient="straight_through")
    torch.testing.assert_close(straight.penalised(cosines), exact.penalised(cosines), rtol=0, atol=1e-15)
    (slope,) = torch.autograd.grad(straight.penalised(cosines).sum(), cosines)
    assert slope.tolist() == [1.0] * 9
    angles = cosines.detach().acos()
    (slope,) = torch.autograd.grad(exact.penalised(cosines).sum(), cosines)
    inside = angles < math.pi - 0.5
    true = torch.where(inside, (angles + 0.5).sin() / angles.sin(), 1.0)
    torch.testing.assert_close(slope, true)


def test_what_comes_past_pi() -> None:
    m = 0.5
    angles = torch.linspace(0, math.pi, 2001, dtype=torch.float64)
    heads = {
        past_pi: ArcFace(5, 3, m=m, past_pi=past_pi).penalised(angles.cos()) for past_pi in ("linear", "easy", "none")
    }
    wrapped = angles + m > math.pi
    assert (heads["linear"].diff() < 0).all()  # wider is always worse
    torch.testing.assert_close(heads["linear"][wrapped], angles.cos()[wrapped] - m * math.sin(m))
    torch.testing.assert_close(heads["none"], (angles + m).cos(), rtol=0, atol=3e-4)  # clamped at the ends
    assert (heads["none"].diff()[wrapped[1:]][1:] > 0).all()
    wide = angles > math.pi / 2
    torch.testing.assert_close(heads["easy"][wide], angles.cos()[wide])
    torch.testing.assert_close(heads["easy"][~wide], heads["none"][~wide])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("past_pi", ["linear", "easy", "none"])
@pytest.mark.parametrize("sign", [1, -1])
def test_gradients_are_finite_at_the_ends(sign: int, past_pi: str, dtype: torch.dtype) -> None:
    weight = torch.eye(3, 5, dtype=dtype)
    features = (sign * weight[LABELS] * 3).requires_grad_()
    head = filled(ArcFace(5, 3, past_pi=past_pi), weight)
    loss = F.cross_entropy(head.with_margin(head(features), LABELS), LABELS)
    loss.backward()
    assert loss.isfinite()
    assert features.grad.isfinite().all()
    assert head.weight.grad.isfinite().all()
    assert head.weight.grad.any()  # the other identities still push


@pytest.mark.parametrize("make", [ArcFace, CosFace, Softmax])
def test_steps_in_half_precision_give_no_nan(make: type[ArcFace]) -> None:
    """Features that coincide with their identities' vectors, where the slope of the sine would be infinite."""
    generator = torch.Generator().manual_seed(0)
    head = make(16, 8)
    features = torch.nn.Parameter(torch.randn(8, 16, generator=generator))
    optimizer = torch.optim.SGD([features, *head.parameters()], lr=0.5, momentum=0.9)
    labels = torch.arange(8)
    for _ in range(300):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            noisy = (features + 0.01 * torch.randn(8, 16, generator=generator)).bfloat16()
            logits = head(noisy)
            loss = F.cross_entropy(head.with_margin(logits, labels), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert make is Softmax or logits.dtype == torch.float32
    assert all(part.isfinite().all() for part in (loss, features, *head.parameters()))
    assert float(loss.detach()) < 0.05


def test_labels_choose_what_the_margin_lowers() -> None:
    features, weight = inputs(torch.float32)
    head = filled(CosFace(5, 3, s=10, m=0.3), weight)
    plain = head(features)
    lowered = plain - head.with_margin(plain, LABELS)
    torch.testing.assert_close(lowered, 3 * F.one_hot(LABELS, 3).float())
    linear = Softmax(5, 3)
    torch.testing.assert_close(linear(features), F.linear(features, linear.linear.weight, linear.linear.bias))
    assert linear.linear.bias is not None
    assert linear.with_margin(linear(features), LABELS).equal(linear(features))


@pytest.mark.parametrize(
    ("make", "options", "message"),
    [
        (ArcFace, {"m": 8.594}, r"m is 8.594, expected an angle in radians.*8.594 degrees are 0.15 radians"),
        (ArcFace, {"m": -0.1}, "m is -0.1, expected an angle in radians"),
        (ArcFace, {"s": 0}, "ArcFace: s is 0, expected a positive scale"),
        (ArcFace, {"past_pi": "never"}, "past_pi is 'never', expected one of linear, easy, none"),
        (ArcFace, {"gradient": "none"}, "gradient is 'none', expected one of exact, straight_through"),
        (CosFace, {"m": 1.5}, "m is 1.5, expected a difference of cosines"),
        (CosFace, {"s": math.inf}, "s is inf"),
    ],
    ids=str,
)
def test_what_is_no_margin_is_refused(make: type[ArcFace], options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make(5, 3, **options)
