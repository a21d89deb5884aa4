"""The place of a run in a table: its row and column, and in what it departs from them.

A run of a sweep records its place. A run that was started by hand, or for another table, belongs to a cell if it has
the cell's task, data set, attention with its locations, and everything else that distinguishes the table's cells. All
other options in which it differs are departures.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from relattn.runs.identity import Decisive, changes, label
from relattn.sweeps.ledger import Ledger
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
        planned = ledger.runs.get(record.folder.resolve())
        own = record.sweep if record.sweep.get("sweep") == sweep else None
        if planned is not None:
            placed.setdefault((planned.row, planned.column), []).append(Placed(record, planned.departures))
        elif own is not None and (where := (str(own.get("row", "")), str(own.get("column", "")))) in cells:
            if not cells[where] or own.get("cell") in ("", None, identity_of(cells[where])):
                placed.setdefault(where, []).append(Placed(record, dict(own.get("departures") or {})))
            else:
                notes.append(f"{record.name} is of an earlier version of the sweep's file, and left out.")
        elif record.decisive:
            for where, cell in cells.items():
                differing = changes(cell, record.decisive)
                if cell and not any(name in decide or is_network(name) for name in differing):
                    departures = {name: list(values) for name, values in differing.items()}
                    placed.setdefault(where, []).append(Placed(record, departures))
    return placed, notes


def identity_of(cell: Decisive) -> str:
    """The identity of a cell."""
    from relattn.runs.identity import identity

    return identity(cell)


def deciding(cells: Cells) -> set[str]:
    """Names of the options that distinguish cells."""
    known = [cell for cell in cells.values() if cell]
    names = {name for cell in known for name in cell}
    return {name for name in names if any(cell.get(name) != known[0].get(name) for cell in known)}


def is_network(name: str) -> bool:
    """Whether an option is part of what defines a cell's network."""
    return name in NETWORK or name.startswith("model.attention.")
