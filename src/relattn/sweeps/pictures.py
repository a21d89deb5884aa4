"""Pictures of runs embedded into a page of limited size: scaled down, each once, as many as fit."""

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
"""Maximum number of pictures per run."""
ROOM = 2_000_000
"""Maximum number of bytes of all pictures of a page, in embedded form."""
WIDTHS = (900, 640, 450, 320)
"""Candidate widths of pictures in pixels; the largest is used at which the first picture of each run fits."""
QUALITY = 80
LARGEST = 50_000_000
"""Maximum number of pixels of a picture."""


@dataclass
class Pictures:
    """Pictures of a run.

    Attributes:
        run: The run's name.
        shown: Names of pictures, and their data as URLs.
        same: Names of pictures that are shown earlier, and where.
        unreadable: Names of pictures that are not images.
        left_out: Number of pictures left out.
    """

    run: str
    shown: dict[str, str] = field(default_factory=dict)
    same: dict[str, str] = field(default_factory=dict)
    unreadable: list[str] = field(default_factory=list)
    left_out: int = 0


def pictures(records: Sequence[Record]) -> list[Pictures]:
    """The pictures of the runs that have some; the second picture of a run comes only after all first ones."""
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
    """A digest that is the same for identical files; the path of a file that cannot be read."""
    try:
        return files.digest(path)
    except OSError:
        return str(path)


def first_ones(paths: Mapping[str, Path]) -> tuple[int, dict[str, str | None]]:
    """The largest width at which all of these pictures fit, or else the smallest, and their data at that width."""
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
    """A picture as a JPEG data URL, at most `width` wide and twice as high; None if it cannot be read."""
    try:
        with Image.open(path) as image:
            if image.width * image.height > LARGEST:
                return None
            image.draft("RGB", (width, 2 * width))
            image.thumbnail((width, 2 * width))
            opaque = Image.new("RGB", image.size, "white")
            coloured = image.convert("RGBA")
            opaque.paste(coloured, mask=coloured)
    except Exception:  # a damaged file may raise nearly anything
        return None
    buffer = BytesIO()
    opaque.save(buffer, "JPEG", quality=QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
