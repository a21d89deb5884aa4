"""A trained task from its checkpoint, without a trainer and without its data."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from relattn.errors import InputError, MissingFileError
from relattn.runs.stored_config import built, part_of
from relattn.tasks.base import Task


def content_of(path: Path) -> dict[str, Any]:
    """What a file of PyTorch's holds, on the CPU; nothing in the file is run.

    Raises:
        MissingFileError: If there is no such file.
        InputError: If it cannot be read.
    """
    if not path.is_file():
        raise MissingFileError(f"{path}: there is no such checkpoint.")
    try:
        content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged bytes make a reader raise anything
        raise InputError(f"{path} cannot be read as a checkpoint: {str(error) or type(error).__name__}") from error
    return content


def read(checkpoint: Path | str) -> dict[str, Any]:
    """Read a checkpoint of `relattn fit` or `relattn convert`; nothing in the file is run.

    Raises:
        MissingFileError: If there is no such file.
        InputError: If it is no checkpoint of the suite's.
    """
    path = Path(checkpoint)
    content = content_of(path)
    kinds = {"config": str, "shapes": dict, "state_dict": dict}
    if not isinstance(content, dict) or not all(isinstance(content.get(name), kind) for name, kind in kinds.items()):
        raise InputError(f"{path} is no checkpoint of `relattn fit`, which hold config, shapes and state_dict.")
    return content


def load(checkpoint: Path | str) -> Task:
    """Build a task as its checkpoint says, with its weights, in evaluation mode on the CPU.

    Raises:
        MissingFileError: If there is no such file.
        InputError: If it is no checkpoint of the suite's, its weights do not fit the network, or it names classes that
            do not belong in one (`relattn.runs.stored_config`).
    """
    content = read(checkpoint)
    model = part_of(content, "model", str(checkpoint))
    model["init_args"]["pretrained"] = False  # the weights are the checkpoint's
    task = built(Task, model, str(checkpoint))
    task.assemble(SimpleNamespace(**content["shapes"]))  # type: ignore[arg-type]
    try:
        task.load_state_dict(content["state_dict"])
    except RuntimeError as error:
        raise InputError(f"{checkpoint}: its weights are not those of its network. {error}") from error
    return task.eval()
