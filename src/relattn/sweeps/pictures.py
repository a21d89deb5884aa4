"""Pictures of runs as data of a page that stays small: scaled down, each once, as many as there is room for."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path

from PIL import Image

from relattn.printable import in_one_line
from relattn.sweeps.records import Record
from relattn.tasks import files

MOST = 6
"""Pictures of a run, at most."""
ROOM = 2_000_000
"""Bytes of all pictures of a page, as they stand in it."""
WIDTHS = (900, 640, 450, 320)
"""Widths of pictures, in pixels: the largest at which the first picture of each run has room."""
QUALITY = 80
LARGEST = 50_000_000
"""Pixels of a picture, at most."""


@dataclass
class Pictures:
    """Pictures of a run.

    Attributes:
        run: The run's name.
        shown: Names of pictures, and their data as URLs.
        same: Names of pictures that are shown before, and where.
        unreadable: Names of those that are no images.
        left_out: How many more there are.
    """

    run: str
    shown: dict[str, str] = field(default_factory=dict)
    same: dict[str, str] = field(default_factory=dict)
    unreadable: list[str] = field(default_factory=list)
    left_out: int = 0


def pictures(records: Sequence[Record]) -> list[Pictures]:
    """The pictures of those runs that have some; all have their first one before one has its second."""
    found = [(Pictures(record.name), record.pictures) for record in records if record.pictures]
    width, data = first_ones({digest_of(paths[0]): paths[0] for _, paths in found})
    seen: dict[str, str] = {}
    room = ROOM
    for number in range(MOST):
        for run, paths in found:
            if number >= len(paths):
                continue
            path = paths[number]
            name, digest = name_of(path), digest_of(path)
            if digest in seen:
                run.same[name] = seen[digest]
            if digest in seen or not room:
                continue
            url = data[digest] if digest in data else encoded(path, width)
            if url is None:
                run.unreadable.append(name)
            elif len(url) <= room:
                run.shown[name] = url
                seen[digest] = f"{name} of {run.run}"
                room -= len(url)
            else:
                room = 0
    for run, paths in found:
        run.left_out = len(paths) - len(run.shown) - len(run.same) - len(run.unreadable)
    return [run for run, _ in found]


def name_of(path: Path) -> str:
    """A picture's name: its path in the run's `pictures/`, without the suffix."""
    below = path.parts[len(path.parts) - path.parts[::-1].index("pictures") :]
    return in_one_line(Path(*below).with_suffix(""))


def digest_of(path: Path) -> str:
    """What is equal for files that are equal; the path of one that cannot be read."""
    try:
        return files.digest(path)
    except OSError:
        return str(path)


def first_ones(paths: Mapping[str, Path]) -> tuple[int, dict[str, str | None]]:
    """The largest width at which all of these pictures have room, or else the smallest, and their data at it."""
    for width in WIDTHS:
        data: dict[str, str | None] = {}
        room = ROOM
        for digest, path in paths.items():
            data[digest] = encoded(path, width)
            room -= len(data[digest] or "")
            if room < 0 and width != WIDTHS[-1]:
                break
        else:
            break
    return width, data


def encoded(path: Path, width: int) -> str | None:
    """A picture as a JPEG that is at most so wide, and at most twice as high, as a URL; None if it cannot be read."""
    try:
        with Image.open(path) as image:
            if image.width * image.height > LARGEST:
                return None
            image.draft("RGB", (width, 2 * width))
            image.thumbnail((width, 2 * width))
            opaque = Image.new("RGB", image.size, "white")
            coloured = image.convert("RGBA")
            opaque.paste(coloured, mask=coloured)
    except Exception:  # a damaged file raises nearly anything
        return None
    buffer = BytesIO()
    opaque.save(buffer, "JPEG", quality=QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
