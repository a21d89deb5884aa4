"""What each task can do with a small network of every timm family: the table of docs/backbones.md.

    python benchmarks/families.py                       # goes on where the results end; an hour or more
    python benchmarks/families.py --only convnext eva   # these again
    python benchmarks/families.py --device cpu          # steps that are computed, not only their shapes
    python benchmarks/families.py --table               # the results as a table, into the page

For each task, a network of each family is built with RGA-SC after every stage and makes one training step. If that is
refused, it is built as the message advises; if no advice helps, without attention. The results are in
benchmarks/results/families.json, which `--table` reads.
"""

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests" / "helpers"))

from timm_families import FAMILIES, TASKS, attempt  # noqa: E402, which is beside the tests

from relattn.backbones import build, places_of  # noqa: E402
from relattn.errors import InputError  # noqa: E402

RESULTS = Path(__file__).parent / "results" / "families.json"
PAGE = ROOT / "docs" / "backbones.md"
REGION = re.compile(r"(<!-- families -->\n).*?(<!-- end of families -->)", re.DOTALL)


def placements(name: str) -> dict[str, Any]:
    """Stages that attention can follow, blocks it can be part of, convolutions it can replace, for 224x224 images."""
    try:
        with torch.device("meta"):
            places = places_of(build(name, size=(224, 224)), name, (224, 224))
    except InputError as error:
        return {"stage": 0, "block": 0, "convolution": 0, "problem": str(error)}
    found = {
        "stage": sum(bool(place.layout) for place in places),
        "block": sum(len(place.blocks) for place in places),
        "convolution": sum(len(place.convolutions) for place in places),
    }
    layouts = sorted({place.layout for place in places if place.layout})
    return {**found, "layouts": layouts, "problem": next((line for place in places for line in place.problems), "")}


def outcome(task: str, name: str, device: str) -> dict[str, Any]:
    """Whether a task can train a network, with attention if possible."""
    attended = attempt(task, name, attention=True, device=device)
    if attended.trained:
        return {"trained": "attention", "advice": list(attended.advice), "reason": ""}
    plain = attempt(task, name, attention=False, device=device)
    advice = list(plain.advice)
    return {"trained": "plain" if plain.trained else "", "advice": advice, "reason": attended.reason or plain.reason}


def measure(only: list[str], device: str) -> None:
    """Measure families and write each result as soon as it is known."""
    results: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}
    for family in only or [family for family in FAMILIES if family not in results]:
        name = FAMILIES[family]
        tasks = {task: outcome(task, name, device) for task in TASKS}
        results[family] = {"network": name, "placements": placements(name), "tasks": tasks}
        RESULTS.write_text(json.dumps(dict(sorted(results.items())), indent=1) + "\n")
        print(family, {task: one["trained"] or one["reason"] for task, one in tasks.items()}, flush=True)


def table(results: dict[str, Any]) -> str:
    """Format the results as Markdown, with the counts above."""
    lines = ["| task | with attention | of these, with advised options | without attention only | refused |"]
    lines.append("|---|---|---|---|---|")
    for task in TASKS:
        of_task = [row["tasks"][task] for row in results.values()]
        advised = sum(one["trained"] == "attention" and bool(one["advice"]) for one in of_task)
        counts = [sum(one["trained"] == kind for one in of_task) for kind in ("attention", "plain", "")]
        lines.append(f"| {task} | {counts[0]} | {advised} | {counts[1]} | {counts[2]} |")
    lines += ["", "| family | network | stages, blocks, convolutions | " + " | ".join(TASKS) + " |"]
    lines.append("|---" * (3 + len(TASKS)) + "|")
    for family, row in results.items():
        places = row["placements"]
        cells = []
        for task in TASKS:
            one = row["tasks"][task]
            word = {"attention": "yes", "plain": "plain", "": "no"}[one["trained"]]
            cells.append(", ".join([word, *one["advice"]]))
        where = ", ".join(str(places[kind]) for kind in ("stage", "block", "convolution"))
        lines.append(f"| {family} | `{row['network']}` | {where} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main(arguments: list[str] | None = None) -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument(
        "--only", nargs="+", choices=FAMILIES, default=[], metavar="FAMILY", help="measure these again"
    )
    options.add_argument("--device", choices=["meta", "cpu"], default="meta", help="meta computes shapes alone")
    options.add_argument("--table", action="store_true", help="write the results into docs/backbones.md")
    asked = options.parse_args(arguments)
    if asked.table:
        text = table(json.loads(RESULTS.read_text()))
        PAGE.write_text(REGION.sub(lambda match: match[1] + text + match[2], PAGE.read_text()))
        return 0
    measure(asked.only, asked.device)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
