"""`relattn verify`: whether two images show the same identity, with a network for faces or people."""

import argparse
from typing import TYPE_CHECKING

from relattn.cli.embed import network_of
from relattn.cli.options import add_checkpoint, add_gpus, own_path, say
from relattn.errors import InputError, MissingFileError

if TYPE_CHECKING:
    from torch import Tensor

    from relattn.tasks.embedding_task import EmbeddingTask

EXAMPLES = """examples:
  relattn verify anna.jpg bert.jpg --ckpt_path runs/face/NAME
  relattn verify anna.jpg bert.jpg --ckpt_path last.ckpt --threshold 1.2
  relattn verify anna.jpg bert.jpg --ckpt_path last.ckpt --landmarks landmarks.csv
"""


def parse(arguments: list[str]) -> argparse.Namespace:
    """Read the options."""
    parser = argparse.ArgumentParser(
        prog="relattn verify",
        description="Compare two images: print the squared distance of their features, the threshold, the decision.\n"
        "Pictures may have any size. Faces must be aligned as in training: by --landmarks, or beforehand by\n"
        "`relattn align`. Without landmarks, the centre of each picture is used as it is.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("images", type=own_path, nargs=2, metavar="IMAGE", help="an image of one identity")
    add_checkpoint(parser, text="a network whose features are compared: a checkpoint, or a run's folder")
    parser.add_argument(
        "--threshold",
        type=float,
        help="squared distance, from 0 to 4, below which two images show one identity; by default the checkpoint's: "
        "the mean threshold of its last validation",
    )
    parser.add_argument(
        "--landmarks",
        type=own_path,
        metavar="FILE.csv",
        help="five points of each face, in the format of relattn align",
    )
    parser.add_argument(
        "--template",
        choices=["112x112", "112x96", "128x128"],
        help="height and width to which --landmarks align, as in relattn align; by default the network's image size if "
        "it is one of them, otherwise 112x112",
    )
    add_gpus(parser)
    options = parser.parse_args(arguments)
    if options.threshold is not None and not 0 <= options.threshold <= 4:
        raise InputError(f"--threshold is {options.threshold}, expected a squared distance from 0 to 4.")
    if options.template and not options.landmarks:
        raise InputError(f"--template {options.template} says how --landmarks align the faces: give both, or neither.")
    for image in options.images:
        if not image.is_file():
            raise MissingFileError(f"{image}: there is no such image.")
    return options


def threshold_of(task: "EmbeddingTask", options: argparse.Namespace) -> tuple[float, str]:
    """The threshold, and where it comes from.

    Raises:
        InputError: If `--threshold` is missing and the checkpoint has none.
    """
    if options.threshold is not None:
        return options.threshold, "--threshold"
    threshold = task.threshold_of_decisions()
    if threshold is None:
        raise InputError(
            f"{options.ckpt_path} has no threshold. Give one with --threshold: for faces `relattn test --ckpt_path "
            "RUN` finds it and writes it into result.json (test/threshold)."
        )
    return threshold, "mean of the folds and verification sets of the last validation"


def features_of(task: "EmbeddingTask", options: argparse.Namespace) -> "Tensor":
    """The features of the two images, `(2, D)`, aligned by a table of landmarks if one is given."""
    import torch

    from relattn.tasks.decoding import read_image

    preprocessing = task.preprocessing()
    read = [read_image(image) for image in options.images]
    if options.landmarks is not None:
        read = [
            task.aligned(picture, options.landmarks, image, options.template)
            for picture, image in zip(read, options.images, strict=True)
        ]
    pixels = torch.stack([torch.from_numpy(preprocessing(picture)) for picture in read])
    with torch.inference_mode():
        features: Tensor = task(pixels.permute(0, 3, 1, 2).to(task.device))
    return features


def main(arguments: list[str]) -> int:
    """Compare two images."""
    options = parse(arguments)
    task = network_of(options, flip=None).task
    from rich.console import Console

    from relattn.metrics.verification import pair_distances

    threshold, source = threshold_of(task, options)
    distance = float(pair_distances(features_of(task, options))[0])
    console = Console()
    say(console, f"distance   {distance:.4f} (squared, between features of length 1)")
    say(console, f"threshold  {threshold:.4f} ({source})")
    say(console, f"decision   {'same identity' if distance < threshold else 'different identities'}")
    return 0
