"""A camera in a street: projection of metres to pixels, and painting into the image and its labels.

Coordinates are x to the right of the driving direction, y up from the ground, z ahead, all in metres.
"""

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from relattn.extras import Lazy
from relattn.synthetic.streets.labels import LABELS

cv2 = Lazy("cv2", "suite")

Choice = TypeVar("Choice")
Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
Colour = tuple[float, float, float]
Point = tuple[float, float, float]

EYE = 1.25
"""Height of the camera, in metres."""

NEAR = 1.5
"""Minimum distance of painted objects, in metres."""


class Light(NamedTuple):
    """Time of day and weather."""

    sky: tuple[Colour, Colour]
    """RGB at the top of the image and at the horizon, 0 to 255."""

    clouds: float
    """Cloud cover, 0 to 1."""

    sun: float
    """How much brighter sunlit faces are."""

    side: int
    """Direction of the sun: -1 for left, 1 for right."""

    sight: float
    """Distance in metres after which 1 / e of the contrast is left."""

    tint: Colour
    """Factor on each channel, applied at the end."""

    gamma: float
    """Exponent of brightness, applied at the end; above 1 is darker."""


class Spot(NamedTuple):
    """Position of an object, and its direction: 0 is ahead, pi / 2 to the right."""

    x: float
    z: float
    yaw: float = 0.0

    def points(self, local: Iterable[Point]) -> list[Point]:
        """Convert points of the object to points of the street."""
        cos, sin = math.cos(self.yaw), math.sin(self.yaw)
        return [(self.x + x * cos + z * sin, y, self.z - x * sin + z * cos) for x, y, z in local]


class View:
    """The image of a street and its labels, painted from far to near.

    `image` is (H, W, 3) RGB. `marks` is (H, W): values up to 33 are the id of a label, values above it an object, whose
    number in instance images is `things[mark - 34]`.
    """

    def __init__(self, size: tuple[int, int], light: Light, vanishing: tuple[float, float]) -> None:
        """Define an image of `size`, with its vanishing point at fractions of width and height."""
        self.height, self.width = size
        self.light = light
        self.focal = 1.1 * self.width
        self.x0, self.y0 = vanishing[0] * self.width, vanishing[1] * self.height
        self.image: Pixels = np.zeros((*size, 3), np.uint8)
        self.marks: Pixels = np.zeros(size, np.uint8)
        self.things: list[int] = []

    def thing(self, label: int) -> int:
        """The mark of a new object; beyond the maximum number of objects, that of a group of them."""
        if len(self.things) == 256 - len(LABELS):
            return label
        self.things.append(1000 * label + sum(known // 1000 == label for known in self.things))
        return len(LABELS) + len(self.things) - 1

    def seen(self, colour: Colour, depth: float, shade: float = 1.0) -> Colour:
        """A colour as seen through `depth` metres of air."""
        clear = math.exp(-depth / self.light.sight)
        red, green, blue = (
            min(shade * value, 255.0) * clear + air * (1 - clear)
            for value, air in zip(colour, self.light.sky[1], strict=True)
        )
        return red, green, blue

    def project(self, points: Iterable[Point]) -> list[tuple[int, int]]:
        """Positions of points in the image, in sixteenths of a pixel."""
        limit, scale = 16 * 16000, 16 * self.focal
        places = []
        for x, y, z in points:
            across, down = self.x0 * 16 + x * scale / z, self.y0 * 16 + (EYE - y) * scale / z
            places.append((round(min(max(across, -limit), limit)), round(min(max(down, -limit), limit))))
        return places

    def pixels(self, length: float, depth: float) -> float:
        """The size of a length in pixels at a distance."""
        return length * self.focal / depth

    def fill(self, points: Sequence[Point], colour: Colour | None, mark: int | None = None, shade: float = 1.0) -> None:
        """Fill a polygon of the street; without a colour only in the labels, without a mark only in the image."""
        if min(point[2] for point in points) < NEAR:
            return
        depth = sum(point[2] for point in points) / len(points)
        places = [np.array(self.project(points), np.int32)]
        if colour is not None:
            cv2.fillPoly(self.image, places, self.seen(colour, depth, shade), cv2.LINE_8, 4)
        if mark is not None:
            cv2.fillPoly(self.marks, places, mark, cv2.LINE_8, 4)

    def limb(self, start: Point, end: Point, width: float, colour: Colour, mark: int | None) -> None:
        """Draw a stroke of `width` metres with round ends."""
        if min(start[2], end[2]) < NEAR:
            return
        depth = (start[2] + end[2]) / 2
        one, other = self.project((start, end))
        thick = max(round(self.pixels(width, depth)), 1)
        cv2.line(self.image, one, other, self.seen(colour, depth), thick, cv2.LINE_8, 4)
        if mark is not None:
            cv2.line(self.marks, one, other, mark, thick, cv2.LINE_8, 4)

    def blob(self, centre: Point, radius: float, colour: Colour | None, mark: int | None) -> None:
        """Draw a ball of `radius` metres."""
        if centre[2] < NEAR:
            return
        (place,) = self.project((centre,))
        size = max(round(16 * self.pixels(radius, centre[2])), 8)
        if colour is not None:
            cv2.circle(self.image, place, size, self.seen(colour, centre[2]), -1, cv2.LINE_8, 4)
        if mark is not None:
            cv2.circle(self.marks, place, size, mark, -1, cv2.LINE_8, 4)

    def shadow(self, spot: Spot, half_width: float, half_length: float, dark: float = 0.5) -> None:
        """Darken the ground under an object, in the image only."""
        points = spot.points([(x * half_width, 0.0, z * half_length) for x, z in ((-1, -1), (1, -1), (1, 1), (-1, 1))])
        if min(point[2] for point in points) < NEAR:
            return
        places = np.array(self.project(points), np.int32) >> 4
        left, top = (max(int(value), 0) for value in places.min(axis=0))
        right, bottom = places.max(axis=0) + 1
        window = self.image[top:bottom, left:right]
        if window.size:
            mask = np.full(window.shape[:2], 255, np.uint8)
            cv2.fillPoly(mask, [places - np.array((left, top), np.int32)], round(255 * dark))
            cv2.multiply(window, cv2.merge([mask] * 3), dst=window, scale=1 / 255)


def pick(rng: np.random.Generator, options: Sequence[Choice]) -> Choice:
    """Draw one of the options."""
    return options[int(rng.random() * len(options))]


def vary(rng: np.random.Generator, colours: Sequence[Colour], by: float = 0.12) -> Colour:
    """Draw one of the colours, with a small variation."""
    tone = rng.uniform(1 - by, 1 + by)
    red, green, blue = (min(max(tone * value + rng.uniform(-6, 6), 4), 250) for value in pick(rng, colours))
    return red, green, blue
