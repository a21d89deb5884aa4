"""The hardest pairs of face verification: two people taken for one, and one person taken for two."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from relattn.figures.canvas import FAINT, INK, Grid, Pixels
from relattn.figures.style import Style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

GAP = 4
"""White space between the two images of a pair, in pixels."""
MOST_IN_LINE = 4
"""Default maximum number of pairs in a line."""


@dataclass(frozen=True)
class DecidedPair:
    """Two faces with the decision on them."""

    first: Pixels
    second: Pixels
    name: str
    """For example `lfw, pair 12`."""
    distance: float
    """Squared distance between the features, which have length 1."""
    threshold: float


def hardest(
    distances: NDArray[np.float64], same: NDArray[np.bool_], accepted: NDArray[np.bool_], count: int
) -> tuple[list[int], list[int]]:
    """The wrong decisions with the distances that contradict them most.

    Args:
        distances: `(P,)`.
        same: `(P,)`, whether a pair shows one person.
        accepted: `(P,)`, whether it was accepted as one person.
        count: Maximum number of each kind.

    Returns:
        False accepts, the nearest first, and false rejects, the furthest first; both may be empty.
    """
    order = np.argsort(distances, kind="stable")
    wrong_accepts, wrong_rejects = ((accepted & ~same)[order], (~accepted & same)[order])
    return order[wrong_accepts][:count].tolist(), order[wrong_rejects][::-1][:count].tolist()


def pairs_figure(
    accepts: Sequence[DecidedPair],
    rejects: Sequence[DecidedPair],
    *,
    title: str,
    note: str,
    style: Style | None = None,
) -> "Figure":
    """Draw pairs that were wrongly accepted above those that were wrongly rejected.

    Args:
        accepts: Pairs of two people, the hardest first.
        rejects: Pairs of one person, the hardest first.
        title: The line above.
        note: A paragraph below.
        style: Style of the figure; `columns` is the number of pairs in a line.
    """
    style = style or Style()
    columns = max(
        min(style.columns or MOST_IN_LINE, max(len(accepts), len(rejects))), 2 if style.columns is None else 1
    )
    shown = [*accepts, *rejects]
    height, width = shown[0].first.shape[:2] if shown else (1, 1)
    kinds = {"two people,\naccepted": (accepts, "<"), "one person,\nrejected": (rejects, "≥")}
    lines = [max(1, -(-len(pairs) // columns)) for pairs, _ in kinds.values()]
    grid = Grid(
        sum(lines),
        columns,
        aspect=(2 * width + GAP) / height,
        title=title,
        note=note,
        lines=2,
        style=replace(style, columns=None),
    )
    row = 0
    for (name, (pairs, sign)), high in zip(kinds.items(), lines, strict=True):
        grid.label(row, name)
        for ax, pair in zip(grid.axes[row : row + high].flat, pairs, strict=False):
            between = np.full((pair.first.shape[0], GAP, 3), 255, np.uint8)
            ax.imshow(np.concatenate([pair.first, between, pair.second], axis=1), interpolation="nearest")
            text = f"{pair.distance:.3f} {sign} {pair.threshold:.3f}\n{pair.name}"
            ax.set_xlabel(text, fontsize=style.size, color=INK, parse_math=False)
        if not pairs:
            none = {"ha": "center", "va": "center", "fontsize": style.size, "color": FAINT}
            grid.axes[row, 0].text(0.5, 0.5, "none", transform=grid.axes[row, 0].transAxes, **none)
        row += high
    return grid.figure
