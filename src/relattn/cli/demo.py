"""`relattn demo`: the suite's main job in small, on generated data and a CPU.

Every run is an ordinary `relattn fit` with a folder of its own, so whatever the demo shows can be run again by hand.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from relattn.cli import catalogue
from relattn.errors import InputError

ATTENTIONS = ("none", "rga_sc")


def main(arguments: list[str]) -> int:
    """Generate data, train with and without attention, and print a table."""
    parser = argparse.ArgumentParser(prog="relattn demo", description="Train ResNet-20 plain and with RGA-SC.")
    parser.add_argument("--runs", type=Path, default=Path("runs/demo"), help="where the runs are kept")
    parser.add_argument("--root", type=Path, default=Path("data/generated"), help="where the generated data are kept")
    parser.add_argument("--epochs", type=int, default=5)
    options = parser.parse_args(arguments)

    from rich.console import Console

    console = Console()
    generate(options.root, console)
    results = [train(attention, options, console) for attention in ATTENTIONS]
    table(results, nearest_neighbour(options.root), console)
    return 0


def generate(root: Path, console: Any) -> None:
    """Make the stand-in for CIFAR-10, unless it is there."""
    from relattn.synthetic.cifar import write_cifar

    if not (root / "cifar-10-batches-py").is_dir():
        with console.status(f"Rendering 10,000 objects into {root} ..."):
            write_cifar(root, "cifar10", train=8_000, test=2_000)


def train(attention: str, options: argparse.Namespace, console: Any) -> dict[str, Any]:
    """Train one network in a process of its own and return its `result.json`."""
    command = [
        *(sys.executable, "-m", "relattn", "fit", "--config", str(catalogue.conf() / "demo" / "classification.yaml")),
        *("--attention", attention, "--data.root", str(options.root), "--runs", str(options.runs)),
        f"--trainer.max_epochs={options.epochs}",
    ]
    console.rule(f"resnet20, attention: {attention}")
    before = set(options.runs.rglob("result.json"))
    if subprocess.run(command, check=False).returncode:  # noqa: S603, the command is ours
        raise InputError(f"The demo stopped, since this failed: {' '.join(command)}")
    (result,) = set(options.runs.rglob("result.json")) - before
    return {**json.loads(result.read_text()), "folder": result.parent}


def nearest_neighbour(root: Path) -> float:
    """Error in per cent of the nearest neighbour on raw pixels, what a trained network must beat."""
    import torch

    from tasks.classification.cifar import CIFAR10

    data = CIFAR10(root)
    data.setup("test")
    (train, train_labels), (test, labels) = data.sets["train"], data.sets["test"]
    distances = torch.cdist(test.flatten(1).float(), train.flatten(1).float())
    return 100 * float((train_labels[distances.argmin(dim=1)] != labels).float().mean())


def table(results: list[dict[str, Any]], baseline: float, console: Any) -> None:
    """Print what came out."""
    from rich.table import Table

    shown = Table(
        title="Generated objects in CIFAR-10's layout: error of the last epoch on the test set",
        caption="A few epochs show that everything runs, not which network is better in the end.",
    )
    shown.add_column("", no_wrap=True)
    for column in ("parameters", "epochs", "error, %", "seconds"):
        shown.add_column(column, justify="right")
    shown.add_row("raw-pixel nearest neighbour", "", "", f"{baseline:.2f}", "")
    for result in results:
        name = result["backbone"] + ("" if result["attention"] == "none" else f" + {result['attention']}")
        error = f"{result['scores']['test/error']:.2f}"
        cells = [f"{result['parameters']:,}", str(result["epochs"]), error, f"{result['seconds']:.0f}"]
        shown.add_row(name, *cells)
    console.print(shown)
    console.print(f"Each run has a folder: {results[0]['folder'].parent}", soft_wrap=True, highlight=False)
