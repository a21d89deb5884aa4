"""`relattn dashboard`: a workspace on Weights & Biases for the metrics of all tasks, made for comparing attention."""

import argparse
import json
import os
from dataclasses import asdict, dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from relattn.cli import catalogue
from relattn.errors import InputError, MissingFileError
from relattn.runs.wandb_account import has_account

if TYPE_CHECKING:
    from collections.abc import Sequence

    from relattn.sweeps.grid import Sweep
    from relattn.tasks.base import Task

ACCOUNT = """W&B needs an account to keep a workspace. Either

  wandb login                                   once, with the key from https://wandb.ai/authorize
  export WANDB_API_KEY=...                      the same for a process, on a cluster for example

and then `relattn dashboard --project {project}`. Runs that were kept offline are sent with `wandb sync FOLDER/wandb/*`.
Without an account, `relattn dashboard --dry_run` prints what would be made, and `relattn report` writes one HTML page
from the folders of runs."""

EXAMPLES = """examples:
  relattn dashboard --project relattn             all runs of a project; seeds of one experiment are averaged
  relattn dashboard --project relattn rga_table1  those of a sweep, by the rows and columns of its table
  relattn dashboard rga_table1 --dry_run          what would be made, as JSON
"""

SAME_EXPERIMENT = ("identity", "fingerprint")
"""Entries of a run's record that are the same for seeds of one experiment: all decisive options, and the data."""

EXPERIMENT = ("task", "data", "backbone", "label", *SAME_EXPERIMENT)
"""`SAME_EXPERIMENT`, preceded by readable entries."""


@dataclass(frozen=True)
class Panel:
    """A panel: `line` and `bar` charts of metrics, a `scatter` chart of the second against the first, `media`."""

    kind: str
    title: str
    metrics: tuple[str, ...]


@dataclass(frozen=True)
class Section:
    """A heading with its panels."""

    name: str
    panels: tuple[Panel, ...]


def curves(*metrics: str) -> tuple[Panel, ...]:
    """A line chart for each metric."""
    return tuple(Panel("line", metric, (metric,)) for metric in metrics)


def sections_of(tasks: "Sequence[type[Task]]") -> tuple[Section, ...]:
    """Panels of all tasks, of training and of costs: a section per task, pictures and figures."""
    from relattn.inference.figures import GENERAL

    costs = (
        ("parameters", "parameters"),
        ("macs", "multiply-accumulates per image"),
        ("seconds_per_step", "seconds per step"),
    )
    names = list(dict.fromkeys(f"train/{name}" for task in tasks for name in task.metrics_of_training))
    sections = [
        Section("All tasks", (Panel("bar", "test score, higher is better", ("test/score",)), *curves("val/score"))),
        Section("Training", curves(*names, "lr")),
        Section(
            "Cost",
            tuple(Panel("scatter", f"test score against {label}", (metric, "test/score")) for metric, label in costs),
        ),
    ]
    for task in tasks:
        scores = [score.name for score in task.scores()]
        bars = Panel("bar", "test", tuple(f"test/{name}" for name in scores))
        sections.append(Section(task.name, (*curves(*(f"val/{name}" for name in scores)), bars)))
    drawings = dict.fromkeys((*GENERAL, *(name for task in tasks for name in task.figures())))
    pictures = Panel("media", "pictures", ("test/pictures", "val/pictures"))
    figures = Panel("media", "figures", tuple(f"figures/{name}" for name in drawings))
    return (*sections, Section("Pictures", (pictures, figures)))


@dataclass(frozen=True)
class Dashboard:
    """A workspace: the runs that it shows, how it averages them, and its panels.

    Attributes:
        group: The group of runs on W&B, which is a sweep's name; None for all runs.
        group_by: Entries of a run's record; runs with the same values are averaged.
        sections: Its panels.
    """

    group: str | None
    group_by: tuple[str, ...]
    sections: tuple[Section, ...]


def of_project() -> Dashboard:
    """The workspace of all runs."""
    return Dashboard(None, EXPERIMENT, sections_of(tasks_of_recipes()))


def of_sweep(sweep: "Sweep") -> Dashboard:
    """The workspace of a sweep: a line for each cell of its table, averaged only over seeds."""
    from relattn.sweeps.layout import layout_of, scores_of

    sections = sections_of(tasks_of_recipes())
    if "table" not in sweep.content:
        return Dashboard(sweep.name, ("row", *SAME_EXPERIMENT), sections)
    layout = layout_of(sweep)
    bars = [
        Panel("bar", f"{score.label}{', lower is better' if score.lower else ''}", (score.metric,))
        for score in scores_of(layout)
        if score.metric is not None and score.test is None
    ]
    table = Section(str(layout.get("title", sweep.name)), (*bars, *curves("val/score")))
    return Dashboard(sweep.name, ("column", "row", *SAME_EXPERIMENT), (table, *sections[1:]))


def tasks_of_recipes() -> "list[type[Task]]":
    """The classes of the tasks that have a recipe."""
    from relattn.cli.lightning.commands import quieten
    from relattn.cli.lightning.recipes import imported, task_recipe

    quieten()
    paths = dict.fromkeys(task_recipe(name)["model"]["class_path"] for name in catalogue.recipes("task"))
    classes = {task.name: task for path in paths if (task := imported(path)) is not None}  # type: ignore[attr-defined]
    return list(classes.values())


def parse(arguments: list[str]) -> argparse.Namespace:
    """Read the options."""
    parser = argparse.ArgumentParser(
        prog="relattn dashboard",
        description="Make a workspace on W&B: headline scores, training, cost, each task's metrics, pictures.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--project", help="by default WANDB_PROJECT, the sweep file's, or relattn")
    parser.add_argument("--entity", help="the team; by default WANDB_ENTITY, the sweep file's, or your own")
    parser.add_argument("--name", help="name of the workspace; by default relattn and the sweep's name")
    parser.add_argument("sweep", nargs="?", help="a sweep file, or the name of one in conf/sweep: its runs alone")
    parser.add_argument("--dry_run", "--dry-run", action="store_true", help="print what would be made, as JSON")
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> int:
    """Create the workspace and print its address."""
    from relattn.cli.sweep import find
    from relattn.sweeps import grid

    options = parse(arguments)
    sweep = grid.load(find(options.sweep)) if options.sweep else None
    content = sweep.content if sweep else {}
    options.project = options.project or os.environ.get("WANDB_PROJECT") or content.get("project") or "relattn"
    options.entity = options.entity or os.environ.get("WANDB_ENTITY") or content.get("entity")
    name = options.name or " ".join(["relattn", *([sweep.name] if sweep else [])])
    if not options.dry_run:
        check_account(options.project)
        if find_spec("wandb_workspaces") is None:
            raise MissingFileError(
                "relattn dashboard needs the package wandb-workspaces: in the clone of the repository, "
                "pip install '.[dashboard]'."
            )
    dashboard = of_sweep(sweep) if sweep else of_project()
    if options.dry_run:
        print(json.dumps({"name": name, "project": options.project, **asdict(dashboard)}, indent=2))  # noqa: T201
        return 0
    made = workspace(options.entity or own_entity(), options.project, name, dashboard)
    made.save()
    print(f"workspace: {made.url}")  # noqa: T201
    return 0


def check_account(project: str) -> None:
    """Raise an error if no W&B account is configured, and say what to do.

    Raises:
        InputError: If there is no account, or W&B is disabled.
    """
    if not has_account():
        raise InputError(ACCOUNT.format(project=project))
    mode = os.environ.get("WANDB_MODE", "online")
    if mode != "online":
        raise InputError(f"W&B keeps workspaces on its server, and WANDB_MODE is {mode}: unset WANDB_MODE.")


def own_entity() -> str:
    """The team or user that W&B uses by default.

    Raises:
        InputError: If W&B has none.
    """
    import wandb

    entity = wandb.Api().default_entity
    if not entity:
        raise InputError("W&B does not say which entity is yours: give it with --entity.")
    return str(entity)


def workspace(entity: str, project: str, name: str, dashboard: Dashboard) -> Any:
    """The workspace as an object of W&B's package."""
    reports: Any = import_module("wandb_workspaces.reports.v2")
    workspaces: Any = import_module("wandb_workspaces.workspaces")
    both: Any = import_module("wandb_workspaces.expr").And

    def panel(content: Panel) -> Any:
        metrics = list(content.metrics)
        if content.kind == "line":
            return reports.LinePlot(title=content.title, x="epoch", y=metrics)
        if content.kind == "bar":
            return reports.BarPlot(title=content.title, metrics=metrics)
        if content.kind == "scatter":
            across, up = (reports.SummaryMetric(metric) for metric in metrics)
            return reports.ScatterPlot(title=content.title, x=across, y=up)
        return reports.MediaBrowser(title=content.title, media_keys=metrics)

    sections = [
        workspaces.Section(section.name, panels=[panel(content) for content in section.panels], is_open=number < 3)
        for number, section in enumerate(dashboard.sections)
    ]
    return workspaces.Workspace(
        entity=entity,
        project=project,
        name=name,
        sections=sections,
        settings=workspaces.WorkspaceSettings(x_axis="epoch", group_by_prefix="first"),
        runset_settings=workspaces.RunsetSettings(
            groupby=[workspaces.Config(f"run.{name}") for name in dashboard.group_by],
            filters=both(workspaces.Metric("Group") == dashboard.group) if dashboard.group else "",
        ),
    )
