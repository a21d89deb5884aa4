"""Interruption of a run by a signal: it ends with a checkpoint, and can be resumed as if it had never stopped.

Batches and augmentation depend on the seed and the epoch (`relattn.tasks.samplers`), and everything random within a
step, such as dropout, on the seed and the step. So nothing depends on how often a run was stopped.

The following signals end a run with the exit code 128 + the number of the signal: SIGTERM, which schedulers send;
SIGHUP, which a closing terminal sends; a first Ctrl-C; and, under SLURM, SIGUSR1. The run ends

- immediately before the first step, since there is nothing to keep;
- in training, after the current step, with a checkpoint; a validation that is due comes first;
- immediately in the final test: the last epoch's checkpoint and scores exist, and resuming repeats the test.

SIGUSR1 makes SLURM requeue the job, whenever it arrives. A second Ctrl-C ends a run immediately, with the last
checkpoint that was written.
"""

import os
import signal
import subprocess
import sys
import threading
import warnings
from pathlib import Path
from types import FrameType
from typing import Any, Self

import numpy as np
import torch
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, WeightAveraging
from lightning.pytorch.utilities import CombinedLoader, rank_zero_only
from torchmetrics import Metric

from relattn.runs.metrics import epoch_has_ended
from relattn.tasks.plan import accumulation

STEPS_BETWEEN_AGREEMENTS = 5
"""Interval in steps at which processes ask each other whether one was told to stop; they wait for each other then."""


class Interrupted(Exception):  # noqa: N818 (no error)
    """Raised when a run stops because of a signal."""

    def __init__(self, told: signal.Signals, step: int, checkpoint: Path | None) -> None:
        """Store the signal, the number of steps done, and the checkpoint to resume from, if there is one."""
        super().__init__(f"Stopped by {told.name} after {step} steps.")
        self.told, self.step, self.checkpoint = told, step, checkpoint


class Signals:
    """Signals that tell a run to stop: they end the process, or are remembered while it trains.

    A context manager for the whole run. Outside the main thread no signal is handled.

    Attributes:
        told: The signal that was received in training.
        training: Whether the run is training, and should end between two steps.
    """

    def __init__(self) -> None:
        self.told: signal.Signals | None = None
        self.training = False
        self.before: dict[int, Any] = {}
        self.process = os.getpid()

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            requeue = [signal.SIGUSR1] if SLURMEnvironment.detect() else []
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, *requeue):
                if signal.getsignal(number) is not signal.SIG_IGN:  # nohup makes a process ignore it
                    self.before[number] = signal.getsignal(number)
        self.take()
        return self

    def take(self) -> None:
        """Install the handlers, replacing any that others have installed since."""
        for number in self.before:
            signal.signal(number, self.hear)

    def __exit__(self, *exception: object) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def hear(self, number: int, frame: FrameType | None) -> None:
        """End the process with the shell's exit code for this signal, or remember the signal."""
        if os.getpid() != self.process:
            return  # a worker, which a terminal signals too; it ends with the run
        again = number == signal.SIGINT and self.told is signal.SIGINT
        if again or not self.training:
            if number == signal.SIGUSR1:
                requeue()
            raise SystemExit(128 + number)
        if number == signal.SIGINT:
            sys.stderr.write("\nrelattn: stops after this step; Ctrl-C again to stop at once, without a checkpoint\n")
        self.told = signal.Signals(number)


class Interruption(Callback):
    """Stops a run between two steps on a signal, and makes every step the same in a resumed run."""

    def __init__(self, checkpoint: Path | None, signals: Signals) -> None:
        """Store the path of the run's last checkpoint (None if it keeps none) and the signals."""
        self.checkpoint, self.signals = checkpoint, signals
        self.seed = int(os.environ.get("PL_GLOBAL_SEED", 0))
        self.metrics: dict[str, dict[str, Any]] = {}
        self.stopped = False
        """Whether a callback had already ended training in the checkpoint that the run resumes from."""
        self.begun = False
        """Whether training has begun; a run whose checkpoint is its last one has nothing left to train."""
        self.loaders: list[dict[str, Any]] = []
        """States of the training loaders in the checkpoint that the run resumes from."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Resume where the checkpoint was made; from now on signals wait for the end of a step."""
        self.begun = self.signals.training = True
        self.signals.take()  # Lightning's own handlers communicate with other processes, or save, within a step
        loop = trainer.fit_loop
        if loop.restarted_mid_epoch:
            self.go_on_amid_epoch(trainer, pl_module)
        elif loop.restarted_on_epoch_end:
            # With max_steps, Lightning would end that epoch again and count one epoch too many from then on.
            loop.epoch_loop.restarting = False
            loop.reset_restart_stage()
            loop.epoch_progress.increment_completed()

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop between two epochs: after the last step and the validation of the first of them."""
        self.stop_if_told(trainer)

    def stop_if_told(self, trainer: Trainer) -> None:
        """Stop if told to; the checkpoint contains the epoch that has ended."""
        if self.agreed(trainer):
            saved = self.checkpoint is not None and self.checkpoint.is_file()
            self.stop(trainer, self.checkpoint if saved else None)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Set the seed of this step, and the accumulation, which its callback does not set on resuming in an epoch."""
        trainer.accumulate_grad_batches = accumulation(trainer, trainer.current_epoch)
        key = (self.seed, trainer.global_rank, trainer.current_epoch, batch_idx)
        torch.manual_seed(int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0]))

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Stop after a step, with a checkpoint, unless a validation or the end of the epoch follows."""
        done, loop = batch_idx + 1, trainer.fit_loop
        whole = done % trainer.accumulate_grad_batches == 0  # checkpoints do not contain gradients
        if loop.epoch_loop.batch_progress.is_last_batch or loop.epoch_loop._is_training_done or not whole:
            return
        if loop._data_fetcher is not None and loop.epoch_loop._should_check_val_fx(loop._data_fetcher):
            return  # validation comes first; the step after it is then the last one
        if trainer.world_size > 1 and done % STEPS_BETWEEN_AGREEMENTS:
            return
        if self.agreed(trainer):
            if self.checkpoint is not None:
                trainer.save_checkpoint(self.checkpoint, weights_only=False)
            self.stop(trainer, self.checkpoint)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """End a training that was killed after its last checkpoint and has nothing left to do, like any other.

        Lightning would not count the last epoch of a run that max_steps ends, and would test the network instead of its
        average.
        """
        if self.begun:
            return
        progress = trainer.fit_loop.epoch_progress.current
        progress.completed = max(progress.completed, progress.state_dict()["processed"])
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, WeightAveraging):
                callback.on_train_end(trainer, pl_module)

    def agreed(self, trainer: Trainer) -> bool:
        """Whether any process was told to stop."""
        if trainer.world_size == 1:
            return self.signals.told is not None
        return bool(trainer.strategy.reduce_boolean_decision(self.signals.told is not None, all=False))

    def stop(self, trainer: Trainer, checkpoint: Path | None) -> None:
        """End the run; ask SLURM to requeue it if the signal was SIGUSR1."""
        told = self.signals.told or signal.SIGTERM  # None if another process got the signal
        if told is signal.SIGUSR1:
            requeue()
        raise Interrupted(told, trainer.global_step, checkpoint)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Within an epoch, store the sums of the training metrics over all processes."""
        if epoch_has_ended(trainer):
            return
        checkpoint["training_metrics"] = {}
        for name, metric in metrics_of(pl_module):
            if metric.update_called:
                with metric.sync_context(should_sync=trainer.world_size > 1):
                    metric.persistent(True)
                    state = {key: value.cpu() for key, value in metric.state_dict().items()}
                    metric.persistent(False)
                checkpoint["training_metrics"][name] = state

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        if self.stopped:
            trainer.should_stop = True
        self.metrics = checkpoint.get("training_metrics", {})
        loop = checkpoint.get("loops", {}).get("fit_loop", {})
        self.loaders = loop.get("state_dict", {}).get("combined_loader", [])

    def go_on_amid_epoch(self, trainer: Trainer, module: LightningModule) -> None:
        """Do what Lightning leaves out: the epoch's first hook, the remaining batches, and earlier metrics."""
        module.on_train_epoch_start()
        # Lightning restores loaders when it creates them. But the schedule asks for the number of steps, so they are
        # created before the checkpoint's loops are read, and would start the epoch from the beginning.
        loaders = CombinedLoader(trainer.train_dataloader).flattened
        stateful = [loader for loader in loaders if hasattr(loader, "load_state_dict")]
        if len(stateful) < len(loaders):
            warnings.warn(
                f"The run was stopped within epoch {trainer.current_epoch + 1}, and a training loader cannot resume "
                "there: the rest of the epoch has other images than it would have had. A loader with state_dict and "
                "load_state_dict can.",
                stacklevel=2,
            )
        for loader, state in zip(stateful, self.loaders, strict=True):
            loader.load_state_dict(state)
        if not trainer.is_global_zero:
            return  # the sums over all processes must count only once
        for name, metric in metrics_of(module):
            if name in self.metrics:
                metric.persistent(True)
                metric.load_state_dict(self.metrics[name])
                metric.persistent(False)


def metrics_of(module: LightningModule) -> list[tuple[str, Metric]]:
    """The metrics of a task, with their names."""
    return [(name, metric) for name, metric in module.named_modules() if isinstance(metric, Metric)]


@rank_zero_only
def requeue() -> None:
    """Ask SLURM once to requeue this job; failures are reported, and the checkpoint exists anyway."""
    job = os.environ.get("SLURM_JOB_ID", "")
    if "SLURM_ARRAY_JOB_ID" in os.environ:
        job = f"{os.environ['SLURM_ARRAY_JOB_ID']}_{os.environ['SLURM_ARRAY_TASK_ID']}"
    try:
        subprocess.run(["scontrol", "requeue", job], check=True)  # noqa: S603, S607 (SLURM's own, by its usual name)
    except (OSError, subprocess.CalledProcessError) as error:
        sys.stderr.write(f"relattn: the job {job} could not be requeued: {error}\n")
