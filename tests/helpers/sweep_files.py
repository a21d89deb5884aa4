"""Sweeps whose runs are planned without Lightning: their command lines are taken literally."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from relattn.sweeps import grid, plan


def as_written(lines: Sequence[list[str]]) -> list[plan.Resolution]:
    """Resolve command lines: each option counts, except the places of data and the logger."""
    found = []
    for line in lines:
        written = dict(part.removeprefix("--").split("=", 1) for part in line if part.startswith("--"))
        options = {name: yaml.safe_load(value) for name, value in written.items() if name not in grid.PLACES}
        places = {name: value for name, value in written.items() if name.startswith("data.") and name in grid.PLACES}
        found.append(plan.Resolution(options, places))
    return found


def planned(
    file: Path, overrides: dict[str, Any] | None = None, place: Path = Path("runs/sweeps")
) -> list[plan.Planned]:
    """The runs of a sweep's file."""
    sweep = grid.load(file, overrides)
    return plan.plan(sweep, place / sweep.name, as_written)
