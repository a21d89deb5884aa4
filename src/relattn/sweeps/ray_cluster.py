"""Runs of a sweep as Ray tasks, on a cluster or this machine. Ray is imported only when it is used."""

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from relattn.errors import InputError
from relattn.runs import run_folder
from relattn.sweeps.local import PAUSE, Watch, terminated_as_interrupted
from relattn.sweeps.plan import Planned
from relattn.sweeps.run_process import RunProcess

RETRIES = 3
"""How often a run is restarted if its machine is lost; it resumes from its checkpoint."""


def attend(planned: Planned) -> str:
    """Execute a run in a Ray worker and wait for it; cancelling the task stops its process."""
    process = RunProcess(planned)
    try:
        while (state := process.poll()) == "running":
            time.sleep(PAUSE)
        return state
    except KeyboardInterrupt:
        process.stop()
        raise


@dataclass
class Ray:
    """The launcher for a cluster. Folders of runs, and data, must be accessible from every machine.

    Attributes:
        cpus: Cores per run.
        gpus: GPUs per run; Ray shows each run only its own.
        address: Address of the cluster; by default `RAY_ADDRESS`, a cluster on this machine, or a new one.
    """

    cpus: float = 1
    gpus: float = 0
    address: str | None = None

    def launch(self, plan: list[Planned], watch: Watch) -> None:
        """Run everything in `plan`; report states to `watch`.

        Raises:
            InputError: If Ray is not installed, or no machine has the resources that a run needs.
        """
        try:
            import ray  # type: ignore[import-not-found, unused-ignore]
        except ImportError as error:
            raise InputError(
                "--launcher ray needs Ray: in the clone of the repository, pip install '.[ray]'."
            ) from error
        ray.init(address=self.address, include_dashboard=False, log_to_driver=False, ignore_reinit_error=True)
        try:
            self.check(ray.cluster_resources())
            options = {"num_cpus": self.cpus, "num_gpus": self.gpus, "max_retries": RETRIES}
            remote = ray.remote(**options)(attend)
            # Workers have their own working directory.
            tasks = {remote.remote(replace(run, folder=run.folder.resolve())): run for run in plan}
            with terminated_as_interrupted():
                try:
                    self.wait(ray, tasks, watch)
                except KeyboardInterrupt:
                    for task in tasks:
                        ray.cancel(task, force=False)
                    ray.wait(list(tasks), num_returns=len(tasks), timeout=30)
                    raise
        finally:
            ray.shutdown()

    def check(self, resources: dict[str, float]) -> None:
        """Refuse requirements that no machine can meet, because Ray would wait forever."""
        for name, wanted in (("CPU", self.cpus), ("GPU", self.gpus)):
            if wanted > resources.get(name, 0):
                raise InputError(f"Each run needs {wanted:g} {name}, and Ray has {resources.get(name, 0):g}.")

    def wait(self, ray: Any, tasks: dict[Any, Planned], watch: Watch) -> None:
        """Wait for all tasks."""
        unfinished = list(tasks)
        seen: dict[Path, run_folder.State] = {}
        while unfinished:
            done, unfinished = ray.wait(unfinished, num_returns=len(unfinished), timeout=5 * PAUSE)
            for task in done:
                planned = tasks[task]
                try:
                    seen[planned.folder] = ray.get(task)
                except ray.exceptions.RayError:  # the worker died at every attempt
                    run_folder.record_failure(planned.folder, -1)
                    seen[planned.folder] = "failed"
            for task in unfinished:
                if (state := tasks[task].state) != "waiting":
                    seen[tasks[task].folder] = state
            watch(seen)
