"""`relattn verify`: whether two images of faces show one person, by a trained network of faces."""

import argparse
import math
from pathlib import Path
from typing import TYPE_CHECKING

from relattn.cli.embed import network_of, say
from relattn.errors import InputError, MissingFileError

if TYPE_CHECKING:
    from torch import Tensor

    from relattn.tasks.face import Face

EXAMPLES = """examples:
  relattn verify anna.jpg bert.jpg --checkpoint runs/face/NAME/checkpoints/last.ckpt
  relattn verify anna.jpg bert.jpg --checkpoint last.ckpt --threshold 1.2
"""


def parse(arguments: list[str]) -> argparse.Namespace:
    """Read the options."""
    parser = argparse.ArgumentParser(
        prog="relattn verify",
        description="Compare two faces: print the squared distance of their features, the threshold and the decision.\n"
        "The images show aligned faces, as those of training do; the centre of each is taken.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("images", type=Path, nargs=2, metavar="IMAGE", help="an image of one face")
    parser.add_argument("--checkpoint", "--ckpt", type=Path, required=True, help="a network of faces")
    parser.add_argument(
        "--threshold",
        type=float,
        help="squared distance, from 0 to 4, below which two faces are one person's; by default the checkpoint's: the "
        "mean threshold of its last validation",
    )
    parser.add_argument(
        "--gpus", help="0 for the CPU, 1 for the first GPU, '2,' for that of index 2; default: 1 if any"
    )
    options = parser.parse_args(arguments)
    if options.threshold is not None and not 0 <= options.threshold <= 4:
        raise InputError(f"--threshold is {options.threshold}, expected a squared distance from 0 to 4.")
    for image in options.images:
        if not image.is_file():
            raise MissingFileError(f"{image}: there is no such image.")
    return options


def threshold_of(task: "Face", options: argparse.Namespace) -> tuple[float, str]:
    """The threshold, and where it comes from.

    Raises:
        InputError: If it is not given, and the checkpoint has none.
    """
    if options.threshold is not None:
        return options.threshold, "--threshold"
    threshold = float(task.threshold)  # type: ignore[arg-type]
    if math.isnan(threshold):
        raise InputError(
            f"{options.checkpoint} has no threshold, since no validation came before it. Give one with --threshold: "
            "`relattn test --ckpt_path FILE` finds it and writes it into result.json (test/threshold)."
        )
    return threshold, "mean of the folds and packs of the last validation"


def features_of(task: "Face", images: list[Path]) -> "Tensor":
    """The features of images, `(N, D)`."""
    import torch

    from relattn.tasks.images import read_image

    prepare = task.preparation()
    pixels = torch.stack([torch.from_numpy(prepare(read_image(image))) for image in images])
    with torch.inference_mode():
        features: Tensor = task(pixels.permute(0, 3, 1, 2).to(task.device))
    return features


def main(arguments: list[str]) -> int:
    """Compare two images."""
    options = parse(arguments)
    network = network_of(options, flip=None)
    from rich.console import Console

    from relattn.metrics.verification import pair_distances
    from relattn.tasks.face import Face

    task = network.task
    if not isinstance(task, Face):
        raise InputError(
            f"{options.checkpoint} is a checkpoint of {type(task).__name__}. Expected one of Face, which "
            "`relattn fit --task face` writes."
        )
    threshold, source = threshold_of(task, options)
    distance = float(pair_distances(features_of(task, options.images))[0])
    console = Console()
    say(console, f"distance   {distance:.4f} (squared, between features of length 1)")
    say(console, f"threshold  {threshold:.4f} ({source})")
    say(console, f"decision   {'same person' if distance < threshold else 'different people'}")
    return 0
