"""Streets seen from a car, drawn with their labels, as in Cityscapes.

A street is a plane with two walls of houses, trees and fences, whose pixels are computed by casting a ray through each
(`ground`, `walls`), and objects painted over it from far to near (`vehicles`, `objects`). Asphalt, pavement, walls and
an overcast sky share their greys, grass and leaves their greens, and all vehicles their paints. So colour alone says
little; the class of a pixel follows from its position and its surroundings.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from relattn.extras import Lazy
from relattn.synthetic.streets.ground import Layout, draw_ground, draw_layout, draw_sky, grain
from relattn.synthetic.streets.labels import ID, LABELS
from relattn.synthetic.streets.objects import (
    draw_bush,
    draw_clutter,
    draw_cycle,
    draw_figure,
    draw_post,
    draw_tree,
)
from relattn.synthetic.streets.vehicles import draw_vehicle
from relattn.synthetic.streets.view import Floats, Light, Pixels, Spot, View, pick
from relattn.synthetic.streets.walls import draw_walls

cv2 = Lazy("cv2", "suite")

RARE = {
    "train": 0.06, "bus": 0.12, "truck": 0.15, "motorcycle": 0.15, "rider": 0.4, "wall": 0.35, "fence": 0.35,
    "traffic light": 0.45, "terrain": 0.6,
}  # fmt: skip
"""Kinds that not every street has, and the share of streets that have them."""

ROUGH = {"sky": 0.0, "vegetation": 0.34, "terrain": 0.16, "road": 0.07, "sidewalk": 0.08, "building": 0.07, "wall": 0.1}
"""Variation in the brightness of a class from pixel to pixel; 0.04 for classes that are not listed."""


class Scene(NamedTuple):
    """A street and its labels."""

    image: Pixels
    """(H, W, 3), RGB."""

    labels: Pixels
    """(H, W), label ids (`relattn.synthetic.streets.labels`)."""

    instances: npt.NDArray[np.uint16]
    """(H, W), ids of labels, and for single things 1000 times the id plus a number."""


def render(seed: int | tuple[int, ...], *, rare: frozenset[str] = frozenset(), size: tuple[int, int]) -> Scene:
    """Render a street.

    Args:
        seed: The same seed gives the same street, at any size.
        rare: The kinds of `RARE` that it has.
        size: Height and width of the image, in pixels.
    """
    rng = np.random.default_rng(seed)
    light = draw_light(rng)
    vanishing = (0.5 + rng.uniform(-0.09, 0.09), 0.42 + rng.uniform(-0.04, 0.04))
    layout = draw_layout(rng, rare)
    factor = 2 if size[0] < 400 else 1  # small images are drawn larger and shrunk, which smooths their edges
    view = View((size[0] * factor, size[1] * factor), light, vanishing)
    texture = grain(rng)
    draw_sky(view, rng, texture)
    draw_ground(view, layout, texture)
    draw_walls(view, rng, layout, texture)
    for _, draw in sorted(things(view, rng, layout, rare), key=lambda thing: -thing[0]):
        draw()
    _car_ahead(view, rng)
    image = finish(view, rng, texture, size)
    marks = view.marks[factor // 2 :: factor, factor // 2 :: factor]
    _border(image, marks)
    known = np.array([label.id for label in LABELS] + [number // 1000 for number in view.things], np.uint8)
    numbers = np.array([label.id for label in LABELS] + view.things, np.uint16)
    return Scene(image, cv2.LUT(marks, np.pad(known, (0, 256 - len(known)))), numbers[marks])


def draw_light(rng: np.random.Generator) -> Light:
    """Draw the time of day and the weather."""
    kind = pick(rng, ("overcast", "overcast", "sunny", "sunny", "haze", "dusk"))
    side, warm = pick(rng, (-1, 1)), rng.uniform(-0.05, 0.05)
    grey = rng.uniform(170, 225)
    settings = {
        "overcast": (((grey - 12, grey - 6, grey), (grey + 14, grey + 16, grey + 18)), 0.6, 0.15, 260.0, 1.0),
        "sunny": (((92, 140, 208), (206, 222, 236)), rng.uniform(0.1, 0.9), 0.75, 420.0, 0.95),
        "haze": (((188, 192, 194), (214, 214, 210)), 0.2, 0.1, 90.0, 0.95),
        "dusk": (((86, 92, 124), (206, 172, 150)), 0.5, 0.2, 240.0, 1.35),
    }
    sky, clouds, sun, sight, gamma = settings[kind]
    return Light(
        sky, clouds, sun, side, sight * rng.uniform(0.8, 1.3), (1 + warm, 1.0, 1 - warm), gamma * rng.uniform(0.85, 1.2)
    )


def things(
    view: View, rng: np.random.Generator, layout: Layout, rare: frozenset[str]
) -> list[tuple[float, Callable[[], None]]]:
    """The objects that stand and move in a street, each with its distance."""
    found: list[tuple[float, Callable[[], None]]] = []
    taken: list[tuple[float, float, float]] = []  # x, z and half the length of vehicles

    def put(spot: Spot, draw: Callable[..., None], *arguments: str, **options: bool) -> None:
        own = np.random.default_rng(rng.integers(2**32))
        found.append((spot.z, partial(draw, view, own, spot, *arguments, **options)))

    def free(x: float, z: float, wide: float, half: float) -> bool:
        return all(abs(x - a) > wide or abs(z - b) > half + c for a, b, c in taken)

    def vehicle(kind: str, x: float, z: float, yaw: float) -> None:
        half = {"bus": 6.5, "truck": 6.5, "train": 13.0}.get(kind, 2.8)
        if free(x, z, 2.3, half):
            taken.append((x, z, half))
            put(Spot(x, z, yaw), draw_vehicle, kind)

    wide, oncoming = layout.road, math.pi
    lane = wide / 2 if layout.lanes == 2 else wide / 4
    if "train" in rare:
        vehicle("train", -layout.track, rng.uniform(19, 32), oncoming + rng.uniform(-0.02, 0.02))
    for kind in ("bus", "truck"):
        if kind in rare:
            x, z = lane if "train" in rare or rng.random() < 0.5 else -lane, rng.uniform(15, 38)
            while not free(x, z, 2.3, 6.5):
                z += 1.5
            vehicle(kind, x, z, 0.0 if x > 0 else oncoming)
    for x, yaw in ((lane, 0.0), (-lane, oncoming)):
        z = rng.uniform(9, 28)
        while z < 110:
            vehicle("car", x + rng.uniform(-0.3, 0.3), z, yaw + rng.uniform(-0.05, 0.05))
            z += rng.uniform(8, 50)
    for start, stop in layout.crossings:
        if rng.random() < 0.5:
            vehicle("car", rng.uniform(-9, 9), (start + stop) / 2, pick(rng, (-1, 1)) * math.pi / 2)
    for side in (-1, 1):
        kerb, edge = layout.road, layout.edges[side > 0]
        z = rng.uniform(6, 14)
        while layout.parked[side > 0] and z < 90:
            clear = all(not start - 3 < z < stop + 3 for start, stop in layout.crossings)
            if clear and rng.random() < 0.75:
                kind = "car" if rng.random() < 0.97 else pick(rng, ("trailer", "caravan"))
                vehicle(kind, side * (kerb + 1.05), z, rng.uniform(-0.03, 0.03) + (0 if side > 0 else math.pi))
            z += rng.uniform(5.2, 9.0)
        inner = kerb + (2.2 if layout.parked[side > 0] else 0.3)
        for kind, mean, low, high in (
            ("tree", layout.trees, inner + 0.5, inner + 0.9), ("lamp", 3, inner + 0.2, inner + 0.4),
            ("sign", 3, inner + 0.2, inner + 0.5), ("bollard", 2, inner, inner + 0.3),
            ("static", 1.2, inner + 0.4, edge), ("dynamic", 0.4, inner + 0.5, edge),
            ("person", 5, inner + 0.5, edge - 0.4), ("bicycle", 1.2, inner + 0.3, edge - 0.3),
            ("bush", 1.0, edge - 0.6, edge),
        ):  # fmt: skip
            for _ in range(rng.poisson(mean)):
                spot = Spot(side * rng.uniform(low, max(high, low)), 5.5 + 75 * rng.random() ** 1.5, rng.uniform(-3, 3))
                if kind in ("lamp", "sign", "bollard"):
                    put(spot, draw_post, kind)
                elif kind == "person":
                    put(spot, draw_figure, "person")
                elif kind in ("static", "dynamic"):
                    put(spot, draw_clutter, kind)
                elif kind == "bicycle":
                    put(spot, draw_cycle, "bicycle", ridden=False)
                else:
                    put(spot, draw_tree if kind == "tree" else draw_bush)
    if "traffic light" in rare:
        for side in (-1, 1):
            for start, _ in layout.crossings or ((rng.uniform(12, 30), 0.0),):
                put(Spot(side * (layout.road + 0.6), max(start - 0.5, 8.0)), draw_post, "light")
    for _ in range(rng.poisson(0.7)):  # people who cross the street
        put(Spot(rng.uniform(-wide, wide), rng.uniform(9, 40), pick(rng, (-1.5, 1.5))), draw_figure, "person")
    for kind, among in (("bicycle", "rider"), ("motorcycle", "motorcycle")):
        if among in rare:
            for _ in range(1 + rng.poisson(0.4)):
                x = pick(rng, (-1, 1)) * rng.uniform(0.7, 0.92) * wide
                z = 1.5 + 2.4 * abs(x) + rng.uniform(0, 9)  # from where it is visible in the image
                while not free(x, z, 1.3, 1.2):
                    z += 1.5
                yaw = rng.uniform(-0.5, 0.5) + (0 if x > 0 else math.pi)
                put(Spot(x, z, yaw), draw_cycle, kind, ridden=kind == "bicycle" or rng.random() < 0.6)
    return found


def _car_ahead(view: View, rng: np.random.Generator) -> None:
    """Draw the bonnet of the car that the camera is in."""
    height, width = view.height, view.width
    rise = rng.uniform(0.06, 0.11)
    across = np.linspace(-1, 1, 33)
    line = height * (1 - rise * (1 - 0.75 * np.abs(across) ** 3.2))
    corners = np.concatenate([np.stack([(across + 1) / 2 * width, line], axis=1), [(width, height), (0, height)]])
    tone = rng.uniform(0.25, 0.8)
    for shift, colour in ((0.0, 40), (0.012, 96), (0.03, 66)):
        places = [np.rint(corners + np.array((0, shift * height))).astype(np.int32)]
        cv2.fillPoly(view.image, places, (tone * colour, tone * (colour + 3), tone * (colour + 8)))
        if shift == 0:
            cv2.fillPoly(view.marks, places, ID["ego vehicle"])


def _border(image: Pixels, marks: Pixels) -> None:
    """Black out the area left empty by undistortion, and mark the unlabelled border."""
    edge = max(marks.shape[1] // 400, 1)
    marks[:, :edge] = marks[:, -edge:] = marks[-edge:] = ID["out of roi"]
    marks[: max(edge // 2, 1)] = ID["rectification border"]
    image[: max(edge // 2, 1)] = 0


def finish(view: View, rng: np.random.Generator, texture: Floats, size: tuple[int, int]) -> Pixels:
    """The image as the camera stores it: with texture, slightly blurred, shrunk, tinted and noisy."""
    rough = np.full(256, 0.04, np.float32)
    for name, value in ROUGH.items():
        rough[ID[name]] = value
    # Adjacent pixels of the small image must differ: dots of one pixel would average out.
    tile = cv2.resize(texture, None, fx=2 * view.width / 1024, fy=2 * view.width / 1024)
    tile = np.tile(
        tile, [-(-side // length) for side, length in zip((view.height, view.width), tile.shape, strict=True)]
    )
    factor = 1 + cv2.LUT(view.marks, rough) * tile[: view.height, : view.width]
    picture = cv2.multiply(view.image, cv2.merge([factor] * 3), dtype=cv2.CV_8U)
    picture = cv2.GaussianBlur(picture, (0, 0), rng.uniform(0.35, 0.8) * view.width / 1024 + 0.3)
    if picture.shape[:2] != size:
        picture = cv2.resize(picture, size[::-1], interpolation=cv2.INTER_AREA)
    levels = np.arange(256) / 255
    contrast = rng.uniform(0.85, 1.1)
    tones = [
        255 * np.clip((np.clip(levels * tint, 0, 1) ** view.light.gamma - 0.45) * contrast + 0.45, 0, 1)
        for tint in view.light.tint
    ]
    picture = cv2.LUT(picture, np.rint(np.stack(tones, axis=1)[None]).astype(np.uint8))
    noise = rng.integers(0, 256, (2, *size, 3), dtype=np.uint8)
    spread = int(rng.integers(2, 6))
    return cv2.subtract(
        cv2.add(picture, noise[0] // np.uint8(256 // (2 * spread))), noise[1] // np.uint8(256 // (2 * spread))
    )
