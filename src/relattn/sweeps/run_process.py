"""The process of a run: it has a folder, a log and a lock, and can be waited for and stopped."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from relattn.errors import InputError
from relattn.publish import publish_json
from relattn.runs import run_folder
from relattn.runs.checkpoint_files import newest_whole
from relattn.runs.provenance import git_state
from relattn.sweeps.grid import VARIABLE, Planned

PATIENCE = 20.0
"""Seconds that a process may take to end when it is asked to."""


class RunProcess:
    """A running process of a planned run."""

    def __init__(self, planned: Planned, folder: Path, sweep: str, environment: dict[str, str] | None = None) -> None:
        """Start it; check `taken` first.

        Args:
            planned: What to run.
            folder: Its folder.
            sweep: Name of the sweep, which is the group of its runs on W&B.
            environment: Variables beside those of this process.
        """
        self.planned, self.folder = planned, folder
        self.started = time.monotonic()
        folder.mkdir(parents=True, exist_ok=True)
        self.process: subprocess.Popen[bytes] | None = None
        held = run_folder.lock(folder)
        self.taken = held is None
        if held is None:
            return
        try:
            prepare(folder, planned, sweep)
            command = command_of(planned, folder)
            variables = {
                "WANDB_RUN_GROUP": sweep,
                "WANDB_JOB_TYPE": "train",
                **os.environ,
                **(environment or {}),
                run_folder.RUN_VARIABLE: str(folder.resolve()),
            }
            with (folder / "log.txt").open("ab") as log:
                log.write(f"$ {' '.join(command)}\n".encode())
                log.flush()
                # A group of its own: Ctrl-C in the terminal reaches the sweep alone, which then stops it.
                self.process = subprocess.Popen(  # noqa: S603, the command is the sweep's
                    with_variables(command),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env=variables,
                    start_new_session=True,
                    pass_fds=(held,),
                )
        except OSError as error:
            with (folder / "log.txt").open("a") as log:
                log.write(f"{error}\n")
            run_folder.record_failure(folder, 127)
        finally:
            os.close(held)

    def poll(self) -> run_folder.State:
        """The run's state; a failure is written down when it is first seen."""
        if self.process is None:
            return run_folder.state_of(self.folder)
        code = self.process.poll()
        if code is None:
            return "running"
        if run_folder.read_json(self.folder / "result.json") is not None:
            return "finished"
        if not (self.folder / "failed.json").is_file():
            run_folder.record_failure(self.folder, code)
        return "failed"

    def stop(self, patience: float = PATIENCE) -> None:
        """Ask the process and those it started to end; insist after `patience` seconds."""
        if self.process is None or self.process.poll() is not None:
            return
        self.signal(signal.SIGINT)
        try:
            self.process.wait(patience)
        except subprocess.TimeoutExpired:
            self.signal(signal.SIGKILL)
            self.process.wait()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process's group."""
        assert self.process is not None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)


def prepare(folder: Path, planned: Planned, sweep: str) -> None:
    """Write down what the run is."""
    (folder / "failed.json").unlink(missing_ok=True)
    content = {"sweep": sweep, **asdict(planned), "started": datetime.now(UTC).isoformat(), "git": git_state()}
    publish_json(folder / "sweep.json", content)


def with_variables(command: list[str]) -> list[str]:
    """A command with the values of the environment's variables that its file names."""
    found = ((part, VARIABLE.fullmatch(part)) for part in command)
    return [os.environ.get(variable[1], "") if variable else part for part, variable in found]


def command_of(planned: Planned, folder: Path) -> list[str]:
    """The command, of this installation, with the checkpoint to go on from if there is one."""
    command = list(planned.command)
    if command[0] != "relattn":
        return command
    going_on: list[str] = []
    if command[1] == "fit" and (folder / "checkpoints").is_dir():
        # One that has none, or none that is whole, starts again.
        with contextlib.suppress(InputError):
            going_on = [f"--ckpt_path={newest_whole(folder.resolve())}"]
    return [sys.executable, "-P", "-m", "relattn", *command[1:], *going_on]
