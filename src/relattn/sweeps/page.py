"""The report as a single self-contained HTML page: style, charts and pictures are embedded."""

import math
import re
import statistics
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import jinja2

from relattn.sweeps import charts
from relattn.sweeps.comparability import commit
from relattn.sweeps.layout import lower_is_better
from relattn.sweeps.live import duration
from relattn.sweeps.pictures import pictures
from relattn.sweeps.records import Record
from relattn.sweeps.table import Cell, Table
from relattn.sweeps.text import count, explanation, measured, number, other_numbers, printed

MARK = '<meta name="generator" content="relattn report">'
"""A line that marks a page as a report."""

CURVES = ("train/loss", "val/score")
COSTS = {
    "parameters": ("parameters, millions", 1e-6),
    "macs": ("multiply-accumulates per image, millions", 1e-6),
    "seconds_per_step": ("milliseconds per step", 1e3),
}
"""Costs of a network, by name in `result.json`: display name and scale; from 1,000 millions on they are billions."""

VERSIONS = ("relattn", "torch", "lightning")
"""Versions that the list of runs shows; `result.json` has more."""


FACTS = {
    **{"data": "data", "weights": "weights", "epochs": "epochs", "time": "time", "device": "device"},
    **{"commit": "commit", "versions": "versions"},
}
"""Columns of the list of runs after state and score, by their names in `summary`."""


def render(tables: list[Table], records: list[Record]) -> str:
    """Render the page."""
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters["measured"] = measured
    environment.filters["count"] = count
    environment.filters["difference"] = lambda cell: number(cell.difference, cell.score.digits, sign=True)
    environment.filters["change"] = change
    environment.filters["tone"] = tone
    environment.filters["plain"] = printed
    template = environment.from_string((Path(__file__).parent / "report.html.jinja").read_text(encoding="utf-8"))
    runs = [summary(record) for record in records]
    alike = shared(runs)
    return template.render(
        tables=[{"table": table, **parts(table)} for table in tables],
        other_numbers=other_numbers,
        explanation=explanation,
        generated=sum(record.generated for record in records),
        damaged=sum(bool(record.damage) for record in records),
        runs=runs,
        alike=alike,
        facts={
            name: heading for name, heading in FACTS.items() if name not in alike and any(run[name] for run in runs)
        },
        pictures=pictures(records),
        finished=sum(record.result is not None for record in records),
    )


def change(cell: Cell) -> str:
    """The change relative to the baseline, and the paper's."""
    ours = number(cell.change, cell.score.digits, sign=True)
    theirs = number(cell.paper_change, cell.score.digits, sign=True)
    return " ".join(part for part in (ours and f"Δ {ours}", theirs and f"(paper Δ {theirs})") if part)


def tone(value: float | None, lower: bool | None) -> str:
    """The CSS class of a difference: better, worse, or none."""
    if value is None or value == 0 or lower is None:
        return ""
    return "better" if (value < 0) == lower else "worse"


def parts(table: Table) -> dict[str, Any]:
    """The charts of a table, and its scores by class or set."""
    return {"curves": row_curves(table), "costs": costs(table), "families": families(table)}


def row_records(table: Table, row: str, column: str) -> list[Record]:
    """The finished runs of a place in the table, each once."""
    found: dict[int, Record] = {}
    for score in table.scores:
        found.update({id(record): record for record in table.cells[row, column, score.label].records})
    return list(found.values())


def points(record: Record, metric: str) -> list[charts.Point]:
    """A run's curve over epochs, at epochs where it is finite."""
    rows = [row for row in record.curves if metric in row and "epoch" in row]
    return [(row["epoch"] + 1, row[metric]) for row in rows if math.isfinite(row[metric])]


def row_curves(table: Table) -> list[dict[str, Any]]:
    """Small charts: one per place and curve, all of a column on the same scale, with the baseline."""
    groups: list[dict[str, Any]] = []
    for column in table.columns:
        for metric in CURVES:
            runs = {row: [points(record, metric) for record in row_records(table, row, column)] for row in table.rows}
            lines = {row: [curve for curve in curves if curve] for row, curves in runs.items() if any(curves)}
            every = [point for curves in lines.values() for curve in curves for point in curve]
            if not every:
                continue
            xs, ys = zip(*every, strict=True)
            if min(xs) == max(xs):  # a chart would contain only dots
                means = {
                    row: statistics.fmean(y for curve in curves for _, y in curve) for row, curves in lines.items()
                }
                points_of = ", ".join(f"{table.label(row)} {value:.4g}" for row, value in means.items())
                heading = " · ".join(part for part in (table.label(column), metric) if part)
                groups.append({"heading": heading, "charts": [], "single": f"after epoch {xs[0]:g}: {points_of}"})
                continue
            ranges = {"x": (min(xs), max(xs)), "y": (min(ys), max(ys))}
            small = []
            for row, curves in lines.items():
                below = lines.get(table.baseline or "", []) if row != table.baseline else []
                title = f"{metric}, {table.label(row)}"
                small.append((table.label(row), charts.curves(curves, title, baseline=below, **ranges)))
            heading = " · ".join(part for part in (table.label(column), metric) if part)
            groups.append({"heading": heading, "charts": small})
    return groups


def costs(table: Table) -> list[dict[str, Any]]:
    """The costs of each row against the first score of each column; costs that no run records are listed as missing."""
    found: list[dict[str, Any]] = []
    scores = [score for score in table.scores if score.metric and "/" in score.metric]
    for column in table.columns:
        for name, (unit, scale) in COSTS.items():
            if not scores:
                continue
            dots = []
            for row in table.rows:
                cell = table.cells[row, column, scores[0].label]
                values = [value for record in cell.records if (value := record.value(name)) is not None]
                if values and cell.mean is not None:
                    dots.append(charts.Dot(statistics.fmean(values) * scale, cell.mean, table.label(row), cell.spread))
            if unit.endswith("millions") and max((dot.x for dot in dots), default=0) >= 1000:
                dots = [replace(dot, x=dot.x / 1000) for dot in dots]
                label = unit.replace("millions", "billions")
            else:
                label = unit
            heading = f"{table.heading(column, scores[0])} against {label}"
            if dots:
                bars = any(dot.spread is not None for dot in dots)
                found.append({"heading": heading, "chart": charts.scatter(dots, heading, label), "bars": bars})
            elif any(table.cells[row, column, scores[0].label].records for row in table.rows):
                found.append({"heading": heading, "chart": "", "missing": f"No run has recorded {name}."})
    return found


def families(table: Table) -> list[dict[str, Any]]:
    """Scores by class or verification set, `test/<family>/<member>`: a column per row of the table, over seeds."""
    found = []
    for column in table.columns:
        runs = {row: row_records(table, row, column) for row in table.rows}
        runs = {row: records for row, records in runs.items() if records}
        values: dict[str, dict[str, dict[str, list[float]]]] = {}
        for row, records in runs.items():
            for record in records:
                for name, value in (record.result or {"scores": {}})["scores"].items():
                    if (match := re.fullmatch(r"test/([^/]+)/(.+)", name)) and isinstance(value, int | float):
                        values.setdefault(match[1], {}).setdefault(match[2], {}).setdefault(row, []).append(value)
        for family, members in values.items():
            comparable = are_comparable([table.cells[row, column, table.scores[0].label] for row in runs])
            lines = [
                {"member": member, "cells": family_cells(family, [by_row.get(row, []) for row in runs], comparable)}
                for member, by_row in members.items()
            ]
            heading = " · ".join(part for part in (table.label(column), family) if part)
            found.append({"heading": heading, "rows": [table.label(row) for row in runs], "lines": lines})
    return found


def are_comparable(cells: Sequence[Cell]) -> bool:
    """Whether all cells can be compared with each other."""
    return all(cell.compares_with(cells[0]) for cell in cells)


def family_cells(family: str, values: list[list[float]], comparable: bool) -> list[dict[str, Any]]:
    """The cells of a class or set, one per row: mean, standard deviation, whether it is best as shown."""
    means = [statistics.fmean(one) if one else None for one in values]
    known = {round(mean, 2) for mean in means if mean is not None and math.isfinite(mean)}
    lower = lower_is_better(family)
    best = (min if lower else max)(known) if comparable and len(known) > 1 and lower is not None else None
    return [
        {
            "mean": mean,
            "spread": statistics.stdev(one) if len(one) > 1 else None,
            "best": best is not None and mean is not None and round(mean, 2) == best,
        }
        for mean, one in zip(means, values, strict=True)
    ]


def shared(runs: list[dict[str, Any]]) -> dict[str, str]:
    """Properties that all runs recording them share, by name in `FACTS`: shown once, not as a column of the list."""
    found = {}
    for name, heading in FACTS.items():
        values = {str(run[name]) for run in runs if run[name] not in ("", None)}
        if len(runs) > 1 and len(values) == 1 and name != "time":
            found[name] = f"{heading} {values.pop()}" if name != "versions" else values.pop()
    return found


def summary(record: Record) -> dict[str, Any]:
    """A line of the list of runs."""
    result = record.result or {}
    known = result.get("versions", {})
    versions = ", ".join(f"{name} {known[name]}" for name in VERSIONS if name in known)
    return {
        "name": record.name,
        "state": record.state,
        "data": f"{result.get('data', '')}{', generated' if record.generated else ''}",
        "weights": Path(record.weights).name,
        "epochs": result.get("epochs", ""),
        "time": duration(result.get("seconds")),
        "device": result.get("device", ""),
        "commit": commit(record.git) if record.git else "",
        "versions": versions,
        "score": number(record.value("test/score")),
        "why": record.why or (f"tested on {record.partial}" if record.partial else ""),
    }
