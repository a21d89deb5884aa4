"""The report as one HTML page that needs nothing else: style, charts and pictures are inside."""

import base64
import html
import re
import statistics
from pathlib import Path
from typing import Any

import jinja2

from relattn.sweeps import charts
from relattn.sweeps.comparability import commit, differences
from relattn.sweeps.live import duration
from relattn.sweeps.records import Record
from relattn.sweeps.table import Cell, Table
from relattn.sweeps.text import measured, number, other_numbers, printed

PICTURES = 6
"""Pictures of a run that are shown."""
PICTURE_BYTES = 2 * 2**20
"""Pictures that are larger are named and not shown."""
CURVES = ("train/loss", "val/score")
COSTS = {
    "parameters": ("parameters, millions", 1e-6),
    "macs": ("multiply-accumulates of an image, billions", 1e-9),
    "seconds_per_step": ("milliseconds a step", 1e3),
}
"""What a network costs, by the name in `result.json`: what it is called and its scale."""

VERSIONS = ("relattn", "torch", "lightning")
"""Those that the list of runs shows; `result.json` has more."""


def render(tables: list[Table], records: list[Record]) -> str:
    """The page."""
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters["measured"] = measured
    environment.filters["difference"] = lambda cell: number(cell.difference, cell.score.digits, sign=True)
    environment.filters["change"] = change
    environment.filters["tone"] = tone
    environment.filters["plain"] = printed
    template = environment.from_string((Path(__file__).parent / "report.html.jinja").read_text())
    in_tables = {id(record) for table in tables for record in table.records}
    rest = [record for record in records if id(record) not in in_tables]
    return template.render(
        tables=[{"table": table, **parts(table)} for table in tables],
        other_numbers=other_numbers,
        warnings=differences(rest),
        generated=sum(record.generated for record in records),
        runs=[summary(record) for record in records],
        rest=len(rest) if tables else 0,
        breakdowns=breakdowns(records),
        pictures=pictures(records),
        finished=sum(record.result is not None for record in records),
    )


def change(cell: Cell) -> str:
    """The change against the baseline, and the paper's."""
    ours = number(cell.change, cell.score.digits, sign=True)
    theirs = number(cell.paper_change, cell.score.digits, sign=True)
    return " ".join(part for part in (ours and f"Δ {ours}", theirs and f"(paper Δ {theirs})") if part)


def tone(value: float | None, lower: bool) -> str:
    """The CSS class of a difference: better, worse, or none."""
    if value is None or value == 0:
        return ""
    return "better" if (value < 0) == lower else "worse"


def parts(table: Table) -> dict[str, Any]:
    """The charts of a table."""
    return {"curves": row_curves(table), "costs": costs(table)}


def row_records(table: Table, row: str, column: str) -> list[Record]:
    """The finished runs of a place of the table, each once."""
    found: dict[int, Record] = {}
    for score in table.scores:
        found.update({id(record): record for record in table.cells[row, column, score.label].records})
    return list(found.values())


def points(record: Record, metric: str) -> list[charts.Point]:
    """A run's curve over epochs."""
    return [(row["epoch"] + 1, row[metric]) for row in record.curves if metric in row and "epoch" in row]


def row_curves(table: Table) -> list[dict[str, Any]]:
    """Small charts: one for each place and curve, all of a column on one scale, the baseline in grey."""
    groups = []
    for column in table.columns:
        for metric in CURVES:
            lines = {
                row: [(record, points(record, metric)) for record in row_records(table, row, column)]
                for row in table.rows
            }
            values = [value for runs in lines.values() for _, curve in runs for _, value in curve]
            if not values:
                continue
            under = lines.get(table.baseline or "", [])
            small = []
            for row, runs in lines.items():
                drawn = [charts.Line(curve, "main", f"seed {record.seed}") for record, curve in runs if curve]
                if not drawn:
                    continue
                grey = [charts.Line(curve, "base", "baseline") for _, curve in under if curve and row != table.baseline]
                chart = charts.curves([*grey, *drawn], f"{metric}, {table.label(row)}", charts.span(values))
                small.append((table.label(row), chart))
            heading = " · ".join(part for part in (table.label(column), metric) if part)
            groups.append({"heading": heading, "charts": small})
    return groups


def costs(table: Table) -> list[dict[str, str]]:
    """What each row costs against the first score of each column; what no run says is named as missing."""
    found = []
    scores = [score for score in table.scores if score.metric and "/" in score.metric]
    for column in table.columns:
        for name, (label, scale) in COSTS.items():
            if not scores:
                continue
            dots = []
            for row in table.rows:
                cell = table.cells[row, column, scores[0].label]
                values = [value for record in cell.records if (value := record.value(name)) is not None]
                if values and cell.mean is not None:
                    dots.append(charts.Dot(statistics.fmean(values) * scale, cell.mean, table.label(row)))
            heading = f"{table.heading(column, scores[0])} against {label}"
            if dots:
                found.append({"heading": heading, "chart": charts.scatter(dots, heading, label)})
            elif any(table.cells[row, column, scores[0].label].records for row in table.rows):
                found.append({"heading": heading, "chart": "", "missing": f"No run has recorded {name}."})
    return found


def breakdowns(records: list[Record]) -> list[dict[str, Any]]:
    """Scores by class or verification set: families `test/<family>/<member>` and sets that a task names itself."""
    families: dict[tuple[str, str], dict[str, dict[str, float]]] = {}
    for record in records:
        result = record.result or {}
        for name, value in result.get("scores", {}).items():
            match = re.fullmatch(r"test/(?:(?P<family>\w+)/)?(?P<member>[\w .-]+)", name)
            if match is None or (match["family"] is None and result.get("task") != "face"):
                continue
            family = match["family"] or "accuracy by set"
            if match["family"] is None and match["member"] in ("score", "accuracy", "loss"):
                continue
            title = f"{result.get('task', '')}: {family}"
            families.setdefault((title, family), {}).setdefault(record.folder.name, {})[match["member"]] = value
    found = []
    for (title, _), runs in families.items():
        members = list(dict.fromkeys(member for scores in runs.values() for member in scores))
        lines = [{"member": member, "values": [scores.get(member) for scores in runs.values()]} for member in members]
        found.append({"title": title, "runs": list(runs), "lines": lines})
    return found


def pictures(records: list[Record]) -> list[dict[str, Any]]:
    """Example pictures of runs, as data in the page."""
    found = []
    for record in records:
        shown = []
        for path in record.pictures[:PICTURES]:
            kind = "png" if path.suffix == ".png" else "jpeg"
            if path.stat().st_size <= PICTURE_BYTES:
                data = base64.b64encode(path.read_bytes()).decode()
                shown.append({"name": path.stem, "data": f"data:image/{kind};base64,{data}"})
        if record.pictures:
            found.append({"run": record.folder.name, "shown": shown, "more": len(record.pictures) - len(shown)})
    return found


def summary(record: Record) -> dict[str, Any]:
    """A line of the list of runs."""
    result = record.result or {}
    known = result.get("versions", {})
    versions = ", ".join(f"{name} {known[name]}" for name in VERSIONS if name in known)
    return {
        "name": record.folder.name,
        "state": record.state,
        "data": f"{result.get('data', '')}{', generated' if record.generated else ''}",
        "weights": Path(record.weights).name,
        "epochs": result.get("epochs", ""),
        "time": duration(result.get("seconds")),
        "device": result.get("device", ""),
        "commit": commit(record.git) if record.git else "",
        "versions": versions,
        "score": number(record.value("test/score")),
        "why": failure(record),
    }


def failure(record: Record) -> str:
    """The last line of a failed run's log."""
    from relattn.runs import run_folder

    content = run_folder.read_json(record.folder / "failed.json") if record.state == "failed" else None
    lines = [line for line in (content or {}).get("log", []) if line.strip()]
    return html.unescape(lines[-1]) if lines else ""
