"""Vehicles with at least four wheels, or on rails: the outline of the side, extruded over the width.

Lengths are in metres. A vehicle's own coordinates are x to its right, y up from the ground, z ahead. Paints are shared
and sizes overlap, so a bus, a truck and a train differ only in their shapes, windows and wheels.
"""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple, cast

import numpy as np

from relattn.synthetic.streets.labels import ID
from relattn.synthetic.streets.view import EYE, Colour, Point, Spot, View, pick, vary

PAINTS: tuple[Colour, ...] = (
    (34, 35, 38), (60, 62, 66), (120, 124, 128), (168, 172, 176), (222, 222, 218), (28, 40, 84), (40, 78, 150),
    (150, 28, 32), (92, 24, 28), (38, 84, 58), (196, 178, 60), (120, 92, 66),
)  # fmt: skip
GLASS, TYRE, LAMP, REAR = (46, 56, 64), (22, 22, 24), (248, 246, 226), (190, 26, 24)

CIRCLE = [(math.sin(0.45 * step), math.cos(0.45 * step)) for step in range(14)]

Section = tuple[tuple[float, float], ...]


class Body(NamedTuple):
    """The shape of a vehicle: its side, drawn from the rear up, over and down the front, and the parts on it."""

    side: Section  # (z, y)
    glass: tuple[int, ...]  # edges of the side that are windows across the width
    width: float
    windows: tuple[Section, ...]  # on both sides
    wheels: tuple[float, ...]  # z
    wheel: float  # radius


def _row(start: float, stop: float, low: float, high: float, pitch: float) -> tuple[Section, ...]:
    """A row of windows."""
    count = round((stop - start) / pitch)
    edges = [start + (stop - start) * step / count for step in range(count + 1)]
    return tuple(((a + 0.08, low), (a + 0.08, high), (b - 0.08, high), (b - 0.08, low)) for a, b in pairwise(edges))


def _box(length: float, low: float, high: float, slope: float, glass: float) -> Section:
    """The side of a long vehicle, whose ends have a window above the height `glass`."""
    end = length / 2
    return ((-end, low), (-end, glass), (-end + slope / 3, high), (end - slope, high), (end, glass), (end, low))


CARS = {
    "saloon": Body(
        ((-2.2, 0.3), (-2.2, 0.9), (-1.75, 1.0), (-1.1, 1.42), (0.1, 1.45), (0.95, 1.0), (2.1, 0.8), (2.2, 0.3)),
        (2, 4), 1.78, (((-1.4, 1.02), (-0.95, 1.34), (0.05, 1.37), (0.7, 1.02)),), (-1.35, 1.4), 0.32,
    ),
    "estate": Body(
        ((-2.1, 0.3), (-2.1, 0.95), (-1.85, 1.46), (0.15, 1.5), (1.0, 1.02), (1.95, 0.85), (2.05, 0.3)),
        (1, 3), 1.76, (((-1.8, 1.02), (-1.65, 1.4), (0.1, 1.42), (0.75, 1.02)),), (-1.3, 1.3), 0.32,
    ),
    "van": Body(
        ((-2.4, 0.35), (-2.4, 1.1), (-2.3, 1.95), (1.1, 1.98), (1.9, 1.2), (2.4, 1.0), (2.45, 0.35)),
        (1, 3), 1.95, (((0.1, 1.2), (0.1, 1.75), (1.05, 1.75), (1.5, 1.2)),), (-1.5, 1.55), 0.36,
    ),
}  # fmt: skip
BUS = Body(_box(11.5, 0.35, 3.05, 0.25, 1.05), (1, 3), 2.5, _row(-5.5, 5.2, 1.2, 2.5, 1.5), (-3.2, 3.4), 0.5)
TRAIN = Body(_box(24.0, 0.25, 3.5, 1.1, 1.5), (1, 3), 2.4, _row(-11.0, 10.6, 1.4, 2.6, 1.9), (), 0.4)
CABIN = Body(
    ((-0.9, 0.5), (-0.9, 2.7), (0.7, 2.75), (1.05, 1.5), (1.1, 0.5)), (2,), 2.35,
    (((-0.3, 1.5), (-0.3, 2.3), (0.6, 2.3), (0.8, 1.5)),), (0.1,), 0.5,
)  # fmt: skip
CARGO = Body(_box(6.0, 0.9, 3.4, 0.0, 2.0), (), 2.45, (), (-2.2, -1.1), 0.5)
TRAILER = Body(_box(3.0, 0.6, 1.7, 0.0, 1.5), (), 1.9, (), (0.0,), 0.34)


def draw_body(view: View, spot: Spot, body: Body, paint: Colour, mark: int) -> None:
    """Draw the visible faces of a vehicle, far ones first."""
    half, light, ahead = body.width / 2, view.light, (math.sin(spot.yaw), math.cos(spot.yaw))
    fine = view.pixels(0.3, spot.z) > 1.5  # whether details are visible at all
    for z in body.wheels:
        for x in (-half, half):
            tread = [(0.88 * x, 0.0, z), (0.88 * x, body.wheel, z), (0.62 * x, body.wheel, z), (0.62 * x, 0.0, z)]
            view.fill(spot.points(tread), TYRE, mark)
            _wheel(view, spot, x, z, body.wheel, mark)
    left, right = (spot.points([(x, y, z) for z, y in body.side]) for x in (-half, half))
    faces = []
    for number, ((z, y), (after_z, after_y)) in enumerate(pairwise(body.side)):
        out_z, out_y = y - after_y, after_z - z  # the normal, in the plane of the side
        length = math.hypot(out_z, out_y) + 1e-9
        out_x, out_z, out_y = out_z / length * ahead[0], out_z / length * ahead[1], out_y / length
        corners = [left[number], left[number + 1], right[number + 1], right[number]]
        middle = _middle(corners)
        if out_x * middle[0] + out_y * (middle[1] - EYE) + out_z * middle[2] < 0:
            shade = 0.8 + 0.3 * out_y + 0.4 * light.sun * max(out_x * light.side, 0)
            faces.append((middle, number, corners, shade))
    for middle, number, corners, shade in sorted(faces, key=lambda face: -face[0][2]):
        view.fill(corners, paint, mark, shade)
        if number in body.glass:
            pane = [tuple(m + 0.86 * (c - m) for m, c in zip(middle, corner, strict=True)) for corner in corners]
            view.fill(cast(list[Point], pane), GLASS, None, 0.6 + 0.6 * shade)
    for x, points in ((-half, left), (half, right)):
        middle, sign = _middle(points), math.copysign(1, x)
        if sign * (ahead[1] * middle[0] - ahead[0] * middle[2]) >= 0:
            continue
        shade = 0.8 + 0.5 * light.sun * max(sign * ahead[1] * light.side, 0)
        view.fill(points, paint, mark, shade)
        if fine:
            (start, low), (stop, _) = body.side[0], body.side[-1]
            skirt = [(x, low, start), (x, low + 0.15, start), (x, low + 0.15, stop), (x, low, stop)]
            view.fill(spot.points(skirt), paint, None, 0.6 * shade)
        for window in body.windows:
            view.fill(spot.points([(x, y, z) for z, y in window]), GLASS, None, 0.8 + 0.4 * shade)
        for z in body.wheels:
            _wheel(view, spot, x, z, body.wheel, mark)
    if fine:
        _ends(view, spot, body)


def _middle(points: Sequence[Point]) -> Point:
    x, y, z = (sum(values) / len(points) for values in zip(*points, strict=True))
    return x, y, z


def _ends(view: View, spot: Spot, body: Body) -> None:
    """Draw lamps and the plate on the visible end."""
    half, (start, low), (stop, _) = body.width / 2, body.side[0], body.side[-1]
    for z, sign, colour in ((start - 0.02, -1, REAR), (stop + 0.02, 1, LAMP)):
        ((x, _, depth),) = spot.points([(0, 0, z)])
        if sign * (math.sin(spot.yaw) * x + math.cos(spot.yaw) * depth) >= 0:
            continue
        level = low + 0.38
        for x in (-0.78 * half, 0.78 * half):
            lamp = [(x + a, level + b, z) for a, b in ((-0.16, -0.08), (-0.16, 0.1), (0.16, 0.1), (0.16, -0.08))]
            view.fill(spot.points(lamp), colour)
        plate = [(a, level + b - 0.18, z) for a, b in ((-0.26, -0.06), (-0.26, 0.06), (0.26, 0.06), (0.26, -0.06))]
        view.fill(spot.points(plate), (214, 214, 206))


def _wheel(view: View, spot: Spot, x: float, z: float, radius: float, mark: int) -> None:
    """Draw one side of a wheel."""
    for part, colour in ((1.0, TYRE), (0.5, (128, 130, 132))):
        ring = [(x, radius * (1 + part * sin), z + radius * part * cos) for sin, cos in CIRCLE]
        view.fill(spot.points(ring), colour, mark if part == 1 else None)


def draw_vehicle(view: View, rng: np.random.Generator, spot: Spot, kind: str) -> None:
    """Draw a car, bus, truck, train, trailer or caravan with its shadow."""
    paint = vary(rng, PAINTS)
    mark = view.thing(ID[kind])
    body = {"car": CARS[pick(rng, ("saloon", "saloon", "estate", "estate", "van"))], "bus": BUS, "train": TRAIN}.get(
        kind, CARGO if kind == "truck" else TRAILER
    )
    length = body.side[-1][0] - body.side[0][0]
    view.shadow(spot, 0.55 * body.width, 0.53 * length, 0.45)
    if kind != "truck":
        draw_body(view, spot, body, paint, mark)
        return
    parts = [(CARGO, -1.2, vary(rng, PAINTS)), (CABIN, 2.75, paint)]
    placed = [(spot.points([(0, 0, z)])[0], part, colour) for part, z, colour in parts]
    for (x, _, z), part, colour in sorted(placed, key=lambda item: -item[0][2]):
        draw_body(view, Spot(x, z, spot.yaw), part, colour, mark)
