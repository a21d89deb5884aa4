"""Checkpoints that are whole or not there: written beside the old one, which is replaced at once and kept as previous.

`last.ckpt` is the end of the last epoch and `previous.ckpt` the one before. A run that is killed while it writes, or
whose disk is full, leaves both as they were.
"""

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO

from relattn.errors import InputError, MissingFileError
from relattn.inference.loading import content_of

PREVIOUS = "previous.ckpt"


class Checkpoints(TorchCheckpointIO):
    """Writes checkpoints atomically and reads them without running anything in them."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write a checkpoint; the one that it replaces becomes `previous.ckpt`.

        Raises:
            InputError: If it cannot be written, for example because the disk is full; what was there stays.
        """
        file = Path(path)
        file.parent.mkdir(parents=True, exist_ok=True)
        beside = file.with_name(f".{file.name}.{os.getpid()}")
        try:
            with beside.open("wb") as stream:
                torch.save(checkpoint, stream)
                stream.flush()
                os.fsync(stream.fileno())
            if file.is_file():
                link = beside.with_name(f"{beside.name}.previous")
                os.link(file, link)  # at no moment is there neither
                link.replace(file.with_name(PREVIOUS))
            beside.replace(file)
        except (OSError, RuntimeError) as error:
            with contextlib.suppress(OSError):
                beside.unlink()
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            kept = f"{file} of an earlier epoch is kept; go on from it" if file.is_file() else "start the run again"
            raise InputError(
                f"The checkpoint {file} could not be written: {reason}. {kept[0].upper()}{kept[1:]} when there is room."
            ) from error

    def load_checkpoint(
        self, path: Any, map_location: Callable[..., Any] | None = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read a checkpoint on the CPU; nothing in the file is run, whatever Lightning asks for.

        Raises:
            MissingFileError: If there is no such file.
            InputError: If it is damaged; the message names the previous one, if that is whole.
        """
        return whole(Path(path))


def whole(file: Path) -> dict[str, Any]:
    """The content of a checkpoint; as `Checkpoints.load_checkpoint`."""
    try:
        return content_of(file)
    except MissingFileError:
        raise
    except InputError as error:
        previous = file.with_name(PREVIOUS)
        try:
            epoch = content_of(previous).get("epoch")
        except InputError:
            raise error from None
        raise InputError(
            f"{error} The checkpoint before it is whole, of epoch {epoch} (from 0): --ckpt_path {previous}."
        ) from None


def last_of(run: Path) -> Path:
    """The newest whole checkpoint of a run's folder.

    Raises:
        MissingFileError: If the run has no checkpoint.
        InputError: If it has some and none is whole.
    """
    files = [run / "checkpoints" / name for name in ("last.ckpt", PREVIOUS)]
    found = [file for file in files if file.is_file()]
    if not found:
        raise MissingFileError(f"{run} has no checkpoint: no epoch of it was finished. Start it again.")
    errors = []
    for file in found:
        try:
            content_of(file)
        except InputError as error:
            errors.append(str(error))
            continue
        return file
    raise InputError(f"No checkpoint of {run} is whole: {' '.join(errors)}")
