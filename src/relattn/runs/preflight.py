"""Checks once everything is built and nothing is written: names that callbacks monitor, and parts of a data set."""

import warnings
from collections.abc import Sequence
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.trainer.call import _call_configure_model

from relattn.attention import RGA
from relattn.errors import InputError, suggest
from relattn.tasks.base import Task
from relattn.tasks.plan import planned_steps
from relattn.tasks.run_outputs import is_part, rehearses

SHORT = 2000
"""Number of steps below which training is too short for masks that begin as noise; papers have tens of thousands."""

COUNTERS = {"epoch", "step"}
"""Names that a `ModelCheckpoint` may monitor in addition to metrics."""


class Preflight(Callback):
    """Refuses, before the first step, settings that would stop a run at the end of its first epoch or at its end."""

    checked = False
    """Whether the data were checked before training."""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Build the network before other callbacks use it: weight averaging and pruning already do so here.

        Lightning builds it only after `setup`; building it twice changes nothing.
        """
        if isinstance(pl_module, Task):
            _call_configure_model(trainer)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Check the contents of the data, the names that callbacks monitor, and the limits of validation and test."""
        if isinstance(pl_module, Task):
            trainer.datamodule.check()  # type: ignore[attr-defined]
            self.checked = True
            check_monitors(trainer.callbacks, pl_module)  # type: ignore[attr-defined]
            check_parts(trainer, pl_module, ("val", "test"))
            check_masks(trainer, pl_module)
            check_frozen(trainer, pl_module)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Check the data, unless they were checked before training, and the limit of validation."""
        if trainer.state.fn == "validate" and isinstance(pl_module, Task):
            trainer.datamodule.check()  # type: ignore[attr-defined]
            check_parts(trainer, pl_module, ("val",))

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Check the data, unless they were checked before, and the limit of the test."""
        if isinstance(pl_module, Task):
            if trainer.state.fn == "test" and not pl_module.extra_set and not self.checked:
                trainer.datamodule.check()  # type: ignore[attr-defined]
            check_parts(trainer, pl_module, ("test",))


def check_monitors(callbacks: Sequence[Callback], task: Task) -> None:
    """Refuse a name that a callback monitors but nothing logs.

    If a callback or the task comes from neither Lightning nor this suite, its own code may log more names, and nothing
    is refused.

    Raises:
        InputError: If so; the message has the closest names.
    """
    names = task.logged_names()
    if names is None or any(type(one).__module__.split(".")[0] not in ("lightning", "relattn") for one in callbacks):
        return
    for callback in callbacks:
        monitor = getattr(callback, "monitor", None)
        if monitor is not None and monitor not in names | COUNTERS:
            raise InputError(
                f"{type(callback).__name__}: monitor is {monitor!r}, which {type(task).__name__} does not log. "
                f"{suggest(str(monitor), sorted(names))}"
            )


def check_masks(trainer: Trainer, task: Task) -> None:
    """Warn of masks that begin as noise on ImageNet features if training is short."""
    noise = any(isinstance(module, RGA) and module.mask_init == "released" for module in task.modules())
    steps = planned_steps(trainer)
    if noise and task.pretrained is True and trainer.ckpt_path is None and steps < SHORT:
        warnings.warn(
            f"RGA's masks begin as noise over trained features, and this run has {steps:.0f} steps: in short "
            "runs they cost most of the accuracy (docs/results.md). Masks that begin open do not: "
            "--attention rga_sc_open, or --model.attention.init_args.mask_init open.",
            stacklevel=2,
        )


def check_frozen(trainer: Trainer, task: Task) -> None:
    """Warn of early stages that are frozen with random weights, or in every epoch."""
    if task.frozen_epochs and task.pretrained is False and trainer.ckpt_path is None:
        warnings.warn(
            f"--model.frozen_epochs {task.frozen_epochs} freezes early stages whose weights are random: give 0, or "
            "--model.pretrained.",
            stacklevel=2,
        )
    elif 0 < (trainer.max_epochs or 0) <= task.frozen_epochs:
        warnings.warn(
            f"--model.frozen_epochs {task.frozen_epochs} freezes the early stages in all {trainer.max_epochs} epochs.",
            stacklevel=2,
        )


def check_parts(trainer: Trainer, task: Task, stages: Sequence[str]) -> None:
    """Refuse to limit the images for a metric that needs all of them.

    Raises:
        InputError: If so; the message names the option.
    """
    if rehearses(trainer):
        return
    metrics = dict(task.metrics)
    for stage in stages:
        option = f"limit_{stage}_batches"
        limit: Any = getattr(trainer, option)
        if limit == 0 or not getattr(metrics.get(stage), "needs_all_images", False):
            continue
        loader = getattr(trainer.datamodule, f"{stage}_dataloader")()  # type: ignore[attr-defined]
        if is_part(limit, len(loader)):
            if stage == "val" and trainer.overfit_batches > 0:  # type: ignore[attr-defined]
                trainer.limit_val_batches = 0
                warnings.warn(
                    f"Validation is left out: {type(metrics[stage]).__name__} scores a set as a whole, and "
                    "--trainer.overfit_batches takes a part.",
                    stacklevel=2,
                )
                continue
            instead = "leave it out, or give 0 to leave validation out." if stage == "val" else "leave it out."
            name = type(metrics[stage]).__name__
            raise InputError(f"--trainer.{option} is {limit}, and {name} scores a set as a whole: {instead}")
