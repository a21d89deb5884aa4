"""A figure of a trained network with the numbers measured for it, and what a function that draws one is given."""

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
        style: How the figure looks.
    """

    split: str = "test"
    indices: list[int] | None = None
    count: int = 4
    files: list[Path] | None = None
    choices: Mapping[str, Any] = field(default_factory=dict)
    style: Style = field(default_factory=Style)


def evenly_spread(total: int, count: int) -> list[int]:
    """Numbers of `count` of `total` images, as far from each other as they can be."""
    return sorted({int(number) for number in np.linspace(0, total - 1, min(count, total)).round()})


class TaskFigure(Protocol):
    """Draws a figure that belongs to one task."""

    def __call__(self, task: "Task", data: "Data", options: FigureOptions) -> MeasuredFigure:
        """Draw a network that is in evaluation mode; `data` is set up where the figure needs it."""
        ...


def honours(*options: str) -> Callable[[TaskFigure], TaskFigure]:
    """Say which options of `relattn figures` a figure honours; those that it does not are refused.

    Args:
        options: `images`, `module`, `set`, `columns`, `font`, `font_size`, `bare`; `width` is honoured by all figures.
    """

    def declare(figure: TaskFigure) -> TaskFigure:
        vars(figure)["options"] = options
        return figure

    return declare


def options_of(figure: TaskFigure) -> tuple[str, ...]:
    """The options that a figure honours, as of `honours`; of one that does not say, the choice of images."""
    declared: tuple[str, ...] = vars(figure).get("options", ("images",))
    return declared
