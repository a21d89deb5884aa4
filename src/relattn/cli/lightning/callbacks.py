"""The user's callbacks: which of them a command uses, and where those that write checkpoints put them."""

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
"""Callbacks that act on training; evaluation leaves them out, since its network comes from the checkpoint."""

RESERVED = {Path(name).stem for name in (LAST, PREVIOUS, BEST)}
"""Names of checkpoints that runs write themselves."""


def listed(value: Any) -> list[Any]:
    """A value that may be a single one, several or none, as a list."""
    if value is None or isinstance(value, bool):
        return []
    return list(value) if isinstance(value, list | tuple) else [value]


def for_evaluation(callbacks: Sequence[Callback]) -> list[Callback]:
    """The callbacks for validation, test and prediction."""
    return [callback for callback in callbacks if not isinstance(callback, OF_TRAINING)]


def check_network(callbacks: Sequence[Callback], model: Any) -> None:
    """Refuse callbacks that require another network.

    Args:
        callbacks: The user's callbacks.
        model: The task.

    Raises:
        InputError: If so; the message names the option.
    """
    if any(isinstance(one, BackboneFinetuning) for one in callbacks) and not isinstance(
        getattr(model, "backbone", None), nn.Module
    ):
        raise InputError(
            "BackboneFinetuning: it takes a task whose backbone is a module, and here backbone is a name. "
            "Use --model.frozen_epochs N instead, which trains the new layers first."
        )
    if getattr(model, "channels_last", False) and any(isinstance(one, ModelPruning) for one in callbacks):
        raise InputError(
            "ModelPruning: torch prunes only weights in the default memory format. Give --model.channels_last false."
        )


def place_checkpoints(callbacks: Sequence[Callback], folder: Path) -> None:
    """Let the user's callbacks write their checkpoints next to the run's own, unless they specify a folder.

    Raises:
        InputError: If one of them would overwrite the run's own.
    """
    place = (folder / "checkpoints").resolve()
    for callback in callbacks:
        if not isinstance(callback, ModelCheckpoint):
            continue
        if callback.dirpath is None:
            callback.dirpath = str(place)
        if Path(callback.dirpath) != place:
            continue
        callback.save_last = None  # because the run writes its own last.ckpt
        if callback.filename in RESERVED and type(callback) is ModelCheckpoint:
            raise InputError(
                f"ModelCheckpoint: filename is {callback.filename!r}, and {callback.filename}.ckpt is the run's own: "
                "expected another name, or a dirpath."
            )
