"""Align five points of a face to fixed places, by the similarity transform with which aligned data sets were made.

The points are both eyes, the tip of the nose and both corners of the mouth, from left to right as seen in the image.
The transform is the least-squares solution in closed form: Umeyama, "Least-squares estimation of transformation
parameters between two point patterns", TPAMI 1991, equations 40 to 42; his sign matrix rules out reflections.
"""

from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt

from relattn.errors import InputError
from relattn.tasks.decoding import Pixels

Points = npt.NDArray[np.float64]
Template = Literal["112x112", "112x96", "128x128"]
"""Height and width of the aligned face, in pixels."""

FIVE: Points = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)
"""`(5, 2)`: x and y of ArcFace's points in 112x112 pixels; in SphereFace's narrower crop they are 8 to the left."""

TEMPLATES: dict[Template, tuple[tuple[int, int], Points]] = {
    "112x112": ((112, 112), FIVE),
    "112x96": ((112, 96), FIVE - np.array((8, 0))),
    "128x128": ((128, 128), FIVE + np.array((8, 0))),
}

LEAST_SPREAD = 1e-6
"""Minimum spread of the points around their centre, relative to their size, for which a transform is defined."""


def similarity(source: npt.ArrayLike, target: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Find the rotation, scaling and shift that bring points closest to other points.

    Args:
        source: `(N, 2)`, x and y, with N at least 2.
        target: `(N, 2)`, the places they should be moved to.

    Returns:
        `(2, 3)`: the matrix whose product with (x, y, 1) is a point's new place.

    Raises:
        InputError: If source and target are not equally many finite points, or the points are all in one place.
    """
    start, end = (np.asarray(points, dtype=np.float64) for points in (source, target))
    if start.ndim != 2 or start.shape[1] != 2 or start.shape != end.shape or len(start) < 2:
        raise InputError(f"Points are of shape {start.shape} and {end.shape}, expected (N, 2) twice, N at least 2.")
    if not (np.isfinite(start).all() and np.isfinite(end).all()):
        raise InputError("Points must be finite numbers.")
    from_mean, to_mean = start.mean(axis=0), end.mean(axis=0)
    centred, wanted = start - from_mean, end - to_mean
    variance = np.square(centred).sum() / len(start)
    for points, spread in ((start, variance), (end, np.square(wanted).sum() / len(end))):
        if spread <= (LEAST_SPREAD * max(np.abs(points).max(), 1e-12)) ** 2:
            raise InputError(f"The {len(points)} points are all in one place, {points[0].tolist()}: no face has that.")
    left, values, right = np.linalg.svd(wanted.T @ centred / len(start))
    signs = np.array([1.0, np.sign(np.linalg.det(left) * np.linalg.det(right)) or 1.0])
    rotation = (left * signs) @ right
    scale = (values * signs).sum() / variance
    if scale <= LEAST_SPREAD:
        raise InputError("No rotation brings the points nearer to the template: they are mirrored, or out of order.")
    return np.column_stack([scale * rotation, to_mean - scale * rotation @ from_mean])


def align(image: Pixels, points: npt.ArrayLike, template: Template = "112x112") -> Pixels:
    """Crop a face so that its five points lie at the template's places.

    Args:
        image: `(H, W, 3)`.
        points: `(5, 2)`, x and y in pixels of the eye on the left of the image, the other eye, the tip of the nose, and
            the corners of the mouth, the left one first.
        template: Height and width of the result.

    Returns:
        The aligned face; black where the original image has no pixels.

    Raises:
        InputError: If the template is unknown or the points define no transform.
    """
    if template not in TEMPLATES:
        raise InputError(f"template is {template!r}, expected one of {', '.join(TEMPLATES)}.")
    (height, width), places = TEMPLATES[template]
    return cv2.warpAffine(  # type: ignore[return-value]
        image, similarity(points, places), (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT
    )
