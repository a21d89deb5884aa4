"""The configurable style of a figure: its width, its font, the number of images side by side, and the place of maps."""

import difflib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from relattn.errors import InputError, suggest
from relattn.extras import Lazy

mpl = Lazy("matplotlib", "suite")
font_manager = Lazy("matplotlib.font_manager", "suite")

SIZE = 9.0
"""Default font size, in points."""
LEAST_WIDTH, MOST_WIDTH = 1.5, 40.0
"""Smallest and largest allowed width of a figure, in inches."""
LEAST_SIZE, MOST_SIZE = 4.0, 30.0
"""Smallest and largest allowed font size, in points."""
MOST_COLUMNS = 20


@dataclass(frozen=True)
class Style:
    """The style of a figure; every figure has its own defaults."""

    width: float | None = None
    """Width of the whole figure, in inches: 3.25 is a column of CVPR. None for pictures of the default size."""
    size: float = SIZE
    """Font size, in points."""
    family: str | None = None
    """Font family, such as `serif` or `Times New Roman`."""
    columns: int | None = None
    """Number of images side by side, each with all its maps."""
    over: bool | None = None
    """Whether maps are drawn over their image or beside it; None for the figure's default."""
    bare: bool = False
    """Whether to leave out title and note, for a paper with a caption."""

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            InputError: If one is out of range, or the font does not exist.
        """
        if self.width is not None and not LEAST_WIDTH <= self.width <= MOST_WIDTH:
            raise InputError(f"--width is {self.width:g}, expected {LEAST_WIDTH:g} to {MOST_WIDTH:g} inches.")
        if not LEAST_SIZE <= self.size <= MOST_SIZE:
            raise InputError(f"--font_size is {self.size:g}, expected {LEAST_SIZE:g} to {MOST_SIZE:g} points.")
        if self.columns is not None and not 1 <= self.columns <= MOST_COLUMNS:
            raise InputError(f"--columns is {self.columns}, expected 1 to {MOST_COLUMNS}.")
        if self.family is not None:
            check_family(self.family)

    @property
    def small(self) -> float:
        """Font size of notes and numbers, in points."""
        return self.size - 1

    @property
    def scale(self) -> float:
        """Font size as a multiple of the default one."""
        return self.size / SIZE

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Use the font family within this context."""
        with mpl.rc_context({"font.family": self.family} if self.family else {}):
            yield


def check_family(family: str) -> None:
    """Refuse a font family that this machine does not have.

    Raises:
        InputError: If the font does not exist.
    """
    try:
        font_manager.findfont(font_manager.FontProperties(family=family), fallback_to_default=False)
    except ValueError as error:
        known = font_manager.fontManager.get_font_names()
        close = suggest(family, known) if difflib.get_close_matches(family, known, cutoff=0.5) else ""
        raise InputError(
            f"--font: this machine has no font {family!r}. {close or 'serif, sans-serif and monospace are there.'}"
        ) from error
