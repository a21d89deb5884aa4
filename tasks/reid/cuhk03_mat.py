"""`cuhk-03.mat`, the HDF5 file of CUHK03: read its content and extract its images.

`labeled` and `detected` refer to one array for each pair of cameras, which refers to ten images of each identity, the
first five from one camera and the others from the other. MATLAB stores arrays with their axes reversed. `testsets`
refers to the pairs (pair of cameras, identity) on which each split of the classic protocol tests. The functions are
called in a process of their own (`relattn.tasks.apart`).
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from PIL import Image

from relattn.errors import InputError

MAT = "cuhk03_release/cuhk-03.mat"
IMAGES_OF_A_VIEW = 5


@contextmanager
def opened(file: Path) -> Iterator[h5py.File]:
    """Open the file; all errors of a damaged one become an error that names it."""
    try:
        with h5py.File(file) as content:
            yield content
    except InputError:
        raise
    except Exception as error:  # a damaged file can raise nearly anything
        raise InputError(f"{file} cannot be read as CUHK03's: {error}. Unpack cuhk03_release again.") from error


def held(content: h5py.File, key: Any) -> h5py.Dataset:
    """Return an array of the file. HDF5 arrays can be kept in another file, which is not followed.

    Raises:
        InputError: If the array is kept in another file.
    """
    found = content[key]
    if not isinstance(found, h5py.Dataset):
        raise InputError(f"{content.filename}: {found.name} is not an array. Unpack cuhk03_release again.")
    if found.file.filename != content.filename or found.external or found.is_virtual:
        raise InputError(
            f"{content.filename} takes {found.name} from another file, as CUHK03's does not. Get it again."
        )
    return found


def cells(content: h5py.File, boxes: str) -> Iterator[tuple[str, h5py.Dataset]]:
    """Yield every image with the name under which it is extracted; cells without an image are left out."""
    for pair, people in enumerate(held(content, boxes)[0], start=1):
        for identity, row in enumerate(held(content, people)[:].T, start=1):
            for column, reference in enumerate(row):
                image = held(content, reference)
                if image.ndim == 3 and image.size:
                    view = 1 if column < IMAGES_OF_A_VIEW else 2
                    yield f"{pair}_{identity:03d}_{view}_{column + 1:02d}.png", image


def read_names(file: Path, boxes: str) -> list[str]:
    """Read the names of all images.

    Raises:
        InputError: If the file is damaged.
    """
    with opened(file) as content:
        return [name for name, _ in cells(content, boxes)]


def read_test_set(file: Path, split: int) -> list[tuple[int, int]]:
    """Read the (pair of cameras, identity) of everybody on whom a split of the classic protocol tests.

    Raises:
        InputError: If the file is damaged, or has no such split.
    """
    with opened(file) as content:
        sets = held(content, "testsets")[0]
        if not 0 <= split < len(sets):
            raise InputError(f"CUHK03: split is {split}, expected 0 to {len(sets) - 1}, the splits of {file}.")
        people = held(content, sets[split])[:].T
        if people.ndim != 2 or people.shape[1] != 2:
            raise InputError(f"{file}: testsets has an entry of shape {people.shape}, expected (people, 2).")
        return sorted({(int(pair), int(identity)) for pair, identity in people})


def save(pixels: np.ndarray, file: Path) -> None:
    """Write an image.

    Raises:
        InputError: If it cannot be written.
    """
    try:
        Image.fromarray(np.ascontiguousarray(pixels)).save(file)
    except OSError as error:
        raise InputError(f"CUHK03: {file} cannot be written: {error.strerror or error}.") from error


def extract(file: Path, boxes: str, folder: Path) -> None:
    """Write all images into a folder, which appears only when it is complete.

    Args:
        file: `cuhk-03.mat`.
        boxes: `labeled` or `detected`.
        folder: The folder, which does not exist yet. If another process completes it first, its result is used.

    Raises:
        InputError: If the file is damaged, or the folder cannot be written.
    """
    try:
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as temporary:
            unfinished = Path(temporary) / folder.name
            unfinished.mkdir()
            with opened(file) as content:
                for name, image in cells(content, boxes):
                    pixels = image[:].T  # (height, width, RGB)
                    if pixels.dtype != np.uint8 or pixels.shape[2] != 3:
                        raise InputError(f"{file}: {name} is {pixels.dtype} {pixels.shape}, expected uint8 RGB.")
                    save(pixels, unfinished / name)
            try:
                unfinished.rename(folder)
            except OSError:
                if not folder.is_dir():
                    raise
    except OSError as error:
        raise InputError(f"CUHK03: its images cannot be extracted into {folder}: {error.strerror or error}.") from error
