"""Options shared by several commands: the checkpoint, the device, numbers, and the image size."""

import argparse
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from relattn.errors import InputError
from relattn.printable import printable
from relattn.publish import check_writable

if TYPE_CHECKING:
    from rich.console import Console


def own_path(text: str) -> Path:
    """A path on the command line; `~` is expanded, which shells leave as it is in `--out=~/drawn`."""
    return Path(text).expanduser()


def add_checkpoint(parser: argparse.ArgumentParser, *, required: bool = True, text: str = "") -> None:
    """Add `--ckpt_path`, which takes a file, a run's folder, or `last` with the run's name."""
    text = text or "a checkpoint, or a run's folder for its newest one"
    parser.add_argument("--ckpt_path", metavar="FILE|RUN|last", required=required, help=text)
    parser.add_argument("--name", help="the run's name, with --ckpt_path last")
    parser.add_argument("--runs", type=own_path, help="the folder of all runs, with --ckpt_path last; by default runs")


def checkpoint_file(options: argparse.Namespace, asked: str | None = None) -> Path:
    """The file that `--ckpt_path`, or another option, refers to; see `relattn.runs.checkpoints.find_checkpoint`."""
    from relattn.runs.checkpoints import find_checkpoint

    return find_checkpoint(asked or options.ckpt_path, name=options.name, runs=options.runs)


def add_gpus(parser: argparse.ArgumentParser) -> None:
    """Add `--gpus` for commands that use one device."""
    parser.add_argument(
        "--gpus", help="0 for the CPU, 1 for the first GPU, '2,' for that of index 2; default: 1 if any"
    )


def device_of(gpus: str | None) -> str:
    """The device that `--gpus` specifies, `cpu` or `cuda:<index>`.

    Raises:
        InputError: If it is not a single device, or the device does not exist.
    """
    if gpus == "0":
        return "cpu"
    if gpus is None:
        import torch

        return "cuda:0" if torch.cuda.is_available() else "cpu"
    if gpus != "1" and not re.fullmatch(r"\d+,", gpus):
        raise InputError(
            f"--gpus is {gpus!r}, and this command uses one device: give 0 for the CPU, 1 for the first GPU, or an "
            "index with a comma, such as '2,'."
        )
    from relattn.cli.lightning.commands import check_gpus

    index = 0 if gpus == "1" else int(gpus.rstrip(","))
    check_gpus("gpu", [index])
    return f"cuda:{index}"


def check_numbers(options: argparse.Namespace, *names: str) -> None:
    """Refuse numbers below 1, and a negative number of workers."""
    least = {**dict.fromkeys(names, 1), "workers": 0}
    for name, minimum in least.items():
        value = getattr(options, name, None)
        if value is not None and value < minimum:
            raise InputError(f"--{name} is {value}, expected at least {minimum}.")


def check_free(folder: Path) -> None:
    """Refuse to write into a folder that is not empty.

    Raises:
        InputError: If the folder is not empty, a file is in its place, or nothing can be written there.
    """
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise InputError(f"--out {folder} exists, and nothing is overwritten. Choose another --out, or remove it.")
    check_writable(folder)


def height_and_width(text: str) -> tuple[int, int]:
    """Parse `64x32` as height and width."""
    match = re.fullmatch(r"(\d+)x(\d+)", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not height x width, such as 64x32")
    return int(match[1]), int(match[2])


def say(console: "Console", text: Any) -> None:
    """Print a line as it is: without markup, without control characters, and without wrapping."""
    console.print(printable(text), markup=False, highlight=False, soft_wrap=True)
