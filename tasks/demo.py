"""The demo of a task: generated data, trivial baselines, and the scores that a trained network is compared by.

Each task has one as `Demo` in its folder's `demo.py`; `relattn demo` finds it there.
"""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar


class TaskDemo(ABC):
    """Data made for a task, trivial baselines, and a network's scores with and without attention."""

    title: str
    columns: ClassVar[dict[str, str]]
    """Headings with the test score that stands under each."""
    attention: str = "rga_sc"
    """Recipe that the plain network is compared with."""
    note: str = ""
    """Explains the headings."""

    @abstractmethod
    def generate(self, root: Path) -> None:
        """Make the data under `root`, unless they are there."""

    @abstractmethod
    def baselines(self, root: Path) -> dict[str, dict[str, float]]:
        """Scores that a trained network must beat: by the baseline's name and the headings of the columns."""

    @abstractmethod
    def headline(self, baseline: dict[str, float]) -> float:
        """The headline score among a baseline's, higher is better."""
