"""The place of a run in a table: its row and column, and in what it departs from them.

A run of a sweep records its place. A run that was started by hand, or for another table, belongs to a cell if it has
the cell's task, data set, attention with its locations, and everything else that distinguishes the table's cells. All
other options in which it differs are departures.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from relattn.runs.identity import Decisive, changes, identity, label
from relattn.sweeps.ledger import Ledger, Place
from relattn.sweeps.records import Record

Cells = Mapping[tuple[str, str], Decisive]
"""The decisive options of each cell, by row and column."""

NETWORK = ("model", "model.attention", "model.stages", "model.placement", "data")
"""Options in which a run must match the cell, in addition to all below `model.attention`."""


@dataclass
class Placed:
    """A run in a cell.

    Attributes:
        record: The run.
        departures: The options in which it differs from the cell, with both values.
    """

    record: Record
    departures: dict[str, list[Any]]

    @property
    def departure(self) -> str:
        """The departures in a few words; empty if there are none."""
        return label((), {name: values[1] for name, values in self.departures.items()})


def place(
    records: Iterable[Record], sweep: str, cells: Cells, ledger: Ledger
) -> tuple[dict[tuple[str, str], list[Placed]], list[str]]:
    """Assign runs to the cells of a table; also return sentences on runs of the sweep that no longer belong to a cell.

    Args:
        records: Runs.
        sweep: Name of the sweep.
        cells: Its known cells.
        ledger: Its plan when it was launched.
    """
    placed: dict[tuple[str, str], list[Placed]] = {}
    notes = []
    decide = deciding(cells)
    for record in records:
        planned = ledger.runs.get(record.folder.resolve()) or recorded_place(record, sweep)
        if known := [one for one in planned if (one.row, one.column) in cells]:
            for one in known:
                where = one.row, one.column
                if not cells[where] or one.cell in ("", identity(cells[where])):
                    placed.setdefault(where, []).append(Placed(record, one.departures))
                else:
                    notes.append(f"{record.name} belongs to an earlier version of the sweep's recipe, and is left out.")
        elif record.decisive:
            for where, cell in cells.items():
                differing = changes(cell, record.decisive)
                if cell and not any(name in decide or is_network(name) for name in differing):
                    departures = {name: list(values) for name, values in differing.items()}
                    placed.setdefault(where, []).append(Placed(record, departures))
    return placed, notes


def recorded_place(record: Record, sweep: str) -> list[Place]:
    """The place that a run of the sweep recorded when it started; none for a run that the sweep did not start."""
    own = record.sweep
    if own.get("sweep") != sweep:
        return []
    row, column, cell = (str(own.get(name) or "") for name in ("row", "column", "cell"))
    return [Place(row, column, cell, dict(own.get("departures") or {}))]


def deciding(cells: Cells) -> set[str]:
    """Names of the options that distinguish cells."""
    known = [cell for cell in cells.values() if cell]
    names = {name for cell in known for name in cell}
    return {name for name in names if any(cell.get(name) != known[0].get(name) for cell in known)}


def is_network(name: str) -> bool:
    """Whether an option is part of what defines a cell's network."""
    return name in NETWORK or name.startswith("model.attention.")
