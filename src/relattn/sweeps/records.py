"""The contents of run folders: the run, its outcome, curves and pictures. A damaged folder affects only itself."""

import contextlib
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from relattn.errors import InputError
from relattn.printable import in_one_line
from relattn.runs import run_folder
from relattn.runs.checkpoint_files import newest_whole
from relattn.runs.identity import SEED, Decisive, decisive, identity
from relattn.runs.progress import load_config, read_metrics
from relattn.sweeps import ledger
from relattn.sweeps.ledger import Ledger
from relattn.sweeps.sound import sound_record


@dataclass
class Record:
    """A run folder.

    Attributes:
        folder: The folder.
        sweep: The entry that the sweep wrote before the run; empty if the run was started by hand.
        result: The outcome; None if there is none yet.
        state: The state of the run.
        damage: Parts of the folder that cannot be used, and why.
    """

    folder: Path
    sweep: dict[str, Any]
    result: dict[str, Any] | None
    state: run_folder.State
    damage: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        """Name of the run."""
        return in_one_line(self.folder.name)

    @cached_property
    def config(self) -> dict[str, Any]:
        """The configuration; empty if there is none yet."""
        return load_config(self.folder)

    @cached_property
    def decisive(self) -> Decisive:
        """The options that decide the outcome; empty without a configuration."""
        try:
            return decisive(self.config)
        except (AttributeError, TypeError, ValueError, RecursionError):
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
        """The seed, or the folder if there is none."""
        for found in (self.sweep.get("seed"), (self.result or {}).get("seed"), self.config.get(SEED)):
            if isinstance(found, str | int | float):
                return found
        return self.name

    @property
    def experiment(self) -> tuple[Any, ...]:
        """The key that runs share if they differ in nothing but their seed: all options, and the data of their test.

        Without a configuration the key of its plan stands for the options, and without a plan the run is alone.
        """
        result = self.result or {}
        options = identity(self.decisive) if self.decisive else self.sweep.get("key") or self.folder
        return options, self.generated, result.get("data"), result.get("fingerprint")

    @property
    def generated(self) -> bool:
        """Whether the data are generated rather than genuine."""
        return (self.result or {}).get("genuine") is False

    @property
    def partial(self) -> str:
        """The part of its test set that it was scored on; empty for all of it."""
        parts = (self.result or {}).get("partial")
        return str(parts.get("test", "")) if isinstance(parts, Mapping) else ""

    @property
    def git(self) -> dict[str, Any]:
        """The state of the code's checkout, as recorded by the run or else its sweep; empty if neither did."""
        found = (self.result or {}).get("git") or self.sweep.get("git")
        return found if isinstance(found, dict) else {}

    @property
    def weights(self) -> str:
        """The weights that the network began with."""
        return str((self.result or {}).get("weights", ""))

    @property
    def pictures(self) -> list[Path]:
        """Example pictures, sorted; links that lead out of the folder, and pipes, are ignored."""
        return [path for path in self.files_of_pictures if run_folder.contained(path, self.folder)]

    @cached_property
    def files_of_pictures(self) -> list[Path]:
        """The files with names of pictures, sorted."""
        place = self.folder / "pictures"
        if place.is_symlink():  # which could lead to all files of the machine
            return [place]
        return sorted(path for pattern in ("*.png", "*.jpg", "*.jpeg") for path in place.rglob(pattern))

    def value(self, metric: str, test: str = "") -> float | None:
        """A score by its name, or, if the name has no slash, an entry of the result such as `parameters`.

        Args:
            metric: The name.
            test: Name of the folder of a test that followed the run; by default the run's own.
        """
        if (content := self.result_of(test)) is None:
            return None
        found = content.get("scores", {}).get(metric) if "/" in metric else content.get(metric)
        return float(found) if isinstance(found, int | float) else None

    def files(self, test: str = "") -> tuple[str, Any]:
        """The options of the data of a test, and the fingerprint of their files; `test` as for `value`."""
        content = self.result_of(test) or {}
        options = {name: value for name, value in self.decisive.items() if name.partition(".")[0] == "data"}
        return f"{content.get('data')} {identity({} if test else options)}", content.get("fingerprint")

    def result_of(self, test: str) -> dict[str, Any] | None:
        """The result of a test that followed the run, or, for an empty `test`, of the run itself."""
        if not test:
            return self.result
        read = run_folder.read_json(self.folder / test / "result.json", self.folder)
        return None if read is None else sound_record(read)[0]

    @property
    def why(self) -> str:
        """Why there is no result, if something went wrong; the first line that helps."""
        if self.damage:
            return in_one_line(" ".join(self.damage))
        if self.state == "failed":
            content = run_folder.read_json(self.folder / "failed.json") or {}
            log = content.get("log")
            lines = [line for line in map(in_one_line, log if isinstance(log, list) else []) if line]
            return lines[-1] if lines else in_one_line(content.get("why", ""))
        return ""


@dataclass
class Records:
    """All runs under some places.

    Attributes:
        runs: All runs, the oldest first.
        ledgers: Plans of sweeps, by their names.
    """

    runs: list[Record]
    ledgers: dict[str, Ledger]


def read(places: Sequence[Path]) -> Records:
    """The runs under some places, and runs in other folders that sweeps there share."""
    ledgers: dict[str, Ledger] = {}
    for file in sorted({path for place in places for path in place.rglob(ledger.FILE)}):
        found = ledger.read(file.parent)
        if (known := ledgers.get(found.name)) is None:
            ledgers[found.name] = found
        else:  # the runs of one sweep in two places, such as two machines
            known.cells, known.runs = {**known.cells, **found.cells}, {**known.runs, **found.runs}
    outside = [folder for one in ledgers.values() for folder in one.runs if folder.is_dir()]
    runs = [read_one(folder) for folder in run_folder.run_folders([*places, *outside])]
    return Records(sorted(runs, key=lambda run: (str(run.sweep.get("started", "")), modified(run))), ledgers)


def read_one(folder: Path) -> Record:
    """The run of a folder; `damage` lists what cannot be read."""
    damage = []
    contents: dict[str, dict[str, Any] | None] = {}
    for name in ("sweep.json", "result.json"):
        content = run_folder.read_json(folder / name)
        if content is None and os.path.lexists(folder / name):
            damage.append(f"{name} is damaged, or is not a file of this folder.")
        elif content is not None:
            content, wrong = sound_record(content)
            if wrong:
                damage.append(f"{name} has entries of another kind than a run writes, left out: {', '.join(wrong)}.")
        contents[name] = content
    sweep, result = contents["sweep.json"], contents["result.json"]
    if result is not None:
        result.setdefault("scores", {})
    state = run_folder.state_of(folder)
    if result is None and state == "interrupted" and (folder / "checkpoints").is_dir():
        try:
            checkpoint = newest_whole(folder)
            if checkpoint.name != "last.ckpt" and (folder / "checkpoints" / "last.ckpt").is_file():
                damage.append(f"last.ckpt is damaged; {checkpoint.name} is whole.")
        except InputError as error:
            damage.append(str(error).replace(f"{folder}/", "").replace(str(folder), "the run"))
    record = Record(folder, sweep or {}, result, state, damage)
    if elsewhere := len(record.files_of_pictures) - len(record.pictures):
        damage.append(f"{elsewhere:,} of its pictures are not files of this folder, and are left out.")
    return record


def modified(record: Record) -> float:
    """The time when the run ended, in seconds; of a result that does not state it, the time of its file."""
    with contextlib.suppress(ValueError):
        return datetime.fromisoformat(str((record.result or {}).get("ended"))).timestamp()
    path = record.folder / "result.json"
    return path.stat().st_mtime if run_folder.contained(path) else 0.0


def seeds(records: Iterable[Record]) -> dict[Any, Record]:
    """One run per seed, the newest."""
    return {record.seed: record for record in sorted(records, key=modified)}
