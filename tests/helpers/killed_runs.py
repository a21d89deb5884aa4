"""Killed runs: the folder that a kill leaves at every moment of a run, and whether resuming makes up for it.

A killed process leaves what is in its files, and nothing else. So one run, in its own process, has its folder copied at
each moment at which it might be killed, and each distinct copy is resumed. Moments between two writes leave the same
folder, so that a few runs represent all of them. A separate test checks that a real SIGKILL leaves the same
(`test_interruption.py`).
"""

import hashlib
import io
import json
import os
import shutil
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import pytest
import torch
from lightning.pytorch.callbacks import Callback

from relattn import publish
from relattn.cli.main import run
from relattn.errors import InputError
from relattn.publish import SUFFIX
from relattn.runs.checkpoints import Checkpoints, read_whole
from relattn.runs.interruption import Interruption
from relattn.runs.metrics import MetricsLogger
from relattn.runs.record import RunRecord

REFUSED = 3
"""Exit status of a child whose command is refused by the suite."""

MEASURED = {"seconds", "seconds_per_step", "ended", "earlier", "git"}
"""Entries of a result on when, how fast and from which checkout state a run was made, rather than on its outcome."""


def in_child(arguments: list[str], prepare: Callable[[], None] | None = None, log: Path | None = None) -> int:
    """Run a command in its own process; return its exit status, which is negative for a signal.

    Args:
        arguments: The command line.
        prepare: Called before the command, in the child.
        log: A file for the output of the child.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            if log is not None:
                descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
                os.dup2(descriptor, 1)
                os.dup2(descriptor, 2)
                sys.stdout, sys.stderr = (os.fdopen(os.dup(stream), "w", buffering=1) for stream in (1, 2))
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
                signal.signal(number, signal.SIG_DFL)  # runs of tests in parallel ignore some
            if prepare is not None:
                prepare()
            status = run(arguments)
        except SystemExit as ended:
            status = int(ended.code or 0)
        except InputError as error:
            sys.stderr.write(f"{error}\n")
            status = REFUSED
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def digest(folder: Path) -> str:
    """A name for the contents of a folder's files; of leftover files only the presence counts."""
    found = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            leftover = path.name.endswith(SUFFIX)
            found.update(b"leftover" if leftover else str(path.relative_to(folder)).encode() + path.read_bytes())
    return found.hexdigest()


class Camera:
    """Copies a run's folder whenever it differs from all previous copies, and records the moments of each copy.

    Attributes:
        moments: The moments of each copy, by its number; also in `moments.json` beside the copies.
    """

    def __init__(self, folder: Path, copies: Path) -> None:
        self.folder, self.copies = folder.absolute(), copies.absolute()
        self.seen: dict[str, int] = {}
        self.moments: list[list[str]] = []
        self.copies.mkdir()

    def take(self, moment: str) -> None:
        """Record the state of the folder at a moment."""
        if not self.folder.is_dir():
            return
        name = digest(self.folder)
        if name not in self.seen:
            self.seen[name] = len(self.moments)
            shutil.copytree(self.folder, self.copies / str(len(self.moments)))
            self.moments.append([])
        if moment not in (moments := self.moments[self.seen[name]]):
            moments.append(moment)
            (self.copies / "moments.json").write_text(json.dumps(self.moments))

    def install(self) -> None:
        """Install hooks at all moments of a run of this process."""
        self.before(Interruption, "on_train_start", "before the first step")
        self.before(Interruption, "on_train_batch_start", "in a step of epoch {epoch}")
        for stage in ("validation", "test"):
            for hook in ("start", "batch_end", "end"):
                epoch = " of epoch {epoch}" if stage == "validation" else ""
                self.before(Interruption, f"on_{stage}_{hook}", f"in the {stage}{epoch}: {hook}")
        self.before(publish, "keep", "before a checkpoint is kept as the previous one")
        self.before(publish, "sync_folder", "after a file has taken its place")
        self.before(os, "fsync", "before a file is on the disk")
        self.after(Checkpoints, "save_checkpoint", "between a checkpoint and its row of metrics")
        self.after(MetricsLogger, "save", "after a row of metrics")
        self.before(RunRecord, "write_result", "before the result")
        self.before(RunRecord, "costs", "before the costs in the result")
        write = torch.save

        def in_halves(content: Any, stream: IO[bytes]) -> None:
            whole = io.BytesIO()
            write(content, whole)
            half = len(whole.getvalue()) // 2
            stream.write(whole.getvalue()[:half])
            stream.flush()
            self.take("half a checkpoint")
            stream.write(whole.getvalue()[half:])

        torch.save = in_halves

    def before(self, owner: Any, name: str, moment: str) -> None:
        """Record the moment before a function is called; `{epoch}` in its name is replaced by the trainer's epoch."""
        function = getattr(owner, name)

        def photographed(*arguments: Any, **options: Any) -> Any:
            epoch = arguments[1].current_epoch if "{epoch}" in moment else None
            self.take(moment.format(epoch=epoch))
            return function(*arguments, **options)

        setattr(owner, name, photographed)

    def after(self, owner: Any, name: str, moment: str) -> None:
        """Record the moment after a function was called."""
        function = getattr(owner, name)

        def photographed(*arguments: Any, **options: Any) -> Any:
            answer = function(*arguments, **options)
            self.take(moment)
            return answer

        setattr(owner, name, photographed)


def told_at(epoch: int, batch: int, number: int) -> Callable[[], None]:
    """Prepare a child that receives a signal when a step begins."""

    def prepare() -> None:
        begin = Interruption.on_train_batch_start

        def tell(self: Callback, trainer: Any, module: Any, data: Any, batch_idx: int) -> None:
            begin(self, trainer, module, data, batch_idx)  # type: ignore[arg-type]
            if (trainer.current_epoch, batch_idx) == (epoch, batch):
                os.kill(os.getpid(), number)

        Interruption.on_train_batch_start = tell  # type: ignore[method-assign]

    return prepare


def under_slurm(patch: pytest.MonkeyPatch) -> Path:
    """Simulate a SLURM job with number 17; return the file that records the requests to SLURM."""
    asked, scheduler = Path("asked").absolute(), Path("bin/scontrol").absolute()
    scheduler.parent.mkdir()
    scheduler.write_text(f'#!/bin/sh\necho "$@" > {asked}\n')
    scheduler.chmod(0o755)
    patch.setenv("PATH", str(scheduler.parent), prepend=os.pathsep)
    for name, value in {"JOB_ID": "17", "JOB_NAME": "market", "NTASKS": "1", "PROCID": "0", "LOCALID": "0"}.items():
        patch.setenv(f"SLURM_{name}", value)
    return asked


def result_of(folder: Path) -> dict[str, Any]:
    """The result of a run without measured times."""
    content = json.loads((folder / "result.json").read_text())
    return {name: value for name, value in content.items() if name not in MEASURED}


def same(one: Any, other: Any) -> bool:
    """Whether two parts of checkpoints are equal, bit for bit."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(value, other[name]) for name, value in one.items())
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    return bool(one == other) or (one != one and other != other)  # NaN


def differences(whole: Path, other: Path) -> list[str]:
    """Differences between an uninterrupted run and another one; empty if there are none."""
    found = []
    for name in ("last.ckpt", "previous.ckpt", "best.ckpt"):
        files = [folder / "checkpoints" / name for folder in (whole, other)]
        if [file.is_file() for file in files] not in ([True, True], [False, False]):
            found.append(f"{name}: only in one of them")
        if not all(file.is_file() for file in files) or name == "previous.ckpt":
            continue
        contents = [read_whole(file) for file in files]
        for part in sorted(set(contents[0]) | set(contents[1])):
            if part != "seconds" and part != "seconds_per_step" and not same(*(one.get(part) for one in contents)):
                one, two = (content.get(part) for content in contents)
                if part == "state_dict":  # the names are sufficient
                    one, two = [key for key in one if not same(one[key], two.get(key))], ""
                found.append(f"{name}: {part}: {one} {two}")
    for name in ("metrics.csv", "config.yaml"):
        texts = [(folder / name).read_text() for folder in (whole, other)]
        if texts[0] != texts[1]:
            found.append(f"{name}:\n{texts[0]}\n{texts[1]}")
    results = [result_of(folder) for folder in (whole, other)]
    for entry in sorted(set(results[0]) | set(results[1])):
        if results[0].get(entry) != results[1].get(entry):
            found.append(f"result.json: {entry}: {[one.get(entry) for one in results]}")
    pictures = [{path.name: path.read_bytes() for path in folder.glob("pictures/*")} for folder in (whole, other)]
    if pictures[0] != pictures[1]:
        found.append("pictures")
    return found
