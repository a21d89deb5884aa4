"""A table of a paper, from a sweep file's `table` section and run folders: measured next to published numbers.

A cell is a row, a column and a score. Scores of one cell are averaged over seeds; runs that differ in anything else
are never averaged. Runs on generated data, and runs that depart from the table's recipe, are never compared with
published numbers.
"""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from relattn.errors import suggest
from relattn.printable import in_one_line
from relattn.sweeps.averaging import alike
from relattn.sweeps.comparability import differences, silent
from relattn.sweeps.grid import Sweep
from relattn.sweeps.layout import Score, axis, given, key_of, label_of, layout_of, ordered, published, scores_of
from relattn.sweeps.ledger import Ledger
from relattn.sweeps.placing import Cells, Placed, place
from relattn.sweeps.records import Record, Records


@dataclass
class Cell:
    """Measured and published values of one score at one place of the table.

    Attributes:
        score: The score.
        values: Measured values, by seed.
        records: The runs that they come from.
        departure: How these runs depart from the table's recipe, in a few words; empty if they do not.
        published: The papers' numbers, by source.
        source: The table's first source, to whose numbers differences are shown.
        baseline: The cell of the row that others are compared with.
        planned: Number of runs that the sweep has for this cell.
        best: Whether its mean is the best among the comparable cells of its column.
    """

    score: Score
    values: dict[Any, float] = field(default_factory=dict)
    records: list[Record] = field(default_factory=list)
    departure: str = ""
    published: dict[str, float] = field(default_factory=dict)
    source: str = ""
    baseline: "Cell | None" = None
    planned: int = 0
    best: bool = False

    @property
    def generated(self) -> bool:
        """Whether it was measured on generated data."""
        return any(record.generated for record in self.records)

    @property
    def files(self) -> dict[str, Any]:
        """Fingerprints of the files that it was measured on, by the options of the data."""
        return dict(record.files(self.score.folder) for record in self.records)

    @property
    def mean(self) -> float | None:
        """The mean over seeds."""
        return statistics.fmean(self.values.values()) if self.values else None

    @property
    def spread(self) -> float | None:
        """The sample standard deviation over seeds; None for fewer than two, and for costs that seeds share."""
        if self.score.metric is not None and "/" not in self.score.metric and len(set(self.values.values())) == 1:
            return None
        return statistics.stdev(self.values.values()) if len(self.values) > 1 else None

    @property
    def paper(self) -> float | None:
        """The number of the table's first source."""
        return self.published.get(self.source)

    @property
    def difference(self) -> float | None:
        """Measured minus published value, if the run matches the paper's: on genuine data, without departure."""
        if self.mean is None or self.paper is None or self.generated or self.departure:
            return None
        return self.mean - self.paper

    @property
    def change(self) -> float | None:
        """Measured value minus the baseline measured on the same data, with the same departures."""
        other = self.baseline
        if other is None or self.mean is None or other.mean is None or not self.compares_with(other):
            return None
        return self.mean - other.mean

    @property
    def paper_change(self) -> float | None:
        """Published value minus the baseline, both from the table's first source."""
        other = None if self.baseline is None else self.baseline.paper
        return None if self.paper is None or other is None else self.paper - other

    def compares_with(self, other: "Cell") -> bool:
        """Whether two cells have the same departures and kind of data, and the same files for the same data options."""
        ours, theirs = self.files, other.files
        same_files = all(ours[options] == theirs[options] for options in ours.keys() & theirs.keys())
        return same_files and (self.generated, self.departure) == (other.generated, other.departure)


@dataclass
class Table:
    """A table with its measured values.

    Attributes:
        name: Its name, which its files have.
        title: Its title.
        rows: Keys of the rows, in order.
        columns: Keys of the columns; one empty key if there are none.
        scores: The scores of each column.
        cells: Cells by row, column and score.
        labels: Headings of rows and columns, by their keys.
        baseline: Key of the row that others are compared with.
        sources: The papers' tables that published numbers come from.
        notes: Notes for the reader.
        missing: Values that have not been measured.
        records: All runs that belong to it, measured or not.
        differing: Differences between its runs in properties that should be the same.
    """

    name: str
    title: str
    rows: list[str]
    columns: list[str]
    scores: list[Score]
    cells: dict[tuple[str, str, str], Cell]
    labels: Mapping[str, str] = field(default_factory=dict)
    baseline: str | None = None
    sources: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    records: list[Record] = field(default_factory=list)
    differing: list[str] = field(default_factory=list)

    def label(self, key: str) -> str:
        """The heading of a row or column."""
        return self.labels.get(key, key)

    def heading(self, column: str, score: Score) -> str:
        """The heading of a score under a column; only the column's if it has a single score."""
        if len(self.scores) == 1 and self.label(column):
            return self.label(column)
        return " ".join(part for part in (self.label(column), score.label) if part)

    @property
    def marks(self) -> dict[str, str]:
        """The letters that stand next to the numbers, by the departure that they mark, in the order of the cells."""
        departures = dict.fromkeys(cell.departure for cell in self.cells.values() if cell.departure)
        return {departure: letters(number) for number, departure in enumerate(departures)}

    def mark(self, cell: Cell) -> str:
        """The letters of a cell's departure; empty if it has none."""
        return self.marks.get(cell.departure, "")


def letters(number: int) -> str:
    """Count in letters, from 0: `a` to `z`, then `aa`, `ab`, ..."""
    tens, ones = divmod(number, 26)
    return (letters(tens - 1) if tens else "") + chr(ord("a") + ones)


def fill(sweep: Sweep, records: Records, cells: Cells | None = None) -> Table:
    """Build the table of a sweep from runs; runs that belong to none of its cells are left out.

    Args:
        sweep: The sweep.
        records: Runs.
        cells: The decisive options of each cell; by default those of the plan in the sweep's folder.
    """
    layout = layout_of(sweep)
    rows_by, columns_by = axis(layout, "rows"), axis(layout, "columns")
    ledger = records.ledgers.get(sweep.name, Ledger())
    planned: dict[tuple[str, str], int] = {}
    for point in sweep.grid():
        where = key_of(rows_by, point), key_of(columns_by, point)
        planned[where] = planned.get(where, 0) + 1
    known = {where: dict((cells or ledger.cells).get(where, {})) for where in planned}
    placed, notes = place(records.runs, sweep.name, known, ledger)
    rows = ordered(sweep, rows_by, [row for row, _ in planned])
    columns = ordered(sweep, columns_by, [column for _, column in planned])
    table = Table(
        sweep.name,
        in_one_line(layout.get("title", sweep.name)),
        rows,
        columns,
        scores_of(layout),
        {},
        {key: label_of(layout, key) for key in (*rows, *columns, *map(str, layout.get("given", {})))},
        str(layout["baseline"]) if "baseline" in layout else None,
        [in_one_line(source) for source in layout.get("published", {})],
        notes,
    )
    for row in rows:
        for column in columns:
            number = planned.get((row, column), 0)
            fill_cells(table, row, column, placed.get((row, column), []), number)
            for score in table.scores:
                cell = table.cells[row, column, score.label]
                cell.published, cell.source = published(layout, row, column, score.label), next(iter(table.sources), "")
    table.notes += list(filter(None, (without_metric(table, score) for score in table.scores)))
    for row in layout.get("given", {}):
        for column in columns:
            for score in table.scores:
                value = given(layout, row, column, score.label)
                values = {} if value is None else {"given": value}
                table.cells[row, column, score.label] = Cell(score, values, planned=1)
    table.rows = [*layout.get("given", {}), *rows]
    finish(table, [in_one_line(layout["note"])] if layout.get("note") else [])
    return table


def fill_cells(table: Table, row: str, column: str, placed: Sequence[Placed], planned: int) -> None:
    """Build the cells of a place in a table from its runs."""
    where = " / ".join(part for part in (table.label(row), table.label(column)) if part)
    finished = [one for one in placed if one.record.result is not None]
    chosen, notes = alike(finished)
    table.notes += [f"{where}: {note}" if where else note for note in notes]
    table.records += [one.record for one in placed if one.record not in table.records]
    table.missing += missing_runs(where, planned, [one.record for one in placed], len(chosen))
    for score in table.scores:
        cell = Cell(score, planned=planned, departure=chosen[0].departure if chosen else "")
        for one in chosen:
            value = one.record.value(score.metric, score.folder) if score.metric else None
            if value is not None:
                cell.values[one.record.seed] = value * score.scale
                cell.records.append(one.record)
        table.cells[row, column, score.label] = cell


def without_metric(table: Table, score: Score) -> str:
    """A sentence on a metric that none of the tested runs has, for example because its name is wrong; else empty."""
    results = [record.result_of(score.folder) or {} for record in table.records if not record.partial]
    known = {
        name for result in results for name in (result.get("scores", {}) if "/" in (score.metric or "") else result)
    }
    measured = any(cell.values for (_, _, label), cell in table.cells.items() if label == score.label)
    if score.metric is None or measured or not known:
        return ""
    return f"{score.label}: no run has {score.metric}. {suggest(score.metric, known)}"


def finish(table: Table, notes: Sequence[str] = ()) -> None:
    """Compare the cells of a table with each other, and add notes for its reader."""
    for (row, column, label), cell in table.cells.items():
        cell.baseline = table.cells.get((table.baseline or "", column, label)) if row != table.baseline else None
    for column in table.columns:
        for score in table.scores:
            mark_best([table.cells[row, column, score.label] for row in table.rows])
    records = [record for cell in table.cells.values() for record in cell.records]
    shown = list({id(record): record for record in records}.values())
    table.notes = [*reading_notes(table, shown), *notes, *table.notes, *filter(None, [silent(shown)])]
    table.differing = differences(shown)


def mark_best(cells: Sequence[Cell]) -> None:
    """Mark the best of the comparable cells of a column, if their means differ as shown; ties are all marked."""
    measured = [cell for cell in cells if cell.mean is not None and cell.records and cell.score.lower is not None]
    groups = [[other for other in measured if other.compares_with(cell)] for cell in measured]
    largest = max(groups, key=len, default=[])
    means = [round(cell.mean, cell.score.digits) for cell in largest if cell.mean is not None]
    if len(set(means)) > 1:
        best = (min if largest[0].score.lower else max)(means)
        for cell, mean in zip(largest, means, strict=True):
            cell.best = mean == best


def missing_runs(where: str, planned: int, found: Sequence[Record], chosen: int) -> list[str]:
    """A sentence on missing runs of a place."""
    lacking = planned - chosen
    if lacking <= 0:
        return []
    states: list[str] = [record.state for record in found if record.result is None]
    states += ["tested in part" for record in found if record.result is not None and record.partial]
    listed = [f"{states.count(state)} {state}" for state in dict.fromkeys(states)]
    unstarted = planned - len(found)
    listed += [f"{unstarted} not started"] if unstarted > 0 else []
    return [f"{where}: {lacking} of {planned} runs" + (f" ({', '.join(listed)})" if listed else "")]


def reading_notes(table: Table, records: Sequence[Record]) -> list[str]:
    """Sentences that explain the marks next to a table's numbers."""
    notes = []
    if any(record.generated for record in records):
        notes.append("† on generated data: not comparable with published numbers, so no difference is given.")
    notes += [f"{mark}: departs from the table's recipe: {departure}." for departure, mark in table.marks.items()]
    if any(record.weights == "random" for record in records) and table.sources:
        notes.append("Some runs began with random weights, see the list of runs.")
    return notes
