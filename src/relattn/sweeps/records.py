"""What run folders say: the run, its outcome, its curves and its pictures. A bad folder costs only itself."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from relattn.errors import InputError
from relattn.runs import run_folder
from relattn.runs.checkpoint_files import newest_whole
from relattn.runs.identity import SEED, Decisive, decisive
from relattn.runs.progress import load_config, read_metrics
from relattn.sweeps import ledger
from relattn.sweeps.ledger import Ledger


@dataclass
class Record:
    """A run folder.

    Attributes:
        folder: The folder.
        sweep: What the sweep wrote before the run, empty if it was started by hand.
        result: The outcome, None while there is none.
        state: What became of the run.
        damage: What of the folder cannot be used, and why.
    """

    folder: Path
    sweep: dict[str, Any]
    result: dict[str, Any] | None
    state: run_folder.State
    damage: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        """Name of the run."""
        return self.folder.name

    @cached_property
    def config(self) -> dict[str, Any]:
        """The configuration, empty if there is none yet."""
        return load_config(self.folder)

    @cached_property
    def decisive(self) -> Decisive:
        """The options that decide the outcome; empty without a configuration."""
        try:
            return decisive(self.config)
        except (AttributeError, TypeError, ValueError):
            return {}

    @cached_property
    def curves(self) -> list[dict[str, float]]:
        """The rows of its metrics."""
        try:
            return read_metrics(self.folder)
        except (OSError, ValueError) as error:
            self.damage.append(f"metrics.csv cannot be read: {error}")
            return []

    @property
    def seed(self) -> Any:
        """The seed, or the folder where there is none."""
        for found in (self.sweep.get("seed"), (self.result or {}).get("seed"), self.config.get(SEED)):
            if found is not None:
                return found
        return self.name

    @property
    def generated(self) -> bool:
        """Whether the data are generated and not the genuine ones."""
        return (self.result or {}).get("genuine") is False

    @property
    def partial(self) -> str:
        """Which part of its test set it was scored on; empty for all of it."""
        parts = (self.result or {}).get("partial")
        return str(parts.get("test", "")) if isinstance(parts, Mapping) else ""

    @property
    def git(self) -> dict[str, Any]:
        """The state of the code's checkout, as the run or else its sweep wrote it; empty if neither did."""
        found = (self.result or {}).get("git") or self.sweep.get("git")
        return found if isinstance(found, dict) else {}

    @property
    def weights(self) -> str:
        """What the network began with."""
        return str((self.result or {}).get("weights", ""))

    @property
    def pictures(self) -> list[Path]:
        """Example pictures, sorted."""
        patterns = ("*.png", "*.jpg", "*.jpeg")
        return sorted(path for pattern in patterns for path in self.folder.glob(f"pictures/**/{pattern}"))

    def value(self, metric: str, test: str = "") -> float | None:
        """A score by its name, or, without a slash in it, an entry of the result such as `parameters`.

        Args:
            metric: The name.
            test: Name of the folder of a test that followed the run; by default the run's own.
        """
        content = self.result if not test else sound(run_folder.read_json(self.folder / test / "result.json"))
        if content is None:
            return None
        found = content["scores"].get(metric) if "/" in metric else content.get(metric)
        return float(found) if isinstance(found, int | float) else None

    @property
    def why(self) -> str:
        """Why there is no result, where something went wrong; the first line that helps."""
        if self.damage:
            return " ".join(self.damage)
        if self.state == "failed":
            content = run_folder.read_json(self.folder / "failed.json") or {}
            lines = [str(line) for line in content.get("log") or [] if str(line).strip()]
            return lines[-1] if lines else str(content.get("why", ""))
        return ""


@dataclass
class Records:
    """All runs under some places.

    Attributes:
        runs: The oldest first.
        ledgers: Plans of sweeps, by their names.
    """

    runs: list[Record]
    ledgers: dict[str, Ledger]


def read(places: Sequence[Path]) -> Records:
    """The runs under some places, and those in other folders that sweeps there share."""
    ledgers: dict[str, Ledger] = {}
    for file in sorted({path for place in places for path in place.rglob(ledger.FILE)}):
        ledgers[file.parent.name] = ledger.read(file.parent)
    outside = [folder for one in ledgers.values() for folder in one.runs if folder.is_dir()]
    runs = [read_one(folder) for folder in run_folder.run_folders([*places, *outside])]
    return Records(sorted(runs, key=lambda run: (str(run.sweep.get("started", "")), modified(run))), ledgers)


def read_one(folder: Path) -> Record:
    """The run of a folder; what cannot be read is said in `damage`."""
    damage = []
    sweep, result = run_folder.read_json(folder / "sweep.json"), run_folder.read_json(folder / "result.json")
    state = run_folder.state_of(folder)
    if result is None and (folder / "result.json").is_file():
        damage.append("result.json is damaged.")
    elif result is not None and (result := sound(result)) is None:
        damage.append("result.json does not hold what a run writes.")
    if result is None and state == "interrupted" and (folder / "checkpoints").is_dir():
        try:
            checkpoint = newest_whole(folder)
            if checkpoint.name != "last.ckpt" and (folder / "checkpoints" / "last.ckpt").is_file():
                damage.append(f"last.ckpt is damaged; {checkpoint.name} is whole.")
        except InputError as error:
            damage.append(str(error).replace(f"{folder}/", "").replace(str(folder), "the run"))
    return Record(folder, sweep or {}, result, state, damage)


def sound(result: dict[str, Any] | None) -> dict[str, Any] | None:
    """A result, or None if its parts are of other kinds than a run writes."""
    if result is None or not isinstance(result.get("scores", {}), dict):
        return None
    if not all(isinstance(result.get(name, {}), dict) for name in ("versions", "partial")):
        return None
    return {"scores": {}, **result}


def modified(record: Record) -> float:
    """When the outcome was written."""
    path = record.folder / "result.json"
    return path.stat().st_mtime if path.is_file() else 0.0


def seeds(records: Iterable[Record]) -> dict[Any, Record]:
    """One run for each seed, the newest."""
    return {record.seed: record for record in sorted(records, key=modified)}
