"""Run folders: each holds everything about its run, so that there is no other state to lose.

`config.yaml` defines the run, `result.json` exists if it succeeded, and `failed.json`, which a sweep writes, if it
failed. A process that works on a run holds a lock on the folder itself: a folder with neither result nor failure is
running if it is locked, and was interrupted if it is not. Programs started by a sweep inherit the sweep's lock and get
their folder from an environment variable.
"""

import contextlib
import fcntl
import json
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from relattn.errors import InputError
from relattn.publish import publish_json
from relattn.runs.secrets import hidden

State = Literal["finished", "failed", "interrupted", "running", "waiting"]

RUN_VARIABLE = "RELATTN_RUN"
"""Environment variable with a program's run folder, which another process has claimed for it."""

LOG_LINES = 20
"""Number of log lines that a failure record keeps."""

LARGEST_JSON = 32 * 2**20
"""Maximum size in bytes of a record that is read."""

FILES = ("sweep.json", "result.json", "config.yaml")
"""Files any of which makes a folder a run folder."""


def contained(path: Path, folder: Path | None = None) -> bool:
    """Whether a path is a regular file inside a folder: links that lead out of it, and pipes, do not count.

    Args:
        path: The file.
        folder: The folder; by default that of the path.
    """
    try:
        return stat.S_ISREG(path.stat().st_mode) and path.resolve().is_relative_to((folder or path.parent).resolve())
    except (OSError, RuntimeError):  # a link to itself
        return False


def read_text(path: Path, most: int, folder: Path | None = None) -> str | None:
    """The text of a file that is `contained`; None if it is not, cannot be read, or has more than `most` bytes."""
    try:
        if not contained(path, folder) or path.stat().st_size > most:
            return None
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None


def read_json(path: Path, folder: Path | None = None) -> dict[str, Any] | None:
    """The content of a file that is `contained`; None if it is missing, too large, incomplete, or not an object."""
    text = read_text(path, LARGEST_JSON, folder)
    try:
        content = None if text is None else json.loads(text)
    except (ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


def has_result(folder: Path) -> bool:
    """Whether a folder has a readable result."""
    return read_json(folder / "result.json") is not None


def state_of(folder: Path) -> State:
    """The state of the run of a folder."""
    if has_result(folder):
        return "finished"
    if is_locked(folder):
        return "running"
    if (folder / "failed.json").is_file():
        return "failed"
    try:
        return "interrupted" if folder.is_dir() and any(folder.iterdir()) else "waiting"
    except OSError:
        return "interrupted"


def lock(folder: Path) -> int | None:
    """Lock a folder without writing into it; return a descriptor, or None if another process has the lock.

    The lock lasts as long as any process has the descriptor open: a run outlives a killed sweep, and the next sweep
    waits for it.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def is_locked(folder: Path) -> bool:
    """Whether a process holds the lock of a folder."""
    if not folder.is_dir():
        return False
    try:
        descriptor = lock(folder)
    except OSError:  # no permission to read the folder
        return False
    if descriptor is None:
        return True
    os.close(descriptor)
    return False


def record_failure(folder: Path, code: int) -> None:
    """Record that the run failed, with the end of its log."""
    reason = "it ended without result.json" if code == 0 else f"exit status {code}"
    publish_json(folder / "failed.json", {"exit": code, "why": reason, "log": hidden(log_tail(folder))})


def log_tail(folder: Path, lines: int = LOG_LINES) -> list[str]:
    """The last lines of a run's log."""
    path = folder / "log.txt"
    if not contained(path):
        return []
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 64 * 1024))
        return file.read().decode(errors="replace").splitlines()[-lines:]


def run_folders(places: list[Path]) -> Iterator[Path]:
    """The run folders under some places, each once; evaluations inside a run are left out."""
    seen: set[Path] = set()
    for place in places:
        folders = sorted({path.parent for name in FILES for path in place.rglob(name)})
        for folder in folders:
            within_a_run = folder.parent in folders and is_run(folder.parent)
            if folder.resolve() not in seen and not within_a_run:
                seen.add(folder.resolve())
                yield folder


def is_run(folder: Path) -> bool:
    """Whether a folder has more of a run than a file of a common name."""
    return any((folder / name).exists() for name in ("run.json", "sweep.json", "checkpoints"))


@dataclass
class RunClaim:
    """The folder of a run that is about to start, locked for this process.

    A run that fails before it starts leaves nothing: folders created for it are removed again.
    """

    folder: Path | None = None
    started: bool = False
    """Whether something to keep was written into the folder."""
    running: bool = False
    """Whether the run has begun: options, data, network and checkpoint are compatible."""
    made: list[Path] = field(default_factory=list)
    """Folders that were created, the innermost last."""
    descriptor: int | None = None

    def new(self, parent: Path, name: str, *, exact: bool) -> Path:
        """Create and lock a new folder, numbered if the name is taken.

        Args:
            parent: The folder of a task's runs, or for an evaluation that of the run.
            name: The folder's name.
            exact: Whether the name was given by the user, and must not be numbered.

        Raises:
            InputError: If `exact` and the name is taken, or the folder cannot be created.
        """
        if claimed := os.environ.get(RUN_VARIABLE):
            self.folder, self.started = Path(claimed), True
            return self.folder
        number = 1
        while True:
            folder = parent / (name if number == 1 else f"{name}-{number}")
            try:
                self.make(folder)
            except FileExistsError as error:
                if exact:
                    resumable = any(folder.glob("checkpoints/*"))
                    then = f" To resume that run, leave --name out: --ckpt_path {folder}." if resumable else ""
                    raise InputError(f"{folder} exists. Choose another --name.{then}") from error
                number += 1
                continue
            except OSError as error:
                raise InputError(
                    f"The run's folder {folder} cannot be made: {error.strerror}. Choose --runs."
                ) from error
            return self.take(folder)

    def existing(self, folder: Path) -> Path:
        """Lock the folder of a run to resume.

        Raises:
            InputError: If another process works on the run.
        """
        self.started = True
        if os.environ.get(RUN_VARIABLE):
            self.folder = folder
            return folder
        return self.take(folder)

    def shared(self, folder: Path) -> Path:
        """Take a folder shared by processes that were started together, whichever of them creates it."""
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.started = folder, True
        return folder

    def make(self, folder: Path) -> None:
        """Create a folder and its parents, and remember which of them are new."""
        missing = [path for path in (folder, *folder.parents) if not path.exists()]
        for path in reversed(missing[1:]):
            with contextlib.suppress(FileExistsError):
                path.mkdir()
                self.made.append(path)
        folder.mkdir()
        self.made.append(folder)

    def take(self, folder: Path) -> Path:
        """Lock a folder and announce it to the processes that this one starts."""
        self.descriptor = lock(folder)
        if self.descriptor is None:
            raise InputError(f"Another process is working on {folder}: wait for it, or stop it.")
        self.folder = folder
        os.environ[RUN_VARIABLE] = str(folder)
        return folder

    def release(self) -> None:
        """Unlock the folder, and remove it again if nothing was written into it."""
        if self.descriptor is not None:
            os.environ[RUN_VARIABLE] = ""
            os.close(self.descriptor)
            self.descriptor = None
        if not self.started:
            for path in reversed(self.made):
                with contextlib.suppress(OSError):
                    path.rmdir()  # the system refuses this unless the folder is empty
