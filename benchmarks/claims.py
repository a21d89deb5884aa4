"""Code shared by the scripts: their options, the table and ratio that they print, and the JSON that they write."""

import argparse
import json
import os
from collections.abc import Sequence
from pathlib import Path

os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # or the profiler, which counts memory, logs start and stop

import torch
from rich.console import Console
from rich.table import Table

from relattn.costs.measure import Cost
from relattn.costs.side_by_side import Claim, Side, environment

RESULTS = Path(__file__).parent / "results"


def parser(description: str, *, rounds: int) -> argparse.ArgumentParser:
    """Build the parser of the options that every script has; `description` is the script's docstring."""
    found = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    found.add_argument("--rounds", type=int, default=rounds, help=f"measurements of each side ({rounds})")
    found.add_argument("--quick", action="store_true", help="sizes that show that it works; nothing else is learned")
    found.add_argument("--out", type=Path, help="the JSON; by default in benchmarks/results, with --quick none")
    return found


def apart(asked: argparse.Namespace) -> list[str]:
    """Options of `relattn benchmark`: two processes per network, each with half of the rounds; none with --quick."""
    if asked.quick:
        return ["--rounds", str(asked.rounds), "--warmup", "1"]
    return ["--apart", "2", "--rounds", str(-(-asked.rounds // 2)), "--warmup", "2"]


def of_costs(
    what: str, ours: Cost, other: Cost, *, kind: str = "gain", sizes: dict[str, object] | None = None
) -> list[Claim]:
    """Build the claims on time, peak memory and memory kept for the backward pass of one network against another."""
    differ = other.difference if kind == "gain" else None
    shared = {"kind": kind, "sizes": sizes or {}, "difference": differ}
    found = [Claim(f"{what}: time", Side(ours.name, ours.times), Side(other.name, other.times), "ms", **shared)]
    for name, read in (("peak memory", "peak_bytes"), ("memory kept", "kept_bytes")):
        one, two = (Side(cost.name, (getattr(cost, read) / 2**20,)) for cost in (ours, other))
        found.append(Claim(f"{what}: {name}", one, two, "MiB", **shared))
    return found


def against_slow_forms(costs: Sequence[Cost], *, sizes: dict[str, object]) -> list[Claim]:
    """Build the claims on networks against their slow forms, which were measured with them."""
    by_name = {cost.name: cost for cost in costs}
    found: list[Claim] = []
    for cost in costs:
        own, _, form = cost.name.rpartition(", ")
        if form and own in by_name:
            found += of_costs(own, by_name[own], cost, sizes=sizes)
    return found


def number(value: float) -> str:
    """Format a number with at least three digits."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def spread(side: Side, unit: str) -> str:
    """Format median and range."""
    span = "" if len(side.values) == 1 else f" ({number(side.lowest)} to {number(side.highest)})"
    return f"{number(side.median)} {unit}{span}"


def report(
    script: str, asked: argparse.Namespace, claims: Sequence[Claim], *, notes: Sequence[str] = (), device: str = "cpu"
) -> None:
    """Print the claims as a table, the first one's ratio as a line, and write the JSON.

    Args:
        script: Name of the script, and of the JSON.
        asked: The options of the script.
        claims: What was measured, the headline first.
        notes: Further information for readers, such as what was left out.
        device: Where it was measured.
    """
    machine = environment(device)
    console = Console(width=None if Console().is_terminal else 140)
    table = Table(title=f"{script}: {machine['device']}, {machine['processor']}, torch {torch.__version__}")
    for column in ("claim", "ours", "other", "ratio"):
        table.add_column(column, justify="right" if column == "ratio" else "left")
    named = None
    for claim in claims:
        sides = (claim.ours, claim.other)
        if named != (named := tuple(side.name for side in sides)):
            table.add_section()
            table.add_row("", *named, "", style="bold")
        table.add_row(claim.what, *(spread(side, claim.unit) for side in sides), claim.reading)
    console.print(table)
    for note in notes:
        console.print(f"note: {note}")
    headline = claims[0]
    console.print(f"{script}: {headline.what}: {headline.reading} ({headline.ours.name} / {headline.other.name})")
    out = asked.out or (None if asked.quick else RESULTS / f"{script}.json")
    if out is None:
        return
    options = {key: value for key, value in vars(asked).items() if not isinstance(value, Path)}  # paths are local
    content = {
        "benchmark": script,
        "options": options,
        "machine": machine,
        "claims": [claim.as_json() for claim in claims],
        "notes": list(notes),
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(content, indent=2) + "\n")
