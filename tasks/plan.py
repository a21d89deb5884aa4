"""The position of a run in its learning-rate schedule, also if the plan has changed since the run began."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import GradientAccumulationScheduler


def options_of(group: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of an optimizer's parameter group, without its parameters."""
    return {name: value for name, value in group.items() if name not in ("params", "param_names")}


def accumulation(trainer: Trainer, epoch: int) -> int:
    """Number of batches whose gradients one step of this epoch sums."""
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, GradientAccumulationScheduler):
            return callback.get_accumulate_grad_batches(epoch)
    return trainer.accumulate_grad_batches


def steps_before(trainer: Trainer, epoch: int) -> int:
    """Number of steps of the epochs before this one."""
    return sum(math.ceil(trainer.num_training_batches / accumulation(trainer, before)) for before in range(epoch))


def planned_steps(trainer: Trainer) -> float:
    """Number of steps of the whole run, infinite if it has no end.

    Lightning's own estimate does not know that `GradientAccumulationScheduler` changes the accumulation later.
    """
    estimate: float = trainer.estimated_stepping_batches
    epochs = trainer.max_epochs or -1
    if epochs < 0 or math.isinf(trainer.num_training_batches):
        return estimate
    steps = steps_before(trainer, epochs)
    return steps if trainer.max_steps < 0 else min(steps, trainer.max_steps)


def steps_done(trainer: Trainer) -> int:
    """Number of steps that correspond to this position in the run as it is now planned.

    If the plan has not changed, this is the number of steps made.
    """
    epochs = trainer.max_epochs or -1
    if epochs < 0 or math.isinf(trainer.num_training_batches) or 0 < trainer.max_steps <= steps_before(trainer, epochs):
        return int(trainer.global_step)
    # Between two epochs the loop still counts the batches of the last one, which may have been more or fewer.
    loop = trainer.fit_loop
    batches = loop.epoch_loop.batch_progress.current.ready if loop.restarted_mid_epoch else 0
    epoch = trainer.current_epoch
    return steps_before(trainer, epoch) + batches // accumulation(trainer, epoch)


def move_schedule(scheduler: Any, position: int, options: Sequence[Mapping[str, Any]]) -> None:
    """Move a schedule of factors to a position, and give its optimizer options, one mapping for each parameter group.

    Schedules of other kinds, which a task of one's own may have, stay as they are.
    """
    if not isinstance(scheduler, torch.optim.lr_scheduler.LambdaLR):
        return
    groups = scheduler.optimizer.param_groups
    for group, chosen in zip(groups, options, strict=True):
        group.update(chosen, initial_lr=chosen["lr"])
    scheduler.base_lrs = [chosen["lr"] for chosen in options]
    scheduler.last_epoch = position
    rates = [rate * factor(position) for rate, factor in zip(scheduler.base_lrs, scheduler.lr_lambdas, strict=True)]
    for group, rate in zip(groups, rates, strict=True):
        group["lr"] = rate
    scheduler._last_lr = rates
