"""Every writer is interrupted at every system call: readers see the old or the new version, and a new writer succeeds.

One writer is stopped before its first system call that concerns files, another before its second, and so on until none
is left. Cleaning up, such as removing a temporary file, is suppressed too, as after a kill. Writers that are really
killed are tested in `test_publish.py`.
"""

import csv
import fcntl
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

from relattn.errors import MissingFileError
from relattn.figures.files import save as save_figure
from relattn.publish import SUFFIX, publish_json, publish_text
from relattn.runs.checkpoint_files import newest_whole
from relattn.runs.checkpoints import Checkpoints, read_whole
from relattn.runs.metrics import MetricsLogger
from relattn.runs.record import keep_config
from relattn.runs.run_folder import read_json
from relattn.tasks.embeddings import Embedding, Entry
from relattn.tasks.run_outputs import save_picture

CALLS = (
    *((os, name) for name in ("open", "fsync", "link", "replace", "rename", "unlink", "mkdir", "rmdir", "fchmod")),
    *((os, name) for name in ("truncate", "fdopen", "stat", "close", "umask")),
    (fcntl, "flock"),
)


class Written(NamedTuple):
    """A writer and its reader.

    Attributes:
        write: Writes a version, a number from 1.
        read: Returns the versions that the files belong to.
    """

    write: Callable[[int], object]
    read: Callable[[], set[int]]


class Killed(BaseException):
    """Ends a writer that is interrupted; nothing that it does afterwards reaches a file, as after a kill."""


def cut(write: Callable[[int], object], version: int, number: int) -> bool:
    """Write, and interrupt before the system call with this number; return whether it was reached."""
    left = number

    def counted(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            nonlocal left
            left -= 1
            if left < 0:
                raise Killed
            return function(*arguments, **options)

        return call

    with pytest.MonkeyPatch.context() as patch:
        for owner, name in CALLS:
            patch.setattr(owner, name, counted(getattr(owner, name)))
        try:
            write(version)
        except Killed:
            return True
    return False


@pytest.fixture(autouse=True)
def the_disk_does_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """Skip fsync: only a crash of the machine itself would show the difference."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


def leftovers() -> list[Path]:
    return [path for path in Path().rglob("*") if path.name.endswith(SUFFIX)]


def colour(version: int) -> Figure:
    return Figure(figsize=(0.2, 0.2), facecolor=(3 * version / 255,) * 3)


def shade(path: Path) -> int:
    """The version that a picture belongs to."""
    return round(float(np.asarray(Image.open(path).convert("L")).mean()) / 3)


class Run:
    """A stand-in for Lightning's trainer, for the code that writes a run's folder."""

    default_root_dir, loggers, fast_dev_run = ".", (), 0


LOGGED = MetricsLogger(Path())


def log(version: int) -> None:
    """Metrics with one more row, and with a new column every second time."""
    LOGGED.rows = [
        {"a": float(row), **({"b": 1.0} if row == version and row % 2 else {})} for row in range(version + 1)
    ]
    LOGGED.begun, LOGGED.written = True, version
    LOGGED.columns = ["a", "b"] if version > 1 and version % 2 == 0 else ["a"]
    LOGGED.save()


def last_logged() -> set[int]:
    with Path("metrics.csv").open(newline="") as file:
        return {max(int(float(row["a"])) for row in csv.DictReader(file))}


def embedding(version: int) -> None:
    features = np.full((2, 4), version, np.float32)
    entries = [Entry(f"{version}-{place}.png", "", "") for place in range(2)]
    Embedding(features, entries, Path(), {"feature": str(version)}).save(Path("embedding"))


def embedded() -> set[int]:
    """The versions of its parts; none if it states itself that it is incomplete."""
    if not Path("embedding/embedding.json").is_file():
        with pytest.raises(MissingFileError, match="is missing: an embedding is what"):
            Embedding.load(Path("embedding"))
        return set()
    found = Embedding.load(Path("embedding"))
    return {int(found.features[0, 0]), int(found.entries[0].path.partition("-")[0]), int(found.metadata["feature"])}


def config(version: int) -> None:
    keep_config(Path("config.yaml"), f"version: {version}\n")


def checkpoint(version: int) -> None:
    content = {"epoch": version, "state_dict": {"w": torch.full((2000,), float(version))}}
    Checkpoints().save_checkpoint(content, Path("checkpoints/last.ckpt"))


def checkpointed() -> set[int]:
    content = read_whole(newest_whole(Path()))
    return {content["epoch"], int(content["state_dict"]["w"][0])}


WRITTEN = {
    "checkpoint": Written(checkpoint, checkpointed),
    "configuration": Written(config, lambda: {int(Path("config.yaml").read_text().split()[1])}),
    "result": Written(
        lambda version: publish_json("result.json", {"scores": [version] * 9999}),
        lambda: set((read_json(Path("result.json")) or {"scores": [0]})["scores"]),
    ),
    "metrics": Written(log, last_logged),
    "predictions, reports": Written(
        lambda version: publish_text("report.html", f"{version}\n" * 9999),
        lambda: set(map(int, Path("report.html").read_text().split())),
    ),
    "embedding": Written(embedding, embedded),
    "contact sheets, figures": Written(
        lambda version: save_figure(colour(version), Path("figures"), "sheet-01", ["png"]),
        lambda: {shade(Path("figures/sheet-01.png"))},
    ),
    "pictures": Written(
        lambda version: save_picture(Run(), colour(version), "val", "0"),  # type: ignore[arg-type]
        lambda: {shade(Path("pictures/val_0.jpg"))},
    ),
}


@pytest.mark.parametrize("what", WRITTEN)
def test_a_writer_that_is_cut_at_any_system_call_leaves_the_old_or_the_new(what: str) -> None:
    write, read = WRITTEN[what]
    write(1)
    assert read() == {1}
    number, version = 0, 1
    while cut(write, version + 1, number):
        assert read() in ({version}, {version + 1}, *([set()] if what == "embedding" else []))
        write(version + 2)  # at once, while leftovers are too young to be removed
        assert read() == {version + 2}
        for path in leftovers():
            os.utime(path, (time.time() - 60,) * 2)
        write(version + 3)
        assert leftovers() == []
        version, number = version + 3, number + 1
    assert read() == {version + 1}
    assert number > 1
