"""Houses, trees, walls and fences along a street and at its end, computed for each pixel from the ray through it."""

import numpy as np
import numpy.typing as npt

from relattn.synthetic.streets.ground import FAR, GREENS, Layout, Side, air, lookup
from relattn.synthetic.streets.labels import ID
from relattn.synthetic.streets.view import EYE, Floats, View


def draw_walls(view: View, rng: np.random.Generator, layout: Layout, texture: Floats) -> None:
    """Draw houses and trees along the street and at its end, then walls and fences along its open stretches."""
    aside = (np.arange(view.width, dtype=np.float32) + np.float32(0.5 - view.x0)) / np.float32(view.focal)
    windows = rng.random(4096, dtype=np.float32)
    for number, side in enumerate(layout.sides):
        columns = np.flatnonzero((aside > 0) == bool(number))
        if not len(columns):
            continue
        slope = np.maximum(np.abs(aside[columns]), np.float32(1e-4))
        along = np.minimum(np.float32(layout.edges[number]) / slope, np.float32(FAR))
        stretch = np.searchsorted(side.starts, along, side="right") - 1
        tall = side.heights > 0
        after = np.array([next((j for j in range(i, len(tall)) if tall[j]), len(tall) - 1) for i in range(len(tall))])
        standing = after[stretch]
        front = standing != stretch  # the ray passes through an opening and meets the next house's gable
        depth = np.where(front, side.starts[standing], along)
        across = np.where(front, slope * depth, along)
        end = (along >= FAR) | ~tall[standing]
        depth[end], across[end] = FAR, (slope * FAR)[end] + 300 * number
        lit = view.light.sun * (0.35 if (view.light.side > 0) != bool(number) else -0.25)
        shade = np.where(front | end, 1 + 0.1 * view.light.sun, 1 + lit).astype(np.float32)
        _draw_tall(view, side, columns, standing, depth, across, shade, texture, windows)
        _draw_low(
            view, side, columns, stretch, along, (along < FAR) & ~tall[stretch] & (side.rises[stretch] > 0), texture
        )


def _draw_tall(
    view: View, side: Side, columns: npt.NDArray[np.int64], house: npt.NDArray[np.int64], depth: Floats, across: Floats,
    shade: Floats, texture: Floats, windows: Floats,
) -> None:  # fmt: skip
    scale = np.float32(view.focal) / depth
    jagged = lookup(texture, across * np.float32(4), house.astype(np.float32) * 31)
    heights = side.heights[house]
    heights = np.where(side.leafy[house], heights * (1 + 0.22 * jagged), heights).astype(np.float32)
    bottom = min(int(view.y0 + EYE * scale.max()) + 1, view.height)
    ys = np.arange(bottom, dtype=np.float32)[:, None] + np.float32(0.5)
    y = np.float32(EYE) - (ys - np.float32(view.y0)) / scale
    wall = (y > 0) & (y < heights)
    pixels = side.colours[house][None] * shade[:, None]
    storey, pitch = y / side.storey[house], across / side.pitch[house]
    floor, bay = np.floor(storey), np.floor(pitch)
    up, sideways = storey - floor, (pitch - bay)[None]
    inside = (up > 0.28) & (up < 0.8) & (sideways > 0.22) & (sideways < 0.78) & (y < heights - 0.6)
    shop = (floor == 0) & (house % 3 == 0)[None] & (up > 0.12) & (up < 0.86) & (sideways > 0.06) & (sideways < 0.94)
    leafy = side.leafy[house][None]
    glass = (inside | shop) & ~leafy
    key = (floor.astype(np.int32) * 131 + (bay.astype(np.int32) * 17 + house.astype(np.int32) * 71)[None]) & 4095
    tone = 1 + np.where(leafy, 0.5, 0.1) * lookup(texture, y * 9, np.broadcast_to(across * 9, y.shape))
    tone *= np.where((y > heights - 0.5) & ~leafy, 0.72, 1)  # the cornice
    tone *= np.where(leafy, 0.55 + 0.45 * (y / (heights + np.float32(0.01))).clip(0, 1), 1)
    colour = pixels * tone[..., None].astype(np.float32)
    blank = windows[key][..., None]
    pane = np.array((44, 52, 62), np.float32) + blank * np.array((70, 78, 84), np.float32)
    colour = np.where(glass[..., None], pane * (1 - 0.3 * (up > 0.74))[..., None], colour)
    seen = air(view, colour.astype(np.float32), depth).clip(0, 255).astype(np.uint8)
    labels = np.broadcast_to(np.where(side.leafy[house], ID["vegetation"], ID["building"]).astype(np.uint8), y.shape)
    _put(view, columns, bottom, wall, seen, labels)


def _draw_low(
    view: View, side: Side, columns: npt.NDArray[np.int64], stretch: npt.NDArray[np.int64], along: Floats,
    there: npt.NDArray[np.bool_], texture: Floats,
) -> None:  # fmt: skip
    if not there.any():
        return
    columns, stretch, along = columns[there], stretch[there], along[there]
    scale = np.float32(view.focal) / along
    bottom = min(int(view.y0 + EYE * scale.max()) + 1, view.height)
    ys = np.arange(bottom, dtype=np.float32)[:, None] + np.float32(0.5)
    y = np.float32(EYE) - (ys - np.float32(view.y0)) / scale
    labels = np.broadcast_to(side.low[stretch], y.shape)
    rises = side.rises[stretch]
    wall = (y > 0) & (y < rises)
    fence, leaves = labels == ID["fence"], labels == ID["vegetation"]
    stone = side.colours[stretch][None] * np.float32(0.9)
    strength = np.where(leaves, 0.5, 0.16).astype(np.float32)
    tone = 1 + strength * lookup(texture, y * 12, np.broadcast_to(along * 6, y.shape))
    tone *= np.where(y > rises - 0.12, 0.75, 1)
    colour = np.where(leaves[..., None], np.array(GREENS[0], np.float32), stone) * tone[..., None]
    bars = (np.mod(along, 0.3) < 0.11)[None] | (np.mod(y, 0.7) < 0.1) | (np.mod(along, 3.0) < 0.2)[None]
    rail = labels == ID["guard rail"]
    see_through = (fence & ~bars & (stretch % 2 == 0)[None]) | (rail & (y < 0.3))
    colour = air(view, colour.astype(np.float32), along).clip(0, 255).astype(np.uint8)
    kept = view.image[:bottom, columns]
    colour = np.where(see_through[..., None], kept, colour)
    _put(view, columns, bottom, wall, colour, labels)


def _put(
    view: View, columns: npt.NDArray[np.int64], bottom: int, mask: npt.NDArray[np.bool_], colour: npt.NDArray[np.uint8],
    labels: npt.NDArray[np.uint8],
) -> None:  # fmt: skip
    """Write pixels of some columns, above the row `bottom`, where the mask is set."""
    image, marks = view.image[:bottom, columns], view.marks[:bottom, columns]
    image[mask], marks[mask] = colour[mask], labels[mask]
    view.image[:bottom, columns], view.marks[:bottom, columns] = image, marks
