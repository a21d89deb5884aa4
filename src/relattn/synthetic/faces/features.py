"""The features of a drawn face: skin, eyes, brows, nose, mouth, beard, marks and wrinkles."""

import numpy as np

from relattn.synthetic.faces.canvas import ALMOND, CIRCLE, HIDDEN, SIDE, Canvas, mixed, toned
from relattn.synthetic.faces.wear import hairline


def face(canvas: Canvas) -> None:
    """The skin, from the hairline to the chin."""
    angles = canvas.head.visible(np.linspace(-SIDE, SIDE, 21))
    edge = hairline(canvas, angles) if canvas.style != "bald" else np.full(21, -60.0)
    outline = canvas.head.ring(edge, angles, 1.005)
    levels = canvas.head.levels[3:]
    rings = np.repeat(levels, 21), np.tile(angles, len(levels))
    below = canvas.head.ring(*rings)
    below = below[rings[0] >= np.interp(rings[1], angles, edge)]
    # Where the hairline bends inwards, the hull would cover hair, so the forehead is filled by its own outline.
    brow = canvas.head.ring(np.full(21, -6.0), angles)[::-1]
    canvas.hull(below, canvas.skin)
    canvas.fill(np.concatenate([outline, brow]), canvas.skin)
    blush = 1 - 0.05 * canvas.look.makeup
    for side in (-1, 1):
        if canvas.head.faces(20 * side, 18) > HIDDEN:
            canvas.soften(canvas.disc(21 * side, 17, 8, 6), 1.06 * blush)
            canvas.soften(canvas.disc(27 * side, 33, 5, 12), 0.95 - 0.04 * canvas.look.age)
            canvas.soften(canvas.disc(canvas.person.eye_distance * side, -2, 11, 7), 0.87)
    canvas.soften(canvas.disc(0, canvas.head.levels[-1] - 8, 6, 4, 2), 1.06)
    canvas.soften(canvas.disc(0, -22, 16, 7), 1.05)


def eye(canvas: Canvas, side: int) -> None:
    """The eye on one side, -1 for the left in the image: the ball, the skin around it, and the lids."""
    person, look = canvas.person, canvas.look
    x, wide = side * person.eye_distance, person.eye_size
    if canvas.head.faces(x) < HIDDEN:
        return
    high = wide * person.eye_open * look.eyes_open * (1 - 0.22 * look.age) * (1 - 0.12 * max(look.smile, 0))
    tilt = -person.eye_tilt * side * ALMOND
    bow = 1 - np.square(ALMOND)
    upper, lower = tilt - 1.15 * high * bow**0.75, tilt + 0.75 * high * bow
    across = x + wide * ALMOND
    outline = canvas.band(across, upper, lower)
    canvas.fill(outline, mixed((236, 232, 228), canvas.skin, 0.12))
    looking, radius = x + 0.22 * wide * look.gaze, 0.46 * wide * 0.95
    for part, colour in ((1.0, toned(person.iris, 0.75)), (0.8, person.iris), (0.4, (16, 14, 14))):
        canvas.fill(canvas.disc(looking, -0.25 * high, part * radius, part * radius), colour)
    glint = looking + 0.4 * radius * np.sign(look.light[0])
    canvas.fill(canvas.disc(glint, -0.25 * high - 0.4 * radius, 0.9, 0.9), (250, 250, 250))
    ring = canvas.on(x + 1.3 * wide * np.cos(CIRCLE), (wide * 0.72 + 1) * np.sin(CIRCLE) - 0.2 * high)
    canvas.fill(ring, canvas.skin, outline)  # where the iris is larger than the eye is open
    fold = upper - (1.2 + 2.6 * person.lid) * (1 - 0.5 * look.age) * bow**0.5
    lid = mixed(canvas.skin, (92, 60, 92), 0.3 * look.makeup)
    canvas.fill(canvas.band(across, upper, fold), toned(lid, 0.93))
    canvas.strokes([canvas.on(across, fold)], 0.5, toned(canvas.skin, 0.66))
    canvas.strokes([canvas.on(across, upper)], 0.9 + 0.7 * person.woman + 0.6 * look.makeup, (36, 26, 24))
    canvas.strokes([canvas.on(across, lower)], 0.4, toned(canvas.skin, 0.62))
    if look.age > 0.3:
        bag = [(float(a), float(4.5 + b)) for a, b in zip(across, 1.5 * wide * 0.35 * bow, strict=True)]
        canvas.crease([bag], 1 - 0.32 * look.age)


def eyebrow(canvas: Canvas, side: int) -> None:
    """The eyebrow on one side."""
    person, look = canvas.person, canvas.look
    t = np.linspace(-1, 1.15, 9) * side  # outwards
    x = side * (person.eye_distance + 0.5) + 1.25 * person.eye_size * t
    if canvas.head.faces(side * person.eye_distance) < HIDDEN:
        return
    out = t * side
    middle = -person.brow_height - look.brows - person.brow_arch * (1 - np.square(out - 0.25)) - person.brow_tilt * out
    half = person.brow_thickness * (0.55 + 0.25 * (1 - out)) * (1 - 0.2 * look.age) / 1.6
    points = canvas.band(x, middle - half, middle + half, 1)
    canvas.fill(points, mixed(canvas.brow, canvas.skin, 0.22))


def nose(canvas: Canvas) -> None:
    """The nose: the silhouette of its protruding part, and the shades on its sides."""
    person, (tip, wide) = canvas.person, (canvas.head.nose, nose_width(canvas))
    out, bridge = person.nose_tip, person.bridge
    root = [(-bridge, -4, 0.5), (bridge, -4, 0.5), (-bridge, 0.45 * tip, 0.5 * out), (bridge, 0.45 * tip, 0.5 * out)]
    end = [(-0.45 * wide, tip - 2.5, out), (0.45 * wide, tip - 2.5, out), (-0.4 * wide, tip + 2, out - 1)]
    end += [
        (0.4 * wide, tip + 2, out - 1),
        (-wide, tip + 2, 0.22 * out),
        (wide, tip + 2, 0.22 * out),
        (0, tip + 4.5, 0.4 * out),
    ]
    points = np.array(root + end)
    turned = abs(canvas.head.yaw) > 0.35
    if turned:
        canvas.hull(canvas.on(*points.T), canvas.skin)
    for side in (-1, 1):
        lit = side * canvas.look.light[0] / 1.4 * canvas.look.contrast
        facet = [
            (side * bridge, -4, 0.5),
            (side * 0.9 * bridge, 0.5 * tip, 0.5 * out),
            (side * 0.42 * wide, tip - 2, out),
        ]
        facet += [(side * wide, tip + 2.5, 0.2 * out), (side * (bridge + 2.5), 0.35 * tip, 0)]
        if canvas.head.faces(8 * side, tip) > HIDDEN:
            canvas.soften(canvas.on(*np.array(facet).T), 0.9 + 0.22 * lit)
            hole = canvas.disc(side * 0.5 * wide, tip + 3.2, 0.25 * wide, 1.15, 0.45 * out)
            canvas.fill(hole, toned(canvas.skin, 0.42))
            wing = np.array([(side * 0.95 * wide, tip - 3, 0.2 * out), (side * 1.08 * wide, tip + 1, 0.2 * out),
                             (side * 0.8 * wide, tip + 4, 0.3 * out)])  # fmt: skip
            canvas.strokes([canvas.on(*wing.T)], 0.8, toned(canvas.skin, 0.7))
    under = [
        (-0.8 * wide, tip + 4, 1),
        (0, tip + 5, 2),
        (0.8 * wide, tip + 4, 1),
        (0.4 * wide, tip + 9, 0),
        (-0.4 * wide, tip + 9, 0),
    ]
    canvas.soften(canvas.on(*np.array(under).T), 0.9)
    canvas.soften(canvas.disc(0, tip - 1.5, 0.32 * wide, 2.2, out), 1.14)
    canvas.soften(canvas.on([-1.2, 1.2, 1.2, -1.2], [0, 0, tip - 4, tip - 4], [1, 1, 0.8 * out, 0.8 * out]), 1.09)


def mouth(canvas: Canvas) -> None:
    """Lips, and teeth between them."""
    person, look = canvas.person, canvas.look
    wide, y = canvas.head.mouth
    red = mixed(mixed(canvas.skin, (176, 66, 72), person.lips), (176, 24, 52), 0.6 * look.makeup)
    t = ALMOND
    bow = 1 - np.square(t)
    line = y + 1.9 * max(look.smile, 0) * bow - 1.2 * max(-look.smile, 0) * bow
    gap = 5.5 * look.mouth_open * bow + 2.0 * max(look.smile - 0.45, 0) * bow
    thin = 1 - 0.4 * look.age
    cupid = 1 - 0.28 * np.exp(-np.square(t / 0.16))
    above, below = line - 0.35 * gap, line + 0.65 * gap
    top = above - person.upper_lip * thin * cupid * bow**0.6
    bottom = below + person.lower_lip * thin * bow**0.7
    x = wide * t
    canvas.fill(canvas.band(x, above, below, 1), (66, 22, 24))
    if gap.max() > 1.2:
        canvas.fill(canvas.band(0.82 * x, line - 0.3 * gap, line + 0.2 * gap, 1), (226, 220, 208))
    canvas.fill(canvas.band(x, top, above, 2), toned(red, 0.86))
    canvas.fill(canvas.band(x, below, bottom, 2), red)
    canvas.strokes([canvas.on(x, above, 1.5)], 0.6, toned(red, 0.45))
    canvas.soften(canvas.disc(0, bottom.max() + 2.8, 0.5 * wide, 1.6, 0), 0.86)
    canvas.soften(canvas.disc(0, y + 0.5 * person.lower_lip + gap.max() * 0.65, 0.35 * wide, 1.2, 2), 1.1)


def beard(canvas: Canvas) -> None:
    """Beard and moustache."""
    look, (wide, y) = canvas.look, canvas.head.mouth
    colour = mixed(canvas.hair, canvas.skin, 0.15)
    if look.beard:
        low, far = canvas.head.levels[-1], 0.55 + 0.45 * look.beard
        angles = np.linspace(-1.25 * far, 1.25 * far, 15)
        outer = canvas.head.ring(np.full(15, low + 3), angles, 1.02)
        inner = np.r_[
            [y - 12], np.full(4, y + 2), np.full(5, y + 9.5 + 3 * look.mouth_open), np.full(4, y + 2), [y - 12]
        ]
        rim = canvas.head.ring(inner, angles * np.r_[1, np.full(13, 0.86), 1], 1.02)
        strength = 0.35 + 0.6 * look.beard
        canvas.fill(np.concatenate([rim, outer[::-1]]), mixed(canvas.skin, colour, strength))
    if look.moustache:
        x = 1.05 * wide * ALMOND
        over = y - canvas.person.upper_lip - 1
        arch = np.square(ALMOND)
        canvas.fill(canvas.band(x, over + 3 * arch, over - (2 + 2.5 * look.moustache) * (1 - arch), 2), colour)


def skin_marks(canvas: Canvas) -> None:
    """Freckles, moles and a dimple."""
    person = canvas.person
    if person.freckles:
        rng = np.random.default_rng(person.dots)
        for x, y in zip(rng.uniform(-28, 28, person.freckles), rng.uniform(4, 28, person.freckles), strict=True):
            if canvas.head.faces(x, y) > 0.2:
                canvas.fill(canvas.disc(x, y, 0.5, 0.5), toned(canvas.skin, 0.8))
    for x, y, radius in person.marks:
        if canvas.head.faces(x, y) > 0.15:
            canvas.fill(canvas.disc(x, y, radius, radius), mixed(toned(canvas.skin, 0.4), (50, 30, 26), 0.4))
    if person.dimple > 0.2:
        y = canvas.head.levels[-1] - 7
        canvas.crease([[(0, y - 2), (0, y + 2)]], 1 - 0.3 * person.dimple, 2)


def wrinkles(canvas: Canvas) -> None:
    """Folds beside the mouth, and the wrinkles of age."""
    look, (wide, y) = canvas.look, canvas.head.mouth
    nose = nose_width(canvas)
    fold = 0.12 * max(look.smile, 0) + 0.4 * look.age
    for side in (-1, 1):
        if canvas.head.faces(18 * side, 25) < 0.12:
            continue
        lines = [[(side * (nose + 1), canvas.head.nose - 1), (side * (wide + 1.5), y - 7), (side * (wide + 3), y + 1)]]
        canvas.crease(lines, 1 - fold, 1 + (look.age > 0.5))
        corner = canvas.person.eye_distance + canvas.person.eye_size + 1.5
        if look.age > 0.35 and canvas.head.faces(corner * side) > 0.15:
            feet = [[(side * corner, k), (side * (corner + 5), 2.4 * k - 0.5)] for k in (-2, 0, 2)]
            canvas.crease(feet, 1 - 0.4 * look.age)
        if look.age > 0.55:
            canvas.crease([[(side * (wide + 1), y + 3), (side * (wide + 2), y + 11)]], 1 - 0.4 * look.age)
    covered = canvas.style == "fringe" or look.headwear
    if not covered and (look.age > 0.3 or look.brows > 1.6):
        depth = 0.4 * look.age + 0.05 * max(look.brows, 0)
        rows = [[(x, -17 - 5 * k - 0.004 * x * x) for x in (-18, -9, 0, 9, 18)] for k in range(1 + round(2 * look.age))]
        if abs(canvas.head.yaw) < 0.9:
            canvas.crease(rows, 1 - 0.8 * depth)


def nose_width(canvas: Canvas) -> float:
    """Half width of the nose at the wings."""
    look = canvas.look
    return canvas.person.nose_width * (1 + 0.08 * look.age + 0.06 * max(look.smile, 0))
