"""Run folders: each holds all that is known of its run, so that a sweep has no state of its own to lose.

`sweep.json` says what the run is and is there before it starts, `result.json` appears when it has ended well,
`failed.json` when it has not. `lock` is held by the run's process: a folder with neither result nor failure is
running if its lock is held, and was interrupted if it is not.
"""

import fcntl
import json
import os
import zipfile
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from relattn.runs.provenance import git_state
from relattn.sweeps.grid import Planned

Status = Literal["finished", "failed", "interrupted", "running", "waiting"]

RUN_VARIABLE = "RELATTN_RUN"
"""Environment variable that tells a program its run's folder."""

LOG_LINES = 20
"""Lines of the log that a failure keeps."""


def write_json(path: Path, content: Any) -> None:
    """Write a file at once: whoever reads it sees all of it, or what was there before."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    with beside.open("w") as file:
        file.write(json.dumps(content, indent=2) + "\n")
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)


def read_json(path: Path) -> dict[str, Any] | None:
    """The content of a file, or None if it is missing or not complete."""
    try:
        content = json.loads(path.read_text())
    except (FileNotFoundError, NotADirectoryError, json.JSONDecodeError, UnicodeDecodeError):
        return None
    return content if isinstance(content, dict) else None


def status(folder: Path) -> Status:
    """What became of the run of a folder."""
    if read_json(folder / "result.json") is not None:
        return "finished"
    if is_locked(folder):
        return "running"
    if (folder / "failed.json").is_file():
        return "failed"
    return "interrupted" if folder.is_dir() and any(folder.iterdir()) else "waiting"


def lock(folder: Path) -> int | None:
    """Hold a folder; returns a descriptor to hand to the run's process, or None if another process holds it.

    The lock lasts as long as any process has the descriptor open: a run outlives a sweep that is killed, and the sweep
    that is started next waits for it.
    """
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def is_locked(folder: Path) -> bool:
    """Whether a process holds the folder."""
    if not (folder / "lock").is_file():
        return False
    descriptor = lock(folder)
    if descriptor is None:
        return True
    os.close(descriptor)
    return False


def prepare(folder: Path, planned: Planned, sweep: str) -> None:
    """Write down what the run is."""
    (folder / "failed.json").unlink(missing_ok=True)
    content = {"sweep": sweep, **asdict(planned), "started": datetime.now(UTC).isoformat(), "git": git_state()}
    write_json(folder / "sweep.json", content)


def checkpoint(folder: Path) -> Path | None:
    """The checkpoint that a run can go on from; one whose end is missing is none."""
    path = folder / "checkpoints" / "last.ckpt"
    return path if path.is_file() and zipfile.is_zipfile(path) else None


def record_failure(folder: Path, code: int) -> None:
    """Write down that the run failed, with the end of its log."""
    why = "it ended without result.json" if code == 0 else f"exit status {code}"
    write_json(folder / "failed.json", {"exit": code, "why": why, "log": log_tail(folder)})


def log_tail(folder: Path, lines: int = LOG_LINES) -> list[str]:
    """The last lines of a run's log."""
    path = folder / "log.txt"
    if not path.is_file():
        return []
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 64 * 1024))
        return file.read().decode(errors="replace").splitlines()[-lines:]


def run_folders(places: list[Path]) -> Iterator[Path]:
    """The run folders under some places, each once; those of evaluations inside a run are left out."""
    seen: set[Path] = set()
    for place in places:
        files = {path for name in ("sweep.json", "result.json", "config.yaml") for path in place.rglob(name)}
        folders = sorted({path.parent for path in files})
        for folder in folders:
            if folder.resolve() not in seen and not any(parent in folders for parent in folder.parents):
                seen.add(folder.resolve())
                yield folder
