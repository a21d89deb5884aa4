"""A table as Markdown and as CSV, in the paper's layout."""

import csv
import io
from html import escape

from relattn.sweeps.table import Cell, Table


def number(value: float | None, digits: int = 2, *, sign: bool = False) -> str:
    """A number, or nothing."""
    return "" if value is None else f"{value:{'+' if sign else ''}.{digits}f}"


def measured(cell: Cell) -> str:
    """Mean, spread and number of seeds; a dagger for generated data."""
    if cell.mean is None:
        return "-"
    digits = cell.score.digits
    spread = f" ± {number(cell.spread, digits)}" if cell.spread is not None else ""
    dagger = "†" if cell.generated else ""
    incomplete = f" ({len(cell.values)} of {cell.planned} runs)" if len(cell.values) < cell.planned else ""
    return f"{number(cell.mean, digits)}{dagger}{spread}{incomplete}"


def printed(value: float) -> str:
    """A paper's number with as many decimal places as it has, and at least one."""
    return f"{value:.1f}" if value == round(value, 1) else f"{value:g}"


def compared(cell: Cell, between: str = "; ") -> str:
    """Measured, then the paper's number with the difference to it, and the change against the baseline."""
    parts = [measured(cell)]
    if cell.paper is not None:
        difference = number(cell.difference, cell.score.digits, sign=True)
        parts.append(f"paper {printed(cell.paper)}" + (f", {difference}" if difference else ""))
    if cell.change is not None:
        theirs = number(cell.paper_change, cell.score.digits, sign=True)
        parts.append(
            f"Δ {number(cell.change, cell.score.digits, sign=True)}" + (f" (paper {theirs})" if theirs else "")
        )
    return between.join(parts)


def markdown(table: Table) -> str:
    """The table as Markdown, with everything that must be known to read it."""
    places = [(column, score) for column in table.columns for score in table.scores]
    lines = [
        f"### {table.title}",
        "",
        f"| | {' | '.join(table.heading(column, score) for column, score in places)} |",
        f"|---|{'---|' * len(places)}",
    ]
    for row in table.rows:
        cells = [compared(table.cells[row, column, score.label]) for column, score in places]
        lines.append(f"| {table.label(row)} | {' | '.join(cells)} |")
    lines.append("")
    what = "Measured: mean ± standard deviation over seeds."
    if table.sources:
        what += f" Paper: {table.sources[0]}; then measured less published."
    if table.baseline is not None:
        what += f" Δ: change against {table.label(table.baseline)}."
    lines += [what, ""]
    for source in table.sources[1:]:
        lines += [f"- {source}: {other_numbers(table, source)}"]
    lines += [f"- {escape(note, quote=False)}" for note in (*table.notes, *table.differing)]
    if table.missing:
        lines += ["", "Missing:", "", *(f"- {entry}" for entry in table.missing)]
    return "\n".join(lines) + "\n"


def other_numbers(table: Table, source: str) -> str:
    """Where another source differs from the first one."""
    differing = []
    for (row, column, label), cell in table.cells.items():
        value = cell.published.get(source)
        if value is not None and value != cell.published.get(table.sources[0]):
            where = " ".join(part for part in (table.label(row), table.label(column), label) if part)
            differing.append(f"{where} {printed(value)}")
    return ", ".join(differing) if differing else "the same numbers"


def comma_separated(table: Table) -> str:
    """The table as CSV, one line a cell and a published source."""
    file = io.StringIO()
    names = ["row", "column", "score", "mean", "spread", "seeds", "generated", "source", "published", "difference"]
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([*names, "change", "published_change", "runs"])
    for (row, column, label), cell in table.cells.items():
        published: list[tuple[str, float | None]] = [*cell.published.items()] or [("", None)]
        runs = " ".join(record.folder.name for record in cell.records)
        for source, value in published:
            same = cell.mean is not None and value is not None and not cell.generated
            difference = cell.mean - value if same and cell.mean is not None and value is not None else None
            first = source == next(iter(cell.published), "")
            writer.writerow(
                [
                    *(row, column, label, exact(cell.mean), exact(cell.spread), len(cell.values)),
                    *(cell.generated, source, exact(value), exact(difference), exact(cell.change)),
                    *(exact(cell.paper_change) if first else "", runs),
                ]
            )
    return file.getvalue()


def exact(value: float | None) -> str:
    """A number for machines."""
    return "" if value is None else f"{value:.6g}"
