"""Small labelled objects, rendered as stand-ins for CIFAR-10 and CIFAR-100 (`relattn.synthetic.objects.layouts`).

Each image shows one object, a shape with a surface pattern. The 20 shapes are CIFAR-100's coarse classes, and the
shapes in each of 5 patterns its 100 fine classes; CIFAR-10's classes are ten of the shapes in any pattern. The class
fixes nothing else: colours, position, size, rotation, stretch, light, clutter behind, a stroke in front, blur and noise
vary from image to image, which makes nearest neighbours among raw pixels of little use.

Lengths are in half images: the image spans [-1, 1] in x (to the right) and in y (upwards); a pixel is 1/16.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from relattn.errors import InputError

Array = npt.NDArray[np.floating[Any]]  # all of it is float32
Labels = npt.NDArray[np.int64]
Field = Callable[[Array, Array], Array]
"""A function of the coordinates x and y, which have the same shape; its value has that shape as well."""

SIDE = 32
PIXEL = 2 / SIDE
STROKES = 5  # behind the object, and one more in front of it


def polygon(*corners: tuple[float, float]) -> Field:
    """Signed distance to a polygon, negative inside, after https://iquilezles.org/articles/distfunctions2d/."""

    def distance(x: Array, y: Array) -> Array:
        nearest, outside = np.full_like(x, np.inf), np.ones(x.shape, dtype=bool)
        for (ax, ay), (bx, by) in zip(corners, (*corners[1:], corners[0]), strict=True):
            ex, ey, px, py = bx - ax, by - ay, x - ax, y - ay
            along = np.clip((px * ex + py * ey) / (ex * ex + ey * ey), 0, 1)
            nearest = np.minimum(nearest, (px - ex * along) ** 2 + (py - ey * along) ** 2)
            if ey:  # a ray to the right of the point crosses the edge, which switches between inside and outside
                outside ^= ((y >= ay) != (y >= by)) & ((ex * py > ey * px) == (ey < 0))
        return np.where(outside, np.sqrt(nearest), -np.sqrt(nearest))

    return distance


def disc(radius: float, x0: float = 0, y0: float = 0) -> Field:
    """Signed distance to a disc around (x0, y0)."""
    return lambda x, y: np.hypot(x - x0, y - y0) - radius


def box(width: float, height: float, x0: float = 0, y0: float = 0) -> Field:
    """Signed distance to a rectangle around (x0, y0) with the given half sizes and mitred corners."""
    return lambda x, y: np.maximum(np.abs(x - x0) - width, np.abs(y - y0) - height)


def union(*shapes: Field) -> Field:
    """The union of several shapes."""
    return lambda x, y: np.minimum.reduce([shape(x, y) for shape in shapes])


def without(shape: Field, hole: Field) -> Field:
    """The part of a shape that is outside another."""
    return lambda x, y: np.maximum(shape(x, y), -hole(x, y))


RAYS = [1.05, 0.42] * 5  # radii of the corners of a star

SHAPES: dict[str, Field] = {
    "arrow": polygon((0, 1), (0.8, 0.1), (0.27, 0.1), (0.27, -1), (-0.27, -1), (-0.27, 0.1), (-0.8, 0.1)),
    "bar": box(1.05, 0.36),
    "bolt": polygon((0.35, 1.05), (-0.7, -0.2), (-0.05, -0.2), (-0.35, -1.05), (0.7, 0.2), (0.05, 0.2)),
    "chevron": polygon((0, 0.85), (0.95, -0.1), (0.95, -0.75), (0, 0.2), (-0.95, -0.75), (-0.95, -0.1)),
    "clover": union(disc(0.5, -0.45, -0.3), disc(0.5, 0.45, -0.3), disc(0.5, 0, 0.48)),
    "crescent": without(disc(0.95), disc(0.78, 0.5, 0)),
    "cross": union(box(0.95, 0.3), box(0.3, 0.95)),
    "disc": disc(0.85),
    "dome": without(disc(1, 0, -0.45), box(2, 1, 0, -1.45)),
    "drop": union(disc(0.68, 0, -0.3), polygon((0, 1.1), (-0.594, 0.03), (0.594, 0.03))),
    "ell": union(box(0.28, 0.95, -0.47, 0), box(0.75, 0.28, 0, -0.67)),
    "frame": without(box(0.85, 0.85), box(0.42, 0.42)),
    "heart": union(
        disc(0.6, -0.425, 0.325), disc(0.6, 0.425, 0.325), polygon((0, 0.75), (-0.85, -0.1), (0, -0.95), (0.85, -0.1))
    ),
    "hourglass": polygon((-0.8, 0.9), (0.8, 0.9), (0.12, 0), (0.8, -0.9), (-0.8, -0.9), (-0.12, 0)),
    "house": polygon((0, 1.05), (1, 0.1), (0.66, 0.1), (0.66, -0.85), (-0.66, -0.85), (-0.66, 0.1), (-1, 0.1)),
    "ring": without(disc(0.95), disc(0.46)),
    "square": box(0.8, 0.8),
    "star": polygon(*((r * math.sin(0.2 * math.pi * k), r * math.cos(0.2 * math.pi * k)) for k, r in enumerate(RAYS))),
    "tee": union(box(0.9, 0.28, 0, 0.57), box(0.28, 0.9, 0, -0.05)),
    "triangle": polygon((0, 0.95), (1, -0.75), (-1, -0.75)),
}
"""Signed distances, negative inside, of shapes that roughly fill the unit disc and differ even after a rotation by 30
degrees and a stretch by a third. In alphabetical order, like the official names."""

PATTERNS: dict[str, Field] = {
    "checked": lambda x, y: 2 * np.sin(0.75 * x) * np.sin(0.75 * y),
    "dotted": lambda x, y: np.cos(x) + np.cos(y) - 0.7,
    "plain": lambda x, y: np.full_like(x, -1),
    "ringed": lambda x, y: np.sin(np.hypot(x, y)),
    "striped": lambda x, y: np.sin(x),
}
"""Surfaces with a period of about 2 pi: positive where the accent colour shows. In alphabetical order."""

OBJECTS = ("arrow", "crescent", "cross", "disc", "heart", "hourglass", "ring", "square", "star", "triangle")
"""The shapes of CIFAR-10's classes, in the order of its labels."""


class Scene(NamedTuple):
    """Properties of N images that do not depend on the class. Two axes of length 1 are left out, for pixels."""

    centre: Array  # (N, 2) of the object
    size: Array  # (N,) half the object's extent
    stretch: Array  # (N,) x longer by this factor and y shorter, along the object's own axes
    rotation: Array  # (N,) radians
    grain: Array  # (N, 4) the pattern's rotation in radians, its wave number, and its phases
    light: Array  # (N, 2) how the object brightens along x and y
    palette: Array  # (N, 4, 3) RGB in [0, 1] of foreground, accent, and both ends of the background's range
    backdrop: Array  # (N, 3) wave numbers in x and y, and phase, of the background
    strokes: Array  # (N, STROKES + 1, 5) position of one end, from there to the other, half width (negative: no stroke)
    paints: Array  # (N, STROKES + 1, 3) RGB of the strokes
    blur: Array  # (N, 1) weight of each neighbour
    noise: Array  # (N, 1) standard deviation


def draw_scene(count: int, rng: np.random.Generator) -> Scene:
    """Draw the class-independent properties of `count` images."""

    def uniform(low: float, high: float, *shape: int) -> Array:
        return rng.uniform(low, high, (count, *shape, 1, 1)).astype(np.float32)

    # A step of about a third of the range, up or down and wrapped, channel by channel, keeps the colours apart.
    first, step = uniform(0, 1, 1, 3), uniform(0.25, 0.42, 2, 3) * np.sign(uniform(-1, 1, 1, 3))
    palette = np.concatenate((first, first + step[:, :1], first - step[:, 1:]), axis=1) % 1
    palette = np.concatenate((palette, palette[:, 2:] + uniform(-0.25, 0.25, 1, 3)), axis=1)
    contrast, grey = uniform(0.4, 0.95, 1, 1), uniform(0.4, 0.6, 1, 1)

    centre, size = uniform(-0.25, 0.25, 2), uniform(0.48, 0.75)
    start, direction = uniform(-1, 1, STROKES + 1, 2), uniform(0, 2 * np.pi, STROKES + 1, 1)
    start[:, -1] = centre + size[:, None] * uniform(-0.8, 0.8, 2)  # the last stroke is in front of the object
    length = uniform(-0.5, 1, STROKES + 1, 1).clip(0)  # a third are blobs
    width = uniform(0.03, 0.16, STROKES + 1, 1) - (uniform(0, 1, STROKES + 1, 1) < 0.3)
    return Scene(
        centre=centre,
        size=size,
        stretch=np.exp(uniform(-0.15, 0.15)),
        rotation=uniform(-np.pi / 6, np.pi / 6),
        grain=np.concatenate((uniform(-np.pi, np.pi, 1), uniform(16, 22, 1), uniform(-np.pi, np.pi, 2)), axis=1),
        light=uniform(-0.3, 0.3, 2),
        palette=grey + (palette - 0.5) * contrast,
        backdrop=np.concatenate((uniform(-3, 3, 2), uniform(-np.pi, np.pi, 1)), axis=1),
        strokes=np.concatenate((start, length * np.cos(direction), length * np.sin(direction), width), axis=2),
        paints=grey + (uniform(0, 1, STROKES + 1, 3) - 0.5) * contrast,
        blur=uniform(0, 0.2, 1),
        noise=uniform(0.01, 0.06, 1),
    )


def render(
    shapes: npt.ArrayLike, patterns: npt.ArrayLike, rng: np.random.Generator, *, chunk: int = 64
) -> npt.NDArray[np.uint8]:
    """Render one object per image.

    Args:
        shapes: (N,) indices into `SHAPES`.
        patterns: (N,) indices into `PATTERNS`.
        rng: Source of all other properties.
        chunk: Images rendered at a time; has no effect on them.

    Returns:
        (N, 3, 32, 32) RGB images, planar as in CIFAR.

    Raises:
        InputError: If shapes and patterns are not two equally long sequences of valid indices.
    """
    shapes, patterns = np.asarray(shapes, dtype=np.int64), np.asarray(patterns, dtype=np.int64)
    if shapes.ndim != 1 or shapes.shape != patterns.shape:
        raise InputError(f"render: shapes {shapes.shape} and patterns {patterns.shape}, expected (N,) and (N,).")
    for what, places, known in (("shapes", shapes, SHAPES), ("patterns", patterns, PATTERNS)):
        if wrong := set(places.tolist()) - set(range(len(known))):
            raise InputError(f"render: {what} has {min(wrong)}, expected 0 to {len(known) - 1}.")
    scene = draw_scene(len(shapes), rng)
    images = np.empty((len(shapes), 3, SIDE, SIDE), dtype=np.uint8)
    for start in range(0, len(shapes), chunk):
        rows = slice(start, start + chunk)
        part = Scene(*(values[rows] for values in scene))
        picture = _paint(shapes[rows], patterns[rows], part)
        # The difference of two uniform draws has variance 1/6; NumPy may change how it draws normal ones.
        draws = rng.random((*picture.shape, 2), dtype=np.float32)
        picture += (draws[..., 0] - draws[..., 1]) * part.noise * 6**0.5
        images[rows] = np.rint(picture.clip(0, 1) * 255)
    return images


def _paint(shapes: Labels, patterns: Labels, scene: Scene) -> Array:
    """Paint a chunk: background, strokes, object, a stroke in front, blur. Returns (n, 3, 32, 32) in about [0, 1]."""
    ticks = ((np.arange(SIDE) + 0.5) * PIXEL - 1).astype(np.float32)
    x, y = ticks[None, None, :], -ticks[None, :, None]

    ahead, up, phase = scene.backdrop.swapaxes(0, 1)
    foreground, accent, one, other = scene.palette.swapaxes(0, 1)
    picture = _blend(one, other, np.sin(ahead * x + up * y + phase) / 2 + 0.5)
    strokes = list(zip(scene.paints.swapaxes(0, 1), scene.strokes.swapaxes(0, 1), strict=True))
    for paint, stroke in strokes[:-1]:
        picture = _blend(picture, paint, _stroke(stroke, x, y))

    u, v = _turn(x - scene.centre[:, 0], y - scene.centre[:, 1], scene.rotation)
    distance = _choose(SHAPES, shapes, u / (scene.size * scene.stretch), v / (scene.size / scene.stretch))
    rotation, waves, *phases = scene.grain.swapaxes(0, 1)
    s, t = _turn(u * waves, v * waves, rotation)
    surface = _blend(foreground, accent, (_choose(PATTERNS, patterns, s + phases[0], t + phases[1]) + 0.5).clip(0, 1))
    surface *= (1 + scene.light[:, 0] * x + scene.light[:, 1] * y)[:, None]
    picture = _blend(picture, surface, _cover(distance * scene.size))

    paint, stroke = strokes[-1]
    picture = _blend(picture, paint, _stroke(stroke, x, y))
    picture = np.pad(picture, ((0, 0), (0, 0), (1, 1), (1, 1)), mode="edge")
    for _ in range(2):  # along y, then, with the axes swapped, along x
        middle = picture[:, :, 1:-1]
        picture = (middle + scene.blur * (picture[:, :, :-2] + picture[:, :, 2:] - 2 * middle)).swapaxes(2, 3)
    return picture


def _choose(fields: dict[str, Field], places: Labels, x: Array, y: Array) -> Array:
    """Evaluate, for each image (n,), the field with its index, at coordinates (n, 32, 32)."""
    values = np.empty_like(x)
    for place, field in enumerate(fields.values()):
        rows = np.flatnonzero(places == place)
        values[rows] = field(x[rows], y[rows])
    return values


def _turn(x: Array, y: Array, angle: Array) -> tuple[Array, Array]:
    """Coordinates along axes rotated by an angle."""
    return np.cos(angle) * x + np.sin(angle) * y, np.cos(angle) * y - np.sin(angle) * x


def _cover(distance: Array) -> Array:
    """The part of a pixel that is inside an edge at this signed distance from its middle."""
    return (0.5 - distance / PIXEL).clip(0, 1)


def _blend(picture: Array, colour: Array, opacity: Array) -> Array:
    """Lay a colour with an opacity (n, 32, 32) over a picture; both (n, 3, 32, 32) or (n, 3, 1, 1)."""
    return picture + opacity[:, None] * (colour - picture)


def _stroke(stroke: Array, x: Array, y: Array) -> Array:
    """Opacity (n, 32, 32) of a line segment with round ends, given as in `Scene` (n, 5, 1, 1)."""
    x0, y0, dx, dy, width = stroke.swapaxes(0, 1)
    along = (((x - x0) * dx + (y - y0) * dy) / (dx * dx + dy * dy + 1e-6)).clip(0, 1)
    return _cover(np.hypot(x - x0 - dx * along, y - y0 - dy * along) - width)
