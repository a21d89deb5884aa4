"""A figure of a trained network with the numbers measured for it, and what a function that draws one is given."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from relattn.tasks.base import Task
    from relattn.tasks.data import Data


@dataclass(frozen=True)
class MeasuredFigure:
    """A figure with what was measured for it."""

    figure: "Figure"
    measures: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class FigureOptions:
    """What figures of one task's own are drawn of.

    Attributes:
        split: Split of the data set.
        indices: Numbers of the images in the split; None for `count` of them, spread evenly.
        count: Number of images, where `indices` does not say which.
        files: Image files instead of images of the data set.
        choices: Further options of the command line, such as `set`, by their names.
    """

    split: str = "test"
    indices: list[int] | None = None
    count: int = 4
    files: list[Path] | None = None
    choices: Mapping[str, Any] = field(default_factory=dict)


def evenly_spread(total: int, count: int) -> list[int]:
    """Numbers of `count` of `total` images, as far from each other as they can be."""
    return sorted({int(number) for number in np.linspace(0, total - 1, min(count, total)).round()})


class TaskFigure(Protocol):
    """Draws a figure that belongs to one task."""

    def __call__(self, task: "Task", data: "Data", options: FigureOptions) -> MeasuredFigure:
        """Draw a network that is in evaluation mode; `data` is set up where the figure needs it."""
        ...
