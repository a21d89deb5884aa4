"""The plan of a street, its ground and the sky, computed for each pixel from the ray through it."""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from relattn.extras import Lazy
from relattn.synthetic.streets.labels import ID
from relattn.synthetic.streets.view import EYE, Colour, Floats, View

cv2 = Lazy("cv2", "suite")

TILE = 256
FAR = 130.0
"""Distance at which the street ends, in metres."""

STONES: tuple[Colour, ...] = (
    (122, 118, 114), (148, 140, 128), (170, 162, 148), (196, 186, 166), (138, 96, 78), (158, 128, 102), (112, 116, 122),
    (190, 170, 140), (96, 92, 90), (204, 204, 198),
)  # fmt: skip
GREYS: tuple[Colour, ...] = ((92, 92, 94), (106, 106, 106), (118, 116, 112), (80, 82, 86), (128, 126, 124))
GREENS: tuple[Colour, ...] = ((70, 92, 46), (92, 108, 56), (116, 112, 66), (62, 84, 40), (128, 116, 84))


class Side(NamedTuple):
    """One side of a street, in stretches from near to far; (S,) unless said otherwise."""

    starts: Floats
    """Distance at which each stretch begins, in metres ahead."""

    heights: Floats
    """Height of the house or the trees, in metres; 0 if there are none."""

    leafy: npt.NDArray[np.bool_]
    """Whether the stretch has trees."""

    colours: Floats
    """(S, 3), RGB."""

    storey: Floats
    """Height of a storey, in metres."""

    pitch: Floats
    """Distance between windows, in metres."""

    low: npt.NDArray[np.uint8]
    """The label of objects along open stretches: a wall, a fence, a guard rail or a hedge; 0 for none."""

    rises: Floats
    """The height of these objects, in metres."""


class Layout(NamedTuple):
    """A street from above, in metres; pairs are of the left and the right side."""

    road: float
    """Half the width of the road."""

    lanes: int
    track: float
    """Distance of a tram track to the left; 0 if there is none."""

    parked: tuple[bool, bool]
    bounds: tuple[float, ...]
    """Boundaries between kinds of ground, from left to right."""

    ground: tuple[int, ...]
    """The labels between the boundaries."""

    edges: tuple[float, float]
    """Distance at which the houses begin."""

    beyond: int
    """The label of the ground behind them."""

    crossings: tuple[tuple[float, float], ...]
    trees: float
    """Average number on each side."""

    sides: tuple[Side, Side]
    colours: dict[int, Colour]
    """Colours of the kinds of ground."""


def grain(rng: np.random.Generator) -> Floats:
    """Periodic noise between -1 and 1, (TILE, TILE): coarse, middle and fine."""
    total = np.zeros((TILE, TILE), np.float32)
    for cells, strength in ((16, 0.5), (64, 0.7), (256, 0.6)):
        small = rng.random((cells, cells), dtype=np.float32) * 2 - 1
        whole = cv2.resize(np.pad(small, 1, mode="wrap"), None, fx=TILE // cells, fy=TILE // cells)
        skip = TILE // cells
        total += np.float32(strength) * whole[skip:-skip, skip:-skip]
    return total.clip(-1, 1)


def draw_layout(rng: np.random.Generator, rare: frozenset[str]) -> Layout:
    """Draw a street with the given rare kinds."""
    road = float(rng.uniform(3.2, 5.6))
    track = road / 2 if "train" in rare else 0.0
    crossings = []
    at = rng.uniform(14, 70)
    while at < 100 and rng.random() < 0.8:
        crossings.append((float(at), float(at + rng.uniform(6, 10))))
        at += rng.uniform(35, 70)
    parked = (rng.random() < 0.4, rng.random() < 0.4)
    bounds: list[tuple[float, int]] = []
    edges = []
    for side in (0, 1):
        kinds, place = [], road
        if parked[side]:
            kinds.append((place, ID["parking"] if rng.random() < 0.3 else ID["road"]))
            place += 2.1
        if "terrain" in rare and rng.random() < 0.6:
            kinds.append((place, ID["terrain"]))
            place += rng.uniform(0.8, 2.2)
        kinds.append((place, ID["sidewalk"]))
        place += rng.uniform(1.8, 4.0)
        if "terrain" in rare and rng.random() < 0.5:
            kinds.append((place, ID["terrain"]))
            place += rng.uniform(1.0, 4.0)
        edges.append(float(place))
        bounds += [(start if side else -start, label) for start, label in kinds]
    left = sorted((bound for bound in bounds if bound[0] < 0), reverse=True)
    right = sorted(bound for bound in bounds if bound[0] > 0)
    labels = [label for _, label in reversed(left)] + [ID["road"]] + [label for _, label in right]
    grey = [int(place) for place in rng.permutation(len(GREYS))]
    sidewalk = GREYS[grey[1]] if rng.random() < 0.6 else STONES[int(rng.integers(len(STONES)))]
    colours = {
        ID["road"]: GREYS[grey[0]], ID["sidewalk"]: sidewalk, ID["parking"]: GREYS[grey[2]],
        ID["terrain"]: GREENS[int(rng.integers(len(GREENS)))], ID["ground"]: STONES[int(rng.integers(len(STONES)))],
        ID["rail track"]: GREYS[grey[3]],
    }  # fmt: skip
    beyond = pick_label(rng, ("terrain", "terrain", "sidewalk")) if "terrain" in rare else ID["ground"]
    spared = {"wall", "fence"} & rare
    sides = draw_side(rng, crossings, spared), draw_side(rng, crossings, spared)
    trees = float(rng.choice([0.5, 2.0, 5.0]))
    return Layout(
        road, 2 if road > 3.9 else 1, track, parked, (*(b for b, _ in reversed(left)), *(b for b, _ in right)),
        tuple(labels), (edges[0], edges[1]), beyond, tuple(crossings), trees, sides, colours,
    )  # fmt: skip


def draw_side(rng: np.random.Generator, crossings: list[tuple[float, float]], low: set[str]) -> Side:
    """Draw the houses and gaps along one side; gaps have a wall or a fence if `low` contains one."""
    rows: list[tuple[float, float, bool, Colour, float, float, int, float]] = []
    urban, z = rng.uniform(0.45, 0.95), 0.0
    barrier = sorted(low)[int(rng.integers(len(low)))] if low and rng.random() < 0.85 else None
    wanted = barrier is not None
    while z < FAR:
        colour = STONES[int(rng.integers(len(STONES)))]
        opening = next((stop for start, stop in crossings if start <= z < stop), None)
        until = min((start for start, _ in crossings if start > z), default=FAR)
        length = min(rng.uniform(7, 22), until - z)
        height, leafy, label, rise = float(rng.uniform(6, 19)), False, 0, 0.0
        if opening is not None:
            length, height = opening - z, 0.0
        elif (wanted and z + length > 8) or rng.random() > urban:
            height, wanted = 0.0, False
            if barrier:
                label, rise = ID[barrier], float(rng.uniform(1.0, 2.6))
                length = min(max(length, 14.0), until - z)
            else:
                label = pick_label(rng, ("unlabeled", "vegetation", "vegetation", "guard rail"))
                rise = {ID["vegetation"]: 1.4, ID["guard rail"]: 0.8}.get(label, 0.0)
        elif rng.random() > 0.45 + 0.5 * urban:
            height, leafy, colour = height * 0.7, True, GREENS[int(rng.integers(len(GREENS) - 1))]
        rows.append((z, height, leafy, colour, float(rng.uniform(2.8, 3.8)), float(rng.uniform(1.8, 3.6)), label, rise))
        z += max(length, 0.5)
    starts, heights, leafy_, colours, storey, pitch, labels, rises = (
        np.array(values) for values in zip(*rows, strict=True)
    )
    starts, heights, storey, pitch, rises = (
        values.astype(np.float32) for values in (starts, heights, storey, pitch, rises)
    )
    colours, labels = colours.astype(np.float32), labels.astype(np.uint8)
    return Side(starts, heights, leafy_, colours, storey, pitch, labels, rises)


def pick_label(rng: np.random.Generator, names: tuple[str, ...]) -> int:
    """The id of one of the labels."""
    return ID[names[int(rng.integers(len(names)))]]


def air(view: View, colour: Floats, depth: Floats) -> Floats:
    """Colours (..., 3) as seen through `depth` metres of air."""
    clear = np.exp(depth * np.float32(-1 / view.light.sight))[..., None]
    haze = np.array(view.light.sky[1], np.float32)
    return haze + (colour - haze) * clear


def lookup(texture: Floats, rows: npt.NDArray[Any], columns: npt.NDArray[Any]) -> Floats:
    """The noise at some positions, with period TILE."""
    return texture[rows.astype(np.int32) & (TILE - 1), columns.astype(np.int32) & (TILE - 1)]


def draw_sky(view: View, rng: np.random.Generator, texture: Floats) -> None:
    """Draw the sky: a gradient with clouds."""
    rows = max(int(view.y0) + 1, 1)
    down = np.linspace(0, 1, rows, dtype=np.float32)[:, None, None]
    top, horizon = (np.array(colour, np.float32) for colour in view.light.sky)
    clear = top + (horizon - top) * down**0.8
    patch = cv2.GaussianBlur(texture, (0, 0), 6)[: TILE // 2]
    soft = cv2.resize(patch, (view.width, rows), interpolation=cv2.INTER_CUBIC) * np.float32(2.4 * view.light.clouds)
    cover = (soft + np.float32(0.4 * view.light.clouds)).clip(0, 1)[..., None]
    white = np.float32(rng.uniform(205, 245))
    view.image[:rows] = (clear + (white - clear) * cover * np.float32(0.8)).clip(0, 255)
    view.marks[:rows] = ID["sky"]


def draw_ground(view: View, layout: Layout, texture: Floats) -> None:
    """Draw road, pavement, grass and the markings on them."""
    first = int(view.y0) + 1
    ys = np.arange(first, view.height, dtype=np.float32) + np.float32(0.5)
    depth = (np.float32(view.focal * EYE) / (ys - np.float32(view.y0)))[:, None]
    x = (np.arange(view.width, dtype=np.float32) + np.float32(0.5 - view.x0)) * depth / np.float32(view.focal)
    labels = np.array(layout.ground, np.uint8)[np.searchsorted(np.array(layout.bounds, np.float32), x)]
    labels[(x < -layout.edges[0]) | (x > layout.edges[1])] = layout.beyond
    z = depth[:, 0]
    crossing = np.zeros(len(z), bool)
    for start, stop in layout.crossings:
        crossing |= (z > start) & (z < stop)
    labels[crossing] = ID["road"]
    if layout.track:
        rails = np.abs(np.abs(x + np.float32(layout.track)) - np.float32(0.72)) < 0.12
        labels[rails & (labels == ID["road"])] = ID["rail track"]
    colours = np.zeros((256, 3), np.float32)
    for label, colour in layout.colours.items():
        colours[label] = colour
    near = np.minimum(1, 14 / depth)
    tone = 1 + (0.14 * lookup(texture, depth * np.float32(9), x * np.float32(22))
                + 0.1 * lookup(texture, depth * np.float32(0.7), x * np.float32(2))) * near  # fmt: skip
    joints = (np.mod(x, np.float32(0.9)) < 0.05) | (np.mod(depth, np.float32(0.9)) < 0.06)
    tone -= 0.16 * near * (joints & (labels == ID["sidewalk"]))
    if view.light.sun > 0.5:  # the houses on the sunny side cast their shadow on the street
        reach = np.float32(layout.road * (0.2 + 0.6 * (layout.lanes - 1)))
        tone *= np.where(x * view.light.side > reach + np.sin(depth * np.float32(0.35)) * 0.6, 0.62, 1.05)
    ground: Floats = colours[labels] * tone[..., None].astype(np.float32)
    kerb = np.abs(np.abs(x) - np.float32(layout.road + 0.08)) < 0.09
    ground[kerb & ~crossing[:, None]] *= np.float32(1.22)
    dashes = (np.mod(depth, np.float32(9)) < 4.5) & (np.abs(x) < 0.08)
    edge = np.abs(np.abs(x) - np.float32(layout.road - 0.25)) < 0.06
    painted = ((dashes | edge) & ~crossing[:, None]) if layout.lanes == 2 else np.zeros_like(dashes)
    for start, _ in layout.crossings:
        stripes = (depth > start - 3.4) & (depth < start - 0.6) & (np.mod(x, np.float32(1.0)) < 0.5)
        painted |= stripes & (np.abs(x) < layout.road)
    worn = 0.75 + 0.3 * lookup(texture, depth * np.float32(14), x * np.float32(30))
    white = painted & (labels == ID["road"])
    ground[white] += (np.float32(212) - ground[white]) * worn[white][:, None].clip(0, 1)
    view.image[first:] = air(view, ground, depth).clip(0, 255)
    view.marks[first:] = labels
