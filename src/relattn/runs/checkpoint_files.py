"""The checkpoint files of a run: which exist, which are intact, and which to resume from. Does not import torch.

A PyTorch checkpoint is a zip archive whose members have checksums, so damage can be detected without interpreting the
file.
"""

import zipfile
from pathlib import Path

from relattn.errors import InputError, MissingFileError, some_of

LAST, PREVIOUS = "last.ckpt", "previous.ckpt"
"""The checkpoint of the last epoch (or of an interruption), and the one before, which it replaced."""

BEST = "best.ckpt"
"""The checkpoint that a run with `--best` chose and tested."""


def damage_of(file: Path) -> str | None:
    """Why a checkpoint file is damaged; None if it is intact.

    Raises:
        MissingFileError: If the file does not exist.
    """
    if not file.is_file():
        raise MissingFileError(f"{file}: there is no such checkpoint.")
    try:
        with zipfile.ZipFile(file) as archive:
            bad = archive.testzip()
    except (zipfile.BadZipFile, OSError, EOFError, ValueError, NotImplementedError) as error:
        return str(error) or type(error).__name__
    return None if bad is None else f"its member {bad} is damaged"


def newest_whole(run: Path) -> Path:
    """The checkpoint to resume from: the newest intact one in a run's folder.

    Raises:
        MissingFileError: If the run has no checkpoint.
        InputError: If it has checkpoints but none is intact.
    """
    files = [file for name in (LAST, PREVIOUS) if (file := run / "checkpoints" / name).is_file()]
    if not files and not (run / "config.yaml").is_file():
        within = sorted(file.parent.name for file in run.glob("*/config.yaml"))
        runs = f" It has the runs {some_of(within)}: give one of their folders." if within else ""
        raise MissingFileError(f"{run} is not the folder of a run, which has config.yaml and checkpoints.{runs}")
    if not files:
        raise MissingFileError(f"{run} has no checkpoint: no epoch of it was finished. Start it again.")
    damaged = []
    for file in files:
        damage = damage_of(file)
        if damage is None:
            return file
        damaged.append(f"{file} ({damage})")
    raise InputError(f"No checkpoint of {run} is whole: {', '.join(damaged)}. Start the run again.")
