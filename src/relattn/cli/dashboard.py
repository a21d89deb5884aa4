"""`relattn dashboard`: a workspace on Weights & Biases for what all tasks log, made to compare attention."""

import argparse
import json
import os
from dataclasses import asdict, dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from relattn.cli import catalogue
from relattn.errors import InputError, MissingFileError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from relattn.tasks.base import Task

ACCOUNT = """W&B needs an account to keep a workspace. Either

  wandb login                                   once, with the key from https://wandb.ai/authorize
  export WANDB_API_KEY=...                      the same for a process, on a cluster for example

and then `relattn dashboard --project {project}`. Runs that were kept offline are sent with `wandb sync FOLDER/wandb/*`.
Without an account, `relattn dashboard --dry_run` prints what would be made, and `relattn report` writes one HTML page
from the folders of runs."""

EXAMPLES = """examples:
  relattn dashboard --project relattn                    all runs of a project
  relattn dashboard --project relattn --group rga_table1  those of a sweep
  relattn dashboard --dry_run                            what would be made, as JSON
"""


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


def sections_of(tasks: "Iterable[type[Task]]") -> tuple[Section, ...]:
    """The workspace: panels of all tasks, of training and of cost, a section for each task, and pictures."""
    costs = (
        ("parameters", "parameters"),
        ("macs", "multiply-accumulates of an image"),
        ("seconds_per_step", "seconds a step"),
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
    return (*sections, Section("Pictures", (Panel("media", "pictures", ("test/pictures", "val/pictures")),)))


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
    parser.add_argument("--project", default=os.environ.get("WANDB_PROJECT", "relattn"))
    parser.add_argument("--entity", default=os.environ.get("WANDB_ENTITY"), help="the team; by default your own")
    parser.add_argument("--name", help="of the workspace; by default relattn, and the group")
    parser.add_argument("--group", help="show one group's runs: a sweep's name")
    parser.add_argument("--dry_run", "--dry-run", action="store_true", help="print what would be made, as JSON")
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> int:
    """Make the workspace and say where it is."""
    options = parse(arguments)
    name = options.name or " ".join(["relattn", *([options.group] if options.group else [])])
    if options.dry_run:
        sections = [asdict(section) for section in sections_of(tasks_of_recipes())]
        shown = {"name": name, "project": options.project, "group": options.group, "sections": sections}
        print(json.dumps(shown, indent=2))  # noqa: T201
        return 0
    check_account(options.project)
    if find_spec("wandb_workspaces") is None:
        raise MissingFileError("relattn dashboard needs W&B's package for workspaces: pip install wandb-workspaces.")
    made = workspace(options.entity or own_entity(), options.project, name, options.group)
    made.save()
    print(f"workspace: {made.url}")  # noqa: T201
    return 0


def check_account(project: str) -> None:
    """Refuse where W&B does not know who is at the keyboard, and say what to do.

    Raises:
        InputError: If there is no account, or W&B is switched off.
    """
    netrc = Path.home() / ".netrc"
    if "WANDB_API_KEY" not in os.environ and not (netrc.is_file() and "wandb" in netrc.read_text()):
        raise InputError(ACCOUNT.format(project=project))
    mode = os.environ.get("WANDB_MODE", "online")
    if mode != "online":
        raise InputError(f"W&B keeps workspaces on its server, and WANDB_MODE is {mode}: unset WANDB_MODE.")


def own_entity() -> str:
    """The team or user that W&B takes by default.

    Raises:
        InputError: If W&B does not know it.
    """
    import wandb

    entity = wandb.Api().default_entity
    if not entity:
        raise InputError("W&B does not say which entity is yours: give it with --entity.")
    return str(entity)


def workspace(entity: str, project: str, name: str, group: str | None) -> Any:
    """The workspace as W&B's package has it; groups by task, backbone and attention average over seeds."""
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
        for number, section in enumerate(sections_of(tasks_of_recipes()))
    ]
    return workspaces.Workspace(
        entity=entity,
        project=project,
        name=name,
        sections=sections,
        settings=workspaces.WorkspaceSettings(x_axis="epoch", group_by_prefix="first"),
        runset_settings=workspaces.RunsetSettings(
            groupby=[workspaces.Config(f"run.{name}") for name in ("task", "backbone", "attention")],
            filters=both(workspaces.Metric("Group") == group) if group else "",
        ),
    )
