"""Other objects that stand and move in a street: people, bicycles, trees, lamps, lights and signs.

Lengths are in metres. An object's own coordinates are x to its right, y up from the ground, z ahead. A rider and a
person are drawn alike, and differ only in what is under them.
"""

import math
from itertools import pairwise

import numpy as np

from relattn.synthetic.streets.labels import ID
from relattn.synthetic.streets.vehicles import CIRCLE, PAINTS, TYRE
from relattn.synthetic.streets.view import Colour, Point, Spot, View, pick, vary

CLOTHES: tuple[Colour, ...] = (
    (30, 31, 36), (44, 48, 60), (36, 48, 92), (92, 96, 102), (150, 148, 144), (212, 210, 204), (134, 36, 40),
    (62, 92, 60), (110, 82, 58), (176, 150, 60),
)  # fmt: skip
SKINS: tuple[Colour, ...] = ((232, 192, 164), (214, 168, 136), (150, 106, 80), (96, 66, 50))
LEAVES: tuple[Colour, ...] = ((52, 82, 38), (64, 98, 40), (82, 104, 48), (102, 104, 50), (44, 66, 40))
METAL: tuple[Colour, ...] = ((92, 96, 98), (120, 122, 120), (66, 70, 72), (146, 148, 146), (70, 84, 70))


def draw_figure(view: View, rng: np.random.Generator, spot: Spot, label: str, *, seat: float | None = None) -> None:
    """Draw a person who stands or walks, or sits at the height `seat`."""
    mark, size = view.thing(ID[label]), rng.uniform(0.9, 1.06)
    trousers, top, skin = vary(rng, CLOTHES), vary(rng, CLOTHES), vary(rng, SKINS)
    stride, side = rng.uniform(-0.32, 0.32), rng.random() < 0.5

    def part(a: Point, b: Point, width: float, colour: Colour) -> None:
        one, other = spot.points([(size * x, size * y, size * z) for x, y, z in (a, b)])
        view.limb(one, other, width * size, colour, mark)

    hip = 0.92 if seat is None else seat
    lean = 0.03 if seat is None else 0.22
    if seat is None:
        view.shadow(spot, 0.3, 0.3, 0.6)
    for x, step in ((-0.09, stride), (0.09, -stride)):
        knee, foot = (hip - 0.45, 0.5 * step + 0.04), (0.06, step)
        if seat is not None:
            knee, foot = (hip - 0.12, 0.36), (hip - 0.5 + 0.6 * step, 0.2)
        part((x, hip, 0), (x, *knee), 0.17, trousers)
        part((x, *knee), (x, *foot), 0.13, trousers)
        part((x, *foot), (x, foot[0], foot[1] + 0.12), 0.09, (36, 32, 30))
    for x in (-0.2, 0.2):
        if seat is not None:
            part((x, hip + 0.5, lean), (x, hip + 0.2, lean + 0.3), 0.1, top)
            part((x, hip + 0.2, lean + 0.3), (0.8 * x, hip + 0.15, lean + 0.42), 0.08, skin)
            continue
        swing = stride if x > 0 else -stride
        part((x, hip + 0.5, 0), (x * 1.25, hip + 0.22, 0.3 * swing), 0.1, top)
        part((x * 1.25, hip + 0.22, 0.3 * swing), (x * 1.2, hip - 0.04, 0.8 * swing), 0.085, skin if side else top)
    part((-0.07, hip + 0.02, 0), (-0.09, hip + 0.5, lean), 0.26, top)
    part((0.07, hip + 0.02, 0), (0.09, hip + 0.5, lean), 0.26, top)
    part((0, hip + 0.55, lean), (0, hip + 0.66, lean), 0.12, skin)
    (head,) = spot.points([(0, size * (hip + 0.74), size * lean)])
    hair = vary(rng, ((30, 26, 24), (60, 44, 32), (130, 100, 66), (150, 148, 144)))
    view.blob((head[0], head[1] + 0.03, head[2] + 0.01), 0.125 * size, hair, mark)
    if math.cos(spot.yaw) < 0.5:
        view.blob((head[0], head[1] - 0.02, head[2] - 0.01), 0.095 * size, skin, mark)


def draw_cycle(view: View, rng: np.random.Generator, spot: Spot, kind: str, *, ridden: bool) -> None:
    """Draw a bicycle or a motorcycle, with a rider or parked. Labels fill the wheels, as people draw them."""
    mark, paint = view.thing(ID[kind]), vary(rng, PAINTS)
    view.shadow(spot, 0.2, 0.9, 0.6)
    heavy = kind == "motorcycle"
    wheel, reach, thick = (0.31, 0.68, 0.14) if heavy else (0.34, 0.54, 0.035)
    for z in (reach, -reach) if math.cos(spot.yaw) > 0 else (-reach, reach):
        ring = spot.points([(0, wheel * (1 + sin), z + wheel * cos) for sin, cos in (*CIRCLE, CIRCLE[0])])
        view.fill(ring, TYRE if heavy else None, mark)
        for start, end in pairwise(ring):
            view.limb(start, end, thick, TYRE, mark)

    def bar(a: Point, b: Point, width: float, colour: Colour) -> None:
        one, other = spot.points((a, b))
        view.limb(one, other, width, colour, mark)

    if heavy:
        bar((0, 0.45, -0.35), (0, 0.5, 0.3), 0.34, (56, 56, 60))
        bar((0, 0.72, -0.05), (0, 0.75, 0.25), 0.3, paint)
        bar((0, 0.72, -0.7), (0, 0.72, -0.1), 0.18, (30, 30, 32))
    else:
        for a, b in (((0, 0.34, -0.54), (0, 0.3, 0)), ((0, 0.3, 0), (0, 0.85, -0.15)), ((0, 0.3, 0), (0, 0.8, 0.4)),
                     ((0, 0.75, -0.13), (0, 0.78, 0.4)), ((0, 0.34, -0.54), (0, 0.75, -0.13))):  # fmt: skip
            bar(a, b, 0.05, paint)
        bar((0, 0.88, -0.25), (0, 0.9, -0.05), 0.09, (28, 28, 30))
    bar((0, wheel, reach), (0, 1.0, 0.75 * reach), 0.06, (120, 122, 124))
    bar((-0.28, 1.02, 0.7 * reach), (0.28, 1.02, 0.7 * reach), 0.05, (36, 36, 38))
    if ridden:
        draw_figure(view, rng, spot, "rider", seat=0.82 if heavy else 0.95)


def draw_tree(view: View, rng: np.random.Generator, spot: Spot) -> None:
    """Draw a tree; its trunk counts as vegetation."""
    mark, height, leaf = ID["vegetation"], rng.uniform(4.5, 9.5), vary(rng, LEAVES)
    wide = height * rng.uniform(0.2, 0.3)
    view.shadow(spot, 0.8 * wide, 0.5 * wide, 0.75)
    view.limb((spot.x, 0, spot.z), (spot.x, 0.6 * height, spot.z), 0.035 * height, (74, 62, 52), mark)
    for step in range(34):
        angle, out = rng.uniform(0, 2 * math.pi), rng.random() ** 0.5
        up = (0.68 + 0.26 * out * math.sin(angle)) * height
        x = spot.x + wide * out * math.cos(angle)
        tone = 0.62 + 0.45 * (up / height - 0.4) + 0.14 * view.light.sun * math.cos(angle) * view.light.side
        colour = (leaf[0] * tone, leaf[1] * tone, leaf[2] * tone)
        view.blob((x, up + 0.02 * step, spot.z), wide * rng.uniform(0.26, 0.44), colour, mark)


def draw_bush(view: View, rng: np.random.Generator, spot: Spot) -> None:
    """Draw a bush."""
    leaf, size = vary(rng, LEAVES), rng.uniform(0.5, 1.1)
    for _ in range(10):
        x, y, tone = spot.x + size * rng.uniform(-1, 1), size * rng.uniform(0.2, 0.9), rng.uniform(0.6, 1.0)
        colour = (leaf[0] * tone, leaf[1] * tone, leaf[2] * tone)
        view.blob((x, y, spot.z), 0.45 * size, colour, ID["vegetation"])


def draw_post(view: View, rng: np.random.Generator, spot: Spot, kind: str) -> None:
    """Draw a pole with a lamp, a traffic light or a sign on it, or a bollard."""
    metal, pole = vary(rng, METAL), ID["pole"]
    height = {"lamp": rng.uniform(6, 9), "light": 3.2, "sign": rng.uniform(2.2, 3.0), "bollard": 1.0}[kind]
    thick = {"lamp": 0.17, "light": 0.14, "sign": 0.08, "bollard": 0.12}[kind]
    x, z = spot.x, spot.z
    view.limb((x, 0, z), (x, height, z), thick, metal, pole)
    inwards = -1 if x > 0 else 1
    if kind == "lamp":
        view.limb((x, height, z), (x + 1.6 * inwards, height + 0.3, z), 0.1, metal, pole)
        view.limb((x + 1.2 * inwards, height + 0.25, z), (x + 1.9 * inwards, height + 0.28, z), 0.2, metal, pole)
    elif kind == "light":
        level = height - 1.0 + 0.2
        _panel(view, x, level, z - 0.1, 0.36, 1.0, (30, 32, 32), ID["traffic light"])
        lit = int(rng.integers(3))
        for lamp, colour in enumerate(((226, 40, 30), (240, 170, 40), (40, 210, 120))):
            tone = 1.0 if lamp == lit else 0.22
            dim = (colour[0] * tone, colour[1] * tone, colour[2] * tone)
            view.blob((x, level + 0.82 - 0.32 * lamp, z - 0.12), 0.12, dim, None)
    elif kind == "sign":
        _sign(view, rng, x, height, z - 0.05)


def _sign(view: View, rng: np.random.Generator, x: float, height: float, z: float) -> None:
    mark, size = ID["traffic sign"], rng.uniform(0.32, 0.42)
    shape = pick(rng, ("round", "triangle", "square", "wide"))
    red, white, blue = (196.0, 30.0, 34.0), (236.0, 236.0, 230.0), (36.0, 76.0, 160.0)
    if shape == "round":
        rim, face = pick(rng, ((red, white), (blue, blue), (red, red)))
        view.blob((x, height, z), size, rim, mark)
        view.blob((x, height, z - 0.01), 0.72 * size, face, None)
    elif shape == "triangle":
        for part, colour in ((1.1, red), (0.68, white)):
            corners = [(x + part * size * a, height + part * size * b, z) for a, b in ((-1, -0.6), (0, 1.1), (1, -0.6))]
            view.fill(corners, colour, mark)
    else:
        wide = size * (3.2 if shape == "wide" else 1.8)
        colour = vary(rng, (blue, (224, 196, 60), white))
        _panel(view, x, height - size, z, wide, 1.8 * size, (230, 230, 226), mark)
        _panel(view, x, height - 0.86 * size, z - 0.01, 0.9 * wide, 1.52 * size, colour, mark)


def draw_clutter(view: View, rng: np.random.Generator, spot: Spot, kind: str) -> None:
    """Draw a bin or an advertising column, which are `static`, or luggage, which is `dynamic`."""
    width, height = (rng.uniform(0.5, 1.2), rng.uniform(0.9, 2.2)) if kind == "static" else (0.45, 0.7)
    view.shadow(spot, 0.6 * width, 0.4 * width, 0.6)
    _panel(view, spot.x, 0, spot.z, width, height, vary(rng, PAINTS + CLOTHES), ID[kind])


def _panel(view: View, x: float, y: float, z: float, width: float, height: float, colour: Colour, mark: int) -> None:
    """Fill an upright rectangle that faces the camera."""
    half = width / 2
    view.fill([(x - half, y, z), (x - half, y + height, z), (x + half, y + height, z), (x + half, y, z)], colour, mark)
