"""Callbacks of the user's: which of them a command has, and where those that write checkpoints write them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch.callbacks import (
    BackboneFinetuning,
    BaseFinetuning,
    BatchSizeFinder,
    Callback,
    Checkpoint,
    EarlyStopping,
    GradientAccumulationScheduler,
    LearningRateFinder,
    ModelCheckpoint,
    ModelPruning,
    StochasticWeightAveraging,
    Timer,
    WeightAveraging,
)
from torch import nn

from relattn.errors import InputError
from relattn.runs.checkpoint_files import BEST, LAST, PREVIOUS

OF_TRAINING = (
    *(Checkpoint, EarlyStopping, Timer, GradientAccumulationScheduler, BatchSizeFinder, LearningRateFinder),
    *(StochasticWeightAveraging, WeightAveraging, ModelPruning, BaseFinetuning),
)
"""Callbacks that act on training; evaluation, whose network is the checkpoint's, has nothing for them to do."""

RESERVED = {Path(name).stem for name in (LAST, PREVIOUS, BEST)}
"""Names of checkpoints that runs write by themselves."""


def listed(value: Any) -> list[Any]:
    """A list of what may be one, several or nothing."""
    if value is None or isinstance(value, bool):
        return []
    return list(value) if isinstance(value, list | tuple) else [value]


def for_evaluation(callbacks: Sequence[Callback]) -> list[Callback]:
    """The callbacks that validation, test and prediction have."""
    return [callback for callback in callbacks if not isinstance(callback, OF_TRAINING)]


def check_network(callbacks: Sequence[Callback], model: Any) -> None:
    """Refuse callbacks that want another network.

    Args:
        callbacks: The user's.
        model: The task.

    Raises:
        InputError: With the option.
    """
    if any(isinstance(one, BackboneFinetuning) for one in callbacks) and not isinstance(
        getattr(model, "backbone", None), nn.Module
    ):
        raise InputError(
            "BackboneFinetuning: it takes a task whose backbone is a module, and here backbone is a name. "
            "--model.frozen_epochs N trains new parts alone first."
        )
    if getattr(model, "channels_last", False) and any(isinstance(one, ModelPruning) for one in callbacks):
        raise InputError(
            "ModelPruning: torch prunes weights of the usual order of memory only. Give --model.channels_last false."
        )


def place_checkpoints(callbacks: Sequence[Callback], folder: Path) -> None:
    """Let callbacks of the user's write their checkpoints beside the run's own, unless they say where.

    Raises:
        InputError: If one of them would write over the run's own.
    """
    place = (folder / "checkpoints").resolve()
    for callback in callbacks:
        if not isinstance(callback, ModelCheckpoint):
            continue
        if callback.dirpath is None:
            callback.dirpath = str(place)
        if Path(callback.dirpath) != place:
            continue
        callback.save_last = None  # the run's own last.ckpt is that
        if callback.filename in RESERVED and type(callback) is ModelCheckpoint:
            raise InputError(
                f"ModelCheckpoint: filename is {callback.filename!r}, and {callback.filename}.ckpt is the run's own: "
                "expected another name, or a dirpath."
            )
