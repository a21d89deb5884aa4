"""A table as Markdown, CSV and LaTeX, in the paper's layout."""

import csv
import io
import re
import statistics
from collections.abc import Sequence
from html import escape

from relattn.printable import in_one_line
from relattn.sweeps.table import Cell, Table

MARKDOWN_MARK, LATEX_MARK = "<!-- written by relattn report -->", "% written by relattn report"
"""Lines that mark a file as part of a report."""

CSV_COLUMNS = (
    *("row", "column", "score", "mean", "spread", "seeds", "generated", "departure", "best", "source", "published"),
    *("difference", "change", "published_change", "runs"),
)
"""The first line of a CSV, by which it is known as part of a report."""


def number(value: float | None, digits: int = 2, *, sign: bool = False) -> str:
    """Format a number; empty if there is none."""
    return "" if value is None else f"{value:{'+' if sign else ''}.{digits}f}"


def over_seeds(values: Sequence[float], digits: int) -> str:
    """Mean and standard deviation over seeds, with `digits` decimal places; of one seed its value."""
    spread = f" ± {number(statistics.stdev(values), digits)}" if len(values) > 1 else ""
    return f"{number(statistics.mean(values), digits)}{spread}"


def measured(cell: Cell) -> str:
    """Mean and spread; with a dagger for generated data."""
    if cell.mean is None:
        return "-"
    digits = cell.score.digits
    spread = f" ± {number(cell.spread, digits)}" if cell.spread is not None else ""
    return f"{number(cell.mean, digits)}{'†' if cell.generated else ''}{spread}"


def count(cell: Cell) -> str:
    """The number of seeds, and how many are planned."""
    if not cell.records:
        return ""
    planned = f" of {cell.planned}" if len(cell.values) < cell.planned else ""
    return f"n={len(cell.values)}{planned}"


def printed(value: float) -> str:
    """A paper's number with its own number of decimal places, at least one."""
    return f"{value:.1f}" if value == round(value, 1) else f"{value:g}"


def compared(table: Table, cell: Cell, between: str = "; ") -> str:
    """Measured value, number of seeds, the paper's number with the difference to it, and the change to the baseline."""
    mark = f" [{table.mark(cell)}]" if cell.departure and cell.mean is not None else ""
    parts = [" ".join(part for part in (measured(cell) + mark, count(cell)) if part)]
    if cell.paper is not None:
        difference = number(cell.difference, cell.score.digits, sign=True)
        parts.append(f"paper {printed(cell.paper)}" + (f", {difference}" if difference else ""))
    if cell.change is not None:
        theirs = number(cell.paper_change, cell.score.digits, sign=True)
        parts.append(
            f"Δ {number(cell.change, cell.score.digits, sign=True)}" + (f" (paper {theirs})" if theirs else "")
        )
    return between.join(parts)


def explanation(table: Table) -> str:
    """Explain the numbers of a table."""
    what = "Measured: mean ± standard deviation over n seeds."
    if any(cell.best for cell in table.cells.values()):
        what += " The best of a column is marked."
    if table.sources:
        what += f" Paper: the number in {table.sources[0]}, and measured minus published."
    if table.baseline is not None:
        what += f" Δ: change against {table.label(table.baseline)}."
    return what


def md(text: str) -> str:
    """Escape a text so that nothing in it is Markdown or HTML: it ends no cell and begins no link or picture."""
    plain = re.sub(r"([\\|\[\]*`~])", r"\\\1", escape(text, quote=False))
    return re.sub(r"(?<!\w)_|_(?!\w)", r"\\_", plain)  # an underscore within a word is no emphasis


def markdown(table: Table) -> str:
    """The table as Markdown, with all notes needed to read it."""
    places = [(column, score) for column in table.columns for score in table.scores]
    lines = [
        f"### {md(table.title)}",
        "",
        f"| | {' | '.join(md(table.heading(column, score)) for column, score in places)} |",
        f"|---|{'---|' * len(places)}",
    ]
    for row in table.rows:
        cells = [table.cells[row, column, score.label] for column, score in places]
        lines.append(f"| {md(table.label(row))} | {' | '.join(markdown_cell(table, cell) for cell in cells)} |")
    lines += ["", md(explanation(table)), ""]
    for source in table.sources[1:]:
        lines += [f"- {md(f'{source}: {other_numbers(table, source)}')}"]
    lines += [f"- {md(note)}" for note in (*table.notes, *table.differing)]
    if table.missing:
        lines += ["", "Missing:", "", *(f"- {md(entry)}" for entry in table.missing)]
    return "\n".join([*lines, "", MARKDOWN_MARK]) + "\n"


def markdown_cell(table: Table, cell: Cell) -> str:
    """A cell as Markdown, with the best in bold."""
    text = compared(table, cell)
    return f"**{measured(cell)}**{text.removeprefix(measured(cell))}" if cell.best else text


def other_numbers(table: Table, source: str) -> str:
    """The numbers in which another source differs from the first one."""
    differing = []
    for (row, column, label), cell in table.cells.items():
        value = cell.published.get(source)
        if value is not None and value != cell.published.get(table.sources[0]):
            where = " ".join(part for part in (table.label(row), table.label(column), label) if part)
            differing.append(f"{where} {printed(value)}")
    return ", ".join(differing) if differing else "the same numbers"


def comma_separated(table: Table) -> str:
    """The table as CSV, one line per cell and published source."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for (row, column, label), cell in table.cells.items():
        published: list[tuple[str, float | None]] = [*cell.published.items()] or [("", None)]
        runs = " ".join(record.name for record in cell.records)
        for source, value in published:
            same = cell.mean is not None and value is not None and not cell.generated and not cell.departure
            difference = cell.mean - value if same and cell.mean is not None and value is not None else None
            first = source == cell.source
            writer.writerow(
                [
                    *(no_formula(table.label(row)), no_formula(table.label(column)), no_formula(label)),
                    *(exact(cell.mean), exact(cell.spread), len(cell.values), cell.generated),
                    *(no_formula(cell.departure), cell.best, no_formula(source), exact(value), exact(difference)),
                    *(exact(cell.change), exact(cell.paper_change) if first else "", no_formula(runs)),
                ]
            )
    return file.getvalue()


def no_formula(text: str) -> str:
    """Keep spreadsheets from evaluating a text: put an apostrophe before anything that they take for a formula."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@")) else text


def exact(value: float | None) -> str:
    """A number in full precision, for machines."""
    return "" if value is None else f"{value:.12g}"


def latex(table: Table) -> str:
    """The table as LaTeX (`booktabs`): mean and spread, with the best in bold; notes are comments above it."""
    places = [(column, score) for column in table.columns for score in table.scores]
    lines = [LATEX_MARK]
    lines += [
        f"% {in_one_line(line)}"
        for line in (table.title, explanation(table), *table.notes, *table.differing, *table.missing)
    ]
    lines += [rf"\begin{{tabular}}{{l{'c' * len(places)}}}", r"\toprule"]
    if len(table.scores) > 1 and table.columns != [""]:
        over = [rf"\multicolumn{{{len(table.scores)}}}{{c}}{{{tex(table.label(column))}}}" for column in table.columns]
        lines += [f" & {' & '.join(over)} \\\\", f" & {' & '.join(tex(score.label) for _, score in places)} \\\\"]
    else:
        lines.append(f" & {' & '.join(tex(table.heading(column, score)) for column, score in places)} \\\\")
    lines.append(r"\midrule")
    for row in table.rows:
        cells = [tex_cell(table, table.cells[row, column, score.label]) for column, score in places]
        label = tex(table.label(row))
        label = f"{{}}{label}" if label.startswith(("[", "*")) else label  # else an option of the line break before it
        lines.append(f"{label} & {' & '.join(cells)} \\\\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"


def tex_cell(table: Table, cell: Cell) -> str:
    """A cell as LaTeX."""
    if cell.mean is None:
        return "--"
    digits = cell.score.digits
    value = number(cell.mean, digits)
    value = rf"\textbf{{{value}}}" if cell.best else value
    spread = rf" $\pm$ {number(cell.spread, digits)}" if cell.spread is not None else ""
    marks = [r"\dagger"] if cell.generated else []
    marks += [table.mark(cell)] if cell.departure else []
    return value + (f"$^{{{','.join(marks)}}}$" if marks else "") + spread


def tex(text: str) -> str:
    """Escape a text so that nothing in it is a LaTeX command."""
    plain = re.sub(r"([&%$#_{}])", r"\\\1", text.replace("\\", r"\textbackslash "))
    for sign, command in (("~", "asciitilde"), ("^", "asciicircum"), ("<", "less"), (">", "greater"), ("|", "bar")):
        plain = plain.replace(sign, rf"\text{command}{{}}")
    return plain
