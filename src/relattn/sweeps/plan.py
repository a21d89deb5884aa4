"""The runs of a sweep: their options, their folders, and in what they depart from the sweep's file."""

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from relattn.errors import InputError, some_of
from relattn.runs import run_folder
from relattn.runs.identity import INCIDENTAL, SEED, Decisive, changes, identity, is_incidental
from relattn.runs.secrets import hidden
from relattn.sweeps.grid import PLACES, Sweep, listed, text
from relattn.sweeps.layout import axis, key_of, label_of, layout_of, scores_of


@dataclass(frozen=True)
class Resolution:
    """The meaning of a command line to the command.

    Attributes:
        options: The options that decide the outcome, without the seed.
        circumstances: Options that distinguish runs of one experiment: where the data are, their random order, which
            part of them is scored, and additional tests.
        problem: Why it cannot run at all; empty if it can.
        missing: Why its data cannot be read on this machine; empty if they can.
    """

    options: Decisive
    circumstances: dict[str, str] = field(default_factory=dict)
    problem: str = ""
    missing: str = ""


Resolve = Callable[[Sequence[list[str]]], list[Resolution]]
"""Resolves command lines of `relattn`, given without the word `relattn`."""


@dataclass(frozen=True)
class PlannedTest:
    """An additional test of a run's network after the run: the name of its folder in the run's, and its command."""

    name: str
    command: list[str]


@dataclass(frozen=True)
class Planned:
    """One run of a sweep.

    Attributes:
        sweep: Name of the sweep.
        name: Name of the run: the parameters that vary in the sweep, the seed, and the beginning of its key.
        folder: Its folder, in another sweep's folder if that contains the same run.
        parameters: The values of the sweep's parameters.
        options: The command-line options that they stand for, including those of `--set`.
        command: The command to run.
        cell: Identity of the cell in the file, without `--set`.
        cell_options: The decisive options that `cell` is computed from, without secrets.
        key: Shared by runs that are the same except for their seed: decisive options and circumstances.
        row: Key of its row in the table; empty without a table.
        column: Key of its column.
        labels: Their headings, by `row` and `column`.
        departures: The decisive options in which it differs from the cell, with both values.
        tests: Additional tests after it.
        missing: Why its data cannot be read on this machine.
    """

    sweep: str
    name: str
    folder: Path
    parameters: dict[str, Any]
    options: dict[str, Any]
    command: list[str]
    cell: str = ""
    cell_options: Decisive = field(default_factory=dict)
    key: str = ""
    row: str = ""
    column: str = ""
    labels: dict[str, str] = field(default_factory=dict)
    departures: dict[str, list[Any]] = field(default_factory=dict)
    tests: tuple[PlannedTest, ...] = ()
    missing: str = ""

    @property
    def seed(self) -> Any:
        """The seed; None for a sweep without seeds."""
        return self.parameters.get(SEED)

    @property
    def state(self) -> run_folder.State:
        """The state of the run; if its tests have not all finished, it counts as failed or interrupted."""
        state = run_folder.state_of(self.folder)
        if state != "finished" or all(run_folder.has_result(self.folder / test.name) for test in self.tests):
            return state
        if run_folder.is_locked(self.folder):
            return "running"
        return "failed" if (self.folder / "failed.json").is_file() else "interrupted"

    def entry(self) -> dict[str, Any]:
        """The part of the plan that the run's folder keeps, in `sweep.json`."""
        names = ("sweep", "name", "parameters", "options", "command", "cell", "key", "row", "column", "labels")
        return {**{name: getattr(self, name) for name in names}, "seed": self.seed, "departures": self.departures}


def plan(sweep: Sweep, place: Path, resolve: Resolve) -> list[Planned]:
    """All runs of a sweep with method grid.

    Args:
        sweep: The sweep.
        place: Folder of the sweep's runs.
        resolve: Resolves command lines of `relattn fit`.

    Raises:
        InputError: If a cell cannot run, with all problems, or its table names something the sweep does not have.
    """
    return plan_points(sweep, sweep.grid(), place, resolve)


def plan_points(sweep: Sweep, points: Sequence[dict[str, Any]], place: Path, resolve: Resolve) -> list[Planned]:
    """The runs of some combinations of parameters; see `plan`."""
    layout = layout_of(sweep) if "table" in sweep.content else {}
    rows, columns = axis(layout, "rows"), axis(layout, "columns")
    asked = [without_seed(sweep, sweep.options_of(point)) for point in points]
    as_filed = [without_seed(sweep, sweep.filed_options_of(point)) for point in points]
    resolved = resolutions([*asked, *as_filed], resolve)
    varied = varied_incidentals(sweep)
    problems: dict[str, list[str]] = {}
    runs = []
    for point, command, filed in zip(points, asked, as_filed, strict=True):
        run, cell = resolved[command], resolved[filed]
        if run.problem:
            problems.setdefault(run.problem, []).append("-".join(name_of(sweep, point, "")[1]))
            continue
        options = sweep.options_of(point)
        compared = [{name: options.get(name) for name in varied}] if varied else []
        distinguishing = json.dumps([run.options, run.circumstances, *compared], sort_keys=True, default=str)
        key = hashlib.sha256(distinguishing.encode()).hexdigest()
        name, parts = name_of(sweep, point, key[:6])
        row, column = key_of(rows, point), key_of(columns, point)
        labels = {"row": label_of(layout, row), "column": label_of(layout, column)}
        if not layout:
            labels["row"] = ", ".join(parts)
        departures = changes(cell.options, run.options) if not cell.problem else {}
        cell_options = hidden(cell.options)  # as the plan's file has them
        planned = Planned(
            sweep.name,
            name,
            place / name,
            point,
            options,
            sweep.command(options),
            identity(cell_options),
            cell_options,
            key[:12],
            row,
            column,
            {name: label for name, label in labels.items() if label},
            {name: list(values) for name, values in departures.items()},
            missing=run.missing,
        )
        runs.append(replace(planned, tests=tests_of(layout, planned.folder)) if layout else planned)
    if problems:
        raise InputError(f"{sweep.path}: {problems_text(problems, len(points))}")
    return runs


def problems_text(problems: dict[str, list[str]], total: int) -> str:
    """A sentence on the cells that cannot run, and their problems."""
    lines = []
    for problem, names in problems.items():
        lines.append(problem if len(names) == total else f"{some_of(dict.fromkeys(names), 4)}: {problem}")
    count = sum(map(len, problems.values()))
    return lines[0] if len(lines) == 1 else "\n  ".join([f"{count} of {total} runs cannot be run:", *lines])


def varying(sweep: Sweep) -> set[str]:
    """The parameters that vary in a sweep's file or by `--set`; those of a partial sweep are those of the whole one."""
    found = {name for name, values in sweep.parameters.items() if len(values) > 1}
    return found | {name for name, entry in sweep.content["parameters"].items() if len(listed(entry)) != 1}


def varied_incidentals(sweep: Sweep) -> list[str]:
    """The options that a sweep varies although they change no number, such as `trainer.devices`: it compares them."""
    parameters = varying(sweep)
    named = (options or {} for name in parameters for options in sweep.named_options.get(name, {}).values())
    names = parameters.union(*named)
    incidental = {name for name in names if name.partition(".")[0] in INCIDENTAL and is_incidental(name)}
    return sorted(incidental - PLACES)


def resolutions(commands: Iterable[tuple[str, ...]], resolve: Resolve) -> dict[tuple[str, ...], Resolution]:
    """Resolve each distinct command."""
    found: dict[tuple[str, ...], Resolution] = {}
    fits: list[tuple[str, ...]] = []
    for command in commands:
        if command in found or command in fits:
            continue
        if command[:1] == ("relattn",):
            fits.append(command)
        else:
            found[command] = Resolution({"command": list(command)})
    if fits:
        found |= dict(zip(fits, resolve([list(command[1:]) for command in fits]), strict=True))
    return found


def without_seed(sweep: Sweep, options: dict[str, Any]) -> tuple[str, ...]:
    """The command of a sweep for some options, without the seed."""
    return tuple(sweep.command({name: value for name, value in options.items() if name != SEED}))


def name_of(sweep: Sweep, point: dict[str, Any], key: str) -> tuple[str, list[str]]:
    """The name of a run's folder, and the parts that vary; a partial sweep uses the same folders as the whole one."""
    varies = varying(sweep)
    parts = [shown(name, point[name]) for name in point if name in varies and name != SEED]
    seed = [f"s{point[SEED]}"] if SEED in point else []
    return "-".join([*map(slug, parts or [sweep.name]), *seed, *([key] if key else [])]), parts


def shown(name: str, value: Any) -> str:
    """A parameter's value; a value that is not a word follows its name."""
    return text(value) if isinstance(value, str) else f"{name.rpartition('.')[2]} {text(value)}"


def slug(value: str) -> str:
    """A text as part of a folder's name."""
    return re.sub(r"[^a-z0-9_.]+", "_", value.lower()).strip("_") or "empty"


def tests_of(layout: dict[str, Any], folder: Path) -> tuple[PlannedTest, ...]:
    """The tests that a table's scores need in addition to the run's own."""
    tests = {}
    for score in scores_of(layout):
        if score.test:
            options = [f"--{name}={text(value)}" for name, value in score.test.items()]
            tests[score.folder] = PlannedTest(score.folder, ["relattn", "test", f"--ckpt_path={folder}", *options])
    return tuple(tests.values())


def share(runs: Sequence[Planned], place: Path) -> list[Planned]:
    """Give runs that are planned twice, or exist in another sweep's folder, a single folder.

    Args:
        runs: Runs of one or more sweeps.
        place: Folder of all sweeps.
    """
    known: dict[tuple[str, str], Path] = {}
    for file in sorted(place.glob("*/*/sweep.json")):
        content = run_folder.read_json(file) or {}
        if content.get("key") and run_folder.state_of(file.parent) != "failed":
            known.setdefault((str(content["key"]), str(content.get("seed"))), file.parent)
    planned = []
    for run in runs:
        pair = run.key, str(run.seed)
        folder = run.folder if run.folder.is_dir() else known.setdefault(pair, run.folder)
        known.setdefault(pair, folder)
        tests = [replace(test, command=moved(test.command, folder)) for test in run.tests]
        planned.append(replace(run, folder=folder, tests=tuple(tests)))
    return planned


def moved(command: list[str], folder: Path) -> list[str]:
    """The command of a run's test, for the run in another folder."""
    return [f"--ckpt_path={folder}" if part.startswith("--ckpt_path=") else part for part in command]


def unique(runs: Iterable[Planned]) -> list[Planned]:
    """The runs, each folder once, with all tests that any sweep needs."""
    found: dict[Path, Planned] = {}
    for run in runs:
        if (before := found.get(run.folder)) is None:
            found[run.folder] = run
        else:
            tests = {test.name: test for test in (*before.tests, *run.tests)}
            found[run.folder] = replace(before, tests=tuple(tests.values()))
    return list(found.values())
