"""What is chosen of a figure's looks: its width, its font, how many images stand side by side, and where maps are."""

import difflib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from relattn.errors import InputError, suggest
from relattn.extras import Lazy

mpl = Lazy("matplotlib", "suite")
font_manager = Lazy("matplotlib.font_manager", "suite")

SIZE = 9.0
"""Size of the font, in points, unless another is chosen."""
LEAST_WIDTH, MOST_WIDTH = 1.5, 40.0
"""Widths of figures, in inches."""
LEAST_SIZE, MOST_SIZE = 4.0, 30.0
"""Sizes of the font, in points."""
MOST_COLUMNS = 20


@dataclass(frozen=True)
class Style:
    """How a figure looks; every figure has its defaults."""

    width: float | None = None
    """Of the whole figure, in inches: 3.25 is a column of CVPR. None for pictures of the usual size."""
    size: float = SIZE
    """Of the font, in points."""
    family: str | None = None
    """Of the font, such as `serif` or `Times New Roman`."""
    columns: int | None = None
    """Images side by side, each with all its maps."""
    over: bool | None = None
    """Whether maps lie over their image or stand beside it; None for what is usual of the figure."""
    bare: bool = False
    """Whether title and note are left out, because a paper has a caption."""

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            InputError: If one is out of range, or there is no such font.
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
        """Size of notes and of numbers, in points."""
        return self.size - 1

    @property
    def scale(self) -> float:
        """Size of the font as a multiple of the usual one."""
        return self.size / SIZE

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Draw with the family of fonts while the context lasts."""
        with mpl.rc_context({"font.family": self.family} if self.family else {}):
            yield


def check_family(family: str) -> None:
    """Refuse a family of fonts that this machine does not have.

    Raises:
        InputError: If there is none of that name.
    """
    try:
        font_manager.findfont(font_manager.FontProperties(family=family), fallback_to_default=False)
    except ValueError as error:
        known = font_manager.fontManager.get_font_names()
        close = suggest(family, known) if difflib.get_close_matches(family, known, cutoff=0.5) else ""
        raise InputError(
            f"--font: this machine has no font {family!r}. {close or 'serif, sans-serif and monospace are there.'}"
        ) from error
