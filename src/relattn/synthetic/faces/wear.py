"""Everything around a drawn face and on it: background, neck, hair, ears, glasses, hats and hands."""

import numpy as np
import numpy.typing as npt

from relattn.extras import Lazy
from relattn.synthetic.faces.canvas import CIRCLE, HIDDEN, ROUND, SIDE, Canvas, mixed, toned
from relattn.synthetic.faces.people import CLOTHES, choose

cv2 = Lazy("cv2", "suite")

LONG = ("long", "bob")
OVER_EARS = (*LONG, "curly")


def background(canvas: Canvas) -> None:
    """A blurred room or garden."""
    rng = canvas.rng
    small = np.zeros((16, 16, 4), dtype=np.float32)
    ends = rng.uniform(40, 200, (2, 1)) + rng.uniform(-30, 30, (2, 3))
    ramp = np.linspace(0, 1, 16)[:, None]
    small[..., :3] = (ends[0] * (1 - ramp) + ends[1] * ramp)[:, None]
    for _ in range(int(rng.integers(0, 6))):
        (top, left), (high, wide) = rng.integers(0, 15, 2), rng.integers(2, 10, 2)
        small[top : top + high, left : left + wide, :3] = rng.uniform(40, 210) + rng.uniform(-40, 40, 3)
    how = choose(rng, (cv2.INTER_LINEAR, cv2.INTER_CUBIC))
    canvas.pixels[:] = cv2.resize(small, (canvas.size, canvas.size), interpolation=how).clip(0, 255).astype(np.uint8)


def behind(canvas: Canvas) -> None:
    """Hair that falls behind the face, neck and shoulders, and the skull with its hair."""
    head, person, style = canvas.head, canvas.person, canvas.style
    reach = {"long": 100.0, "bob": 42.0}.get(style)
    if reach is not None:
        heights = np.array([-40.0, -10.0, 20.0, 40.0, 60.0])
        y, angles = np.repeat(heights, len(ROUND)), np.tile(ROUND, len(heights))
        points = head.ring(y, angles, 1.12)
        wide = np.maximum(np.interp(y, head.levels, head.widths), 0.92 * person.cheeks)
        points[:, 0] = np.sin(angles) * wide * (1.14 + 0.08 * person.curl)
        points[:, 1] = np.where(points[:, 1] > 0, points[:, 1] * reach / 60, points[:, 1])
        points[:, 2] = np.minimum(points[:, 2], 12) - 6
        canvas.hull(points, toned(canvas.hair, 0.8))
    width, chin = 0.62 * person.jaw + (2 if person.woman else 6), head.levels[-1]
    column = [(x, y, z) for x in (-width, width) for y in (18, chin + 30) for z in (-34, 8)]
    canvas.hull(np.array(column), toned(canvas.skin, 0.7))
    shoulders = [(x, chin + y, z) for x, y in ((-75, 40), (75, 40), (-30, 17), (30, 17)) for z in (-30, -8)]
    canvas.hull(np.array(shoulders), choose(canvas.rng, CLOTHES))
    levels = head.levels[:-3]
    grow = {"bald": 1.0, "crop": 1.03, "short": 1.07, "curly": 1.16}.get(style, 1.09)
    skull = head.ring(np.repeat(levels, len(ROUND)), np.tile(ROUND, len(levels)), grow)
    canvas.hull(skull, canvas.skin if style == "bald" else canvas.hair)


def ear(canvas: Canvas, side: int) -> None:
    """The ear on one side, -1 for the left in the image, unless hair covers it."""
    if canvas.style in OVER_EARS or canvas.look.headwear == "beanie":
        return
    out, tall = 2.5 + canvas.person.ears, 9 + 2 * canvas.look.age
    x = side * float(np.interp(4, canvas.head.levels, canvas.head.widths)) * 0.97
    cos, sin = np.cos(CIRCLE), np.sin(CIRCLE)
    for size, tone in ((1.0, 0.92), (0.6, 0.76)):
        flap = [x + side * out * (0.4 + 0.6 * size * cos), 6 + size * tall * sin, -8 - 6 * size * cos]
        canvas.fill(np.column_stack(flap), toned(canvas.skin, tone))


def hairline(canvas: Canvas, angles: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Height at which the hair begins, at angles around the head."""
    person, away = canvas.person, np.abs(angles) / SIDE
    top = -person.forehead + person.peak * np.exp(-np.square(angles / 0.25))
    recede = 24 * person.receding * max(canvas.look.age - 0.1, 0) * np.exp(-np.square((np.abs(angles) - 0.5) / 0.5))
    temples = -person.forehead + (np.maximum(away - 0.6, 0) / 0.4) * (person.forehead - 6)
    return np.where(away > 0.6, temples, top - recede).clip(-58, 20)


def front_hair(canvas: Canvas) -> None:
    """A fringe, a parting, hair in front of the ears, and strands."""
    head, person, style = canvas.head, canvas.person, canvas.style
    if style == "bald":
        return
    angles = head.visible(np.linspace(-SIDE, SIDE, 25))
    edge = hairline(canvas, angles)
    hang = None
    if style == "fringe":
        hang = np.where(np.abs(angles) < 0.9, -person.brow_height - 4 - 2 * np.abs(np.sin(9 * angles)), edge)
    elif style in ("side", *LONG):
        parting = 0.5 if person.peak > 0 else -0.5
        slope = np.abs(angles - parting) / 1.6
        hang = edge + (13 * slope if style == "side" else 15 * slope**1.5) * (np.abs(angles) < 1.35)
    elif style == "curly":
        hang = edge + 3.5 + 2.5 * np.sin(angles * 14 + person.curl * 6)
    if hang is not None:
        outline = np.concatenate([head.ring(hang, angles, 1.03), head.ring(edge - 6, angles, 1.07)[::-1]])
        canvas.fill(outline, canvas.hair)
    if style in LONG:
        for side in (-1, 1):
            if head.faces(36.0 * side) > -0.35:
                far, y = (
                    np.full(5, float(head.visible(np.array([side * 2.8]))[0])),
                    np.array([-30.0, -10, 10, 30, 50 if style == "long" else 34]),
                )
                near = head.visible(np.full(5, side * (1.02 + 0.22 * person.curl)))
                lock = np.concatenate([head.ring(y, near, 1.05), head.ring(y, far, 1.22)[::-1]])
                lock[:, 0] = side * np.maximum(np.abs(lock[:, 0]), 0.7 * person.cheeks)
                canvas.fill(lock, canvas.hair)
    strands = head.visible(np.linspace(-1.3, 1.3, 15), 0.2)
    lines = []
    for number, angle in enumerate(strands):
        start = float(np.interp(angle, angles, edge if hang is None else np.minimum(hang, edge)))
        y = np.linspace(start, -57, 5)
        bent = 0.3 * person.curl * np.sin(np.linspace(0, 5, 5) + number) + 0.25 * np.linspace(0, 1, 5)
        lines.append(head.ring(y, angle + bent, 1.06))
    canvas.strokes(lines[::2], 0.7, toned(canvas.hair, 1.22))
    canvas.strokes(lines[1::2], 0.7, toned(canvas.hair, 0.78))


def glasses(canvas: Canvas) -> None:
    """Glasses, if the appearance has them."""
    kind = canvas.look.glasses
    if not kind:
        return
    person, colour = canvas.person, choose(canvas.rng, ((24, 22, 24), (70, 44, 30), (120, 120, 126)))
    square = float(canvas.rng.uniform(0.45, 1))
    wide, high = 12.6, float(canvas.rng.uniform(7.5, 10.5))
    cos, sin = np.cos(CIRCLE), np.sin(CIRCLE)
    lens_x, lens_y = wide * np.sign(cos) * np.abs(cos) ** square, high * np.sign(sin) * np.abs(sin) ** square
    lenses = []
    for side in (-1, 1):
        if canvas.head.faces(side * person.eye_distance) > HIDDEN:
            lens = canvas.on(side * (person.eye_distance + 0.8) + lens_x, 1.5 + lens_y)
            lens[:, 2] = np.maximum(lens[:, 2], 0.55 * lens[:, 2].max()) + 4
            lenses.append(lens)
    if kind == "dark":
        for lens in lenses:
            canvas.fill(lens, (26, 26, 30))
    width = 2.2 if kind != "thin" else 1.0
    canvas.strokes(lenses, width, colour, closed=True)
    inner = person.eye_distance + 0.8 - wide
    canvas.strokes([canvas.on([-inner, 0, inner], [0, -1.5, 0], 5)], width, colour)
    for side in (-1, 1):
        if canvas.head.faces(36.0 * side) > -0.1 and canvas.style not in OVER_EARS:
            x = side * (person.eye_distance + wide)
            hinge, behind_ear = (
                canvas.on([x], [-1.0], 3),
                canvas.head.ring(np.array([-1.0]), np.array([side * 1.7]), 1.02),
            )
            canvas.strokes([np.concatenate([hinge, behind_ear])], width, colour)


def headwear(canvas: Canvas) -> None:
    """A cap or a beanie."""
    kind = canvas.look.headwear
    if not kind:
        return
    head, colour = (
        canvas.head,
        choose(canvas.rng, ((30, 34, 60), (150, 36, 40), (60, 70, 60), (196, 190, 180), (30, 30, 32))),
    )
    low = -24.0 if kind == "cap" else -20.0
    levels = np.array([-64.0, -56, -44, -34, low])
    rings = head.ring(np.repeat(levels, len(ROUND)), np.tile(ROUND, len(levels)), 1.13)
    rings[:, 1] = np.maximum(rings[:, 1], -70) + 2
    canvas.hull(rings, colour)
    angles = np.linspace(-1.25, 1.25, 13)
    band = head.ring(np.full(13, low + 2), angles, 1.14)
    if kind == "cap":
        peak = band.copy()
        peak[:, 2] += 24 * np.cos(angles * 1.2)
        peak[:, 1] += 5
        canvas.fill(np.concatenate([band, peak[::-1]]), toned(colour, 0.72))
        canvas.soften(head.ring(np.full(13, -14.0), angles * 0.8), 0.8)
    else:
        roll = np.concatenate(
            [head.ring(np.full(13, low + 3), angles, 1.15), head.ring(np.full(13, low - 8), angles, 1.17)[::-1]]
        )
        canvas.fill(roll, toned(colour, 0.85))


def obstacle(canvas: Canvas) -> None:
    """A mask over mouth and nose, or a hand on a cheek."""
    look, head = canvas.look, canvas.head
    if look.obstacle == "mask":
        angles = np.linspace(-1.2, 1.2, 13)
        rows = [head.ring(np.full(13, y), angles, 1.05) for y in (14.0, 34.0, head.levels[-1] + 1)]
        rows[0][:, 1] -= 6 * np.cos(angles)
        rows[1][:, 2] += 8 * np.cos(angles)
        canvas.hull(np.concatenate(rows), choose(canvas.rng, ((214, 226, 232), (46, 48, 54), (150, 186, 208))))
        canvas.strokes([rows[1]], 0.6, (120, 130, 136))
    elif look.obstacle == "hand":
        side = choose(canvas.rng, (-1, 1))
        for number in range(4):
            x = side * (14 + 8.0 * number)
            start, end = (x + 5 * side, 74.0 - 2 * number), (x - 3 * side, 34.0 + 5 * abs(number - 1.4))
            finger = np.array([(*start, 44.0), (*end, 44.0)])
            canvas.strokes([finger], 8.6, toned(canvas.skin, 0.78))
            canvas.strokes([finger], 7.2, mixed(canvas.skin, toned(canvas.skin, 0.9), number / 3))
