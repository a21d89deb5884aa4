"""Measuring two sides in turns, and the numbers derived from it."""

import pytest
import torch

from relattn.costs.side_by_side import Claim, Side, difference, environment, seconds, take_turns

FAST, SLOW = Side("fast", (1.0, 2.0, 9.0)), Side("slow", (4.0, 8.0, 6.0))


def test_a_side_stands_for_its_median_and_keeps_its_rounds() -> None:
    assert (FAST.median, FAST.lowest, FAST.highest) == (2, 1, 9)
    assert FAST.as_json() == {"name": "fast", "median": 2, "lowest": 1, "highest": 9, "values": [1, 2, 9]}


@pytest.mark.parametrize(
    ("ours", "other", "unit", "kind", "ratio", "reading"),
    [
        (FAST, SLOW, "ms", "gain", 3, "3.00 x faster"),
        (SLOW, FAST, "ms", "gain", 1 / 3, "3.00 x slower"),
        (FAST, SLOW, "MiB", "gain", 3, "3.00 x less"),
        (SLOW, FAST, "images / s", "gain", 3, "3.00 x faster"),
        (SLOW, FAST, "s", "cost", 3, "costs 3.00 x"),
        (FAST, SLOW, "images / s", "cost", 3, "costs 3.00 x"),
        (Side("a", (1.02,)), Side("b", (1.0,)), "ms", "cost", 1.02, "+2.0 %"),
    ],
)
def test_a_gain_says_how_much_better_and_a_cost_how_much_more(
    ours: Side, other: Side, unit: str, kind: str, ratio: float, reading: str
) -> None:
    claim = Claim("what", ours, other, unit, kind)
    assert claim.ratio == pytest.approx(ratio)
    assert claim.reading == reading
    assert claim.as_json()["ratio"] == claim.ratio


def test_sides_take_turns_and_warm_up_first() -> None:
    seen: list[str] = []

    def measure(name: str) -> float:
        seen.append(name)
        return len(seen)

    sides = take_turns({"a": lambda: measure("a"), "b": lambda: measure("b")}, rounds=2, warmup=1)
    assert seen == ["a", "b"] * 3
    assert {name: side.values for name, side in sides.items()} == {"a": (3, 5), "b": (4, 6)}


def test_seconds_runs_the_step_once() -> None:
    done: list[int] = []
    assert seconds(lambda: done.append(1), torch.device("cpu")) >= 0
    assert done == [1]


def test_a_difference_is_relative_to_the_largest() -> None:
    assert difference(torch.tensor([1.0, -8.0]), torch.tensor([1.0, -10.0])) == pytest.approx(0.2)
    assert difference(torch.tensor([0.5]), torch.zeros(1)) == 0.5


def test_the_environment_says_where_and_when() -> None:
    found = environment()
    assert found["threads"] == torch.get_num_threads()
    assert found["torch"] == torch.__version__.partition("+")[0] or found["torch"] == torch.__version__
    assert {"device", "processor", "cores", "python", "lightning", "date"} <= found.keys()
