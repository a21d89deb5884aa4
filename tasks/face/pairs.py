"""Pairs listed in a text file, with the images in folders: LFW as it is published.

A line of `pairs.txt` is `name n1 n2` (two images of one person) or `name1 n1 name2 n2` (of two); image n of a person is
`name/name_000n.jpg`. The first line may say how many folds there are and how many same, and as many different, pairs
each has: `10 300`. Huang et al., "Labeled Faces in the Wild", technical report 07-49, 2007.
"""

from pathlib import Path

from relattn.errors import InputError, MissingFileError
from relattn.tasks.face.verification_sets import VerificationSet, pairs_of
from relattn.tasks.image_formats import is_image_name


def read_pairs(folder: Path, pairs: Path | None = None, name: str | None = None) -> VerificationSet:
    """Read a list of pairs of images in folders.

    Args:
        folder: It holds a folder for each person.
        pairs: The list; by default `pairs.txt` in the folder.
        name: The set's name; by default the folder's.

    Raises:
        MissingFileError: If the list or images are missing.
        InputError: If a line is neither of three nor of four columns, or the header does not say how many there are.
    """
    pairs = pairs or folder / "pairs.txt"
    try:
        lines = pairs.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError as error:
        raise MissingFileError(f"{pairs}: no such file.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{pairs} cannot be read: {error}.") from error
    rows = [(number, columns(line)) for number, line in enumerate(lines, 1) if line.strip()]
    header = rows.pop(0)[1] if rows and all(word.isdigit() for word in rows[0][1]) and len(rows[0][1]) < 3 else None
    images: list[bytes | Path] = []
    same: list[bool] = []
    found = Finder(folder)
    for number, row in rows:
        where = f"{pairs}, line {number}"
        if len(row) == 3:
            row = [row[0], row[1], row[0], row[2]]
            same.append(True)
        elif len(row) == 4:
            same.append(False)
        else:
            raise InputError(f"{where} has {len(row)} columns, expected `name n1 n2` or `name1 n1 name2 n2`.")
        images += [found.image(row[0], row[1], where), found.image(row[2], row[3], where)]
    labels = pairs_of(len(images), same, pairs)
    if header is not None:
        folds, each = (1, *map(int, header))[-2:]
        if 2 * folds * each != len(labels):
            raise InputError(
                f"{pairs} lists {len(labels):,} pairs, and its first line, {' '.join(header)!r}, says "
                f"{2 * folds * each:,}: get the list again, or remove that line."
            )
    return VerificationSet(name or folder.name, pairs, images, labels)


def columns(line: str) -> list[str]:
    """The columns of a line, which tabs separate if there are any: names may contain spaces then."""
    return [word.strip() for word in line.strip().split("\t")] if "\t" in line else line.split()


class Finder:
    """Finds images by name and number; each folder is listed once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.listed: dict[str, dict[str, Path]] = {}

    def image(self, name: str, number: str, where: str) -> Path:
        """The file of a person's image; `where` is how messages call the line.

        Raises:
            InputError: If the number is none.
            MissingFileError: If there is no such image.
        """
        if not number.isascii() or not number.isdigit():
            raise InputError(f"{where}: {number!r} is not the number of an image.")
        if not name or name in (".", "..") or "/" in name or "\\" in name:
            raise InputError(f"{where}: {name!r} is not the name of a person's folder.")
        if name not in self.listed:
            person = self.folder / name
            files = sorted(person.iterdir()) if person.is_dir() else []
            self.listed[name] = {file.stem: file for file in files if is_image_name(file.name)}
        image = self.listed[name].get(f"{name}_{int(number):04d}")
        if image is None:
            raise MissingFileError(f"{where}: {self.folder / name / f'{name}_{int(number):04d}.jpg'} is missing.")
        return image
