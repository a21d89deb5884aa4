"""A table of a paper, from a sweep file's `table` section and run folders: measured beside published.

A cell is a row, a column and a score. Scores of one cell are averaged over seeds; runs that differ in anything else
are never averaged together, and runs on generated data are never compared with published numbers.
"""

import statistics
from dataclasses import dataclass, field
from typing import Any

from relattn.sweeps.comparability import differences, silent
from relattn.sweeps.grid import SEED, Planned, Sweep
from relattn.sweeps.layout import Score, axis, given, key_of, layout_of, ordered, published, scores_of
from relattn.sweeps.records import PLACES, Record, modified


@dataclass
class Cell:
    """Measured and published values of one score at one place of the table.

    Attributes:
        values: Measured, by seed.
        records: The runs they come from.
        published: The papers' numbers, by source; the first one is compared with.
        baseline: The cell of the row that others are compared with.
        planned: Runs that the sweep has for this cell.
    """

    score: Score
    values: dict[Any, float] = field(default_factory=dict)
    records: list[Record] = field(default_factory=list)
    published: dict[str, float] = field(default_factory=dict)
    baseline: "Cell | None" = None
    planned: int = 0

    @property
    def generated(self) -> bool:
        """Whether it was measured on generated data."""
        return any(record.generated for record in self.records)

    @property
    def mean(self) -> float | None:
        """The mean over seeds."""
        return statistics.fmean(self.values.values()) if self.values else None

    @property
    def spread(self) -> float | None:
        """The standard deviation over seeds, of a sample; None for fewer than two."""
        return statistics.stdev(self.values.values()) if len(self.values) > 1 else None

    @property
    def paper(self) -> float | None:
        """The first source's number."""
        return next(iter(self.published.values()), None)

    @property
    def difference(self) -> float | None:
        """Measured less published, on genuine data."""
        if self.mean is None or self.paper is None or self.generated:
            return None
        return self.mean - self.paper

    @property
    def change(self) -> float | None:
        """Measured less the baseline measured on the same data."""
        other = self.baseline
        if other is None or self.mean is None or other.mean is None or self.generated != other.generated:
            return None
        return self.mean - other.mean

    @property
    def paper_change(self) -> float | None:
        """Published less the baseline that the same source has."""
        if self.baseline is None or not self.published:
            return None
        source, value = next(iter(self.published.items()))
        other = self.baseline.published.get(source)
        return None if other is None else value - other


@dataclass
class Table:
    """A table with what has been measured.

    Attributes:
        sweep: The sweep.
        rows: Keys of the rows, in order.
        columns: Keys of the columns; one empty key where there are none.
        scores: The scores of each column.
        cells: By row, column and score.
        notes: What must be known to read it.
        missing: What has not been measured.
        differing: In what runs differ that should be alike.
    """

    sweep: Sweep
    rows: list[str]
    columns: list[str]
    scores: list[Score]
    cells: dict[tuple[str, str, str], Cell]
    notes: list[str]
    missing: list[str]
    records: list[Record]
    differing: list[str]

    @property
    def layout(self) -> dict[str, Any]:
        return self.sweep.content["table"]

    @property
    def title(self) -> str:
        return str(self.layout.get("title", self.sweep.name))

    @property
    def baseline(self) -> str | None:
        return str(self.layout["baseline"]) if "baseline" in self.layout else None

    @property
    def sources(self) -> list[str]:
        """The papers' tables that numbers are from."""
        return list(self.layout.get("published", {}))

    def label(self, key: str) -> str:
        """The heading of a row or column."""
        labels = {str(name): str(value) for name, value in self.layout.get("labels", {}).items()}
        return labels.get(key, key)

    def heading(self, column: str, score: Score) -> str:
        """The heading of a score under a column: the column's alone if there is one score."""
        if len(self.scores) == 1 and self.label(column):
            return self.label(column)
        return " ".join(part for part in (self.label(column), score.label) if part)


def agrees(planned: Planned, record: Record, axes: set[str]) -> bool:
    """Whether a run is one that the table plans; seeds, and what was overridden beside the axes, are free."""
    free = {SEED, *PLACES, *((planned.overrides.keys() | record.sweep.get("overrides", {}).keys()) - axes)}
    given = record.options
    wanted = {name: value for name, value in planned.options.items() if name not in free}
    if not record.sweep:  # how long it trained is said in the table, and its recipe's name is not recorded
        wanted = {name: value for name, value in wanted.items() if not name.startswith("trainer.")}
        wanted["task"] = str(wanted.get("task", given.get("task"))).partition("_")[0]
        return all(str(given.get(name)) == str(value) for name, value in wanted.items() if name in given)
    others = {name: value for name, value in given.items() if name not in free}
    return wanted == others


def fill(sweep: Sweep, records: list[Record], plan: list[Planned] | None = None) -> Table:
    """Make the table of a sweep from runs; those that belong to none of its cells are left out."""
    layout = layout_of(sweep)
    rows_by, columns_by = axis(layout, "rows"), axis(layout, "columns")
    plan = plan or sweep.plan()
    axes = {*rows_by, *columns_by}
    scores = scores_of(layout)
    cells: dict[tuple[str, str, str], Cell] = {}
    notes: list[str] = []
    missing: list[str] = []
    used: list[Record] = []
    places: dict[tuple[str, str], list[Planned]] = {}
    for planned in plan:
        place = key_of(rows_by, planned.parameters), key_of(columns_by, planned.parameters)
        places.setdefault(place, []).append(planned)
    rows = ordered(sweep, rows_by, [row for row, _ in places])
    columns = ordered(sweep, columns_by, [column for _, column in places])
    for row in rows:
        for column in columns:
            planned_here = places.get((row, column), [])
            found = [r for r in records if any(agrees(planned, r, axes) for planned in planned_here)]
            chosen, note = alike([record for record in found if record.result is not None])
            where = " / ".join(part for part in (row, column) if part)
            notes += [f"{where}: {note}"] if note else []
            used += [record for record in found if record not in used]
            missing += what_is_missing(where, planned_here, found, chosen)
            for score in scores:
                cell = Cell(score, planned=len(planned_here))
                for record in chosen:
                    value = record.value(score.metric) if score.metric else None
                    if value is not None:
                        cell.values[record.seed] = value * score.scale
                        cell.records.append(record)
                cell.published = published(layout, row, column, score.label)
                cells[row, column, score.label] = cell
    baseline = str(layout.get("baseline"))
    for (row, column, score_label), cell in cells.items():
        cell.baseline = cells.get((baseline, column, score_label)) if row != baseline else None
    for row in layout.get("given", {}):
        for column in columns:
            for score in scores:
                value = given(layout, row, column, score.label)
                cells[row, column, score.label] = Cell(score, {} if value is None else {"given": value}, planned=1)
    rows = [*layout.get("given", {}), *rows]
    chosen_records = [record for cell in cells.values() for record in cell.records]
    shown = list({id(record): record for record in chosen_records}.values())
    notes = reading_notes(layout, chosen_records) + notes + [note for note in (silent(shown),) if note]
    return Table(sweep, rows, columns, scores, cells, notes, missing, used, differences(shown))


def alike(records: list[Record]) -> tuple[list[Record], str]:
    """Those runs that have the newest one's settings, one for each seed, and a note if others were left out."""
    if not records:
        return [], ""
    records = sorted(records, key=modified)
    settings = records[-1].settings
    chosen = {record.seed: record for record in records if record.settings == settings}
    others = [record for record in records if record.settings != settings]
    if not others:
        return list(chosen.values()), ""
    names = {name for record in others for name in {**record.settings, **settings}}
    differ = sorted(name for name in names if any(r.settings.get(name) != settings.get(name) for r in others))
    return list(chosen.values()), f"{len(others)} runs with other {', '.join(differ)} are left out."


def what_is_missing(where: str, planned: list[Planned], found: list[Record], chosen: list[Record]) -> list[str]:
    """What is said of runs that are not there."""
    lacking = len(planned) - len(chosen)
    if lacking <= 0:
        return []
    states = [record.state for record in found if record.result is None]
    listed = [f"{states.count(state)} {state}" for state in dict.fromkeys(states)]
    unstarted = lacking - len(states)
    listed += [f"{unstarted} not started"] if unstarted > 0 else []
    return [f"{where}: {lacking} of {len(planned)} runs ({', '.join(listed)})"]


def reading_notes(layout: dict[str, Any], records: list[Record]) -> list[str]:
    """What the table must say of itself."""
    notes = []
    if any(record.generated for record in records):
        notes.append("† on generated data: not comparable with published numbers, so no difference is given.")
    if any(record.weights == "random" for record in records) and layout.get("published"):
        notes.append("Some runs began with random weights, see the list of runs.")
    if layout.get("note"):
        notes.append(str(layout["note"]))
    return notes
