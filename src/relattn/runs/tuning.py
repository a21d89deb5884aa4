"""Applies the results of Lightning's tuners, a learning rate and a batch size, to the run, and records them.

A run states what it was trained with, so its configuration has these numbers and not the tuner. It can be repeated and
resumed without another search.
"""

from collections.abc import Callable, Mapping
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import BatchSizeFinder, Callback, LearningRateFinder

from relattn.errors import InputError
from relattn.tasks.base import Task
from relattn.tasks.plan import planned_steps
from relattn.tasks.run_outputs import rehearses

TUNERS = (LearningRateFinder, BatchSizeFinder)


class Tuned(Callback):
    """Applies the results of tuners, which Lightning calls before any other callback."""

    def __init__(self, report: Callable[[Mapping[str, float]], None]) -> None:
        """Call `report` with the results, by option."""
        super().__init__()
        self.report = report

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Plan the run with the results.

        Raises:
            InputError: If no learning rate was found.
        """
        callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
        tuners = [callback for callback in callbacks if isinstance(callback, TUNERS)]
        if not tuners or rehearses(trainer) or not isinstance(pl_module, Task):
            return
        found: dict[str, float] = {}
        for tuner in tuners:
            if isinstance(tuner, LearningRateFinder):
                rate = tuner.optimal_lr.suggestion() if tuner.optimal_lr is not None else None
                if rate is None:
                    raise InputError(
                        f"LearningRateFinder: {planned_steps(trainer):g} steps are too few to find a "
                        "learning rate by. Give more --trainer.max_epochs, or --model.optimizer.lr instead."
                    )
                found["model.optimizer.lr"] = float(rate)
            elif tuner.optimal_batch_size is not None:
                found["data.batch_size"] = tuner.optimal_batch_size
        trainer.callbacks = [one for one in callbacks if one not in tuners]  # type: ignore[attr-defined]
        for metric in pl_module.training_metrics.values():
            metric.reset()  # type: ignore[operator]
        if pl_module.optimizer_options:
            pl_module.plan_steps()
        self.report(found)


def has_tuners(callbacks: list[Callback]) -> bool:
    """Whether a run first searches for a learning rate or a batch size."""
    return any(isinstance(callback, TUNERS) for callback in callbacks)


def with_found(config: dict[str, Any], found: Mapping[str, float]) -> dict[str, Any]:
    """A configuration with the results, in place of the callbacks that found them."""
    for option, value in found.items():
        section, *path = option.split(".")
        arguments = config[section]["init_args"]
        for name in path[:-1]:
            arguments = arguments[name]["init_args"]
        arguments[path[-1]] = value
    names = {tuner.__name__ for tuner in TUNERS}
    callbacks = config["trainer"].get("callbacks")
    entries = callbacks if isinstance(callbacks, list) else [callbacks] if callbacks else []
    kept = [entry for entry in entries if str(entry["class_path"]).rpartition(".")[2] not in names]
    config["trainer"]["callbacks"] = kept or None
    return config
