"""Your own re-identification data: a table with a row for each image, instead of a layout of folders.

path,identity,camera,split
shop/anna/0001.jpg,anna,entrance,train
shop/ben/0042.jpg,ben,entrance,query
shop/ben/0077.jpg,ben,till,gallery
"""

import csv
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from relattn.errors import InputError, MissingFileError, some_of, suggest
from relattn.metrics.ranks import JUNK
from relattn.tasks.files import absent, inside
from relattn.tasks.reid.checks import check_splits
from relattn.tasks.reid.splits import PersonImage, Splits

COLUMNS = ("path", "identity", "camera", "split")
OPTIONAL = "camera"
SPLITS = ("train", "query", "gallery")
NO_ONE = str(JUNK)


class Row(NamedTuple):
    """A row of the table as strings."""

    line: int
    path: str
    identity: str
    camera: str
    split: str


def read_manifest(file: Path, root: Path | None = None, *, training: bool = True) -> Splits:
    """Read a table of images, a CSV file in UTF-8 with the header `path,identity,camera,split`.

    Args:
        file: The table. Splits are train, query and gallery. Identities and cameras are text or numbers; they are
            numbered from 0 in sorted order, the same in every split. Without a column camera, all images are of camera
            0: then each gallery image of a query's identity is from the same camera, and does not count as a match
            unless cameras are ignored. Rows of identity -1 show no one and are left out; a warning counts them.
        root: The folder to which paths are relative; by default the folder of the table.
        training: Whether training rows are needed; otherwise they are left out.

    Raises:
        MissingFileError: If the table, or images that it lists, are missing.
        InputError: If the table is wrong; the message names the line.
    """
    rows = [row for row in read_rows(file) if training or row.split != "train"]
    needed = [split for split in SPLITS if training or split != "train"]
    root = file.parent if root is None else root
    seen: dict[tuple[str, str], int] = {}
    for row in rows:
        if (first := seen.setdefault((row.split, row.path), row.line)) != row.line:
            raise InputError(
                f"{file}, line {row.line}: {row.path} is in split {row.split} already, on line {first}. Remove one."
            )
    if missing := absent(root, {row.path for row in rows}):
        lines = {row.path: row.line for row in reversed(rows)}
        named = some_of([f"{path} (line {lines[path]})" for path in missing])
        raise MissingFileError(
            f"{file}: {len(missing):,} images are not in {root}: {named}. Paths are relative to "
            "the folder of the table, or to the one given as root."
        )
    if junk := [row for row in rows if row.identity == NO_ONE]:
        named = some_of([f"{row.path} (line {row.line})" for row in junk])
        warnings.warn(
            f"{file}: {len(junk):,} rows of identity {NO_ONE} show no one and are left out: {named}.", stacklevel=2
        )
        rows = [row for row in rows if row.identity != NO_ONE]
    identities, cameras = numbering(row.identity for row in rows), numbering(row.camera for row in rows)
    parts = {split: [row for row in rows if row.split == split] for split in SPLITS}
    if empty := [split for split in needed if not parts[split]]:
        raise InputError(
            f"{file}: no row has the split {' or '.join(empty)}. Expected rows of each of {', '.join(needed)}."
        )
    train, query, gallery = (
        tuple(sorted(PersonImage(row.path, identities[row.identity], cameras[row.camera]) for row in part))
        for part in parts.values()
    )
    splits = Splits(root, train, query, gallery, identity_names=names_of(identities), camera_names=names_of(cameras))
    check_splits(splits, f"The set of {file}", training=training)
    return splits


def read_rows(file: Path) -> list[Row]:
    """Read the rows of a table.

    Raises:
        MissingFileError: If there is no such file.
        InputError: If columns or entries are missing or wrong.
    """
    if not file.is_file():
        raise MissingFileError(f"{file}: no such file. Expected a CSV file with the header {','.join(COLUMNS)}.")
    rows = []
    try:
        with file.open(newline="", encoding="utf-8-sig") as stream:  # spreadsheets write a byte order mark
            lines = csv.reader(stream, strict=True)
            header = [name.strip() for name in next(lines, [])]
            check_header(header, file)
            for entries in lines:
                if any(entry.strip() for entry in entries):
                    rows.append(read_row(header, entries, file, lines.line_num))
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{file} cannot be read as CSV in UTF-8: {error}. Save it as such.") from error
    return rows


def check_header(header: list[str], file: Path) -> None:
    """Refuse a header without the required columns.

    Raises:
        InputError: If columns are missing or occur twice.
    """
    found = (",".join(header) or "nothing")[:200]
    if missing := [name for name in COLUMNS if name not in header and name != OPTIONAL]:
        raise InputError(
            f"{file}, line 1: no column {', '.join(missing)}, but {found!r}. Expected the header {','.join(COLUMNS)}, "
            "with commas; camera may be left out."
        )
    if twice := [name for name in COLUMNS if header.count(name) > 1]:
        raise InputError(f"{file}, line 1: the column {twice[0]} appears twice in {found!r}. Remove one.")


def read_row(header: list[str], entries: list[str], file: Path, line: int) -> Row:
    """Read and check one row.

    Raises:
        InputError: If an entry is missing or wrong.
    """
    where = f"{file}, line {line}"
    if len(entries) != len(header):
        raise InputError(
            f"{where}: {len(entries)} entries, but the header has {len(header)}. Give each column one, in quotation "
            "marks if it contains a comma."
        )
    values = {name: entry.strip() for name, entry in zip(header, entries, strict=True) if name in COLUMNS}
    if empty := [name for name, value in values.items() if not value]:
        raise InputError(f"{where}: {empty[0]} is empty. Fill it in, or remove the row.")
    path, split = values["path"], values["split"]
    if split not in SPLITS:
        raise InputError(f"{where}: split is {split!r}, expected {', '.join(SPLITS)}. {suggest(split, SPLITS)}")
    path = inside(path, where, "the folder of the table, or to root")
    return Row(line, path, values["identity"], values.get(OPTIONAL, ""), split)


def numbering(names: Iterable[str]) -> dict[str, int]:
    """Number names from 0 in sorted order, an empty one first; of whole numbers alone, `007` and `7` are the same."""
    distinct = set(names)
    keys: dict[str, tuple[bool, int | str]] = {name: (name != "", name) for name in distinct}
    if all(name.removeprefix("-").isdecimal() for name in distinct if name):
        keys = {name: (name != "", int(name or 0)) for name in distinct}
    order = {key: number for number, key in enumerate(sorted(set(keys.values())))}
    return {name: order[key] for name, key in keys.items()}


def names_of(numbers: dict[str, int]) -> dict[int, str]:
    """The name of each number; of several, such as `007` and `7`, the last in sorted order."""
    return {number: name for name, number in sorted(numbers.items())}
