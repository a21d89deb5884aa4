"""The scores of a task: names of its metrics, for records, reports, dashboards and terminal output."""

from typing import NamedTuple


class Score(NamedTuple):
    """A metric that a task logs as `val/<name>` and `test/<name>`."""

    name: str
    label: str = ""
    """Heading of the metric; by default its name."""
    lower_is_better: bool = False

    @property
    def heading(self) -> str:
        """The label, or else the name."""
        return self.label or self.name


def name_in_set(name: str, extra_set: str) -> str:
    """Name a score on an additional test set: `mAP/<set>`, or `accuracy/<set>.lfw` for `accuracy/lfw`."""
    family, slash, member = name.partition("/")
    return f"{family}/{extra_set}.{member}" if slash else f"{name}/{extra_set}"
