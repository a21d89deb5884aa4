"""`relattn demo`: the suite's main use cases in small, on generated data and a CPU.

Every run is an ordinary `relattn fit` with its own folder, so everything in the demo can also be run by hand.
"""

import argparse
import importlib
import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from relattn.cli import catalogue
from relattn.cli.options import own_path
from relattn.errors import InputError, suggest

if TYPE_CHECKING:
    from relattn.tasks.demo import TaskDemo


def find_demos() -> "dict[str, type[TaskDemo]]":
    """The demos of the suite's tasks, by task name."""
    return {
        task: importlib.import_module(f"relattn.tasks.{task}.demo").Demo for task in catalogue.task_folders("demo.py")
    }


def main(arguments: list[str]) -> int:
    """Run the matrix of attention and tasks; for named tasks, train the plain network and one with attention."""
    names = list(catalogue.task_folders("demo.py"))
    parser = argparse.ArgumentParser(
        prog="relattn demo",
        description="Train small networks, plain and with attention, on generated data: all tasks in one table with a "
        "report as HTML, or one named task in more detail.",
        epilog="All tasks: about half an hour on two cores; one alone: about a quarter of that.",
    )
    parser.add_argument("task", nargs="*", help=f"{', '.join(names)}; by default the matrix of all")
    parser.add_argument("--runs", type=own_path, default=Path("runs/demo"), help="where the runs are kept")
    parser.add_argument(
        "--root", type=own_path, default=Path("data/generated"), help="where the generated data are kept"
    )
    parser.add_argument("--epochs", type=int, help="number of epochs, instead of the recipe's")
    options = parser.parse_args(arguments)
    if options.epochs is not None and options.epochs < 1:
        raise InputError(f"relattn demo: --epochs is {options.epochs}, expected at least 1.")
    for task in options.task:
        if task not in names:
            raise InputError(f"relattn demo: there is no {task!r}. {suggest(task, names)}")

    if not options.task:
        from relattn.cli import demo_matrix

        return demo_matrix.run(find_demos(), root=options.root, runs=options.runs, epochs=options.epochs)
    from rich.console import Console

    console, demos = Console(), find_demos()
    for task in options.task:
        demo = demos[task]()
        with console.status(f"Making data in {options.root} ..."):
            demo.generate(options.root)
        results = [train(task, attention, options, console) for attention in ("none", demo.attention)]
        table(demo, results, demo.baselines(options.root), console)
    return 0


def train(task: str, attention: str, options: argparse.Namespace, console: Any) -> dict[str, Any]:
    """Train one network in a separate process and return its `result.json`."""
    command = [
        *(sys.executable, "-P", "-m", "relattn", "fit", "--task", str(catalogue.conf() / "demo" / f"{task}.yaml")),
        *("--attention", attention, "--data.root", str(options.root), "--runs", str(options.runs)),
        *(["--model.attention.init_args.mask_init=half"] if attention == "rga_sc" else []),  # masks without noise
        *([f"--trainer.max_epochs={options.epochs}"] if options.epochs else []),
    ]
    console.rule(f"{task}, attention: {attention}")
    before = set(options.runs.rglob("result.json"))
    if subprocess.run(command, check=False).returncode:  # noqa: S603, the command is ours
        raise InputError(f"The demo stopped because this command failed: {' '.join(command)}")
    (result,) = set(options.runs.rglob("result.json")) - before
    return {**json.loads(result.read_text(encoding="utf-8")), "folder": result.parent}


def table(
    demo: "TaskDemo", results: list[dict[str, Any]], baselines: dict[str, dict[str, float]], console: Any
) -> None:
    """Print the results."""
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
