"""Learning-rate schedules against the papers' descriptions."""

from itertools import pairwise

import pytest
import torch

from relattn.cli.lightning.recipes import task_recipe
from relattn.tasks.schedules import Constant, MultiStep, OneCycle, Polynomial

STEPS_PER_EPOCH = 391
RESNET_STEPS = 164 * STEPS_PER_EPOCH


def recipe(name: str) -> tuple[MultiStep, float, int]:
    content = task_recipe(name)
    arguments = content["model"]["init_args"]
    schedule = MultiStep(**arguments["schedule"]["init_args"])
    return schedule, arguments["optimizer"]["init_args"]["lr"], content["trainer"]["max_epochs"]


def test_resnet_recipe_follows_he_et_al() -> None:
    schedule, rate, epochs = recipe("classification")
    assert (rate, epochs) == (0.1, 164)

    def at(step: int) -> float:
        return rate * schedule.factor(step, RESNET_STEPS)

    assert at(0) == at(399) == pytest.approx(0.01)  # warm-up of 400 steps at 0.01
    assert at(2 * STEPS_PER_EPOCH) == pytest.approx(0.1)  # 0.01 does not persist, the known trap of chained schedulers
    assert at(32_000) == pytest.approx(0.1)
    assert at(82 * STEPS_PER_EPOCH) == pytest.approx(0.01)  # 32k of 64k iterations
    assert at(123 * STEPS_PER_EPOCH) == at(RESNET_STEPS - 1) == pytest.approx(0.001)


def test_densenet_recipe_follows_huang_et_al() -> None:
    schedule, rate, epochs = recipe("classification_densenet")
    assert epochs == 300
    rates = [rate * schedule.factor(epoch * 782, 300 * 782) for epoch in (0, 149, 150, 224, 225, 299)]
    assert rates == pytest.approx([0.1, 0.1, 0.01, 0.01, 0.001, 0.001])


def test_linear_warmup_rises_to_the_full_rate() -> None:
    schedule = MultiStep(warmup_steps=10, warmup_factor=0.2, warmup_shape="linear")
    factors = [schedule.factor(step, 100) for step in range(11)]
    assert factors[0] == pytest.approx(0.2)
    assert factors[5] == pytest.approx(0.6)
    assert factors[10] == 1.0
    assert all(later > earlier for earlier, later in pairwise(factors))


def test_schedule_drives_torch_through_lambda_lr() -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    schedule = MultiStep(warmup_steps=2)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: schedule.factor(step, 40))
    rates = []
    for _ in range(40):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    assert rates == pytest.approx([0.01] * 2 + [0.1] * 18 + [0.01] * 10 + [0.001] * 10)


def test_one_cycle_is_torchs_with_cosine() -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    reference = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 0.1, total_steps=401, pct_start=0.25, anneal_strategy="cos"
    )
    schedule, rates, expected = OneCycle(0.25, 0.04), [], []
    for step in range(400):
        rates.append(0.1 * schedule.factor(step, 400))
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        reference.step()
    assert rates[0] == pytest.approx(0.004)
    assert max(rates) == rates[100] == pytest.approx(0.1)
    assert rates[100:] == pytest.approx(expected[100:], abs=0.002)  # the falling half; torch rises as a cosine too
    assert all(later > earlier for earlier, later in pairwise(rates[:101]))


def test_constant() -> None:
    assert {Constant().factor(step, 10) for step in range(10)} == {1.0}


@pytest.mark.parametrize(
    ("arguments", "named"),
    [({"milestones": [0.5, 1.5]}, "1.5"), ({"gamma": -1.0}, "gamma is -1.0"), ({"warmup_steps": -3}, "-3")],
)
def test_bad_arguments_are_named(arguments: dict, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        MultiStep(**arguments)


def test_polynomial_falls_to_zero_at_every_step() -> None:
    schedule = Polynomial(power=0.9)
    factors = [schedule.factor(step, 40_000) for step in (0, 1, 20_000, 39_999, 40_000)]
    assert factors == pytest.approx([1, 1 - 0.9 / 40_000, 0.5**0.9, (1 / 40_000) ** 0.9, 0], rel=1e-6)
    assert Polynomial(end=0.01).factor(40_000, 40_000) == 0.01
    with pytest.raises(ValueError, match="power is 0"):
        Polynomial(power=0)
