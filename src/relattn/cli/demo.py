"""`relattn demo`: the suite's main jobs in small, on generated data and a CPU.

Every run is an ordinary `relattn fit` with a folder of its own, so whatever the demo shows can be run again by hand.
"""

import argparse
import json
import subprocess
import sys
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar

from relattn.cli import catalogue
from relattn.errors import InputError, suggest

MINUTES = 11
"""About how long the matrix of all tasks takes on two cores."""


class Demo(ABC):
    """What a task shows: data made for it, trivial baselines, and a network's scores with and without attention."""

    title: str
    seconds: int
    """About how long training takes on two cores."""
    columns: ClassVar[dict[str, str]]
    """Headings, and which test score stands under each."""
    attention: str = "rga_sc"
    """What the plain network is compared with."""
    note: str = ""
    """What the headings need to be understood."""

    @abstractmethod
    def generate(self, root: Path) -> None:
        """Make the data under `root`, unless they are there."""

    @abstractmethod
    def baselines(self, root: Path) -> dict[str, dict[str, float]]:
        """What a trained network must beat: by name, the scores by the headings of the columns."""

    @abstractmethod
    def headline(self, baseline: dict[str, float]) -> float:
        """The headline score among a baseline's, the higher the better."""


class Classification(Demo):
    """ResNet-20 on objects in CIFAR-10's layout."""

    title = "Generated objects in CIFAR-10's layout"
    seconds = 210
    columns: ClassVar = {"error, %": "error"}

    def generate(self, root: Path) -> None:
        from relattn.synthetic.objects.layouts import write_cifar

        if not (root / "cifar-10-batches-py").is_dir():
            write_cifar(root, "cifar10", train=8_000, test=2_000)

    def baselines(self, root: Path) -> dict[str, dict[str, float]]:
        import torch

        from relattn.tasks.classification.cifar import CIFAR10

        data = CIFAR10(root)
        data.setup("test")
        (train, train_labels), (test, labels) = data.sets["train"], data.sets["test"]
        distances = torch.cdist(test.flatten(1).float(), train.flatten(1).float())
        error = 100 * float((train_labels[distances.argmin(dim=1)] != labels).float().mean())
        return {"raw-pixel nearest neighbour": {"error, %": error}}

    def headline(self, baseline: dict[str, float]) -> float:
        return 100 - baseline["error, %"]


class ReID(Demo):
    """ResNet-18 on people in Market-1501's layout."""

    title = "Generated people in Market-1501's layout"
    seconds = 160
    columns: ClassVar = {
        "mAP": "mAP",
        "mAP*": "mAP_trapezoid",
        "R-1": "rank1",
        "R-5": "rank5",
        "R-10": "rank10",
        "mINP": "mINP",
    }
    note = " * by Market-1501's official definition (trapezoid)."

    def generate(self, root: Path) -> None:
        from relattn.synthetic.people.layouts import write_market1501

        if not (root / "Market-1501-v15.09.15").is_dir():
            write_market1501(root)

    def baselines(self, root: Path) -> dict[str, dict[str, float]]:
        from relattn.metrics.retrieval import retrieval
        from relattn.tasks.reid.market1501 import read_market1501
        from relattn.tasks.reid.raw_pixels import raw_pixels

        query, gallery, distances = raw_pixels(read_market1501(root))
        scores = retrieval(distances, query, gallery).scores()
        return {"raw-pixel ranking": {heading: scores[name] for heading, name in self.columns.items()}}

    def headline(self, baseline: dict[str, float]) -> float:
        return baseline["mAP"]


class Segmentation(Demo):
    """A dilated ResNet-18 with PPM on streets in Cityscapes' layout."""

    title = "Generated streets in Cityscapes' layout"
    seconds = 170
    columns: ClassVar = {"mIoU": "mIoU", "pixel accuracy": "pixel_accuracy"}

    def generate(self, root: Path) -> None:
        from relattn.synthetic.streets.layouts import write_cityscapes

        if not (root / "cityscapes").is_dir():
            write_cityscapes(root, train=240, val=60, test=4)

    def baselines(self, root: Path) -> dict[str, dict[str, float]]:
        from relattn.tasks.segmentation.majority import majority

        return {"majority class": majority(root)}

    def headline(self, baseline: dict[str, float]) -> float:
        return baseline["mIoU"]


class Face(Demo):
    """ResNet-20 with ArcFace on faces, verified on five packs."""

    title = "Generated faces, accuracy of verification"
    seconds = 170
    attention = "stra"
    columns: ClassVar = {
        "LFW": "lfw",
        "CPLFW": "cplfw",
        "CALFW": "calfw",
        "CFP-FP": "cfp_fp",
        "AgeDB-30": "agedb_30",
        "mean": "accuracy",
    }

    def generate(self, root: Path) -> None:
        from relattn.synthetic.faces.layouts import write_faces

        if not (root / "faces").is_dir():
            write_faces(root, identities=160, images_per_identity=14, pairs=160)

    def baselines(self, root: Path) -> dict[str, dict[str, float]]:
        from statistics import fmean

        from relattn.tasks.face.baselines import baselines

        found = {}
        for name, packs in baselines(root).items():
            scores = {**packs, "accuracy": fmean(packs.values())}
            found[name] = {heading: scores[pack] for heading, pack in self.columns.items()}
        return found

    def headline(self, baseline: dict[str, float]) -> float:
        return baseline["mean"]


DEMOS: dict[str, type[Demo]] = {
    "classification": Classification,
    "reid": ReID,
    "segmentation": Segmentation,
    "face": Face,
}


def main(arguments: list[str]) -> int:
    """Run the matrix of attention and tasks; or, for tasks that are named, train the plain network and another."""
    times = ", ".join(f"{task} {demo.seconds / 60:.1f}" for task, demo in DEMOS.items())
    parser = argparse.ArgumentParser(
        prog="relattn demo",
        description="Train small networks, plain and with attention, on generated data: all tasks in one table with a "
        "report as HTML, or a named task alone and in more detail.",
        epilog=f"All tasks: about {MINUTES} minutes on two cores. One alone, in minutes: {times}.",
    )
    parser.add_argument("task", nargs="*", help=f"{', '.join(DEMOS)}; by default the matrix of all")
    parser.add_argument("--runs", type=Path, default=Path("runs/demo"), help="where the runs are kept")
    parser.add_argument("--root", type=Path, default=Path("data/generated"), help="where the generated data are kept")
    parser.add_argument("--epochs", type=int, help="instead of the recipe's")
    options = parser.parse_args(arguments)
    if options.epochs is not None and options.epochs < 1:
        raise InputError(f"relattn demo: --epochs is {options.epochs}, expected at least 1.")
    for task in options.task:
        if task not in DEMOS:
            raise InputError(f"relattn demo: there is no {task!r}. {suggest(task, DEMOS)}")

    if not options.task:
        from relattn.cli import demo_matrix

        return demo_matrix.run(DEMOS, root=options.root, runs=options.runs, epochs=options.epochs)
    from rich.console import Console

    console = Console()
    for task in options.task:
        demo = DEMOS[task]()
        with console.status(f"Making data in {options.root} ..."):
            demo.generate(options.root)
        results = [train(task, attention, options, console) for attention in ("none", demo.attention)]
        table(demo, results, demo.baselines(options.root), console)
    return 0


def train(task: str, attention: str, options: argparse.Namespace, console: Any) -> dict[str, Any]:
    """Train one network in a process of its own and return its `result.json`."""
    command = [
        *(sys.executable, "-m", "relattn", "fit", "--config", str(catalogue.conf() / "demo" / f"{task}.yaml")),
        *("--attention", attention, "--data.root", str(options.root), "--runs", str(options.runs)),
        *([f"--trainer.max_epochs={options.epochs}"] if options.epochs else []),
    ]
    console.rule(f"{task}, attention: {attention}")
    before = set(options.runs.rglob("result.json"))
    if subprocess.run(command, check=False).returncode:  # noqa: S603, the command is ours
        raise InputError(f"The demo stopped, since this failed: {' '.join(command)}")
    (result,) = set(options.runs.rglob("result.json")) - before
    return {**json.loads(result.read_text()), "folder": result.parent}


def table(demo: Demo, results: list[dict[str, Any]], baselines: dict[str, dict[str, float]], console: Any) -> None:
    """Print what came out."""
    from rich.table import Table

    shown = Table(
        title=f"{demo.title}: test set, after {results[0]['epochs']} epochs",
        caption=f"A few epochs show that everything runs, not which network is better in the end.{demo.note}",
    )
    shown.add_column("", no_wrap=True)
    for column in (*demo.columns, "time"):
        shown.add_column(column, justify="right")
    for name, scores in baselines.items():
        shown.add_row(name, *(f"{scores[column]:.2f}" for column in demo.columns), "")
    for result in results:
        name = result["backbone"] + ("" if result["attention"] == "none" else f" + {result['attention']}")
        cells = [f"{result['scores'][f'test/{score}']:.2f}" for score in demo.columns.values()]
        shown.add_row(name, *cells, f"{result['seconds']:.0f} s")
    console.print(shown)
    console.print(f"Each run has a folder: {results[0]['folder'].parent}", soft_wrap=True, highlight=False)
