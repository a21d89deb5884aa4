"""Where a run stands in its plan of learning rates, also if the plan has changed since the run began."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from lightning.pytorch import Trainer


def options_of(group: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of an optimizer's parameter group, without its parameters."""
    return {name: value for name, value in group.items() if name not in ("params", "param_names")}


def steps_done(trainer: Trainer) -> int:
    """Number of steps that correspond to this position in the run as it is now planned.

    If the plan has not changed, this is the number of steps made.
    """
    per_epoch = math.ceil(trainer.num_training_batches / trainer.accumulate_grad_batches)
    epochs = trainer.max_epochs or -1
    if epochs < 0 or 0 < trainer.max_steps <= epochs * per_epoch:
        return int(trainer.global_step)
    # Between two epochs the loop still counts the batches of the last one, which may have been more or fewer.
    loop = trainer.fit_loop
    batches = loop.epoch_loop.batch_progress.current.ready if loop.restarted_mid_epoch else 0
    return int(trainer.current_epoch * per_epoch + batches // trainer.accumulate_grad_batches)


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
