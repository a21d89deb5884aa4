"""Resuming a run: which options may change, which changes are refused, and how a new plan is applied.

A resumed run is still the same run: its network, optimizer class, seed and data stay. Its length, learning rate,
schedule, batch size and accumulation may change from that point on. The schedule is that of the whole run as now
planned, entered at the finished part.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, ModelCheckpoint

from relattn.errors import InputError
from relattn.runs.identity import SEED, Decisive, changes, decisive
from relattn.runs.run_folder import read_json
from relattn.tasks.base import Task

SAME = ("model", "model.backbone", "model.pretrained", "model.attention", "model.stages", "model.placement", "data")
"""Options that define the run and may not be visible in the shapes of its weights."""

ENDING = ("max_time", "callbacks")
"""Options of the trainer that may end a run before the planned epochs and steps."""

SAME_WITHIN_EPOCH = (("data", "init_args", "batch_size"), ("trainer", "accumulate_grad_batches"))
"""Options that decide which images each step of an epoch gets."""


@dataclass(frozen=True)
class Progress:
    """The progress of a checkpoint's run.

    Attributes:
        epochs: Number of complete epochs.
        steps: Number of optimizer steps.
        within_epoch: Whether it was stopped within an epoch.
    """

    epochs: int
    steps: int
    within_epoch: bool

    def __str__(self) -> str:
        """Describe it in words."""
        amid = f", within epoch {self.epochs + 1}" if self.within_epoch else ""
        return f"{self.epochs} epochs, {self.steps} steps{amid}"


def progress_of(checkpoint: Mapping[str, Any]) -> Progress:
    """The progress of a checkpoint's run."""
    content = checkpoint.get("progress") or {}
    return Progress(
        int(content.get("epochs", checkpoint.get("epoch", 0))),
        int(content.get("steps", checkpoint.get("global_step", 0))),
        bool(content.get("within_epoch", False)),
    )


def at(config: Mapping[str, Any], path: tuple[str, ...]) -> Any:
    """A value in a nested configuration; None if it does not exist."""
    value: Any = config
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def check_same_run(run: Path, before: Mapping[str, Any], now: Mapping[str, Any], done: Progress) -> None:
    """Refuse to resume a run as a different one.

    Args:
        run: The run's folder.
        before: The configuration in its checkpoint.
        now: The requested configuration.
        done: Its progress.

    Raises:
        InputError: If so; the message has the option, both values, and what to do instead.
    """
    differing = changes(same_of(before), same_of(now))
    differing |= changes(*({SEED: config.get(SEED)} for config in (before, now)))
    if differing:
        option, (was, is_now) = next(iter(differing.items()))
        raise InputError(
            f"--{option} is {written(is_now)}, and {run} has {written(was)}: a resumed run keeps it. Start a new "
            f"run, from the weights of this one with --model.pretrained {run} if they fit."
        )
    optimizers = [at(config, ("model", "init_args", "optimizer", "class_path")) for config in (before, now)]
    if optimizers[0] != optimizers[1]:
        raise InputError(
            f"--model.optimizer is {optimizers[1]}, and {run} was trained with {optimizers[0]}, whose state does not "
            "fit another. Its learning rate, weight decay and so on can be changed."
        )
    if done.within_epoch:
        for path in SAME_WITHIN_EPOCH:
            was, is_now = at(before, path), at(now, path)
            if was != is_now:
                name = ".".join(part for part in path if part != "init_args")
                raise InputError(
                    f"--{name} is {is_now}, and {run} was stopped within an epoch with {was}: it can change when "
                    "that epoch is over. Resume without the option first."
                )


def same_of(config: Mapping[str, Any]) -> Decisive:
    """The options of a configuration that a resumed run keeps, including all options of its attention."""
    options = decisive(config)
    return {name: value for name, value in options.items() if name in SAME or name.startswith("model.attention.")}


def written(value: Any) -> str:
    """A value as written on the command line."""
    return value if isinstance(value, str) else json.dumps(value)


def has_stopped(checkpoint: Mapping[str, Any], before: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Whether a callback such as EarlyStopping ended the training of a checkpoint, and the plan has not changed."""
    plan = ("max_epochs", "max_steps", *ENDING)
    return bool(checkpoint.get("stopped")) and all(at(before, ("trainer", n)) == at(now, ("trainer", n)) for n in plan)


def check_length(run: Path, before: Mapping[str, Any], now: Mapping[str, Any], done: Progress) -> str | None:
    """Check whether there is anything left to train.

    Returns:
        None if there is; otherwise a sentence that says that the run is complete and how to extend it.

    Raises:
        InputError: If the requested run is shorter than the finished part.
    """
    asked = {unit: at(now, ("trainer", f"max_{unit}")) for unit in ("epochs", "steps")}
    planned = {unit: at(before, ("trainer", f"max_{unit}")) for unit in ("epochs", "steps")}
    limits = [
        (unit, limit, number)
        for unit, number in (("epochs", done.epochs), ("steps", done.steps))
        if (limit := asked[unit]) is not None and limit >= 0
    ]
    for unit, limit, number in limits:
        if limit < number:
            raise InputError(
                f"--trainer.max_{unit} is {limit}, and {run} has {number} {unit} already: a run cannot become shorter."
            )
    for unit, limit, number in limits:
        if limit == number and not done.within_epoch:
            return f"{run} is complete: {number} of {limit} {unit}. To train longer: --trainer.max_{unit} {2 * limit}."
    same_plan = asked == planned and all(at(before, ("trainer", n)) == at(now, ("trainer", n)) for n in ENDING)
    result = read_json(run / "result.json") or {}
    if same_plan and (result.get("epochs"), result.get("steps")) == (done.epochs, done.steps):
        # Something else ended the run, such as EarlyStopping or --trainer.max_time, and would end it again.
        unit = "epochs" if (asked["epochs"] or -1) > 0 else "steps"
        return (
            f"{run} has ended after {done.epochs} epochs and {done.steps} steps. To train longer: "
            f"--trainer.max_{unit} {2 * (asked[unit] or 1)}."
        )
    return None


class ResumedRun(Callback):
    """Checks that a resumed run has the data it had before, and lets its checkpoints follow a moved folder."""

    def __init__(self, description: Mapping[str, Any]) -> None:
        """Store `description`, the record's entry on the run's data, which must not change."""
        super().__init__()
        self.before = description

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuse different data.

        Raises:
            InputError: If the files or labels of the data set have changed.
        """
        now = trainer.datamodule.describe()  # type: ignore[attr-defined]
        if "fingerprint" in self.before and self.before["fingerprint"] != now.get("fingerprint"):
            raise InputError(
                f"The data differ from the run's: {now.get('data')} with fingerprint {now.get('fingerprint')}, not "
                f"{self.before.get('data')} with {self.before['fingerprint']}. A resumed run keeps its data; to "
                "train its network on others, start a new run with --model.pretrained RUN."
            )

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Redirect the paths that a `ModelCheckpoint` stores to the run's folder, which may have been moved."""
        for callback in trainer.checkpoint_callbacks:
            state = checkpoint.get("callbacks", {}).get(callback.state_key)
            if isinstance(callback, ModelCheckpoint) and state and state.get("dirpath"):
                checkpoint["callbacks"][callback.state_key] = moved(state, state["dirpath"], str(callback.dirpath))

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Apply the plan, also where a task of one's own has a hook of this name."""
        if isinstance(pl_module, Task):
            pl_module.apply_plan()


def moved(value: Any, before: str, now: str) -> Any:
    """The state of a callback with its paths changed to another folder."""
    if isinstance(value, dict):
        return {moved(name, before, now): moved(one, before, now) for name, one in value.items()}
    return now + value.removeprefix(before) if isinstance(value, str) and value.startswith(before) else value
