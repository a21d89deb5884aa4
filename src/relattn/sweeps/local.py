"""Runs of a sweep on this machine, one at a time or several at once."""

import os
import signal
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from relattn.cores import available_cores
from relattn.runs import run_folder
from relattn.sweeps.plan import Planned
from relattn.sweeps.run_process import RunProcess

Watch = Callable[[dict[Path, run_folder.State]], None]
"""Callback that is called often with the states of all runs that are no longer waiting."""

PAUSE = 0.2
"""Seconds between checks of the processes."""


@dataclass
class Local:
    """The launcher of this machine.

    Attributes:
        jobs: Number of runs at once.
        devices: GPUs, of which each run sees one; if empty, GPUs are not assigned.
    """

    jobs: int = 1
    devices: tuple[str, ...] = ()

    def environment(self, slot: int) -> dict[str, str]:
        """Environment variables for the runs of a slot: its GPU, and its share of the cores."""
        variables = {}
        if self.devices:
            variables["CUDA_VISIBLE_DEVICES"] = self.devices[slot % len(self.devices)]
        if self.jobs > 1 and "OMP_NUM_THREADS" not in os.environ:
            variables["OMP_NUM_THREADS"] = str(max(1, available_cores() // self.jobs))
        return variables

    def launch(self, plan: list[Planned], watch: Watch) -> None:
        """Run everything in `plan`; report states to `watch`. Ctrl-C and SIGTERM stop the runs, which can resume."""
        waiting, slots = deque(plan), dict.fromkeys(range(self.jobs), None)
        active: dict[int, RunProcess | None] = dict(slots)
        seen: dict[Path, run_folder.State] = {}
        with terminated_as_interrupted():
            try:
                while waiting or any(active.values()):
                    for slot, process in active.items():
                        if process is None and waiting:
                            planned = waiting.popleft()
                            environment = self.environment(slot)
                            active[slot] = RunProcess(planned, environment)
                    for slot, process in active.items():
                        if process is None:
                            continue
                        state = process.poll()
                        # The other process that ran it was killed, or only looked whether it runs.
                        if process.taken and state in ("interrupted", "waiting"):
                            waiting.appendleft(process.planned)
                            active[slot] = None
                            continue
                        seen[process.planned.folder] = state
                        if state != "running":
                            active[slot] = None
                    watch(seen)
                    time.sleep(PAUSE)
            except BaseException:  # Ctrl-C, or a run that cannot be started: none is left behind
                stop([process for process in active.values() if process is not None])
                raise


def stop(processes: list[RunProcess]) -> None:
    """Stop processes, signalling all of them at once."""
    for process in processes:
        if process.process is not None and process.process.poll() is None:
            process.signal(signal.SIGINT)
    for process in processes:
        process.stop()


@contextmanager
def terminated_as_interrupted() -> Iterator[None]:
    """Treat SIGTERM, which schedulers send, like Ctrl-C."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
