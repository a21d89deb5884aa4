"""`relattn data make NAME --root DIR`: stand-ins for data sets, in their official layouts; `data check` is beside."""

import argparse
import inspect
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, cast

from relattn.errors import InputError, suggest

OBJECTS = ("cifar10", "cifar100")
PEOPLE = ("market1501", "duke", "cuhk03", "msmt17")
FACES, STREETS = "faces", "cityscapes"
NAMES = (*OBJECTS, *PEOPLE, FACES, STREETS)

COUNTS = {
    "train": "training images (cifar10, cifar100, cityscapes)",
    "test": "test images (cifar10, cifar100), or images without labels (cityscapes)",
    "val": "validation images (cityscapes)",
    "height": "height of the images in pixels, half their width (cityscapes)",
    "train_identities": "people to train with (market1501, duke, cuhk03, msmt17)",
    "test_identities": "people to search for (market1501, duke, cuhk03, msmt17)",
    "images_per_camera": "mean number of images of a person by a camera (market1501)",
    "cameras": "number of cameras (market1501)",
    "junk": "badly cropped gallery images (market1501)",
    "distractors": "gallery images of nobody searched for (market1501), or people seen by one camera only (duke)",
    "version": "1 or 2 (msmt17)",
    "identities": "people to train with (faces)",
    "images_per_identity": "photographs of each of them (faces)",
    "pairs": "pairs of each pack, a multiple of 20 (faces)",
    "size": "height and width of the images in pixels (faces)",
    "seed": "the same seed gives the same images",
}
PREVIEWED = 8  # people on a contact sheet


def main(arguments: list[str]) -> int:
    """Generate a data set, or check one."""
    if arguments[:1] == ["check"]:
        from relattn.cli.data_check import main as check

        return check(arguments[1:])
    parser = argparse.ArgumentParser(
        prog="relattn data",
        description="Generate a stand-in for a data set, in its official layout: the loader of the real set reads it.\n"
        "`relattn data check` decodes every image of a set, whoever made it; see relattn data check --help.",
        epilog="example: relattn data make cifar100 --root data",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("action", choices=["make", "check"])
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
    if options.name == FACES:
        content = f"{counts['identities']:,} training identities and five packs of {counts['pairs']:,} pairs"
    elif options.name == STREETS:
        content = f"{counts['train']:,} training and {counts['val']:,} validation streets"
    else:
        unit = "images" if options.name in OBJECTS else "identities"
        train, test = (counts[split if unit == "images" else f"{split}_identities"] for split in ("train", "test"))
        content = f"{train:,} training and {test:,} test {unit}"
    console = Console(stderr=True)
    with console.status(f"Rendering {content} ..."):
        folder = write(options.root, **given)
        if options.preview:
            preview(options.name, options.preview, counts)
    console.print(f"{folder}: {content}", highlight=False)
    if options.preview:
        console.print(f"{options.preview}: a row for each of {PREVIEWED} people, a column a camera", highlight=False)
    return 0


def writer(name: str) -> Callable[..., Path]:
    """The function that writes a set; it takes the root, and as keywords the options that apply to the set."""
    if name in OBJECTS:
        from relattn.synthetic.objects.layouts import write_cifar

        return partial(write_cifar, name=cast(Any, name))
    if name == FACES:
        from relattn.synthetic.faces.layouts import write_faces

        return write_faces
    if name == STREETS:
        return write_streets
    from relattn.synthetic.people import layouts

    return getattr(layouts, f"write_{name}")


def write_streets(
    root: Path, *, train: int = 300, val: int = 60, test: int = 0, height: int = 128, seed: int = 0
) -> Path:
    """Write streets twice as wide as high, see `relattn.synthetic.streets.layouts.write_cityscapes`."""
    from relattn.synthetic.streets.layouts import write_cityscapes

    return write_cityscapes(root, train=train, val=val, test=test, size=(height, 2 * height), seed=seed)


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

    from relattn.synthetic.people.cameras import World

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
