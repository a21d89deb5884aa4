"""`relattn demo` without a task: a sweep over attention on all tasks, with trivial baselines, and its report."""

import warnings
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from relattn.cli import catalogue
from relattn.cores import available_cores

if TYPE_CHECKING:
    from relattn.tasks.demo import TaskDemo

NAME = "cross_task_demo"
"""Name of the sweep, different from `cross_task`, which uses the genuine data sets."""

MOST_JOBS = 4
"""Maximum number of runs at once; each needs one or two gigabytes of memory."""


def run(demos: "Mapping[str, type[TaskDemo]]", *, root: Path, runs: Path, epochs: int | None = None) -> int:
    """Generate the data, run the sweep `conf/demo/cross_task.yaml`, and write its report.

    Args:
        demos: The tasks' demos, by the task names in the sweep.
        root: Folder of the generated data.
        runs: Parent of the sweep's folder and of the report.
        epochs: Number of epochs to use instead of the sweep's.

    Returns:
        The exit status: 0 if all runs have finished.
    """
    from rich.console import Console

    from relattn.cli import report, sweep
    from relattn.sweeps import grid, records

    console = Console()
    jobs = max(1, min(MOST_JOBS, available_cores()))
    with console.status(f"Making data in {root} and scoring trivial baselines ..."):
        scores = baselines(demos, root, jobs)
    file = runs / NAME / f"{NAME}.yaml"
    file.parent.mkdir(parents=True, exist_ok=True)
    content = with_given(catalogue.conf() / "demo" / "cross_task.yaml", {"best trivial baseline": scores})
    file.write_text(content, encoding="utf-8")
    changes = [f"data.root={root}", *([f"trainer.max_epochs={epochs}"] if epochs else [])]
    settings = [part for change in changes for part in ("--set", change)]
    status = sweep.main([str(file), "--runs", str(runs), "--jobs", str(jobs), *settings])
    found = records.read([file.parent])
    tables, _ = report.tables_of([grid.load(file)], found)
    console.print(f"report: {report.write(tables, found, runs / 'report')}", highlight=False, soft_wrap=True)
    return status


def baselines(demos: "Mapping[str, type[TaskDemo]]", root: Path, jobs: int) -> dict[str, dict[str, float]]:
    """Generate the data, and return the headline score that a network must beat on each task, as a row of the table."""
    with ProcessPoolExecutor(min(jobs, len(demos)), get_context("spawn")) as pool:
        found = pool.map(prepare, demos.values(), [root] * len(demos))
        return {task: {"score": score} for task, score in zip(demos, found, strict=True)}


def prepare(demo: "type[TaskDemo]", root: Path) -> float:
    """Generate a task's data and score its trivial baselines; return their best headline score."""
    warnings.simplefilter("ignore")  # warnings that the data are generated
    task = demo()
    task.generate(root)
    return max(task.headline(scores) for scores in task.baselines(root).values())


def with_given(file: Path, rows: Mapping[str, Any]) -> str:
    """The text of a sweep file with given rows of numbers added to its table."""
    text = file.read_text(encoding="utf-8")
    content = yaml.safe_load(text)
    content["table"]["given"] = rows
    comment = "".join(line for line in text.splitlines(keepends=True) if line.startswith("#"))
    return comment + yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
