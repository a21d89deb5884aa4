"""The demo of a task: generated data, trivial baselines, and the scores by which a trained network is compared.

Each task defines its demo as the class `Demo` in its folder's `demo.py`, where `relattn demo` finds it.
"""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar


class TaskDemo(ABC):
    """Generated data of a task, trivial baselines, and a network's scores with and without attention."""

    title: str
    columns: ClassVar[dict[str, str]]
    """Column headings, each with the test score shown under it."""
    attention: str = "rga_sc"
    """Recipe of the attention that the plain network is compared with."""
    note: str = ""
    """Explanation of the headings."""

    @abstractmethod
    def generate(self, root: Path) -> None:
        """Generate the data under `root`, unless they exist."""

    @abstractmethod
    def baselines(self, root: Path) -> dict[str, dict[str, float]]:
        """Scores that a trained network must beat, by the baseline's name and then by column heading."""

    @abstractmethod
    def headline(self, baseline: dict[str, float]) -> float:
        """Return a baseline's headline score; higher is better."""
