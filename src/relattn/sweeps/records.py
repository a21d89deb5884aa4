"""What run folders say: the run, its outcome, its curves and its pictures."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from relattn.runs import run_folder
from relattn.runs.progress import load_config, read_metrics
from relattn.sweeps.grid import SEED

PLACES = ("data.root", "logger")
"""Options that say where things are: they do not make another cell of a table."""


@dataclass
class Record:
    """A run folder.

    Attributes:
        folder: The folder.
        sweep: What the sweep wrote before the run, empty if it was started by hand.
        result: The outcome, None while there is none.
        state: What became of the run.
    """

    folder: Path
    sweep: dict[str, Any]
    result: dict[str, Any] | None
    state: run_folder.State

    @cached_property
    def config(self) -> dict[str, Any]:
        """The configuration, empty if there is none yet."""
        return load_config(self.folder)

    @cached_property
    def curves(self) -> list[dict[str, float]]:
        """The rows of its metrics."""
        return read_metrics(self.folder)

    @property
    def options(self) -> dict[str, Any]:
        """What was asked for on the command line; for a run started by hand, what its configuration amounts to."""
        if self.sweep:
            return dict(self.sweep["options"])
        outcome = self.result or {}
        chosen: dict[str, Any] = {
            name: outcome[name] for name in ("task", "attention", "backbone", "data") if name in outcome
        }
        return {**chosen, **flat(self.config)}

    @property
    def seed(self) -> Any:
        """The seed, or the folder where there is none."""
        return self.options.get(SEED, (self.result or {}).get("seed", self.folder.name))

    @property
    def generated(self) -> bool:
        """Whether the data are generated and not the genuine ones."""
        return (self.result or {}).get("genuine") is False

    @property
    def git(self) -> dict[str, Any]:
        """The state of the code's checkout, as the run or else its sweep wrote it; empty if neither did."""
        found = (self.result or {}).get("git") or self.sweep.get("git")
        return found if isinstance(found, dict) else {}

    @property
    def weights(self) -> str:
        """What the network began with; a run that went on from its own checkpoint began as its configuration says."""
        given = str((self.result or {}).get("weights", ""))
        if f"/{self.folder.name}/checkpoints/" not in given:
            return given
        began = self.config.get("model", {}).get("init_args", {}).get("pretrained")
        return "timm" if began is True else str(began or "random")

    @property
    def settings(self) -> dict[str, Any]:
        """What may differ between runs of one cell, which then are not averaged."""
        asked = {name: value for name, value in self.options.items() if name not in (SEED, *PLACES)}
        outcome = {name: (self.result or {}).get(name) for name in ("data", "epochs")}
        return {**asked, **outcome, "generated data": self.generated}

    @property
    def pictures(self) -> list[Path]:
        """Example pictures, sorted."""
        found = [
            path for pattern in ("*.png", "*.jpg", "*.jpeg") for path in self.folder.glob(f"pictures/**/{pattern}")
        ]
        return sorted(found)

    def value(self, metric: str) -> float | None:
        """A score by its name, or, without a slash in it, an entry of the result such as `parameters`."""
        result = self.result or {}
        found = result.get("scores", {}).get(metric) if "/" in metric else result.get(metric)
        return None if found is None else float(found)


def read(places: list[Path]) -> list[Record]:
    """All runs under some places, the oldest first."""
    records = []
    for folder in run_folder.run_folders(places):
        sweep, result = run_folder.read_json(folder / "sweep.json"), run_folder.read_json(folder / "result.json")
        records.append(Record(folder, sweep or {}, result, run_folder.state_of(folder)))
    return sorted(records, key=lambda record: (record.sweep.get("started", ""), modified(record)))


def modified(record: Record) -> float:
    """When the outcome was written."""
    path = record.folder / "result.json"
    return path.stat().st_mtime if path.is_file() else 0.0


def flat(config: dict[str, Any]) -> dict[str, Any]:
    """A configuration as options with dots; `init_args` of model and data are left out, as on a command line."""
    found: dict[str, Any] = {}

    def walk(prefix: str, value: Any) -> None:
        if isinstance(value, dict) and value:
            for name, part in value.items():
                top = prefix in ("model", "data") and name == "init_args"
                walk(prefix if top else f"{prefix}.{name}" if prefix else str(name), part)
        else:
            found[prefix] = value

    walk("", {name: config[name] for name in ("model", "data", SEED) if name in config})
    return found
