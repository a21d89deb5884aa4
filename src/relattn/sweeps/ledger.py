"""`plan.json` in a sweep's folder: its cells, and the folders of each cell's runs, which may be in other sweeps."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from relattn.publish import publish_json
from relattn.runs import run_folder
from relattn.runs.identity import Decisive
from relattn.runs.secrets import hidden
from relattn.sweeps.plan import Planned

FILE = "plan.json"


@dataclass
class Place:
    """The place of a run in a table.

    Attributes:
        row: Key of the row.
        column: Key of the column.
        cell: Identity of the cell in the sweep's file.
        departures: The options in which the run differs from the cell, with both values.
    """

    row: str
    column: str
    cell: str
    departures: dict[str, list[Any]]


@dataclass
class Ledger:
    """The plan of a sweep, as it was launched.

    Attributes:
        folder: The sweep's folder; None for a sweep that was not launched.
        name: The sweep's name, also if its folder has been renamed.
        cells: The decisive options of each cell, by row and column.
        runs: The places of each run, by its folder; a run that two cells share has several.
    """

    folder: Path | None = None
    name: str = ""
    cells: dict[tuple[str, str], Decisive] = field(default_factory=dict)
    runs: dict[Path, list[Place]] = field(default_factory=dict)


def write(place: Path, name: str, runs: Sequence[Planned]) -> None:
    """Add the plan of the sweep `name` to the existing one in its folder."""
    content = run_folder.read_json(place / FILE) or {}
    cells = {(cell["row"], cell["column"]): cell for cell in content.get("cells", [])}
    cells |= {
        (run.row, run.column): {"row": run.row, "column": run.column, "options": run.cell_options} for run in runs
    }
    entries = content.get("runs", {})
    for run in runs:
        entry = {"row": run.row, "column": run.column, "cell": run.cell, "departures": run.departures}
        entries[run.name] = {"folder": os.path.relpath(run.folder, place), **entry}
    publish_json(place / FILE, hidden({"sweep": name, "cells": list(cells.values()), "runs": entries}))


def read(place: Path) -> Ledger:
    """The ledger of a sweep's folder; empty if it does not exist or cannot be read."""
    content = run_folder.read_json(place / FILE) or {}
    name = str(content.get("sweep") or place.name)
    ledger = Ledger(place, name)
    try:
        for cell in content.get("cells", []):
            ledger.cells[str(cell["row"]), str(cell["column"])] = dict(cell["options"])
        for entry in content.get("runs", {}).values():
            departures = dict(entry["departures"])
            where = Place(str(entry["row"]), str(entry["column"]), str(entry["cell"]), departures)
            folder = (place / entry["folder"]).resolve()
            if folder.is_relative_to(place.resolve().parents[1]):  # the folder of all runs
                ledger.runs.setdefault(folder, []).append(where)
    except (KeyError, TypeError, ValueError, AttributeError, OSError, RuntimeError):  # the last two for invalid paths
        return Ledger(place, name)
    return ledger
