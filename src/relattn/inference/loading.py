"""Loads a trained task from its checkpoint, without a trainer and without its data."""

from pathlib import Path

from torch import Tensor

from relattn.errors import InputError
from relattn.inference.bounded import Bounded
from relattn.runs.checkpoints import read_checkpoint
from relattn.runs.stored_config import build_from_config, section_of
from relattn.tasks.base import Task
from relattn.tasks.data import Data
from relattn.tasks.transfer import fill_unused

SPARE = 256 * 2**20
"""Bytes that building a network may take in addition to twice the size of its checkpoint."""

TRAINING_ARGUMENTS = ("optimizer", "schedule")
"""Arguments of a task that concern training; inference leaves out the classes that they name."""


def load_task(checkpoint: Path | str) -> Task:
    """Build a task from the configuration in its checkpoint, with its weights, in evaluation mode on the CPU.

    Raises:
        MissingFileError: If the file does not exist.
        InputError: If it is not a checkpoint of this suite, its weights do not fit the network, or it names classes
            that are not allowed in one (`relattn.runs.stored_config`).
    """
    content = read_checkpoint(checkpoint)
    room = Path(checkpoint).stat().st_size
    model = section_of(content, "model", str(checkpoint))
    model["init_args"]["pretrained"] = False  # the weights come from the checkpoint
    for name in TRAINING_ARGUMENTS:
        model["init_args"].pop(name, None)
    try:
        with Bounded(2 * room + SPARE, f"{checkpoint}: its network"):
            task = build_from_config(Task, model, str(checkpoint))  # type: ignore[type-abstract]
            task.assemble(dict(content["specification"]))
    except InputError as error:
        if str(checkpoint) in str(error):
            raise
        raise InputError(f"{checkpoint}: {error}") from error
    except Exception as error:  # an untrusted specification may contain anything
        raise InputError(f"{checkpoint}: its network cannot be built: {error or type(error).__name__}") from error
    state = content["state_dict"]
    if not all(isinstance(name, str) and isinstance(value, Tensor) for name, value in state.items()):
        raise InputError(f"{checkpoint}: its state_dict has entries that are not named tensors.")
    state = dict(state)
    fill_unused(task, state, task.training_only())
    try:
        task.load_state_dict(state)
    except (RuntimeError, TypeError, ValueError) as error:
        raise InputError(f"{checkpoint}: its weights are not those of its network. {error}") from error
    return task.eval()


def load_data(checkpoint: Path | str, root: Path | str | None = None) -> Data:
    """Build the data set of a checkpoint's run without setting it up: no file is read.

    Args:
        checkpoint: A checkpoint of `relattn fit`.
        root: Folder of the data, if they have moved.

    Raises:
        InputError: If it cannot be built.
    """
    config = section_of(read_checkpoint(checkpoint), "data", str(checkpoint))
    if root is not None:
        config["init_args"]["root"] = str(root)
    return build_from_config(Data, config, str(checkpoint))  # type: ignore[type-abstract]
