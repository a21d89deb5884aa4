"""Cameras that drawn people walk past: their scenes, light and colours, and their images of people.

A `World` has the people and cameras of a data set; pixels, angles and colours are as in `render`.
"""

import itertools
import math
from collections.abc import Iterator

import numpy as np

from relattn.extras import Lazy
from relattn.synthetic.people.render import DEEP, WIDE, Camera, Colour, Image, Look, choose, draw_person, fill, render

cv2 = Lazy("cv2", "suite")

CAMERAS = {"market1501": 6, "dukemtmc": 8, "cuhk03": 10, "msmt17": 15}


class World:
    """The people and the cameras of a data set, the same for the same name, number of cameras and seed."""

    def __init__(self, name: str, seed: int, cameras: int | None = None) -> None:
        self.key = (seed, list(CAMERAS).index(name))
        self.cameras = list(draw_cameras(cameras or CAMERAS[name], self.rng(0)))

    def rng(self, *purpose: int) -> np.random.Generator:
        return np.random.default_rng((*self.key, *purpose))

    def images(self, number: int, camera: int, count: int) -> list[Image]:
        """The images that a camera, counted from 0, takes of a person: (128, 64, 3) each."""
        eye, person = self.cameras[camera], draw_person(self.rng(1, number))
        return [render(person, eye, look) for look in draw_looks(eye, count, self.rng(2, number, camera))]

    def visits(self, number: int, mean: int, most: int = 6) -> Iterator[tuple[int, list[Image], np.random.Generator]]:
        """The cameras that see a person, two to `most`, about `mean` images from each, and a random generator."""
        rng, cameras = self.rng(3, number), len(self.cameras)
        seen = np.argsort(rng.random(cameras))[: rng.integers(min(2, most), min(most, cameras) + 1)]
        for camera in sorted(seen.tolist()):
            yield camera, self.images(number, camera, int(rng.integers(2, 2 * mean - 1))), rng


def draw_looks(camera: Camera, count: int, rng: np.random.Generator) -> Iterator[Look]:
    """Draw the looks of a person who walks past a camera once and is recorded `count` times."""
    yaw = camera.yaw + math.pi * (rng.random() < 0.25) + rng.uniform(-0.4, 0.4)
    phase, place, speed = rng.uniform(0, 2 * math.pi), rng.uniform(0, 1), rng.uniform(-0.06, 0.06)
    stride, bend = choose(rng, (0.06, 0.3, 0.4, 0.5)), rng.uniform(0.1, 0.7)
    for step in range(count):
        turn, ahead, now = rng.uniform(-0.2, 0.2), rng.uniform(1.2, 2.6), abs((place + speed * step + 1) % 2 - 1)
        box = (rng.uniform(-0.05, 0.05), rng.uniform(-0.03, 0.03), rng.uniform(0.94, 1.08))
        company = choose(rng, ("behind", "behind", "stranger", "pole", "bicycle", "hedge", *["none"] * 28))
        phase += ahead
        yield Look(yaw + turn, phase, stride, bend, now, box, company, int(rng.random() * 2**32))


def draw_cameras(count: int, rng: np.random.Generator) -> Iterator[Camera]:
    """Draw cameras with well-spread directions, brightness and colour casts."""
    turns, levels, casts = ((np.argsort(rng.random(count)) + 0.5) / count for _ in range(3))
    for turn, level, cast in zip(turns.tolist(), levels.tolist(), casts.tolist(), strict=True):
        warm, green = 0.2 * cast - 0.1, rng.uniform(-0.04, 0.04)
        gains = (0.86 + 0.24 * level) * np.array([1 + warm - green / 2, 1 + green, 1 - warm - green / 2])
        saturation, gamma = rng.uniform(0.7, 1.1), 2 ** rng.uniform(-0.25, 0.25)
        colours = gains[:, None] * (saturation * np.eye(3) + (1 - saturation) * np.array([0.3, 0.59, 0.11]))
        yield Camera(
            scene=_scene(rng),
            yaw=2 * math.pi * turn + rng.uniform(-0.2, 0.2),
            elevation=rng.uniform(0.03, 0.4),
            light=rng.uniform(-0.6, 0.6),
            colours=colours.astype(np.float32),
            tones=np.rint(255 * (np.arange(256) / 255) ** gamma).astype(np.uint8),
            blur=rng.uniform(0.2, 0.8),
            noise=rng.uniform(2, 7),
        )


def _scene(rng: np.random.Generator) -> Image:
    """Draw the scene behind people: a wall with openings, shrubs in front of it, paved ground, and a texture."""
    scene, foot = np.zeros((DEEP, WIDE, 4), dtype=np.uint8), rng.uniform(170, 330)

    def block(x: float, y: float, width: float, height: float, colour: Colour) -> None:
        fill(scene, [(x, y), (x + width, y), (x + width, y + height), (x, y + height)], colour)

    tints = rng.uniform((0.88, 1, 0.85), (1.1, 1, 1.12), (40, 3))
    wall, ground = ((*(rng.uniform(115, 155) * tint), 0.0) for tint in tints[:2])
    seam, crack = (tuple(0.85 * value for value in colour) for colour in (wall, ground))
    block(0, 0, WIDE, foot, wall)
    block(0, foot, WIDE, DEEP, ground)
    high, wide, gap, lean = rng.uniform((14, 40, 6, -300), (60, 160, 20, 300))
    for row, column in itertools.product(range(int(foot / high) + 1), range(int(WIDE / wide) + 1)):
        block((column + row % 2 / 2) * wide, foot - (row + 1) * high, 2, high, seam)
        block(column * wide, foot - row * high, wide, 2, seam)
    for line in range(30):
        block(0, foot + gap * line * (1 + 0.15 * line), WIDE, 2, crack)
        x = 1.2 * wide * line - 400
        fill(scene, [(x, foot), (x + 2, foot), (x + 4 + lean, DEEP), (x + lean, DEEP)], crack)
    for tint in tints[2 : rng.integers(8, 16)]:  # doors, windows, posters, cars
        (x, width, height), above = rng.uniform((-50, 20, 30), (WIDE, 160, 170)), choose(rng, (0, -8, 40, 90))
        block(x - 4, foot - height - above - 4, width + 8, height + 4, (*(rng.uniform(60, 210) * tint), 0))
        block(x, foot - height - above, width, height, (*(rng.uniform(25, 160) * tint), 0))
    for x, up, green, size in rng.uniform((0, -10, 40, 10), (WIDE, 50, 120, 40), (rng.integers(40), 4)).tolist():
        cv2.circle(scene, (round(x), round(foot - up)), round(size), (0.8 * green, green, 0.6 * green, 0), -1)
    texture = np.ones((DEEP, WIDE), dtype=np.float32)
    for grain, depth in ((4, 0.1), (2, 0.12), (120, 0.25)):
        coarse = rng.random((DEEP // grain + 1, WIDE // grain + 1), dtype=np.float32) - np.float32(0.5)
        texture += np.float32(depth) * cv2.resize(coarse, (WIDE, DEEP), interpolation=cv2.INTER_LINEAR)
    return (cv2.GaussianBlur(scene, (0, 0), 1.2) * texture[..., None]).clip(0, 255).astype(np.uint8)
