"""Images per second at which stand-ins for data sets are written: people, streets, faces and objects.

    python benchmarks/generated_data.py

One side draws and writes a small set in its official layout, as `relattn data make` does. The other side only encodes
and writes the pixels of the same files again, in the same formats, which is the upper limit. `difference` is the number
of files that differ when the same set is drawn twice.
"""

import argparse
import filecmp
import itertools
import pickle
import tempfile
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from claims import parser, report

from relattn.costs.side_by_side import Claim, seconds, take_turns
from relattn.synthetic.faces.layouts import write_faces
from relattn.synthetic.objects.layouts import write_cifar
from relattn.synthetic.people.layouts import write_market1501
from relattn.synthetic.staging import MARKER
from relattn.synthetic.streets.layouts import write_cityscapes

QUALITY = {".jpg": [cv2.IMWRITE_JPEG_QUALITY, 90], ".png": [cv2.IMWRITE_PNG_COMPRESSION, 3]}


def writers(quick: bool) -> dict[str, Callable[[Path], Path]]:
    """For each kind of set, a function that writes a small one into a folder."""
    identities, streets, faces, objects = (2, 1, 2, 100) if quick else (12, 6, 12, 2_000)
    size, side = ((64, 128), 32) if quick else ((512, 1024), 112)
    extra = {"junk": 0, "distractors": 0, "test_identities": 1}
    return {
        "people, 128x64": lambda root: write_market1501(root, train_identities=identities, **extra),
        f"streets, {size[0]}x{size[1]}": lambda root: write_cityscapes(root, train=streets, val=1, size=size),
        f"faces, {side}x{side}": lambda root: write_faces(
            root, identities=faces, images_per_identity=8, pairs=20, size=side
        ),
        "objects, 32x32": lambda root: write_cifar(root, "cifar10", train=objects, test=10),
    }


def anew(file: Path) -> tuple[int, Callable[[Path], object]]:
    """The number of images in a file, and a function that encodes their pixels from memory into another file."""
    if file.suffix in (".png", ".jpg"):
        pixels = cv2.imread(str(file), cv2.IMREAD_UNCHANGED)
        counted = int("_gtFine_" not in file.name)  # the labels of a street belong to its image
        return counted, lambda to: to.write_bytes(cv2.imencode(file.suffix, pixels, QUALITY[file.suffix])[1].tobytes())
    if file.name == MARKER:
        mark = file.read_bytes()
        return 0, lambda to: to.write_bytes(mark)
    content = pickle.loads(file.read_bytes())  # noqa: S301 - written above
    if file.suffix == ".bin":
        bins, same = content
        decoded = [cv2.imdecode(np.frombuffer(image, np.uint8), cv2.IMREAD_COLOR) for image in bins]

        def write_pack(to: Path) -> None:
            encoded = [cv2.imencode(".jpg", pixels, QUALITY[".jpg"])[1].tobytes() for pixels in decoded]
            to.write_bytes(pickle.dumps((encoded, same), protocol=4))

        return len(bins), write_pack
    return len(content.get("data", ())), lambda to: to.write_bytes(pickle.dumps(content, protocol=2))


def differing(one: Path, two: Path) -> int:
    """Number of files that differ between two folders."""
    names = [sorted(file.relative_to(folder) for file in folder.rglob("*") if file.is_file()) for folder in (one, two)]
    if names[0] != names[1]:
        return len(set(names[0]) ^ set(names[1]))
    return len(filecmp.cmpfiles(one, two, names[0], shallow=False)[1])


def measure(kind: str, write: Callable[[Path], Path], asked: argparse.Namespace) -> Claim:
    """Time one kind of set."""
    with tempfile.TemporaryDirectory() as folder:
        root, numbers = Path(folder), itertools.count()
        first, second = write(root / "first"), write(root / "second")
        files = [file for file in sorted(first.rglob("*")) if file.is_file()]
        counts, ways = zip(*map(anew, files), strict=True)

        def generate() -> float:
            to = root / str(next(numbers))
            return sum(counts) / seconds(lambda: write(to))

        def encode() -> float:
            to = root / str(next(numbers))
            to.mkdir()
            return sum(counts) / seconds(lambda: [way(to / str(place)) for place, way in enumerate(ways)])

        sides = take_turns({"drawing and writing": generate, "encoding and writing alone": encode}, rounds=asked.rounds)
        differ = float(differing(first, second))
    return Claim(kind, *sides.values(), "images / s", "cost", {"images": sum(counts)}, differ)


def main(arguments: list[str] | None = None) -> None:
    asked = parser(__doc__, rounds=3).parse_args(arguments)
    report("generated_data", asked, [measure(kind, write, asked) for kind, write in writers(asked.quick).items()])


if __name__ == "__main__":
    main()
