"""The process of a run and of the tests that follow it, with its folder, log and lock."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from relattn.errors import InputError
from relattn.publish import publish_json
from relattn.runs import run_folder
from relattn.runs.checkpoint_files import newest_whole
from relattn.runs.provenance import git_state
from relattn.runs.secrets import hidden
from relattn.sweeps.grid import VARIABLE
from relattn.sweeps.plan import Planned

PATIENCE = 20.0
"""Seconds that a process may take to end after it is told to."""


class RunProcess:
    """A planned run in progress: its process, then those of its tests, one after the other."""

    def __init__(self, planned: Planned, environment: Mapping[str, str] | None = None) -> None:
        """Start the process, unless another process works on the run (`taken`).

        Args:
            planned: The run.
            environment: Variables in addition to those of this process.
        """
        self.planned, self.environment = planned, dict(environment or {})
        self.process: subprocess.Popen[bytes] | None = None
        self.folder = planned.folder
        """The folder into which the current process writes its result."""
        planned.folder.mkdir(parents=True, exist_ok=True)
        self.held = run_folder.lock(planned.folder)
        self.taken = self.held is None
        if not self.taken:
            self.start_next()

    def start_next(self) -> bool:
        """Start the next part without a result, the run or a test; return False if there is none."""
        steps = [(self.planned.folder, self.planned.command)]
        steps += [(self.planned.folder / test.name, test.command) for test in self.planned.tests]
        for folder, command in steps:
            if not run_folder.has_result(folder):
                folder.mkdir(exist_ok=True)
                self.folder = folder
                self.start(command)
                return True
        self.let_go()
        return False

    def start(self, command: list[str]) -> None:
        """Start a command as a process that writes its output into the log of its folder."""
        assert self.held is not None
        for folder in {self.folder, self.planned.folder}:
            (folder / "failed.json").unlink(missing_ok=True)
        if self.folder == self.planned.folder:
            times = {"started": datetime.now(UTC).isoformat(), "git": git_state()}
            publish_json(self.folder / "sweep.json", hidden({**self.planned.entry(), **times}))
        command = command_of(command, self.folder)
        variables = {
            "WANDB_RUN_GROUP": self.planned.sweep,
            "WANDB_JOB_TYPE": "train" if self.folder == self.planned.folder else "test",
            **os.environ,
            **self.environment,
            run_folder.RUN_VARIABLE: str(self.folder.resolve()),
        }
        try:
            with (self.folder / "log.txt").open("ab") as log:
                log.write(f"$ {' '.join(hidden(command))}\n".encode())
                log.flush()
                # A process group of its own: Ctrl-C in the terminal reaches only the sweep, which then stops the run.
                self.process = subprocess.Popen(  # noqa: S603, the command is the sweep's
                    with_variables(command),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env=variables,
                    start_new_session=True,
                    pass_fds=(self.held,),
                )
        except OSError as error:
            with (self.folder / "log.txt").open("a") as log:
                log.write(f"{error}\n")
            run_folder.record_failure(self.folder, 127)
            self.let_go()

    def poll(self) -> run_folder.State:
        """Return the run's state; on a new failure record it, and on success start the next test."""
        if self.process is None:
            return self.planned.state
        code = self.process.poll()
        if code is None:
            return "running"
        if run_folder.has_result(self.folder):
            return "running" if self.held is not None and self.start_next() else "finished"
        if not (self.folder / "failed.json").is_file():
            run_folder.record_failure(self.folder, code)
            if self.folder != self.planned.folder:
                content = run_folder.read_json(self.folder / "failed.json") or {}
                publish_json(self.planned.folder / "failed.json", {**content, "test": self.folder.name})
        self.let_go()
        return "failed"

    def stop(self, patience: float = PATIENCE) -> None:
        """Ask the process and its children to end; kill them after `patience` seconds."""
        if self.process is not None and self.process.poll() is None:
            self.signal(signal.SIGINT)
            try:
                self.process.wait(patience)
            except subprocess.TimeoutExpired:
                self.signal(signal.SIGKILL)
                self.process.wait()
        self.let_go()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process's group."""
        assert self.process is not None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)

    def let_go(self) -> None:
        """Release the lock of this process; a child that is still alive keeps it."""
        if self.held is not None:
            os.close(self.held)
            self.held = None


def with_variables(command: list[str]) -> list[str]:
    """Replace references to environment variables in a command by their values."""
    found = ((part, VARIABLE.fullmatch(part)) for part in command)
    return [os.environ.get(variable[1], "") if variable else part for part, variable in found]


def command_of(command: list[str], folder: Path) -> list[str]:
    """The command for this installation, with the checkpoint to resume from if there is one."""
    if command[0] != "relattn":
        return command
    going_on: list[str] = []
    if command[1] == "fit" and (folder / "checkpoints").is_dir():
        # Without an intact checkpoint the run starts from the beginning.
        with contextlib.suppress(InputError):
            going_on = [f"--ckpt_path={newest_whole(folder.resolve())}"]
    return [sys.executable, "-P", "-m", "relattn", *command[1:], *going_on]
