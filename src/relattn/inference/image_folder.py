"""Folders of the user's own images: finding the images, and labelling them by their names or by a table."""

import csv
import warnings
from collections.abc import Mapping
from pathlib import Path

from relattn.errors import InputError, MissingFileError, some_of
from relattn.tasks.embeddings import Entry
from relattn.tasks.files import absent, inside
from relattn.tasks.image_folders import images_below, say_left_out
from relattn.tasks.image_formats import SUFFIXES
from relattn.tasks.name_patterns import label_reader

COLUMNS = ("path", "identity", "camera", "split")

SPLITS = ("train", "query", "gallery")


def find_images(root: Path, pattern: str = "none", patterns: Mapping[str, str] | None = None) -> list[Entry]:
    """The images in a folder and its subfolders, sorted by their relative paths; other files are reported.

    Args:
        root: The folder. Links to folders are followed, each folder only once.
        pattern: Source of identities and cameras, as in `label_reader`.
        patterns: Patterns by name, as in `label_reader`.

    Raises:
        InputError: If the folder does not exist or contains no image.
    """
    read = label_reader(pattern, patterns or {})
    if not root.is_dir():
        raise MissingFileError(f"{root}: there is no such folder of images.")
    found = images_below(root)
    if not found.paths:
        raise InputError(f"{root} holds no images: expected files that end in {', '.join(SUFFIXES)}, at any depth.")
    say_left_out(root, found.left_out)
    return [Entry(path, *read(path)) for path in found.paths]


def check_folder(root: Path) -> None:
    """Raise the error of a folder without images, before a network is loaded for it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they come when the images are used
        find_images(root)


def listed_images(root: Path, file: Path) -> list[Entry]:
    """The images that a table lists, sorted by their paths.

    Args:
        root: The folder that paths are relative to.
        file: A CSV file in UTF-8 with a column path, and optionally identity, camera and split; others are ignored.

    Raises:
        InputError: If the table or the folder is wrong; the message names the line.
    """
    for path, what, there in ((file, "table", file.is_file()), (root, "folder of images", root.is_dir())):
        if not there:
            raise MissingFileError(f"{path}: there is no such {what}.")
    found: dict[str, tuple[int, Entry]] = {}
    try:
        with file.open(newline="", encoding="utf-8-sig") as stream:
            table = csv.DictReader(stream, strict=True, restval="")
            header = [name.strip() for name in table.fieldnames or []]
            table.fieldnames = header
            if "path" not in header:
                raise InputError(
                    f"{file}, line 1: no column path in {','.join(header)!r:.200}. Expected {','.join(COLUMNS)}."
                )
            for row in table:
                values = {name: (row[name] or "").strip() for name in COLUMNS if name in header}
                entry, where = listed_image(values, f"{file}, line {table.line_num}"), table.line_num
                if entry.path in found:
                    raise InputError(f"{file}, line {where}: {entry.path} is on line {found[entry.path][0]} already.")
                found[entry.path] = where, entry
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{file} cannot be read as CSV in UTF-8: {error}. Save it as such.") from error
    if not found:
        raise InputError(f"{file} lists no images: expected a row for each under the header {','.join(COLUMNS)}.")
    if missing := absent(root, found):
        named = some_of([f"{path} (line {found[path][0]})" for path in missing])
        raise MissingFileError(f"{file}: {len(missing):,} of its images are not in {root}: {named}.")
    return [found[path][1] for path in sorted(found)]


def listed_image(values: dict[str, str], where: str) -> Entry:
    """Check one row of a table and return it."""
    path, split = values["path"], values.get("split", "")
    normal = inside(path, where)
    if split and split not in SPLITS:
        raise InputError(f"{where}: split is {split!r}, expected {', '.join(SPLITS)} or nothing.")
    return Entry(**{**values, "path": normal})
