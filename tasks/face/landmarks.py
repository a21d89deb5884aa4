"""Tables of five landmarks per face, and detection of wrong ones: points outside the image, left and right swapped."""

import csv
import math
from pathlib import Path

import numpy as np

from relattn.errors import InputError, MissingFileError
from relattn.tasks.face.alignment import FIVE, Points, similarity
from relattn.tasks.files import inside

LANDMARKS = ("left_eye", "right_eye", "nose", "left_mouth", "right_mouth")
"""Named as they are seen in the image: the left eye is the person's right one."""

COLUMNS = ("path", *(f"{name}_{axis}" for name in LANDMARKS for axis in ("x", "y")))

OTHER_NAMES = {"imageid": "path", "image": "path", "file": "path"}
"""Other names of the first column, in lists such as CelebA's."""

CLEARLY = 0.8
"""Left and right count as swapped if exchanging them reduces the distance to the template below this fraction."""

EXCHANGES = {"eyes": (1, 0, 2, 3, 4), "corners of the mouth": (0, 1, 2, 4, 3), "left and right": (1, 0, 2, 4, 3)}


def read_landmarks(file: Path) -> dict[str, Points]:
    """Read a CSV file with the columns `COLUMNS` in any order; other columns are ignored.

    Returns:
        By path, `(5, 2)`: x and y of each landmark in pixels, from the upper left corner.

    Raises:
        MissingFileError: If there is no such file.
        InputError: If a column is missing, a path occurs twice, or an entry is not a number; the message names the
            line.
    """
    if not file.is_file():
        raise MissingFileError(f"{file}: no such file. Expected a CSV file with the header {','.join(COLUMNS)}.")
    known = {name.replace("_", ""): name for name in COLUMNS} | OTHER_NAMES
    found: dict[str, Points] = {}
    try:
        with file.open(newline="", encoding="utf-8-sig") as stream:
            lines = csv.reader(stream, strict=True)
            header = [known.get(name.strip().lower().replace("_", ""), "") for name in next(lines, [])]
            if missing := [name for name in COLUMNS if name not in header]:
                raise InputError(f"{file}, line 1: no column {', '.join(missing)}. Expected {','.join(COLUMNS)}.")
            if twice := [name for name in COLUMNS if header.count(name) > 1]:
                raise InputError(f"{file}, line 1: the column {twice[0]} appears twice.")
            for entries in lines:
                if not any(entry.strip() for entry in entries):
                    continue
                where = f"{file}, line {lines.line_num}"
                if len(entries) != len(header):
                    raise InputError(f"{where}: {len(entries)} entries, but the header has {len(header)}.")
                row = {name: entry.strip() for name, entry in zip(header, entries, strict=True) if name}
                path = inside(row["path"], where)
                if path in found:
                    raise InputError(f"{where}: {path} is listed already. Each image has one row.")
                found[path] = np.array([[number(row, name, axis, where) for axis in "xy"] for name in LANDMARKS])
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{file} cannot be read as CSV in UTF-8: {error}. Save it as such.") from error
    if not found:
        raise InputError(f"{file} has no row. Expected one for each image, below {','.join(COLUMNS)}.")
    return found


def number(row: dict[str, str], name: str, axis: str, where: str) -> float:
    """Read one coordinate of a row.

    Raises:
        InputError: If it is not a finite number.
    """
    text = row[f"{name}_{axis}"]
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise InputError(f"{where}: {name}_{axis} is {text!r}, expected a number of pixels.")
    return value


def fault_of(points: Points, size: tuple[int, int]) -> str | None:
    """Why landmarks cannot be right; None if nothing looks wrong.

    Args:
        points: `(5, 2)`, x and y.
        size: Height and width of the image.
    """
    height, width = size
    for name, (x, y) in zip(LANDMARKS, points.tolist(), strict=True):
        if not (0 <= x <= width and 0 <= y <= height):
            return f"{name} at ({x:g}, {y:g}) is outside the image of {width} x {height}"
    own = distance(points)
    exchanged = {name: distance(points[list(order)]) for name, order in EXCHANGES.items()}
    best = min(exchanged, key=exchanged.__getitem__)
    if exchanged[best] < CLEARLY * own:
        return f"{best} are swapped"
    return "they are in no face's order" if math.isinf(own) else None


def distance(points: Points) -> float:
    """Mean distance in pixels of 112x112 between aligned points and the template; infinite if alignment fails."""
    try:
        transform = similarity(points, FIVE)
    except InputError:
        return math.inf
    moved = points @ transform[:, :2].T + transform[:, 2]
    return float(np.linalg.norm(moved - FIVE, axis=1).mean())
