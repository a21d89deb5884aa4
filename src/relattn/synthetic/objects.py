"""Small labelled objects, rendered and written in the official layouts of CIFAR-10 and CIFAR-100.

The layouts are those of https://www.cs.toronto.edu/~kriz/cifar.html (python version), so that a loader of the genuine
sets reads these. Each image shows one object, a shape with a surface pattern. CIFAR-100's 20 coarse classes are the
20 shapes and its 100 fine classes the shapes in each of 5 patterns; CIFAR-10's classes are ten of the shapes in any
pattern. The class fixes nothing else: colours, place, size, rotation, stretch, light, clutter behind, a stroke in
front, blur and noise vary from image to image, which leaves little to nearest neighbours among raw pixels.

Lengths are in half images: the image spans [-1, 1] in x (to the right) and in y (upwards), a pixel is 1/16.
Deviation from the originals: strings are pickled as text, not as Python 2's bytes. `encoding="latin1"`, which
torchvision uses too, reads both alike.
"""

import pickle
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]
Field = Callable[[Array, Array], Array]
"""A function of the coordinates x and y, of equal shape; its value has that shape as well."""

SIDE = 32
PIXEL = np.float32(2 / SIDE)
STROKES = 5  # behind the object, and one more in front of it


def polygon(*corners: tuple[float, float]) -> Field:
    """Signed distance to a polygon, negative inside, after https://iquilezles.org/articles/distfunctions2d/."""

    def distance(x: Array, y: Array) -> Array:
        nearest, outside = np.full_like(x, np.inf), np.ones(x.shape, dtype=bool)
        for (ax, ay), (bx, by) in zip(corners, (*corners[1:], corners[0]), strict=True):
            ex, ey, px, py = bx - ax, by - ay, x - ax, y - ay
            along = np.clip((px * ex + py * ey) / (ex * ex + ey * ey), 0, 1)
            nearest = np.minimum(nearest, (px - ex * along) ** 2 + (py - ey * along) ** 2)
            if ey:  # a ray to the right of the point crosses the edge: in or out once more
                outside ^= ((y >= ay) != (y >= by)) & ((ex * py > ey * px) == (ey < 0))
        return np.sqrt(nearest) * np.where(outside, 1, -1).astype(np.float32)

    return distance


def disc(radius: float, x0: float = 0, y0: float = 0) -> Field:
    """Signed distance to a disc around (x0, y0)."""
    return lambda x, y: np.hypot(x - np.float32(x0), y - np.float32(y0)) - np.float32(radius)


def without(shape: Field, hole: Field) -> Field:
    """The part of a shape that is outside another."""
    return lambda x, y: np.maximum(shape(x, y), -hole(x, y))


def box(width: float, height: float) -> Field:
    """Signed distance to a rectangle of the half sizes given."""
    return polygon((width, height), (-width, height), (-width, -height), (width, -height))


def _star(points: int, inner: float) -> Field:
    angles = np.pi * (0.5 + np.arange(2 * points) / points)
    radii = np.where(np.arange(2 * points) % 2, inner, 1.05)
    return polygon(*zip((radii * np.cos(angles)).tolist(), (radii * np.sin(angles)).tolist(), strict=True))


def _heart(x: Array, y: Array) -> Array:
    # Two discs above the square that stands on its corner and joins their centres.
    square = (np.abs(x) + np.abs(y + np.float32(0.1)) - np.float32(0.85)) / np.float32(np.sqrt(2))
    return np.minimum(square, disc(0.601, 0.425, 0.325)(np.abs(x), y))


def _drop(x: Array, y: Array) -> Array:
    # A disc and the cone that touches it, with its tip at (0, 1.1).
    across = np.float32(0.873) * np.abs(x) + np.float32(0.487) * (y - np.float32(1.1))  # distance to the cone's side
    cone = np.maximum(across, np.float32(-0.08) - y)
    return np.minimum(cone, disc(0.68, 0, -0.3)(x, y))


def _flower(x: Array, y: Array) -> Array:
    petals = np.float32(0.74) + np.float32(0.26) * np.cos(5 * np.arctan2(x, y))
    return (np.hypot(x, y) - petals) * np.float32(0.7)


SHAPES: dict[str, Field] = {
    "arrow": polygon((0, 1), (0.8, 0.1), (0.27, 0.1), (0.27, -1), (-0.27, -1), (-0.27, 0.1), (-0.8, 0.1)),
    "bar": box(1.05, 0.36),
    "bolt": polygon((0.35, 1.05), (-0.7, -0.2), (-0.05, -0.2), (-0.35, -1.05), (0.7, 0.2), (0.05, 0.2)),
    "chevron": polygon((0, 0.85), (1, -0.15), (1, -0.85), (0, 0.15), (-1, -0.85), (-1, -0.15)),
    "crescent": without(disc(0.95), disc(0.78, 0.5, 0)),
    "cross": lambda x, y: np.minimum(box(0.95, 0.3)(x, y), box(0.3, 0.95)(x, y)),
    "disc": disc(0.85),
    "dome": without(disc(1, 0, -0.45), lambda x, y: y + np.float32(0.45)),
    "drop": _drop,
    "ell": polygon((-0.75, 0.95), (-0.2, 0.95), (-0.2, -0.4), (0.75, -0.4), (0.75, -0.95), (-0.75, -0.95)),
    "flower": _flower,
    "frame": without(box(0.85, 0.85), box(0.42, 0.42)),
    "heart": _heart,
    "hourglass": polygon((-0.8, 0.9), (0.8, 0.9), (0.12, 0), (0.8, -0.9), (-0.8, -0.9), (-0.12, 0)),
    "house": polygon((0, 1.05), (1, 0.1), (0.66, 0.1), (0.66, -0.85), (-0.66, -0.85), (-0.66, 0.1), (-1, 0.1)),
    "ring": without(disc(0.95), disc(0.46)),
    "square": box(0.8, 0.8),
    "star": _star(5, 0.42),
    "tee": polygon(
        (-0.9, 0.85), (0.9, 0.85), (0.9, 0.3), (0.28, 0.3), (0.28, -0.95), (-0.28, -0.95), (-0.28, 0.3), (-0.9, 0.3)
    ),
    "triangle": polygon((0, 0.95), (1, -0.75), (-1, -0.75)),
}
"""Signed distances, negative inside, of shapes that about fill the unit disc and differ even when turned by 30 degrees
and stretched by 1.2. In alphabetical order, as the official names are."""

PATTERNS: dict[str, Field] = {
    "checked": lambda x, y: 2 * np.sin(np.float32(0.75) * x) * np.sin(np.float32(0.75) * y),
    "dotted": lambda x, y: np.cos(x) + np.cos(y) - np.float32(0.7),
    "plain": lambda x, y: np.full_like(x, -1),
    "ringed": lambda x, y: np.sin(np.hypot(x, y)),
    "striped": lambda x, y: np.sin(x),
}
"""Surfaces with a period of about 2 pi: positive where the accent colour shows. In alphabetical order."""

OBJECTS = ("arrow", "crescent", "cross", "disc", "heart", "hourglass", "ring", "square", "star", "triangle")
"""The shapes that are CIFAR-10's classes, in the order of its labels."""


class Scene(NamedTuple):
    """What varies between N images and tells nothing of the class."""

    centre: Array  # (N, 2) of the object
    size: Array  # (N,) half the object's extent
    stretch: Array  # (N,) x longer by this factor and y shorter, in the object's own axes
    rotation: Array  # (N,) radians
    grain: Array  # (N, 4) the pattern's rotation in radians, its wave number and its phases in x and y
    light: Array  # (N, 2) how the object brightens along x and y
    palette: Array  # (N, 4, 3) RGB in [0, 1] of foreground, accent, and background at its two ends
    backdrop: Array  # (N, 3) wave numbers in x and y and phase of the background
    ends: Array  # (N, STROKES + 1, 4) x, y of both ends of the strokes
    radii: Array  # (N, STROKES + 1) half widths of the strokes, below -PIXEL for none
    paints: Array  # (N, STROKES + 1, 3) RGB of the strokes
    blur: Array  # (N,) weight of each neighbour
    noise: Array  # (N,) standard deviation in parts of the range of values


def draw_scene(count: int, rng: np.random.Generator) -> Scene:
    """Draw the nuisances of `count` images."""

    def uniform(low: float, high: float, *shape: int) -> Array:
        return rng.uniform(low, high, (count, *shape)).astype(np.float32)

    # A third of the colour circle, channel by channel, keeps foreground, accent and background apart.
    third = uniform(0.25, 0.42, 2, 3) * np.where(uniform(-1, 1, 1, 3) < 0, np.float32(-1), np.float32(1))
    first = uniform(0, 1, 1, 3)
    palette = np.concatenate((first, first + third[:, :1], first - third[:, 1:]), axis=1) % 1
    palette = np.concatenate((palette, palette[:, 2:] + uniform(-0.25, 0.25, 1, 3)), axis=1)
    contrast, grey = uniform(0.4, 0.95, 1, 1), uniform(0.4, 0.6, 1, 1)

    start, direction = uniform(-1, 1, STROKES + 1, 2), uniform(0, 2 * np.pi, STROKES + 1)
    length = uniform(-0.5, 1, STROKES + 1).clip(0)  # a third are blobs
    radii = uniform(0.03, 0.16, STROKES + 1) - (uniform(0, 1, STROKES + 1) < 0.3)
    centre, size = uniform(-0.25, 0.25, 2), uniform(0.48, 0.75)
    start[:, -1] = centre + size[:, None] * uniform(-0.8, 0.8, 2)  # the last one is in front of the object
    step = np.stack((np.cos(direction), np.sin(direction)), axis=-1) * length[..., None]
    return Scene(
        centre=centre,
        size=size,
        stretch=np.exp(uniform(-0.15, 0.15)),
        rotation=uniform(-np.pi / 6, np.pi / 6),
        grain=np.stack((uniform(-np.pi, np.pi), uniform(16, 22), uniform(0, 2 * np.pi), uniform(0, 2 * np.pi)), axis=1),
        light=uniform(-0.3, 0.3, 2),
        palette=grey + (palette - np.float32(0.5)) * contrast,
        backdrop=np.concatenate((uniform(-3, 3, 2), uniform(0, 2 * np.pi, 1)), axis=1),
        ends=np.concatenate((start, start + step), axis=-1),
        radii=radii,
        paints=grey + (uniform(0, 1, STROKES + 1, 3) - np.float32(0.5)) * contrast,
        blur=uniform(0, 0.2),
        noise=uniform(0.01, 0.06),
    )


def render(
    shapes: npt.ArrayLike, patterns: npt.ArrayLike, rng: np.random.Generator, *, chunk: int = 64
) -> npt.NDArray[np.uint8]:
    """Render one object an image.

    Args:
        shapes: (N,) places in `SHAPES`.
        patterns: (N,) places in `PATTERNS`.
        rng: Source of everything else.
        chunk: Images rendered at a time. Has no effect on them.

    Returns:
        (N, 3, 32, 32) RGB images, planar as CIFAR keeps them.

    Raises:
        ValueError: If shapes and patterns are not two equally long rows of known places.
    """
    shapes, patterns = np.asarray(shapes, dtype=np.int64), np.asarray(patterns, dtype=np.int64)
    if shapes.ndim != 1 or shapes.shape != patterns.shape:
        raise ValueError(f"render: shapes {shapes.shape} and patterns {patterns.shape}, expected (N,) and (N,).")
    for what, places, known in (("shapes", shapes, SHAPES), ("patterns", patterns, PATTERNS)):
        if places.size and not 0 <= places.min() <= places.max() < len(known):
            raise ValueError(f"render: {what} from {places.min()} to {places.max()}, expected 0 to {len(known) - 1}.")
    scene = draw_scene(len(shapes), rng)
    images = np.empty((len(shapes), 3, SIDE, SIDE), dtype=np.uint8)
    for start in range(0, len(shapes), chunk):
        rows = slice(start, start + chunk)
        part = Scene(*(values[rows] for values in scene))
        picture = _paint(shapes[rows], patterns[rows], part)
        # The sum of two uniform draws: all but normal, and the same in every version of NumPy.
        grain = rng.random((*picture.shape, 2), dtype=np.float32).sum(axis=-1) - 1
        picture += grain * _each(part.noise * np.float32(np.sqrt(6)), 3)
        images[rows] = np.rint(picture.clip(0, 1) * 255)
    return images


def _paint(shapes: Labels, patterns: Labels, scene: Scene) -> Array:
    """Paint a chunk: background, strokes, object, a stroke in front, blur. Returns (n, 3, 32, 32) in about [0, 1]."""
    ticks = ((np.arange(SIDE) + 0.5) * PIXEL - 1).astype(np.float32)
    x, y = ticks[None, None, :], -ticks[None, :, None]

    ahead, up, phase = (_each(values, 2) for values in scene.backdrop.T)
    mix = (np.sin(ahead * x + up * y + phase) + 1) / 2
    picture = _blend(_each(scene.palette[:, 2], 2), scene.palette[:, 3], mix)
    for stroke in range(STROKES):
        picture = _blend(picture, scene.paints[:, stroke], _stroke(scene, stroke, x, y))

    # The object's own axes, in which its shape has unit size.
    u, v = _turn(x - _each(scene.centre[:, 0], 2), y - _each(scene.centre[:, 1], 2), scene.rotation)
    inside, accent = np.empty_like(u), np.empty_like(u)
    across, down = _each(scene.size * scene.stretch, 2), _each(scene.size / scene.stretch, 2)
    for place, shape in enumerate(SHAPES.values()):
        rows = np.flatnonzero(shapes == place)
        inside[rows] = shape(u[rows] / across[rows], v[rows] / down[rows])
    angle, waves, *phases = scene.grain.T
    s, t = _turn(u * _each(waves, 2), v * _each(waves, 2), angle)
    for place, pattern in enumerate(PATTERNS.values()):
        rows = np.flatnonzero(patterns == place)
        # Rings stay around the middle of the object, give or take a pixel or two.
        shift = np.float32(0.3 if pattern is PATTERNS["ringed"] else 1)
        accent[rows] = pattern(*(w[rows] + shift * _each(p[rows], 2) for w, p in zip((s, t), phases, strict=True)))
    surface = _blend(_each(scene.palette[:, 0], 2), scene.palette[:, 1], (accent + np.float32(0.5)).clip(0, 1))
    surface *= (1 + _each(scene.light[:, 0], 2) * x + _each(scene.light[:, 1], 2) * y)[:, None]
    picture += _cover(inside * _each(scene.size, 2))[:, None] * (surface - picture)

    picture = _blend(picture, scene.paints[:, -1], _stroke(scene, STROKES, x, y))
    weight = _each(scene.blur, 3)
    for axis in (2, 3):
        width = [(0, 0)] * 4
        width[axis] = (1, 1)
        padded = np.pad(picture, width, mode="edge")
        before, after = padded.take(range(SIDE), axis), padded.take(range(2, SIDE + 2), axis)
        picture += weight * (before + after - 2 * picture)
    return picture


def _each(values: Array, axes: int) -> Array:
    """Give values of images as many more axes, to go with pixels."""
    return values.reshape(*values.shape, *[1] * axes)


def _turn(x: Array, y: Array, angle: Array) -> tuple[Array, Array]:
    """Coordinates (n, 32, 32) along axes turned by an angle (n,)."""
    cos, sin = _each(np.cos(angle), 2), _each(np.sin(angle), 2)
    return cos * x + sin * y, cos * y - sin * x


def _cover(distance: Array) -> Array:
    """The part of a pixel that is inside an edge at this signed distance from its middle."""
    return (np.float32(0.5) - distance / PIXEL).clip(0, 1)


def _blend(picture: Array, colour: Array, opacity: Array) -> Array:
    """Lay colours (n, 3) with opacities (n, 32, 32) over pictures (n, 3, 32, 32) or (n, 3, 1, 1)."""
    return picture + opacity[:, None] * (_each(colour, 2) - picture)


def _stroke(scene: Scene, index: int, x: Array, y: Array) -> Array:
    """Opacity (n, 32, 32) of one of the strokes, which are line segments with round ends."""
    ax, ay, bx, by = (_each(values, 2) for values in scene.ends[:, index].T)
    ex, ey, px, py = bx - ax, by - ay, x - ax, y - ay
    along = ((px * ex + py * ey) / (ex * ex + ey * ey + np.float32(1e-6))).clip(0, 1)
    return _cover(np.hypot(px - ex * along, py - ey * along) - _each(scene.radii[:, index], 2))


def write_cifar(
    root: Path, name: Literal["cifar10", "cifar100"], *, train: int = 50_000, test: int = 10_000, seed: int = 0
) -> Path:
    """Render a data set and write it in the official layout of CIFAR-10 or CIFAR-100, all of it or nothing.

    Args:
        root: Folder to write to; made where it does not exist.
        name: Whose layout and number of classes.
        train: Training images, the same number of each class give or take one.
        test: Test images, likewise, drawn independently of the training images.
        seed: The same seed gives the same images.

    Returns:
        The folder written: `root/cifar-10-batches-py` or `root/cifar-100-python`.

    Raises:
        FileExistsError: If that folder is there already.
        ValueError: If the name is another or a class would have no image.
    """
    if name not in ("cifar10", "cifar100"):
        raise ValueError(f"write_cifar: name is {name!r}, expected 'cifar10' or 'cifar100'.")
    classes = 10 if name == "cifar10" else 100
    for split, count in (("train", train), ("test", test)):
        if count < classes:
            raise ValueError(f"write_cifar: {split} is {count}, expected at least {classes}, one image of each class.")
    folder = root / ("cifar-10-batches-py" if name == "cifar10" else "cifar-100-python")
    if folder.exists():
        raise FileExistsError(f"{folder} exists and is not overwritten; remove it or write to another root.")
    root.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=root) as temporary:
        staged = Path(temporary) / folder.name
        staged.mkdir()
        for file, content in _files(classes, train, test, seed):
            with (staged / file).open("wb") as stream:
                pickle.dump(content, stream, protocol=2)
        staged.rename(folder)
    return folder


def _files(classes: int, train: int, test: int, seed: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """Name and content of every file of a set with 10 or 100 classes."""
    if classes == 10:
        yield "batches.meta", {"num_cases_per_batch": -(-train // 5), "label_names": list(OBJECTS), "num_vis": 3072}
    else:
        names = [f"{pattern}_{shape}" for pattern in PATTERNS for shape in SHAPES]
        yield "meta", {"fine_label_names": names, "coarse_label_names": list(SHAPES)}
    for split, count in enumerate((train, test)):
        rng = np.random.default_rng((seed, classes, split))
        labels = (np.arange(count) % classes)[np.argsort(rng.random(count), kind="stable")]
        if classes == 10:
            shapes = np.array([list(SHAPES).index(name) for name in OBJECTS])[labels]
            patterns = (rng.random(count) * len(PATTERNS)).astype(np.int64)
        else:
            patterns, shapes = np.divmod(labels, len(SHAPES))
        data = render(shapes, patterns, rng).reshape(count, -1)
        kinds = [
            f"{list(PATTERNS)[pattern]}_{list(SHAPES)[shape]}" for pattern, shape in zip(patterns, shapes, strict=True)
        ]
        filenames = [f"{kind}_s_{index:06d}.png" for index, kind in enumerate(kinds)]
        batches, kind = (5 if classes == 10 and not split else 1), ("training", "testing")[split]
        for batch in range(batches):
            rows = slice(count * batch // batches, count * (batch + 1) // batches)
            label = f"{kind} batch {batch + 1} of {batches}"
            if classes == 10:
                yield (
                    f"data_batch_{batch + 1}" if not split else "test_batch",
                    {
                        "batch_label": label,
                        "labels": labels[rows].tolist(),
                        "data": data[rows],
                        "filenames": filenames[rows],
                    },
                )
            else:
                yield (
                    ("train", "test")[split],
                    {
                        "filenames": filenames[rows],
                        "batch_label": label,
                        "fine_labels": labels[rows].tolist(),
                        "coarse_labels": shapes[rows].tolist(),
                        "data": data[rows],
                    },
                )
