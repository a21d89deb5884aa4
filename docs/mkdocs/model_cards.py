"""A model card for each cell of the evidence, from benchmarks/results/evidence_*.json: no number is copied by hand."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from relattn.cli.lightning.recipes import task_recipe
from relattn.sweeps.text import over_seeds

ROOT = Path(__file__).resolve().parents[2]

SCORES = 6
"""Number of scores that a card lists below the headline score, the first in the order of the result."""


def model_cards() -> str:
    """All cards, a section for each file and below it one for each network."""
    files = sorted((ROOT / "benchmarks" / "results").glob("evidence_*.json"))
    return "\n\n".join(section(json.loads(file.read_text())) for file in files)


def section(evidence: dict[str, Any]) -> str:
    """The cards of one sweep."""
    recipe = ROOT / evidence["recipe"]
    name = Path(evidence["sweep"]).stem
    summary = recipe.read_text().partition("\n")[0].lstrip("# ")
    labels = list(dict.fromkeys(run["label"] for run in evidence["runs"]))
    runs = {label: [run for run in evidence["runs"] if run["label"] == label] for label in labels}
    config = task_recipe(str(recipe))
    backbones = backbones_of(ROOT / evidence["sweep"], config["model"]["init_args"]["backbone"])
    cards = [card(label, backbones[label], runs[label], config, evidence) for label in labels]
    return "\n\n".join([f"## {name}\n\n{summary}", *cards])


def backbones_of(file: Path, usual: str) -> dict[str, str]:
    """The backbone of each row of a sweep's table, by the row's label; the recipe's where the row names none."""
    sweep = yaml.safe_load(file.read_text())
    rows = sweep["table"]["rows"]
    options = sweep["options"][rows]
    labels = sweep["table"]["labels"]
    return {labels[row]: options.get(row, {}).get("backbone", usual) for row in sweep["parameters"][rows]["values"]}


def card(
    label: str, backbone: str, runs: Sequence[dict[str, Any]], config: dict[str, Any], evidence: dict[str, Any]
) -> str:
    """The card of one network, over its seeds."""
    model, first = config["model"]["init_args"], runs[0]
    versions = ", ".join(f"{name} {first['versions'][name]}" for name in ("relattn", "torch", "lightning", "timm"))
    commits = sorted({run["git"]["commit"][:10] for run in runs})
    weights = (
        "ImageNet weights" if model.get("pretrained") is True else str(model.get("pretrained") or "random weights")
    )
    facts = {
        "network": f"{backbone}, {label}",
        "begins with": weights,
        "task": config["model"]["class_path"],
        "data": f"{config['data']['recipe']}, "
        + ("the genuine set" if first["genuine"] else "a rendered stand-in, not the genuine set")
        + f"; fingerprint {first['fingerprint']}",
        "parameters": f"{first['parameters']:,}",
        "multiply-accumulates": f"{first['macs']:,} per image",
        "training": f"{first['epochs']} epochs, {first['steps']} steps, on {evidence['device']}",
        "seeds": ", ".join(str(run["seed"]) for run in runs),
        "command": f"`relattn sweep {Path(evidence['sweep']).stem}`, recipe `{evidence['recipe']}`",
        "made with": f"{versions}; commit {', '.join(commits)}",
    }
    others = [name for name in first["scores"] if name != "test/score" and "@" not in name]
    names = ["test/score", *others[:SCORES]]
    scores = [f"| {name} | {over_seeds([run['scores'][name] for run in runs], 2)} |" for name in names]
    limits = (
        "Scores on a rendered stand-in say how networks compare on it, and nothing about genuine images."
        if not first["genuine"]
        else "Scores hold for this data set and protocol."
    )
    return "\n".join(
        [
            f"### {label}\n\n| network | {facts.pop('network')} |\n|---|---|",
            *(f"| {name} | {text} |" for name, text in facts.items()),
            f"\n| score, {len(runs)} seed{'s' * (len(runs) > 1)} | mean ± standard deviation |\n|---|---|",
            *scores,
            f"\n{limits}",
        ]
    )
