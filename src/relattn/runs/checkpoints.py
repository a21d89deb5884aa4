"""Atomic checkpoints: written to a temporary file that then replaces the old one, which is kept as the previous one.

`last.ckpt` is from the end of the last epoch and `previous.ckpt` from the one before. If a run is killed while writing,
or its disk is full, both stay as they were.
"""

import io
import pickle
import re
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO

from relattn.errors import InputError, MissingFileError
from relattn.publish import publishing
from relattn.runs.checkpoint_files import BEST, LAST, PREVIOUS, damage_of, newest_whole
from relattn.runs.plain_yaml import plain_yaml

HYPERPARAMETERS = ("hyper_parameters", "datamodule_hyper_parameters")
"""Lightning's entries for `save_hyperparameters`. `config` has the same values, and classes by name."""

LARGE = ("state_dict", "optimizer_states")
"""Entries that hold tensors."""

FOREIGN = re.compile(r"(?:Unsupported global: GLOBAL|Unsupported class|type) (\S+)")
"""Where torch's message names what it refuses to read."""


class Checkpoints(TorchCheckpointIO):
    """Writes checkpoints atomically and reads them without executing anything in them."""

    def __init__(self) -> None:
        """Start without checkpoints."""
        super().__init__()
        self.checked = False
        """Whether a checkpoint of this run was found to be readable."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write a checkpoint; a `last.ckpt` that it replaces becomes `previous.ckpt`.

        Raises:
            InputError: If it cannot be written, for example because the disk is full, or could not be read again;
                existing files stay unchanged.
        """
        file = Path(path)
        checkpoint = {
            name: value for name, value in checkpoint.items() if name not in HYPERPARAMETERS or not unreadable(value)
        }
        for name in () if self.checked else checkpoint.keys() - {*LARGE}:
            if foreign := unreadable(checkpoint[name]):
                raise InputError(
                    f"{file}: its entry {name!r} has {foreign}, which cannot be read without running code. Store "
                    "tensors, numbers, texts, lists and dictionaries, for example in on_save_checkpoint."
                )
        self.checked = True
        try:
            with publishing(file, keep_as=file.with_name(PREVIOUS) if file.name == LAST else None) as stream:
                torch.save(checkpoint, stream)
        except (InputError, RuntimeError) as error:  # torch reports a failed write as a RuntimeError
            then = "Resume from the checkpoint of an earlier epoch" if file.is_file() else "Start the run again"
            said = str(error) if isinstance(error, InputError) else f"{file} cannot be written: {error}"
            raise InputError(f"{said} {then} when there is room.") from error

    def load_checkpoint(
        self, path: Any, map_location: Callable[..., Any] | None = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read a checkpoint on the CPU; nothing in the file is executed, whatever Lightning requests.

        Raises:
            MissingFileError: If the file does not exist.
            InputError: If it is damaged; the message names the previous one, if that is intact.
        """
        return read_whole(Path(path))


def unreadable(value: Any) -> str:
    """What in an entry of a checkpoint cannot be read without running code; empty if all can."""
    stream = io.BytesIO()
    try:
        torch.save(value, stream)
        stream.seek(0)
        torch.load(stream, map_location="cpu", weights_only=True)
    except (pickle.PickleError, AttributeError, TypeError) as error:  # the last two are of what has no module
        return foreign_in(error)
    return ""


def foreign_in(error: Exception) -> str:
    """What torch refused to read or write, by its message."""
    found = FOREIGN.search(str(error))
    return found[1].strip("'`.") if found else " ".join(str(error).split()) or type(error).__name__


def read_file(path: Path) -> dict[str, Any]:
    """Read a PyTorch file on the CPU; nothing in the file is executed.

    Raises:
        MissingFileError: If the file does not exist.
        InputError: If it cannot be read.
    """
    if not path.is_file():
        raise MissingFileError(f"{path}: there is no such checkpoint.")
    try:
        check_members(path)
        content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except InputError:
        raise
    except Exception as error:  # a reader may raise anything on damaged bytes
        # torch's messages are about offsets, or advise to run what is in the file.
        if isinstance(error, pickle.UnpicklingError) and FOREIGN.search(str(error)):
            reason = f"it has {foreign_in(error)}, and only tensors, numbers and texts are read, since code is not run."
        else:
            reason = "it is truncated, damaged, or not a checkpoint."
        raise InputError(f"{path} cannot be read as a checkpoint: {reason}") from error
    return content


def check_members(path: Path) -> None:
    """Refuse an archive that expands when it is read: PyTorch stores tensors uncompressed.

    Raises:
        InputError: If its unpacked size exceeds the size of the file.
    """
    if not zipfile.is_zipfile(path):  # from PyTorch before 1.6
        return
    with zipfile.ZipFile(path) as archive:
        size = sum(member.file_size for member in archive.infolist())
    if size > path.stat().st_size:
        raise InputError(
            f"{path} cannot be read as a checkpoint: its {path.stat().st_size:,} bytes unpack to {size:,}."
        )


def read_checkpoint(checkpoint: Path | str) -> dict[str, Any]:
    """Read a checkpoint of `relattn fit` or `relattn convert`; nothing in the file is executed.

    Raises:
        MissingFileError: If the file does not exist.
        InputError: If it is not a checkpoint of this suite.
    """
    path = Path(checkpoint)
    content = read_file(path)
    kinds = {"config": str, "specification": dict, "state_dict": dict}
    if not isinstance(content, dict) or not all(isinstance(content.get(name), kind) for name, kind in kinds.items()):
        raise InputError(
            f"{path} is not a checkpoint of `relattn fit`, which holds config, specification and state_dict."
        )
    return content


def read_whole(file: Path) -> dict[str, Any]:
    """Read a checkpoint; raises as `Checkpoints.load_checkpoint` does."""
    try:
        return read_file(file)
    except MissingFileError:
        raise
    except InputError as error:
        previous = file.with_name(PREVIOUS)
        try:
            epoch = read_file(previous).get("epoch")
        except InputError:
            raise error from None
        raise InputError(
            f"{error} The checkpoint before it is whole, of epoch {epoch} (from 0): --ckpt_path {previous}."
        ) from None


def find_checkpoint(
    asked: str | Path, *, name: str | None = None, runs: str | Path | None = None, to_train: bool = False
) -> Path:
    """Resolve the `--ckpt_path` option to a file, in the same way for all commands.

    Args:
        asked: A file; a run's folder, for the network that the run tested (with `--best` the best, else the newest
            intact checkpoint); or `last`, for the newest checkpoint of the named run.
        name: Name of the run, with `last`.
        runs: Folder of all runs, with `last`; by default `runs`.
        to_train: Whether training resumes from it; training always resumes from the newest checkpoint.

    Raises:
        MissingFileError: If the file, run or checkpoint does not exist.
        InputError: If `last` is given without a name, or no checkpoint of the run is intact.
    """
    path = Path(asked).expanduser()
    if str(asked) == "last":
        if name is None:
            raise InputError("--ckpt_path last resumes a named run: give --name, or the path of a checkpoint.")
        parent = Path(runs or "runs")
        folders = sorted(task / name for task in parent.iterdir() if (task / name).is_dir()) if parent.is_dir() else []
        if len(folders) != 1:
            listed = ", ".join(map(str, folders)) or f"none in {parent}"
            raise MissingFileError(f"--ckpt_path last --name {name}: expected one run of that name, found {listed}.")
        (path,) = folders
    if path.is_dir():
        best = path / "checkpoints" / BEST
        if not to_train and str(asked) != "last" and best.is_file() and damage_of(best) is None:
            return best
        checkpoint = newest_whole(path)
        if checkpoint.stem != "last":
            warnings.warn(f"{path}: the last checkpoint is damaged, so {checkpoint.name} is used.", stacklevel=2)
        return checkpoint
    if not path.is_file():
        run = " Give the folder of a run for its best or last checkpoint." if str(asked) == "best" else ""
        raise MissingFileError(f"--ckpt_path {asked}: there is no such file.{run}")
    return path


def config_of(checkpoint: Path) -> dict[str, Any]:
    """The configuration stored in a checkpoint, wherever the file is; empty if it has none.

    Raises:
        InputError: If it cannot be read.
    """
    content = read_whole(checkpoint)
    text = content.get("config") if isinstance(content, dict) else None
    try:
        config = plain_yaml(text) if isinstance(text, str) else None
    except InputError as error:
        raise InputError(f"{checkpoint}: its configuration cannot be read: {error}") from error
    return config if isinstance(config, dict) else {}


def run_of(checkpoint: Path) -> Path | None:
    """The folder of the run that a checkpoint belongs to, if it is in one."""
    real = checkpoint.resolve()
    # Names of metrics contain slashes, so checkpoints named after metrics are in subfolders of `checkpoints`.
    deeper = [folder.parent for file in (checkpoint, real) for folder in file.parents if folder.name == "checkpoints"]
    above = [checkpoint.parent, checkpoint.parent.parent, real.parent.parent, *deeper]
    return next((folder for folder in above if (folder / "config.yaml").is_file()), None)
