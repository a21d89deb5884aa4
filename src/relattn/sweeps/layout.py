"""How the runs of a sweep form a table: the `table` section of its file."""

import itertools
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from relattn.errors import InputError, suggest
from relattn.printable import in_one_line
from relattn.sweeps.grid import Sweep, listed

SCORE_KEYS = {"metric", "better", "scale", "digits", "test"}

KEYS = {"title", "rows", "columns", "scores", "labels", "baseline", "published", "given", "note"}


@dataclass(frozen=True)
class Score:
    """A score of a table.

    Attributes:
        label: Its heading.
        metric: Its name in `result.json`; None for a score that only the paper has.
        lower: Whether lower is better.
        scale: Factor on the value.
        digits: Decimal places.
        test: Options of an additional test that gives the score; None for the run's own test.
    """

    label: str
    metric: str | None
    lower: bool = False
    scale: float = 1.0
    digits: int = 2
    test: dict[str, Any] | None = None

    @property
    def folder(self) -> str:
        """Name of the folder of its test inside the run's folder; empty for the run's own test."""
        if self.test is None:
            return ""
        return "-".join(["test", *(re.sub(r"[^\w.]+", "_", str(value)) for value in self.test.values())])


def layout_of(sweep: Sweep) -> dict[str, Any]:
    """Check and return the `table` section.

    Raises:
        InputError: If it is missing, or names something that the sweep does not have.
    """
    layout = sweep.content.get("table")
    if not isinstance(layout, dict):
        raise InputError(f"{sweep.path} has no `table` section: it says how its runs make a table.")
    layout = {key: value for key, value in layout.items() if value is not None}  # a key without content says nothing
    for key in layout:
        if key not in KEYS:
            raise InputError(f"{sweep.path}: table has {key!r}, which is not known. {suggest(key, KEYS)}")
    for key in ("rows", "scores"):
        if not layout.get(key):
            raise InputError(f"{sweep.path}: table needs {key!r}.")
    parameters = sweep.content["parameters"]
    for name in axis(layout, "rows") + axis(layout, "columns"):
        if name not in parameters:
            raise InputError(
                f"{sweep.path}: table names {name!r}, which is not a parameter. {suggest(name, parameters)}"
            )
    rows, columns = keys_of(sweep, "rows"), keys_of(sweep, "columns")
    check_keys(f"{sweep.path}: table, labels", layout.get("labels", {}), {*rows, *columns, *layout.get("given", {})})
    for source, entries in layout.get("published", {}).items():
        check_keys(f"{sweep.path}: table, published, {source}", entries, set(rows))
        for row, entry in entries.items():
            within = set(columns) if columns != [""] else set(map(str, layout["scores"]))
            check_keys(f"{sweep.path}: table, published, {source}, {row}", entry, within)
    if "baseline" in layout and str(layout["baseline"]) not in rows:
        raise InputError(f"{sweep.path}: baseline is {layout['baseline']!r}. {suggest(str(layout['baseline']), rows)}")
    return layout


def check_keys(where: str, entries: Iterable[Any], known: set[str]) -> None:
    """Raise an InputError if a part of a table has an unknown key."""
    for key in map(str, entries):
        if key not in known:
            raise InputError(f"{where}: {key!r} is not known. {suggest(key, sorted(known))}")


def keys_of(sweep: Sweep, name: str) -> list[str]:
    """The keys of all rows or columns of a table, from the values in its file; one empty key if it has no columns."""
    parameters = sweep.content["parameters"]
    values = [[str(value) for value in listed(parameters[one])] for one in axis(sweep.content["table"], name)]
    return [", ".join(combination) for combination in itertools.product(*values)]


def axis(layout: dict[str, Any], name: str) -> list[str]:
    """The parameters that define the rows or the columns."""
    value = layout.get(name) or []
    return [value] if isinstance(value, str) else list(value)


def key_of(names: list[str], parameters: dict[str, Any]) -> str:
    """The key of a row or column: the parameters' values, separated by commas."""
    return ", ".join(str(parameters[name]) for name in names)


def scores_of(layout: dict[str, Any]) -> list[Score]:
    """The scores of a table."""
    found = []
    for label, entry in layout["scores"].items():
        given = entry if isinstance(entry, dict) else {"metric": entry}
        for key in given:
            if key not in SCORE_KEYS:
                raise InputError(f"Score {label} of the table has {key!r}. {suggest(key, SCORE_KEYS)}")
        lower = given.get("better", "higher") == "lower"
        scale, digits = float(given.get("scale", 1)), int(given.get("digits", 2))
        found.append(Score(in_one_line(label), given.get("metric"), lower, scale, digits, given.get("test")))
    return found


def label_of(layout: dict[str, Any], key: str) -> str:
    """The heading of a row or column: from the table's labels, or else its key."""
    labels = {str(name): str(value) for name, value in layout.get("labels", {}).items()}
    return in_one_line(labels.get(key, key))  # which may be a stranger's


def ordered(sweep: Sweep, names: list[str], keys: list[str]) -> list[str]:
    """Sort keys in the order in which the file lists the values, the first parameter varying slowest."""
    values = [[str(value) for value in sweep.parameters[name]] for name in names]
    wanted = [", ".join(combination) for combination in itertools.product(*values)] if names else [""]
    return [key for key in wanted if key in keys]


def given(layout: dict[str, Any], row: str, column: str, score: str) -> float | None:
    """The number of a cell in a row that has no runs, as given in the file."""
    entry = layout["given"][row]
    found = entry.get(column, {}).get(score) if column else entry.get(score)
    return None if found is None else float(found)


def published(layout: dict[str, Any], row: str, column: str, score: str) -> dict[str, float]:
    """The papers' numbers for a cell, by source."""
    found = {}
    for source, rows in layout.get("published", {}).items():
        entry = {str(name): value for name, value in rows.items()}.get(row, {})
        if column:
            entry = {str(name): value for name, value in entry.items()}.get(column, {})
        if score in entry:
            found[in_one_line(source)] = float(entry[score])
    return found
