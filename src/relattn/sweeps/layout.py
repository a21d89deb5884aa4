"""How the runs of a sweep form a table: the `table` section of its file."""

import itertools
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from relattn.errors import InputError, suggest
from relattn.printable import in_one_line
from relattn.runs.identity import SEED
from relattn.sweeps.grid import Sweep, listed, mapping

SCORE_KEYS = {"metric", "better", "scale", "digits", "test"}

LOWER_IS_BETTER = {"eer", "error", "loss", "macs", "parameters", "seconds", "seconds_per_step"}
"""Names of metrics and costs, in lower case, for which lower is better."""

BETTER = {True: "lower", False: "higher", None: "none"}
"""What a sweep file writes for the values of `Score.lower`."""

NO_BEST = {"threshold", "std", "unmatched"}
"""Names of metrics, in lower case, that have no best value."""

KEYS = {"title", "rows", "columns", "scores", "labels", "baseline", "published", "given", "note"}


@dataclass(frozen=True)
class Score:
    """A score of a table.

    Attributes:
        label: Its heading.
        metric: Its name in `result.json`; None for a score that only the paper has.
        lower: Whether lower is better; None for a value that has no best, such as a threshold.
        scale: Factor on the value.
        digits: Decimal places.
        test: Options of an additional test that gives the score; None for the run's own test.
    """

    label: str
    metric: str | None
    lower: bool | None = False
    scale: float = 1.0
    digits: int = 2
    test: dict[str, Any] | None = None

    @property
    def folder(self) -> str:
        """Name of the folder of its test inside the run's folder; empty for the run's own test."""
        if self.test is None:
            return ""
        return "-".join(["test", *(re.sub(r"[^\w.]+", "_", str(value)) for value in self.test.values())])


def lower_is_better(metric: str) -> bool | None:
    """Whether lower values of a metric, such as `error` or `test/EER/lfw`, are better; None if no value is best."""
    parts = set(metric.lower().split("/"))
    return None if parts & NO_BEST else bool(parts & LOWER_IS_BETTER)


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
    where = f"{sweep.path}: table"
    for name in axis(layout, "rows", where) + axis(layout, "columns", where):
        if name not in parameters:
            raise InputError(
                f"{sweep.path}: table names {name!r}, which is not a parameter. {suggest(name, parameters)}"
            )
    placed = {SEED, *axis(layout, "rows"), *axis(layout, "columns")}
    for name, values in sweep.parameters.items():
        if len(values) > 1 and name not in placed:
            raise InputError(
                f"{where}: {name} has {len(values)} values, and is neither in rows nor in columns, so that runs which "
                f"differ in it would share a cell. Write rows: [{', '.join([*axis(layout, 'rows'), name])}]; only "
                f"{SEED} is averaged over."
            )
    rows, columns = keys_of(sweep, "rows"), keys_of(sweep, "columns")
    scores = {score.label for score in scores_of(layout, where)}
    numbers = [*([set(columns)] if columns != [""] else []), scores]  # the keys at each level of a row's numbers
    given = mapping(layout.get("given", {}), f"{where}, given")
    labels = mapping(layout.get("labels", {}), f"{where}, labels")
    if taken := [key for key in map(str, given) if key in rows]:
        raise InputError(f"{where}, given: {taken[0]!r} is a row of runs. Give the numbers a row with another name.")
    check_keys(f"{where}, labels", labels, {*rows, *columns, *map(str, given)})
    check_numbers(given, [set(map(str, given)), *numbers], f"{where}, given")
    for source, entries in mapping(layout.get("published", {}), f"{where}, published").items():
        check_numbers(entries, [set(rows), *numbers], f"{where}, published, {source}")
    if "baseline" in layout and str(layout["baseline"]) not in rows:
        raise InputError(f"{sweep.path}: baseline is {layout['baseline']!r}. {suggest(str(layout['baseline']), rows)}")
    return layout


def check_numbers(entries: Any, levels: list[set[str]], where: str) -> None:
    """Check nested numbers; `levels` are the known keys of each level, the outermost first.

    Raises:
        InputError: If a key is not known, or a value is not a number.
    """
    if not levels:
        if not is_number(entries):
            raise InputError(f"{where} is {entries!r}, expected a number.")
        return
    check_keys(where, mapping(entries, where), levels[0])
    for key, entry in entries.items():
        check_numbers(entry, levels[1:], f"{where}, {key}")


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


def axis(layout: dict[str, Any], name: str, where: str = "table") -> list[str]:
    """The parameters that define the rows or the columns.

    Raises:
        InputError: If they are not names.
    """
    value = layout.get(name) or []
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list) or not all(isinstance(one, str) for one in names):
        raise InputError(f"{where}, {name} is {value!r}, expected the name of a parameter, or a list of names.")
    return names


def key_of(names: list[str], parameters: dict[str, Any]) -> str:
    """The key of a row or column: the parameters' values, separated by commas."""
    return ", ".join(str(parameters[name]) for name in names)


def scores_of(layout: dict[str, Any], where: str = "table") -> list[Score]:
    """The scores of a table.

    Raises:
        InputError: If one of them has an unknown key, or a value that its key cannot have.
    """
    found = []
    for label, entry in mapping(layout["scores"], f"{where}, scores").items():
        own = entry if isinstance(entry, dict) else {"metric": entry}
        own = {key: value for key, value in own.items() if value is not None}
        usual = lower_is_better(str(own.get("metric", "")))
        known = {"better": BETTER[usual], "scale": 1, "digits": 2, **own}
        one = f"{where}, scores, {label}"
        check_keys(one, own, SCORE_KEYS)
        for key, allowed, expected in (
            ("metric", isinstance(known.get("metric", ""), str), "the name of a score, such as test/mAP"),
            ("better", known["better"] in BETTER.values(), "higher, lower or none"),
            ("scale", is_number(known["scale"]), "a factor on the value, such as 100"),
            ("digits", known["digits"] in range(10), "a number of decimal places from 0 to 9"),
            ("test", isinstance(known.get("test", {}), dict), "options of a test, such as {data: DukeMTMC}"),
        ):
            if not allowed:
                raise InputError(f"{one}: {key} is {known[key]!r}, expected {expected}.")
        lower = next(lower for lower, name in BETTER.items() if name == known["better"])
        scale, digits = float(known["scale"]), int(known["digits"])
        found.append(Score(in_one_line(label), known.get("metric"), lower, scale, digits, known.get("test")))
    return found


def is_number(value: Any) -> bool:
    """Whether a value of a sweep's file is a number."""
    return isinstance(value, int | float) and not isinstance(value, bool)


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
    entry = number_of(layout["given"], row, column, score)
    return None if entry is None else float(entry)


def published(layout: dict[str, Any], row: str, column: str, score: str) -> dict[str, float]:
    """The papers' numbers for a cell, by source."""
    found = {}
    for source, rows in layout.get("published", {}).items():
        if (number := number_of(rows, row, column, score)) is not None:
            found[in_one_line(source)] = float(number)
    return found


def number_of(rows: Any, row: str, column: str, score: str) -> Any:
    """The entry of a row, a column and a score in nested numbers, whose keys may be numbers too; None without one."""
    found = rows
    for key in (row, column, score) if column else (row, score):
        found = {in_one_line(name): value for name, value in found.items()}.get(in_one_line(key), {})
    return None if found == {} else found
