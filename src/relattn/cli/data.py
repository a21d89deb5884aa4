"""`relattn data make NAME --root DIR`: stand-ins for data sets, in their official layouts."""

import argparse
import inspect
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, cast

from relattn.errors import InputError, suggest

OBJECTS = ("cifar10", "cifar100")
PEOPLE = ("market1501", "duke", "cuhk03", "msmt17")
NAMES = (*OBJECTS, *PEOPLE)

COUNTS = {
    "train": "training images (cifar10, cifar100)",
    "test": "test images (cifar10, cifar100)",
    "train_identities": "people to train with (all but cifar10, cifar100)",
    "test_identities": "people to search for (all but cifar10, cifar100)",
    "images_per_camera": "mean number of images of a person by a camera (market1501)",
    "cameras": "number of cameras (market1501)",
    "junk": "badly cropped gallery images (market1501)",
    "distractors": "gallery images of nobody searched for (market1501), or people seen by one camera only (duke)",
    "version": "1 or 2 (msmt17)",
    "seed": "the same seed gives the same images",
}
PREVIEWED = 8  # people on a contact sheet


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
    for count, text in COUNTS.items():
        parser.add_argument(f"--{count}", type=int, metavar="N", help=text)
    parser.add_argument(
        "--preview", type=Path, metavar="FILE.png", help="also draw a contact sheet: a row a person, a column a camera"
    )
    options = parser.parse_args(arguments)
    if options.name not in NAMES:
        raise InputError(f"relattn data make: there is no {options.name!r}. {suggest(options.name, NAMES)}")

    from rich.console import Console

    write = writer(options.name)
    known = {name: value.default for name, value in inspect.signature(write).parameters.items() if name in COUNTS}
    given = {name: vars(options)[name] for name in COUNTS if vars(options)[name] is not None}
    if options.preview and options.name not in PEOPLE:
        raise InputError(f"relattn data make: --preview is for {', '.join(PEOPLE)}; {options.name} has no cameras.")
    if options.preview and options.preview.suffix != ".png":
        raise InputError(f"relattn data make: --preview is {options.preview}, expected a name that ends in .png.")
    for name in given:
        if name not in known:
            raise InputError(
                f"relattn data make: --{name} does not apply to {options.name}; its options are --root, "
                f"{', '.join(f'--{option}' for option in known)}{' and --preview' if options.name in PEOPLE else ''}."
            )
    counts = known | given
    unit = "images" if options.name in OBJECTS else "identities"
    train, test = (counts[split if unit == "images" else f"{split}_identities"] for split in ("train", "test"))
    console = Console(stderr=True)
    with console.status(f"Rendering {train + test:,} {unit} ..."):
        folder = write(options.root, **given)
        if options.preview:
            preview(options.name, options.preview, counts)
    console.print(f"{folder}: {train:,} training and {test:,} test {unit}", highlight=False)
    if options.preview:
        console.print(f"{options.preview}: a row for each of {PREVIEWED} people, a column a camera", highlight=False)
    return 0


def writer(name: str) -> Callable[..., Path]:
    """The function that writes a set; it takes the root, and as keywords the options that apply to the set."""
    if name in OBJECTS:
        from relattn.synthetic.cifar import write_cifar

        return partial(write_cifar, name=cast(Any, name))
    from relattn.synthetic import reid

    return getattr(reid, f"write_{name}")


def preview(name: str, file: Path, counts: dict[str, Any]) -> None:
    """Write a contact sheet: one image of each of the first people by each camera, whether the set has it or not.

    Args:
        name: A set of people.
        file: The PNG to write.
        counts: The set's options.

    Raises:
        InputError: If it cannot be written.
    """
    import cv2
    import numpy as np

    from relattn.synthetic.cameras import World

    world = World(name, counts["seed"], counts.get("cameras"))
    rows = [
        np.concatenate([world.images(person, camera, 1)[0] for camera in range(len(world.cameras))], axis=1)
        for person in range(1, PREVIEWED + 1)
    ]
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(cv2.imencode(".png", np.concatenate(rows)[..., ::-1])[1].tobytes())
    except OSError as error:
        raise InputError(f"relattn data make: --preview {file} cannot be written: {error.strerror}.") from error
