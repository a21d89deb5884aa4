"""The small run of each task, which tests share or modify: two steps on the generated sets of `conftest`."""

import csv
import json
from pathlib import Path
from typing import Any

from relattn.cli.main import run

SMALL = Path(__file__).with_name("small")
"""Options that make each task's recipe small."""


def small(task: str, recipe: str, *more: str) -> tuple[str, ...]:
    """The command line of a small version of a recipe."""
    return ("fit", "--task", recipe, "--config", str(SMALL / f"{task}.yaml"), *more)


RUNS: dict[str, tuple[str, ...]] = {
    "classification": small(
        *("classification", "classification", "--attention", "rga_sc", "--model.stages", "[3]"),
        *("--trainer", "deterministic"),
    ),
    "reid": small("reid", "reid", "--attention", "rga_sc"),
    "segmentation": small("segmentation", "segmentation_ppm", "--attention", "rga_sc"),
    "face": small("face", "face", "--attention", "stra"),
}
"""Options that are given again win."""


def fit(task: str, root: Path, *arguments: str) -> Path:
    """Train the small run of a task, modified by `arguments`; return the run's folder."""
    before = set(Path("runs").glob("*/*"))
    assert run([*RUNS[task], "--data.root", str(root), *arguments]) == 0
    (folder,) = set(Path("runs").glob("*/*")) - before
    return folder


def result(folder: Path) -> dict[str, Any]:
    """The result of a run."""
    found: dict[str, Any] = json.loads((folder / "result.json").read_text())
    return found


def checkpoint_of(folder: Path) -> Path:
    """The last checkpoint of a run."""
    return folder / "checkpoints" / "last.ckpt"


def rows(file: Path) -> list[dict[str, str]]:
    """The rows of a CSV file."""
    with file.open() as lines:
        return list(csv.DictReader(lines))
