"""The table of what the papers' tables cost, from benchmarks/results: counted operations and measured memory."""

import json
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parents[2] / "benchmarks" / "results"

SUSTAINED = 10e12
"""Operations a second for which hours are given."""


def paper_tables() -> str:
    """A row for each sweep file."""
    content = json.loads((RESULTS / "paper_tables.json").read_text())
    lines = [
        "| sweep | runs | counted | GMAC an image, plain / attention | PFLOP a run | hours at 10 TFLOP/s | memory |",
        "|---|---|---|---|---|---|---|",
    ]
    return "\n".join([*lines, *(line(row) for row in content["tables"])])


def line(row: dict[str, Any]) -> str:
    """The row of one sweep."""
    cells = [f"`{row['sweep']}`", str(row["runs"]), *[""] * 5]
    if "macs" not in row:
        cells[2] = "not counted"
    else:
        cells[2] = f"`{row['recipe']}`, {row['network']}, batches of {row['batch_size']}"
        cells[3] = " / ".join(f"{macs / 1e9:.2f}" for macs in row["macs"])
        cells[6] = memory(row)
    if "petaflop" in row:
        cells[4] = " / ".join(f"{value:.1f}" for value in row["petaflop"])
        cells[5] = " / ".join(f"{value * 1e15 / SUSTAINED / 3600:.1f}" for value in row["petaflop"])
    return f"| {' | '.join(cells)} |"


def memory(row: dict[str, Any]) -> str:
    """What a forward pass keeps for the backward pass, measured for ResNet-50 at 256x128 and scaled to the batch."""
    attention = {"reid": "rga_sc", "reid_stra": "stra"}.get(row["recipe"])
    if attention is None:
        return "not measured"
    measured = json.loads((RESULTS / "attention_steps.json").read_text())
    (claim,) = (one for one in measured["claims"] if one["claim"] == f"resnet50 + {attention}: memory kept")
    scale = row["batch_size"] / claim["sizes"]["batch"] / 1024
    return " / ".join(f"{claim[side]['median'] * scale:.1f}" for side in ("other", "ours")) + " GiB"
