"""Crop and align the faces in a folder by their landmarks, as `relattn align` does."""

from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath
from typing import Literal

import cv2

from relattn.errors import InputError, MissingFileError, some_of
from relattn.publish import publish_bytes
from relattn.tasks.decoding import read_image, size_of
from relattn.tasks.face.alignment import Points, Template, align
from relattn.tasks.face.landmarks import fault_of, read_landmarks
from relattn.tasks.files import absent
from relattn.tasks.image_folders import images_below, say_left_out

Wrong = Literal["error", "skip", "keep"]


def align_folder(
    images: Path,
    landmarks: Path,
    out: Path,
    *,
    template: Template = "112x112",
    wrong: Wrong = "error",
    progress: Callable[[int, int], object] = lambda done, total: None,
) -> tuple[int, list[str]]:
    """Write the aligned face of each image that a table lists, as a PNG under the image's relative path.

    Args:
        images: The folder that the table's paths are relative to.
        landmarks: The table, see `read_landmarks`.
        out: The folder to write to.
        template: Height and width of the faces.
        wrong: What to do about landmarks that are outside the image or swapped: refuse all images (`error`), `skip`
            these images, or `keep` them.
        progress: Called after each image with the numbers of images done and of all images.

    Returns:
        The number of faces written, and the images with wrong landmarks, each with the reason.

    Raises:
        MissingFileError: If an image of the table does not exist.
        InputError: If landmarks are wrong and neither skipped nor kept, or a file cannot be read or written.
    """
    if not images.is_dir():
        raise MissingFileError(f"{images}: there is no such folder of images.")
    table = read_landmarks(landmarks)
    if missing := absent(images, table):
        raise MissingFileError(f"{landmarks}: {len(missing):,} of its images are not in {images}: {some_of(missing)}.")
    found = images_below(images).paths
    say_left_out(images, [path for path in found if path not in table], f"no row in {landmarks}")
    places = written_places(table)
    faults = {path: fault for path, points in table.items() if (fault := fault_of(points, size_of(images / path)))}
    named = [f"{path}: {fault}" for path, fault in faults.items()]
    if faults and wrong == "error":
        raise InputError(
            f"{landmarks}: landmarks of {len(faults):,} of {len(table):,} images are wrong: {some_of(named)}. Nothing "
            "is written. Correct them (left is what is seen on the left), or choose --wrong skip or keep."
        )
    chosen = [path for path in table if wrong == "keep" or path not in faults]
    for done, path in enumerate(chosen, start=1):
        try:
            face = align(read_image(images / path), table[path], template)
        except InputError as error:
            raise InputError(f"{images / path}: {error}") from error
        encoded = cv2.imencode(".png", cv2.cvtColor(face, cv2.COLOR_RGB2BGR))[1]
        publish_bytes(out / places[path], encoded.tobytes())
        progress(done, len(chosen))
    return len(chosen), named


def written_places(table: Mapping[str, Points]) -> dict[str, str]:
    """The paths that the faces are written to, relative to the output folder, by image.

    Raises:
        InputError: If two images would be written to the same path.
    """
    by_place: dict[str, str] = {}
    for path in table:
        place = str(PurePosixPath(path).with_suffix(".png"))
        if place in by_place:
            raise InputError(f"{by_place[place]} and {path} would both be written as {place}. Rename one.")
        by_place[place] = path
    return {path: place for place, path in by_place.items()}
