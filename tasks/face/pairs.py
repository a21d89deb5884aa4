"""Pairs listed in a text file, with the images in folders: the published form of LFW.

A line of `pairs.txt` is `name n1 n2` (two images of one person) or `name1 n1 name2 n2` (images of two people). Image n
of a person is `name/name_000n.jpg`. Your own lists may have, in place of n, the path of an image in the person's
folder, with or without its suffix, and name one person twice. The first line may state the number of folds and of pairs
of each kind, same and different, per fold: `10 300`. Huang et al., "Labeled Faces in the Wild", technical report 07-49,
2007.
"""

from pathlib import Path

from relattn.errors import InputError, MissingFileError
from relattn.tasks.face.verification_sets import VerificationSet, pairs_of
from relattn.tasks.image_folders import images_below


def read_pairs(folder: Path, pairs: Path | None = None, name: str | None = None) -> VerificationSet:
    """Read a list of pairs of images in folders.

    Args:
        folder: The folder that contains a folder for each person.
        pairs: The list; by default `pairs.txt` in the folder.
        name: The set's name; by default the folder's.

    Raises:
        MissingFileError: If the list or images are missing.
        InputError: If a line does not have three or four columns or pairs an image with itself, or the header does not
            match the number of pairs.
    """
    pairs = pairs or folder / "pairs.txt"
    header, rows = rows_of(pairs)
    images: list[bytes | Path] = []
    same: list[bool] = []
    found = Finder(folder)
    for number, row in rows:
        where = f"{pairs}, line {number}"
        name_of_second = row[0] if len(row) == 3 else row[2]
        both = found.image(row[0], row[1], where), found.image(name_of_second, row[-1], where)
        if both[0] == both[1]:
            raise InputError(f"{where} pairs {both[0]} with itself, whose distance says nothing: remove the line.")
        same.append(row[0] == name_of_second)
        images += both
    labels = pairs_of(len(images), same, pairs)
    folds = None
    if header is not None:
        stated, each = (1, *map(int, header))[-2:]
        if 2 * stated * each != len(labels):
            raise InputError(
                f"{pairs} lists {len(labels):,} pairs, and its first line, {' '.join(header)!r}, says "
                f"{2 * stated * each:,}: get the list again, or remove that line."
            )
        folds = stated if stated > 1 else None
    return VerificationSet(name or folder.name, pairs, images, labels, folds)


def rows_of(pairs: Path) -> tuple[list[str] | None, list[tuple[int, list[str]]]]:
    """Read the header of a list of pairs, None without one, and the other lines, each with its line number.

    Raises:
        MissingFileError: If there is no list.
        InputError: If it cannot be read, or a line does not have three or four columns.
    """
    try:
        lines = pairs.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError as error:
        raise MissingFileError(f"{pairs}: no such file.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{pairs} cannot be read: {error}.") from error
    rows = [(number, columns(line)) for number, line in enumerate(lines, 1) if line.strip()]
    header = rows.pop(0)[1] if rows and all(word.isdigit() for word in rows[0][1]) and len(rows[0][1]) < 3 else None
    for number, row in rows:
        if len(row) not in (3, 4):
            raise InputError(
                f"{pairs}, line {number} has {len(row)} columns, expected `name n1 n2` or `name1 n1 name2 n2`."
            )
    return header, rows


def people_of(pairs: Path) -> set[str]:
    """The people in a list of pairs; raises the errors of `rows_of`."""
    return {name for _, row in rows_of(pairs)[1] for name in (row[0], row[0] if len(row) == 3 else row[2])}


def columns(line: str) -> list[str]:
    """Split a line into columns, at tabs if there are any, so that names may contain spaces."""
    return [word.strip() for word in line.strip().split("\t")] if "\t" in line else line.split()


class Finder:
    """Finds images by name and number; each folder is listed once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.listed: dict[str, dict[str, list[Path]]] = {}

    def image(self, name: str, number: str, where: str) -> Path:
        """Find a person's image by its number or its path; `where` names the line in messages.

        Raises:
            InputError: If the name is invalid, or the path matches two files.
            MissingFileError: If there is no such image.
        """
        if not name or name in (".", "..") or "/" in name or "\\" in name:
            raise InputError(f"{where}: {name!r} is not the name of a person's folder.")
        person = self.folder / name
        if name not in self.listed:
            self.listed[name] = {}
            for path in images_below(person).paths if person.is_dir() else []:
                for key in (path, path.rpartition(".")[0]):
                    self.listed[name].setdefault(key, []).append(person / path)
        numbered = f"{name}_{int(number):04d}" if number.isascii() and number.isdigit() else number
        files = self.listed[name].get(numbered) or self.listed[name].get(number) or []
        if len(files) > 1:
            raise InputError(f"{where}: {number!r} may be {files[0].name} or {files[1].name}: add the suffix.")
        if not files:
            expected = person / (f"{numbered}.jpg" if numbered != number else number)
            raise MissingFileError(f"{where}: {expected} is missing.")
        return files[0]
