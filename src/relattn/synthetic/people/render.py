"""Drawn people walking past cameras, the stand-ins for re-identification data (`relattn.synthetic.people.layouts`).

A `Person` fixes build, skin, hair, clothes and bag; colours come from a small palette, so that many people look alike.
A `Camera` fixes the scene, the light, the colours, the point of view and the sharpness. A `Look` is what varies between
one camera's images of one person: pose, position, the box around the body, and what is in front of it.

Lengths are in body heights unless called pixels, angles in radians, colours in RGB, 0 to 255. Body coordinates are x to
the person's left, y up from the ground, z forwards.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from relattn.extras import Lazy

cv2 = Lazy("cv2", "suite")

Choice = TypeVar("Choice")
Image = npt.NDArray[np.uint8]
Colour = tuple[float, ...]
Pixel = tuple[float, float]
Point = tuple[float, float, float]

DEEP, WIDE, FEET, BODY = 480, 1400, 400, 250  # pixels of a scene: its height and width, the ground, a body's height
PAINTS: dict[str, Colour] = {
    "black": (32, 32, 36), "white": (230, 230, 226), "grey": (128, 130, 134), "navy": (34, 44, 90),
    "blue": (48, 94, 188), "sky": (142, 184, 224), "red": (192, 34, 40), "wine": (106, 26, 44),
    "green": (42, 122, 66), "pink": (230, 146, 170), "beige": (204, 184, 148), "brown": (108, 74, 50),
}  # fmt: skip
TOPS = "black black black black white white white grey grey grey navy navy navy blue sky red wine green beige pink"
BOTTOMS = "black black black black navy navy navy navy grey grey blue beige"
SKINS: list[Colour] = [(238, 200, 174), (232, 190, 160), (226, 182, 150), (204, 156, 120), (130, 90, 66)]
HAIR: list[Colour] = [(26, 22, 20), (34, 27, 22), (40, 30, 24), (70, 46, 30), (122, 84, 48), (190, 156, 100)]
ROUND = (-4.0, 4.0)  # all around the body
PATTERNS: dict[str, list[tuple[Pixel, Pixel]]] = {  # where a trunk has the accent: between angles, and between heights
    "striped": [(ROUND, (0.06 * step, 0.06 * step + 0.026)) for step in range(4, 14)],
    "checked": [(ROUND, (0.07 * step, 0.07 * step + 0.016)) for step in range(3, 12)]
             + [((0.63 * step, 0.63 * step + 0.16), (0.0, 1.0)) for step in range(-5, 5)],
    "logo": [((-0.55, 0.55), (0.64, 0.74))], "blocks": [(ROUND, (0.66, 1.0))], "open": [((-0.5, 0.5), (0.0, 1.0))],
    "straps": [((side - 0.13, side + 0.13), (0.62, 0.82)) for side in (-0.62, 0.62)],
}  # fmt: skip
WHEEL = [(0.13 * math.cos(0.5 * step), 0.13 + 0.13 * math.sin(0.5 * step)) for step in range(14)]
FRAME = [(-0.21, 0.13), (-0.1, 0.29), (0.11, 0.3), (0.21, 0.13), (0.11, 0.3), (0, 0.12), (-0.1, 0.29)]
OBSTACLES: dict[str, tuple[float, list[list[Pixel]]]] = {  # in front of people: strokes' width and corners
    "pole": (0.05, [[(0, -0.2), (0, 2)]]),
    "hedge": (0.2, [[(-0.6, 0.05), (-0.3, 0.08), (0, 0.03), (0.3, 0.07), (0.6, 0.05)]]),
    "bicycle": (0.018, [FRAME, *([(x + at, y) for x, y in WHEEL] for at in (-0.21, 0.21))]),
}


class Person(NamedTuple):
    """The properties that an identity fixes."""

    girth: float  # of trunk and limbs, 1 on average
    legs: float  # height of the hips
    hem: float  # how far the upper garment reaches below the hips
    skin: Colour
    hair: Colour
    hairstyle: str  # short, long, bald or cap
    upper: Colour
    accent: Colour  # of the pattern and of a cap
    pattern: str  # plain, striped, checked, logo, blocks or open
    sleeves: str  # long, short, or accent: long in that colour
    lower: Colour
    garment: str  # trousers, slim, shorts or skirt
    shoes: Colour
    bag: str  # none, backpack, shoulder or hand
    leather: Colour  # of the bag


class Camera(NamedTuple):
    """The properties that a camera fixes."""

    scene: Image  # (DEEP, WIDE, 4) pixels of its surroundings, the last channel 0
    yaw: float  # how people turn who walk the usual way: 0 towards the camera, pi/2 to the right in the image
    elevation: float  # angle at which it looks down
    light: float  # how much brighter bodies are on the left in the image, or, if negative, on the right
    colours: npt.NDArray[np.float32]  # (3, 3) RGB seen for the RGB that is there
    tones: Image  # (256,) what is stored for each brightness
    blur: float  # standard deviation in 1/128 of an image's height
    noise: float  # standard deviation in steps of brightness


class Look(NamedTuple):
    """The properties that vary between one camera's images of one person."""

    yaw: float
    phase: float  # of the walk
    stride: float  # the most a thigh swings
    bend: float  # of the elbows
    place: float  # along the scene, 0 to 1
    box: tuple[float, float, float]  # offset to the right and down in parts of the box, and its size
    company: str  # none, or what is there as well: behind or stranger (a person), pole, bicycle or hedge
    grain: int  # seed of the company and the noise


def choose(rng: np.random.Generator, options: Sequence[Choice]) -> Choice:
    """Draw one of the options."""
    return options[int(rng.random() * len(options))]


def draw_person(rng: np.random.Generator) -> Person:
    """Draw the properties that an identity fixes."""

    def vary(colour: Colour) -> Colour:
        tone = rng.uniform(0.92, 1.08)
        return tuple(min(max(tone * value + rng.uniform(-5, 5), 12), 245) for value in colour)

    top = choose(rng, TOPS.split())
    accents = [PAINTS[name] for name in TOPS.split() if math.dist(PAINTS[name], PAINTS[top]) > 110]
    return Person(
        girth=rng.uniform(0.82, 1.25),
        legs=rng.uniform(0.46, 0.51),
        hem=choose(rng, (0.0, 0.0, 0.03, 0.05, 0.2)),
        skin=vary(choose(rng, SKINS)),
        hair=vary(choose(rng, HAIR)),
        hairstyle=choose(rng, ("short", "short", "short", "long", "long", "bald", "cap")),
        upper=vary(PAINTS[top]),
        accent=vary(choose(rng, accents)),
        pattern=choose(rng, ("plain", "plain", "striped", "checked", "logo", "blocks", "open")),
        sleeves=choose(rng, ("long", "long", "long", "short", "short", "short", "accent")),
        lower=vary(PAINTS[choose(rng, BOTTOMS.split())]),
        garment=choose(rng, ("trousers", "trousers", "slim", "shorts", "skirt")),
        shoes=vary(PAINTS[choose(rng, ("black", "black", "black", "white", "white", "grey", "brown"))]),
        bag=choose(rng, ("none", "none", "backpack", "shoulder", "hand")),
        leather=vary(PAINTS[choose(rng, ("black", "black", "black", "navy", "brown", "grey", "red"))]),
    )


def render(person: Person | None, camera: Camera, look: Look, *, size: tuple[int, int] = (128, 64)) -> Image:
    """Render one image, (height, width, 3) RGB, of a person or of nobody, with `size` = (height, width) in pixels."""
    rng = np.random.default_rng(look.grain)
    (height, width), (right, down, zoom) = size, look.box
    high, wide = round(1.08 * BODY * zoom), round(1.08 * BODY * zoom * width / height)
    left = round(wide * (1 + right) + look.place * (WIDE - 3 * wide))
    top = round(min(max(FEET - BODY / 2 - high / 2 + down * high, 0), DEEP - high))
    window = camera.scene[top : top + high, left : left + wide]
    canvas: Image = cv2.resize(window, (2 * width, 2 * height), interpolation=cv2.INTER_LINEAR)
    factor = 2 * height / high
    x, y, scale = wide * (0.5 - right) * factor, (FEET - top) * factor, BODY * factor / math.cos(camera.elevation)

    aside = scale * choose(rng, (-1, 1)) * rng.uniform(0.2, 0.32)
    figures = [] if person is None else [(0.0, x, person, look)]
    if look.company in ("behind", "stranger"):
        other = look._replace(yaw=look.yaw + rng.uniform(-2, 2), phase=look.phase + rng.uniform(1, 5))
        figures.append((0.08 if look.company == "stranger" else -0.06, x + aside, draw_person(rng), other))
    for nearer, foot, who, how in sorted(figures, key=lambda figure: figure[0]):
        _Figure(canvas, who, how, camera.elevation, (foot, y + nearer * scale), scale).draw()
    thick, strokes = OBSTACLES.get(look.company, (0, []))
    tone = rng.uniform(30, 120)
    for stroke in strokes:
        places = np.rint(np.array(stroke) * (scale, -scale) + (x + 0.4 * aside, y + 0.05 * scale)).astype(np.int32)
        cv2.polylines(canvas, [places], False, (tone, 1.05 * tone, 0.9 * tone, 0), max(round(thick * scale), 1))

    sharp = cv2.GaussianBlur(canvas, (0, 0), 2 * camera.blur * height / 128)
    small = cv2.resize(sharp, (width, height), interpolation=cv2.INTER_AREA).astype(np.float32)
    reach = max(height // 40, 1)
    soft = cv2.blur(small[..., 3], (3 * reach, 3 * reach)) / np.float32(255)
    slope = np.roll(soft, -reach, axis=1) - np.roll(soft, reach, axis=1)
    shade = 1 + (np.float32(camera.light) * slope - np.float32(0.2) * np.abs(slope)) * soft
    picture = cv2.transform(small[..., :3] * shade[..., None], camera.colours)
    # The difference of two uniform draws has variance 1/6; NumPy may change how it draws normal ones.
    draws = rng.random((2, height, width, 3), dtype=np.float32)
    seen = picture + (draws[0] - draws[1]) * np.float32(camera.noise * 6**0.5)
    return camera.tones[np.rint(seen.clip(0, 255)).astype(np.uint8)]


def fill(canvas: Image, corners: Sequence[Pixel], colour: Colour) -> None:
    """Fill a polygon."""
    cv2.fillPoly(canvas, [np.rint(np.array(corners) * 16).astype(np.int32)], colour, cv2.LINE_8, 4)


class _Figure:
    """A person on a canvas whose ground is at the pixel `spot`, with `scale` pixels per body height."""

    def __init__(self, canvas: Image, person: Person, look: Look, elevation: float, spot: Pixel, scale: float) -> None:
        self.canvas, self.person, self.look, self.spot, self.scale = canvas, person, look, spot, scale
        self.cos, self.sin = math.cos(look.yaw), math.sin(look.yaw)
        self.rise, self.tilt = scale * math.cos(elevation), scale * math.sin(elevation)
        hem, legs, shoulders = person.legs - person.hem - 0.015, person.legs, 0.107 / person.girth
        rows = [(hem, 0.098 + 0.1 * person.hem, 0.075), (legs + 0.02, 0.095, 0.074), (legs + 0.13, 0.086, 0.066)]
        rows += [(0.75, 0.1, 0.076), (0.8, shoulders, 0.06), (0.84, 0.042, 0.042)]
        self.trunk = np.array(rows) * (1, person.girth, person.girth)
        self.skirt = np.array([(0.28, 0.15, 0.13), (legs + 0.06, 0.092, 0.07)]) * (1, person.girth, person.girth)

    def depth(self, x: float, z: float) -> float:
        return z * self.cos - x * self.sin

    def at(self, x: float, y: float, z: float) -> Pixel:
        across = self.spot[0] + self.scale * (x * self.cos + z * self.sin)
        return across, self.spot[1] + self.tilt * self.depth(x, z) - self.rise * y

    def blob(self, centre: Point, width: float, height: float, colour: Colour) -> None:
        """Draw an upright ellipse with these half axes; the canvas' last channel marks the body."""
        x, y, a, b = (round(16 * value) for value in (*self.at(*centre), width * self.scale, height * self.scale))
        cv2.ellipse(self.canvas, (x, y), (a, b), 0, 0, 360, (*colour, 255), -1, cv2.LINE_8, 4)

    def limb(self, start: Point, end: Point, thick: float, thin: float, colour: Colour) -> None:
        """Draw a stroke with round ends of these half widths, darker with distance."""
        tone = 1 + 0.5 * (self.depth(start[0], start[2]) + self.depth(end[0], end[2]))
        colour = tuple(min(tone * value, 255) for value in colour)
        (x, y), (u, v) = self.at(*start), self.at(*end)
        length = (math.hypot(u - x, v - y) + 1e-6) / self.scale
        dx, dy = (v - y) / length, (x - u) / length
        corners = [(x + dx * thick, y + dy * thick), (u + dx * thin, v + dy * thin)]
        corners += [(u - dx * thin, v - dy * thin), (x - dx * thick, y - dy * thick)]
        fill(self.canvas, corners, (*colour, 255))
        self.blob(start, thick, thick, colour)
        self.blob(end, thin, thin, colour)

    def panel(self, rows: npt.NDArray[np.float64], around: Pixel, heights: Pixel, colour: Colour) -> None:
        """Paint the visible part of a surface around the body, given by rows (height, half width, half depth).

        It extends from one angle to another, with 0 at the front and pi/2 on the left, and between two heights.
        """
        middle = (around[0] + around[1]) / 2
        facing = middle + (math.pi - self.look.yaw - middle) % (2 * math.pi) - math.pi
        angles = max(around[0], facing - math.pi / 2), min(around[1], facing + math.pi / 2)
        low, high = max(heights[0], rows[0, 0]), min(heights[1], rows[-1, 0])
        if angles[0] >= angles[1] or low >= high:
            return
        levels = [low, *(level for level in rows[:, 0].tolist() if low < level < high), high]
        ring = list(zip(levels, *(np.interp(levels, rows[:, 0], half).tolist() for half in rows.T[1:]), strict=True))
        one, other = ([self.at(w * math.sin(a), y, d * math.cos(a)) for y, w, d in ring] for a in angles)
        fill(self.canvas, one + other[::-1], (*colour, 255))

    def draw(self) -> None:
        """Draw the shadow and then the body, far parts first."""
        person, (x, y), lit = self.person, self.spot, self.canvas.copy()
        axes = (round(0.2 * self.scale), round(0.03 * self.scale + 0.08 * self.tilt))
        cv2.ellipse(self.canvas, (round(x), round(y)), axes, 0, 0, 360, (20, 20, 24, 0), -1)
        cv2.addWeighted(lit, 0.72, self.canvas, 0.28, 0, dst=self.canvas)
        parts: list[tuple[float, Callable[[], None]]] = [(0, self._trunk), (0.001, self._head)]
        if person.garment == "skirt":
            parts.append((-0.5, partial(self.panel, self.skirt, ROUND, (0, 1), person.lower)))
        if person.bag == "backpack":
            pack = partial(self.limb, (0, 0.76, -0.11), (0, 0.62, -0.12), 0.068, 0.075, person.leather)
            parts.append((self.depth(0, -0.12), pack))
        if person.hairstyle == "long":
            hair = partial(self.limb, (0, 0.92, -0.025), (0, 0.78, -0.06), 0.055, 0.05, person.hair)
            parts.append((self.depth(0, -0.05), hair))
        for side in (-1, 1):  # right, left
            swing = side * math.sin(self.look.phase) * self.look.stride
            parts.append((self.depth(0.06 * side, 0.3 * math.sin(swing)) - 1, partial(self._leg, side, swing)))
            parts.append((self.depth(0.14 * side, 0) + 0.01, partial(self._arm, side, -swing)))
        for _, part in sorted(parts, key=lambda part: part[0]):
            part()

    def _leg(self, side: int, swing: float) -> None:
        person, size, half = self.person, self.person.girth, (self.person.legs - 0.035) / 2
        lift = 1.6 * self.look.stride * max(side * math.cos(self.look.phase), 0)  # the knee bends on the way ahead
        knee = (x := 0.048 * size * side, person.legs - half * math.cos(swing), half * math.sin(swing))
        ankle = (x, knee[1] - half * math.cos(swing - lift), knee[2] + half * math.sin(swing - lift))
        cloth = {"trousers": 1.35, "slim": 1.05, "shorts": 1.3}.get(person.garment, 1)
        whole = person.garment in ("trousers", "slim")
        toes = (x * 1.2, ankle[1] - 0.02 - 0.03 * lift, ankle[2] + 0.075)
        self.limb((x, ankle[1] - 0.012, ankle[2] - 0.01), toes, 0.024, 0.018, person.shoes)
        shin = 0.036 * size * (cloth if whole else 1)
        self.limb(knee, ankle, shin, 0.72 * shin, person.lower if whole else person.skin)
        self.limb((x, person.legs, 0), knee, 0.05 * size * cloth, max(shin, 0.038 * size * cloth), person.lower)

    def _arm(self, side: int, swing: float) -> None:
        person, size, bend = self.person, self.person.girth, self.look.bend
        x, out, sin, cos = side * 0.105, side * 0.028 * size, math.sin(swing), math.cos(swing)
        elbow = (x + out, 0.795 - 0.16 * cos, 0.16 * sin)
        wrist = (x + out * 1.2, elbow[1] - 0.14 * math.cos(swing + bend), elbow[2] + 0.14 * math.sin(swing + bend))
        cloth = person.accent if person.sleeves == "accent" else person.upper
        arm = person.skin if person.sleeves == "short" else cloth
        if (person.bag, side) in (("hand", -1), ("shoulder", 1)):
            x, y, z = wrist if side < 0 else (side * 0.13 * size, person.legs + 0.1, 0.0)
            self.limb((x, y - 0.09, z - 0.035), (x, y - 0.09, z + 0.035), 0.05, 0.05, person.leather)
        self.blob(wrist, 0.019, 0.024, person.skin)
        self.limb(elbow, wrist, 0.027 * size, 0.02 * size, arm)
        self.limb((x, 0.795, 0), elbow, 0.034 * size, 0.028 * size, arm)
        if person.sleeves == "short":
            self.limb((x, 0.795, 0), (x + 0.6 * out, 0.795 - 0.1 * cos, 0.1 * sin), 0.037 * size, 0.036 * size, cloth)

    def _trunk(self) -> None:
        person = self.person
        self.limb((0, 0.8, 0), (0, 0.87, 0.005), 0.036, 0.033, person.skin)
        self.panel(self.trunk, ROUND, (0, 1), person.upper)
        for around, heights in PATTERNS.get(person.pattern, []):
            self.panel(self.trunk, around, heights, person.accent)
        for around, heights in PATTERNS["straps"] * (person.bag == "backpack"):
            self.panel(self.trunk, around, heights, person.leather)
        if person.bag == "shoulder":
            end = (0.1 * person.girth, person.legs + 0.06, math.copysign(0.07, self.cos))
            self.limb((-0.06, 0.82, 0), end, 0.009, 0.009, person.leather)

    def _head(self) -> None:
        person, style, high, wide, y = self.person, self.person.hairstyle, 0.068, 0.053, 0.927
        self.blob((0, y, 0), wide, high, person.skin if style == "bald" else person.hair)
        if self.cos > -0.5:  # some of the face is seen
            self.blob((0, y - 0.22 * high, 0.5 * wide), wide * (0.62 + 0.2 * self.cos), 0.78 * high, person.skin)
        if style == "cap":
            self.blob((0, y + 0.5 * high, 0), 1.05 * wide, 0.56 * high, person.accent)
            self.limb((0, y + 0.2 * high, 0), (0, y + 0.15 * high, 1.5 * wide), 0.008, 0.008, person.accent)
