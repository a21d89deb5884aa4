"""A trained task from its checkpoint, without a trainer and without its data."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
import yaml
from jsonargparse import ArgumentParser

from relattn.errors import InputError, MissingFileError
from tasks.base import Task


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
        raise InputError(f"{path} cannot be read as a checkpoint: {error}") from error
    return content


def read(checkpoint: Path | str) -> dict[str, Any]:
    """Read a checkpoint of `relattn fit` or `relattn convert`; nothing in the file is run.

    Raises:
        MissingFileError: If there is no such file.
        InputError: If it is no checkpoint of the suite's.
    """
    path = Path(checkpoint)
    content = content_of(path)
    if not isinstance(content, dict) or not {"config", "shapes", "state_dict"} <= content.keys():
        raise InputError(f"{path} is no checkpoint of `relattn fit`, which hold config, shapes and state_dict.")
    return content


def load(checkpoint: Path | str) -> Task:
    """Build a task as its checkpoint says, with its weights, in evaluation mode on the CPU; raises as `read` does."""
    content = read(checkpoint)
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(Task, "model", fail_untyped=False)
    model = {**yaml.safe_load(content["config"])["model"]}
    model["init_args"] = {**model["init_args"], "pretrained": False}  # the weights are the checkpoint's
    task: Task = parser.instantiate(parser.parse_object({"model": model})).model
    task.assemble(SimpleNamespace(**content["shapes"]))  # type: ignore[arg-type]
    task.load_state_dict(content["state_dict"])
    return task.eval()
