"""The progress of a run, read from its folder. Does not import torch."""

import csv
import io
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from relattn.errors import InputError
from relattn.runs import run_folder
from relattn.runs.plain_yaml import LONGEST, plain_yaml

HEADLINE = ("test/score", "val/score")
"""The scores that all tasks have; the final one comes first."""

METRICS = "metrics.csv"
LARGEST_METRICS = 256 * 2**20
"""Maximum size in bytes of a metrics file that is read."""


@dataclass(frozen=True)
class Progress:
    """The progress of a run.

    Attributes:
        state: Its state.
        epoch: Number of finished epochs.
        epochs: Total number of epochs; None if unknown, or if the run is measured in steps.
        score: The headline score so far; None if there is none.
        fraction: Finished fraction, from 0 to 1.
    """

    state: run_folder.State
    epoch: int = 0
    epochs: int | None = None
    score: float | None = None
    fraction: float = 0.0


def progress(folder: Path, state: run_folder.State | None = None) -> Progress:
    """Read the progress of a run."""
    state = state or run_folder.state_of(folder)
    if state == "finished":
        result = run_folder.read_json(folder / "result.json") or {}
        scores = result.get("scores", {})
        score = next((scores[name] for name in HEADLINE if name in scores), None)
        return Progress(state, result.get("epochs", 0), result.get("epochs"), score, 1.0)
    epoch, step, score = 0, 0.0, None
    for row in read_metrics(folder):
        if row.get("epoch") is not None and any(name.startswith("train/") for name in row):
            epoch = max(epoch, int(row["epoch"]) + 1)
        step = max(step, row.get("step", 0) + 1)
        score = row.get("val/score", score)
    epochs, steps = length_of(folder, "epochs"), length_of(folder, "steps")
    fraction = epoch / epochs if epochs else step / steps if steps else 0.0
    return Progress(state, epoch, epochs, score, min(1.0, fraction))


def length_of(folder: Path, unit: str) -> int | None:
    """The number of epochs or steps that a run is configured for; None if it is not measured in this unit."""
    # Parsing the whole file takes long, and this is called once per second.
    text = run_folder.read_text(folder / "config.yaml", LONGEST) or ""
    match = re.search(rf"^  max_{unit}: (\d{{1,15}})$", text, re.MULTILINE)
    return int(match[1]) if match else None


def read_metrics(folder: Path) -> list[dict[str, float]]:
    """The rows of a run's metrics in order, without empty values."""
    text = run_folder.read_text(folder / METRICS, LARGEST_METRICS)
    try:
        return [numbers(row) for row in csv.DictReader(io.StringIO(text or "", newline=""))]
    except csv.Error as error:
        raise InputError(f"{folder / METRICS} cannot be read: {error}.") from error


def numbers(row: dict[str, Any]) -> dict[str, float]:
    """The numeric values of a row; the last row of a file that is being written may be incomplete."""
    values = {}
    for name, value in row.items():
        try:
            values[name] = float(value)
        except (TypeError, ValueError):
            continue
    return values


def load_config(folder: Path) -> dict[str, Any]:
    """The configuration of a run; empty if it has none or it cannot be read."""
    try:
        content = plain_yaml(run_folder.read_text(folder / "config.yaml", LONGEST) or "")
    except InputError:
        return {}
    return content if isinstance(content, dict) else {}
