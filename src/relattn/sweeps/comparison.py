"""Comparison of runs that belong to no table: one table per task, with one row per experiment."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from relattn.runs.identity import shown
from relattn.sweeps.layout import Score, lower_is_better
from relattn.sweeps.placing import Placed
from relattn.sweeps.records import Record, modified
from relattn.sweeps.table import Table, fill_cells, finish


def compare(records: Sequence[Record]) -> list[Table]:
    """Tables of finished runs: all their scores over seeds, and the costs of their networks."""
    tasks: dict[str, list[Record]] = {}
    for record in records:
        if record.result is not None:
            task = re.sub(r"[^\w.-]+", "-", str(record.result.get("task", ""))).strip(".-")  # used in file names
            tasks.setdefault(task, []).append(record)
    return [table_of(task, runs) for task, runs in sorted(tasks.items())]


def table_of(task: str, records: Sequence[Record]) -> Table:
    """The table of the runs of one task."""
    groups: dict[tuple[Any, ...], list[Record]] = {}
    for record in records:
        groups.setdefault(record.experiment, []).append(record)
    names = labels([max(runs, key=modified) for runs in groups.values()])
    rows = [str(number) for number in range(len(groups))]
    title = f"Runs of {task}" if task else "Runs"
    name = f"runs-{task}" if task else "runs"
    table = Table(name, title, rows, [""], scores_of(records), {}, dict(zip(rows, names, strict=True)))
    for row, runs in zip(rows, groups.values(), strict=True):
        fill_cells(table, row, "", [Placed(record, {}) for record in runs], len({record.seed for record in runs}))
    finish(table)
    return table


def labels(records: Sequence[Record]) -> list[str]:
    """Labels for some runs, made of their differences: recipes, then overrides; otherwise the folder's name."""
    parts = [parts_of(record) for record in records]
    names = list(dict.fromkeys(name for one in parts for name in one))
    differing = [name for name in names if len({one.get(name) for one in parts}) > 1]
    made = [", ".join(one[name] for name in differing if name in one) for one in parts]
    named = []
    for text, one, record in zip(made, parts, records, strict=True):
        alone = text and made.count(text) == 1
        named.append(text if alone else f"{text or one.get('attention', '')} ({record.name})".strip())
    return named


def parts_of(record: Record) -> dict[str, str]:
    """The parts of a run's label by their names."""
    result = record.result or {}
    parts = {name: str(result[name]) for name in ("data", "backbone") if result.get(name)}
    whole = str(result.get("label") or result.get("attention") or "")
    overrides = result.get("overrides")
    overrides = overrides if isinstance(overrides, Mapping) else {}
    texts = {name: shown(name, value) for name, value in overrides.items()}
    attention = whole.removesuffix(", ".join(texts.values())).rstrip(", ")
    return {**parts, **({"attention": attention} if attention else {}), **texts}


def scores_of(records: Sequence[Record]) -> list[Score]:
    """The scores of some runs, starting with those that each task lists first, and the number of parameters.

    Scores by class or set have tables of their own.
    """
    lower: dict[str, bool | None] = {}
    found: dict[str, None] = {}
    for record in records:
        result = record.result or {}
        listed = [one for one in result.get("columns") or [] if isinstance(one, Mapping) and "name" in one]
        lower |= {str(one["name"]): bool(one.get("lower")) for one in listed}
        matches = (re.fullmatch(r"test/([^/]+)", name) for name in result["scores"])
        found |= dict.fromkeys(match[1] for match in matches if match is not None and match[1] != "score")
    names = [name for name in lower if name in found] + sorted(name for name in found if name not in lower)
    scores = [Score(name, f"test/{name}", lower.get(name, lower_is_better(name))) for name in names]
    if any(record.value("parameters") for record in records):
        scores.append(Score("parameters, M", "parameters", True, 1e-6))
    return scores
