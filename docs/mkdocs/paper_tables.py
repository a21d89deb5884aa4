"""The table of what the papers' tables cost, from benchmarks/results: counted operations and measured memory."""

import json
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parents[2] / "benchmarks" / "results"

SUSTAINED = 10e12
"""Operations per second for which hours are given."""


def paper_tables() -> str:
    """A row for each sweep file."""
    content = json.loads((RESULTS / "paper_tables.json").read_text())
    lines = [
        "| sweep | runs | recipe, batch | GMAC per image | PFLOP per run | hours per run | GiB |",
        "|---|---|---|---|---|---|---|",
    ]
    return "\n".join([*lines, *(line(row) for row in content["tables"])])


def line(row: dict[str, Any]) -> str:
    """The row of one sweep."""
    cells = [f"`{row['sweep']}`", str(row["runs"]), *[""] * 5]
    if "macs" not in row:
        cells[2] = "not counted"
    else:
        cells[2] = f"{row['recipe']}, {row['batch_size']}"
        cells[3] = " / ".join(f"{macs / 1e9:.2f}" for macs in row["macs"])
        cells[6] = " / ".join(f"{one * row['batch_size'] / 2**30:.1f}" for one in row["kept_bytes"])
    if "petaflop" in row:
        cells[4] = " / ".join(f"{value:.1f}" for value in row["petaflop"])
        cells[5] = " / ".join(f"{value * 1e15 / SUSTAINED / 3600:.1f}" for value in row["petaflop"])
    return f"| {' | '.join(cells)} |"
