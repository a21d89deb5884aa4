"""Who is drawn (`Identity`) and how in one photograph (`Appearance`), for `render`, in the same units."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

Choice = TypeVar("Choice")
Image = npt.NDArray[np.uint8]
Colour = tuple[float, ...]

SKINS: list[Colour] = [(238, 200, 176), (228, 184, 154), (214, 166, 132), (184, 132, 98), (140, 96, 70), (98, 66, 50)]
DARK_HAIR: list[Colour] = [(24, 20, 20), (36, 27, 23), (52, 36, 27)]
FAIR_HAIR: list[Colour] = [*DARK_HAIR, (84, 58, 38), (116, 82, 50), (182, 146, 92), (142, 70, 36)]
IRISES: list[Colour] = [(62, 40, 26), (84, 56, 32), (100, 82, 44), (84, 108, 84), (88, 122, 150)]
CLOTHES: list[Colour] = [(30, 32, 40), (220, 220, 216), (50, 70, 120), (140, 40, 44), (70, 100, 80), (150, 140, 120)]
GREY = (186, 186, 188)


class Identity(NamedTuple):
    """The constant properties of a person."""

    woman: bool
    skin: Colour
    hair: Colour
    iris: Colour
    lips: float  # how much redder than the skin
    cheeks: float  # half width of the head at the cheekbones
    jaw: float  # half width at the jaw's angle
    chin: float  # half width of the chin
    length: float  # from the eyes to the chin
    forehead: float  # height of the hairline above the eyes
    depth: float  # of the face, from ear to front, 1 on average
    eye_distance: float  # from the middle
    eye_size: float  # half width
    eye_open: float  # height over width
    eye_tilt: float  # how much higher the outer corner is
    lid: float  # how much of the upper lid is seen
    brow_height: float
    brow_thickness: float
    brow_arch: float
    brow_tilt: float
    nose_length: float  # from the eyes to the tip
    nose_width: float  # half width at the wings
    bridge: float  # half width between the eyes
    nose_tip: float  # how far it sticks out
    mouth_height: float  # from the eyes
    mouth_width: float  # half width
    upper_lip: float
    lower_lip: float
    ears: float  # how far they stick out
    hairstyle: str  # short, crop, side, long, bob, fringe, curly or bald
    curl: float
    peak: float  # how far the hairline comes down in the middle, or goes up
    greying: float
    receding: float
    marks: tuple[tuple[float, float, float], ...]  # moles: x, y and radius
    freckles: int
    dimple: float  # of the chin
    dots: int  # seed of the freckles' places


class Appearance(NamedTuple):
    """The properties that vary between photographs of a person."""

    age: float = 0.3  # 0 for a young adult, 1 for a very old one
    yaw: float = 0.0  # positive turns the nose to the right in the image
    pitch: float = 0.0  # positive looks down
    roll: float = 0.0  # what the alignment leaves of it
    smile: float = 0.2
    mouth_open: float = 0.0
    eyes_open: float = 1.0
    gaze: float = 0.0
    brows: float = 0.0  # raised by
    light: tuple[float, float, float] = (0.2, -0.4, 0.9)  # where it comes from: x, y and z
    contrast: float = 0.4  # part of the light that has this direction
    tint: Colour = (1.0, 1.0, 1.0)
    exposure: float = 1.0
    glasses: str = ""  # thin, thick or dark
    headwear: str = ""  # cap or beanie
    obstacle: str = ""  # mask or hand
    beard: float = 0.0
    moustache: float = 0.0
    hairstyle: str = ""  # other than the usual one
    makeup: float = 0.0
    weight: float = 0.0  # fuller or thinner than usual
    shift: tuple[float, ...] = (0.0,) * 10  # errors of the five points
    blur: float = 0.3
    noise: float = 2.0
    quality: float = 1.0  # part of the resolution that is left
    grain: int = 0  # seed of background, clothes and noise


def choose(rng: np.random.Generator, options: Sequence[Choice]) -> Choice:
    """Draw one of the options."""
    return options[int(rng.random() * len(options))]


def draw_identity(rng: np.random.Generator, like: Identity | None = None) -> Identity:
    """Draw the constant properties of a person; `like` is a person of the same sex with similar skin and hair."""

    def between(low: float, high: float) -> float:  # bell-shaped, narrower than uniform
        return low + (high - low) * (rng.random() + rng.random()) / 2

    def vary(colour: Colour, by: float = 5) -> Colour:
        tone = rng.uniform(0.95, 1.05)
        return tuple(min(max(tone * value + rng.uniform(-by, by), 8), 250) for value in colour)

    woman, tone = rng.random() < 0.5, rng.integers(len(SKINS))
    skin, hair = vary(SKINS[tone]), vary(choose(rng, FAIR_HAIR if tone < 2 else DARK_HAIR))
    if like is not None:
        woman, skin, hair = like.woman, vary(like.skin, 4), vary(like.hair, 4)
    styles = "long long bob bob fringe side curly" if woman else "short short crop side side curly bald"
    spots = [(rng.uniform(-30, 30), rng.uniform(-24, 52), rng.uniform(0.4, 1.0)) for _ in range(rng.integers(0, 4))]
    return Identity(
        woman=bool(woman), skin=skin, hair=hair, iris=vary(choose(rng, IRISES if sum(skin) > 480 else IRISES[:2])),
        lips=between(0.15, 0.6) + 0.15 * woman, cheeks=between(35, 45), jaw=between(25, 39) - 2 * woman,
        chin=between(9, 21) - 2 * woman, length=between(56, 71), forehead=between(27, 44), depth=between(0.85, 1.15),
        eye_distance=between(15.4, 19.6), eye_size=between(6.4, 9.6) + 0.4 * woman, eye_open=between(0.24, 0.56),
        eye_tilt=between(-1.6, 2.6), lid=between(0.1, 1), brow_height=between(7.5, 13.5) + woman,
        brow_thickness=between(1.2, 4.6) - 0.9 * woman, brow_arch=between(-0.4, 4), brow_tilt=between(-2.2, 2.6),
        nose_length=between(16.5, 24), nose_width=between(5.2, 11), bridge=between(2.2, 4.6), nose_tip=between(8, 18),
        mouth_height=between(35.5, 45), mouth_width=between(11, 17.5), upper_lip=between(1.6, 5.2),
        lower_lip=between(2.6, 6.6), ears=between(0, 6), hairstyle=choose(rng, styles.split()), curl=rng.random(),
        peak=rng.uniform(-5, 5), greying=rng.uniform(0.2, 1), receding=rng.uniform(0, 1) * (0.3 if woman else 1),
        marks=tuple(spots), freckles=int(rng.integers(15, 60)) if rng.random() < 0.12 else 0,
        dimple=max(rng.uniform(-1.5, 1), 0), dots=int(rng.integers(2**31)),
    )  # fmt: skip


def draw_appearance(rng: np.random.Generator, person: Identity, **fixed: Any) -> Appearance:
    """Draw the varying properties for photographs taken anywhere; those in `fixed` are not drawn."""
    azimuth, warmth = rng.uniform(-1.2, 1.2) * rng.random(), rng.uniform(-0.08, 0.08)
    styles = ("long", "bob", "side", "fringe", "tied") if person.woman else ("short", "crop", "side")
    covered, man = rng.random(), not person.woman
    drawn = Appearance(
        age=rng.uniform(0, 0.75),
        yaw=(rng.random() + rng.random() + rng.random() - 1.5) * 0.5,
        pitch=rng.uniform(-0.15, 0.15),
        roll=rng.uniform(-0.05, 0.05),
        smile=rng.uniform(-0.35, 1),
        mouth_open=max(rng.uniform(-1, 1), 0),
        eyes_open=rng.uniform(0.55, 1.15),
        gaze=rng.uniform(-1, 1),
        brows=rng.uniform(-1.2, 2.5),
        light=(math.sin(azimuth), rng.uniform(-0.9, 0.25), max(math.cos(azimuth), 0.15)),
        contrast=rng.uniform(0.1, 0.6),
        tint=(1 + warmth, 1.0, 1 - warmth),
        exposure=rng.uniform(0.85, 1.15),
        glasses=choose(rng, ("thin", "thick", "dark")) if rng.random() < 0.16 else "",
        headwear=choose(rng, ("cap", "beanie")) if rng.random() < 0.08 else "",
        obstacle="mask" if covered < 0.02 else "hand" if covered < 0.05 else "",
        beard=rng.uniform(0.2, 1) if man and rng.random() < 0.35 else 0.0,
        moustache=rng.uniform(0.3, 1) if man and rng.random() < 0.25 else 0.0,
        hairstyle=choose(rng, styles) if person.hairstyle != "bald" and rng.random() < 0.2 else "",
        makeup=rng.uniform(0.2, 1) if person.woman and rng.random() < 0.5 else 0.0,
        weight=rng.uniform(-1, 1),
        shift=tuple(rng.uniform(-1, 1, 10).tolist()),
        blur=rng.uniform(0.1, 0.9),
        noise=rng.uniform(0.5, 6),
        quality=choose(rng, (1, 1, 1, 0.7, 0.5)),
        grain=int(rng.integers(2**31)),
    )
    return drawn._replace(**fixed)
