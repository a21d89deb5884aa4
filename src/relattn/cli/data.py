"""`relattn data make NAME --root DIR`: stand-ins for data sets, in their official layouts."""

import argparse
from pathlib import Path

from relattn.errors import InputError, suggest

NAMES = ("cifar10", "cifar100")


def main(arguments: list[str]) -> int:
    """Generate a data set."""
    parser = argparse.ArgumentParser(
        prog="relattn data",
        description="Generate a stand-in for a data set, in its official layout: the loader of the real set reads it.",
        epilog="example: relattn data make cifar100 --root data",
    )
    parser.add_argument("action", choices=["make"])
    parser.add_argument("name", help=", ".join(NAMES))
    parser.add_argument("--root", type=Path, required=True, help="folder that will hold the set's own folder")
    parser.add_argument("--train", type=int, default=50_000, help="training images")
    parser.add_argument("--test", type=int, default=10_000, help="test images")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    if options.name not in NAMES:
        raise InputError(f"relattn data make: there is no {options.name!r}. {suggest(options.name, NAMES)}")

    from rich.console import Console

    from relattn.synthetic.cifar import write_cifar

    console = Console(stderr=True)
    with console.status(f"Rendering {options.train + options.test:,} images ..."):
        folder = write_cifar(options.root, options.name, train=options.train, test=options.test, seed=options.seed)
    console.print(f"{folder}: {options.train:,} training and {options.test:,} test images", highlight=False)
    return 0
