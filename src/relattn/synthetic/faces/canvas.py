"""Drawing operations for faces (`relattn.synthetic.faces.render`): areas, lines and shades on a turned head."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from relattn.extras import Lazy
from relattn.synthetic.faces.head import Head
from relattn.synthetic.faces.people import GREY, Appearance, Colour, Identity, Image

cv2 = Lazy("cv2", "suite")

Places = npt.NDArray[np.float64]
SIDE = 1.66  # angle at which the face ends and hair or ear begins
ROUND = np.linspace(-np.pi, np.pi, 25)[:-1]
CIRCLE = np.linspace(0, 2 * np.pi, 15)[:-1]
ALMOND = np.linspace(-1, 1, 9)
HIDDEN = 0.06  # cosine below which a feature is on the other side


def mixed(one: Colour, other: Colour, part: float) -> Colour:
    """A mixture of two colours; `part` is the share of the second."""
    return tuple((1 - part) * a + part * b for a, b in zip(one, other, strict=True))


def toned(colour: Colour, factor: float) -> Colour:
    """A darker or lighter colour."""
    return tuple(min(factor * value, 255) for value in colour)


class Canvas:
    """A canvas of `size` x `size` pixels, whose fourth channel marks the body.

    Shades and creases, at half the size, make it darker (below 128) or lighter.
    """

    def __init__(self, head: Head, person: Identity, look: Appearance, size: int, rng: np.random.Generator) -> None:
        self.head, self.person, self.look, self.size, self.rng = head, person, look, size, rng
        self.pixels: Image = np.zeros((size, size, 4), dtype=np.uint8)
        self.shade: Image = np.full((size // 2, size // 2), 128, dtype=np.uint8)
        self.creases: Image = self.shade.copy()
        grey = person.greying * min(max((look.age - 0.3) / 0.45, 0), 1)
        self.hair = mixed(person.hair, GREY, 0.95 * grey)
        self.brow = mixed(toned(person.hair, 0.8), GREY, 0.5 * grey)
        self.skin = mixed(person.skin, (200, 176, 160), 0.12 * look.age)
        self.style = look.hairstyle or person.hairstyle
        self.thick = size / 112 * abs(head.a)

    def fill(self, points: Places, colour: Colour, *more: Places) -> None:
        """Fill a polygon of points (N, 3) in space, with holes."""
        outlines = [self.head.seen(part) for part in (points, *more)]
        cv2.fillPoly(self.pixels, outlines, (*colour, 255), cv2.LINE_8, 4)

    def hull(self, points: Places, colour: Colour) -> None:
        """Fill the convex hull of points (N, 3) in space."""
        cv2.fillConvexPoly(self.pixels, cv2.convexHull(self.head.seen(points)), (*colour, 255), cv2.LINE_8, 4)

    def strokes(self, lines: Sequence[Places], width: float, colour: Colour, *, closed: bool = False) -> None:
        """Draw lines of points (N, 3) in space, `width` pixels of a 112x112 image wide."""
        places = [self.head.seen(line) for line in lines]
        cv2.polylines(self.pixels, places, closed, (*colour, 255), max(round(width * self.thick), 1), cv2.LINE_8, 4)

    def soften(self, points: Places, tone: float) -> None:
        """Make an area of the face darker (below 1) or lighter; its edges are blurred later."""
        places = self.head.seen(points) // 2
        cv2.fillPoly(self.shade, [places], 128 * tone, cv2.LINE_8, 4)

    def crease(self, lines: Sequence[Sequence[tuple[float, float]]], tone: float, width: int = 1) -> None:
        """Draw wrinkles along lines of (x, y)."""
        places = [self.head.seen(self.on(*zip(*line, strict=True))) // 2 for line in lines]
        cv2.polylines(self.creases, places, False, 128 * tone, width, cv2.LINE_8, 4)

    def on(self, x: npt.ArrayLike, y: npt.ArrayLike, z: npt.ArrayLike = 0.0) -> Places:
        """Points (N, 3) in space, on the face or above it."""
        return self.head.on(np.column_stack(np.broadcast_arrays(*(np.asarray(v, dtype=np.float64) for v in (x, y, z)))))

    def band(
        self, x: npt.NDArray[np.float64], upper: npt.NDArray[np.float64], lower: npt.NDArray[np.float64], z: float = 0.0
    ) -> Places:
        """The outline of the area between two curves on the face, or above it."""
        return self.on(np.r_[x, x[::-1]], np.r_[upper, lower[::-1]], z)

    def disc(self, x: float, y: float, across: float, down: float, z: float = 0.0) -> Places:
        """An ellipse on the face."""
        return self.on(x + across * np.cos(CIRCLE), y + down * np.sin(CIRCLE), z)
