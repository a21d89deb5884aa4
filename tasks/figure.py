"""A figure of a trained network with the numbers measured for it, and the interface of functions that draw one."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from relattn.figures.style import Style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from relattn.tasks.base import Task
    from relattn.tasks.data import Data


@dataclass(frozen=True)
class MeasuredFigure:
    """A figure and the numbers measured for it."""

    figure: "Figure"
    measures: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class FigureOptions:
    """What a figure that belongs to one task shows, and how.

    Attributes:
        split: Split of the data set.
        indices: Indices of the images in the split; None for `count` images, spread evenly.
        count: Number of images if `indices` is None.
        files: Image files to use instead of images of the data set.
        choices: Further command-line options, such as `set`, by name.
        style: How the figure looks.
    """

    split: str = "test"
    indices: list[int] | None = None
    count: int = 4
    files: list[Path] | None = None
    choices: Mapping[str, Any] = field(default_factory=dict)
    style: Style = field(default_factory=Style)


def evenly_spread(total: int, count: int) -> list[int]:
    """Choose the indices of `count` out of `total` images, spread as evenly as possible."""
    return sorted({int(number) for number in np.linspace(0, total - 1, min(count, total)).round()})


class TaskFigure(Protocol):
    """Draws a figure that belongs to one task."""

    def __call__(self, task: "Task", data: "Data", options: FigureOptions) -> MeasuredFigure:
        """Draw the figure of a network in evaluation mode; `data` is set up if the figure needs it."""
        ...


def honours(*options: str) -> Callable[[TaskFigure], TaskFigure]:
    """Declare which options of `relattn figures` a figure honours; others are refused.

    Args:
        options: Some of `images`, `module`, `set`, `columns`, `font`, `font_size`, `bare`; all figures honour `width`.
    """

    def declare(figure: TaskFigure) -> TaskFigure:
        vars(figure)["options"] = options
        return figure

    return declare


def options_of(figure: TaskFigure) -> tuple[str, ...]:
    """Return the options that a figure honours, as declared by `honours`; without a declaration, `images` alone."""
    declared: tuple[str, ...] = vars(figure).get("options", ("images",))
    return declared
