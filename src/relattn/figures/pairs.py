"""The hardest pairs of face verification: two people who are taken for one, and one who is taken for two."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from relattn.figures.canvas import FAINT, INK, SIZE, Pixels, grid, label

if TYPE_CHECKING:
    from matplotlib.figure import Figure

GAP = 4
"""White between the two images of a pair, in pixels."""


@dataclass(frozen=True)
class DecidedPair:
    """Two faces with the decision on them."""

    first: Pixels
    second: Pixels
    name: str
    """For example `lfw, pair 12`."""
    distance: float
    """Squared, between features of length 1."""
    threshold: float


def hardest(
    distances: NDArray[np.float64], same: NDArray[np.bool_], accepted: NDArray[np.bool_], count: int
) -> tuple[list[int], list[int]]:
    """The wrong decisions that are furthest from right.

    Args:
        distances: (P,).
        same: (P,), whether a pair shows one person.
        accepted: (P,), whether it was said to.
        count: The most of each kind.

    Returns:
        False accepts, the nearest first, and false rejects, the furthest first; both may be empty.
    """
    order = np.argsort(distances, kind="stable")
    wrong_accepts, wrong_rejects = ((accepted & ~same)[order], (~accepted & same)[order])
    return order[wrong_accepts][:count].tolist(), order[wrong_rejects][::-1][:count].tolist()


def pairs_figure(accepts: Sequence[DecidedPair], rejects: Sequence[DecidedPair], *, title: str, note: str) -> "Figure":
    """Draw pairs that were wrongly accepted above those that were wrongly rejected."""
    columns = max(len(accepts), len(rejects), 2)
    shown = [*accepts, *rejects]
    height, width = shown[0].first.shape[:2] if shown else (1, 1)
    figure, axes = grid(2, columns, aspect=(2 * width + GAP) / height, title=title, note=note, lines=2)
    kinds = {"two people,\naccepted": (accepts, "<"), "one person,\nrejected": (rejects, "≥")}
    for row, (name, (pairs, sign)) in zip(axes, kinds.items(), strict=True):
        label(row[0], name)
        for ax, pair in zip(row, pairs, strict=False):
            between = np.full((pair.first.shape[0], GAP, 3), 255, np.uint8)
            ax.imshow(np.concatenate([pair.first, between, pair.second], axis=1), interpolation="nearest")
            text = f"{pair.distance:.3f} {sign} {pair.threshold:.3f}\n{pair.name}"
            ax.set_xlabel(text, fontsize=SIZE, color=INK)
        if not pairs:
            row[0].text(0.5, 0.5, "none", ha="center", va="center", fontsize=SIZE, color=FAINT)
    return figure
