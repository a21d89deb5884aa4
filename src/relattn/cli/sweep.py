"""`relattn sweep`: runs all of one or more sweep files, for example tables of the papers."""

import argparse
import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from relattn.cli import catalogue
from relattn.cli.options import own_path
from relattn.errors import InputError, MissingFileError, some_of, suggest

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rich.console import Console

    from relattn.sweeps.grid import Sweep
    from relattn.sweeps.plan import Planned, Resolve

ALL = "all"
"""Name that stands for all tables in `conf/sweep`."""

LAUNCHERS = {
    "local": ("jobs", "devices"),
    "ray": ("cpus_per_run", "gpus_per_run", "address"),
    "wandb": ("project", "entity"),
}
"""The options of each launcher."""

EXAMPLES = """examples:
  relattn sweep                                    list the available tables
  relattn sweep rga_table1 --dry_run               what would be run; every cell is checked
  relattn sweep rga_table1 --devices 0,1,2,3       four runs at once, each on its GPU
  relattn sweep rga_table1 rga_table2              both tables; runs that they share are run once
  relattn sweep all --dry_run                      every table
  relattn sweep stra_table3a --set seed_everything=0 --set trainer.max_epochs=2 --set data.root=data/generated
  relattn sweep rga_arxiv_table7 --launcher ray --gpus_per_run 1
  relattn sweep rga_table1 --launcher wandb        the same file as a sweep on W&B, with an agent here
"""


def parse(arguments: list[str]) -> argparse.Namespace:
    """Read the options."""
    parser = argparse.ArgumentParser(
        prog="relattn sweep",
        description="Run sweep files in W&B's format. Finished runs are skipped, interrupted ones resume.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "files", nargs="*", metavar="file", help="a file, the name of one in conf/sweep, or all; without it, their list"
    )
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="overrides")
    parser.add_argument(
        "--runs", type=own_path, default=Path("runs/sweeps"), help="where the folder of the sweep is created"
    )
    parser.add_argument("--dry_run", "--dry-run", action="store_true", help="list the runs and their commands")
    parser.add_argument("--launcher", choices=["local", "ray", "wandb"], default="local")
    parser.add_argument("--jobs", type=int, help="local: runs at once; by default one, or one for each device")
    parser.add_argument("--devices", help="local: GPUs such as 0,1, of which each run sees one")
    parser.add_argument("--cpus_per_run", type=float, default=1, help="ray: cores of a run")
    parser.add_argument("--gpus_per_run", type=float, default=0, help="ray: GPUs of a run")
    parser.add_argument("--address", help="ray: the cluster; by default RAY_ADDRESS, or a new one on this machine")
    parser.add_argument("--project", help="wandb: the project; by default the file's, WANDB_PROJECT, or relattn")
    parser.add_argument("--entity", help="wandb: the team; by default the file's")
    parser.add_argument("--run", nargs=argparse.REMAINDER, help="start the one run of these values: for W&B's agents")
    options = parser.parse_args(arguments)
    if options.jobs is not None and options.jobs < 1:
        raise InputError(f"--jobs is {options.jobs}, expected at least 1.")
    for launcher, names in LAUNCHERS.items():
        given = [name for name in names if getattr(options, name) != parser.get_default(name)]
        if given and launcher != options.launcher:
            raise InputError(f"--{given[0]} is for --launcher {launcher}, and not for {options.launcher}.")
    for alone, why in ((options.run is not None, "--run"), (options.launcher == "wandb", "--launcher wandb")):
        if alone and (len(options.files) != 1 or options.files == [ALL]):
            raise InputError(f"{why} takes one sweep file, and not {len(options.files)}.")
    return options


def find(name: str) -> Path:
    """The sweep file with a name or path.

    Raises:
        InputError: If it does not exist; the message has the closest names.
    """
    path = catalogue.conf() / "sweep" / f"{name}.yaml"
    if path.is_file():
        return path
    if Path(name).is_file():
        return Path(name)
    if name.endswith((".yaml", ".yml")):
        raise MissingFileError(f"{name}: there is no such sweep file.")
    raise InputError(f"There is no sweep {name!r}. {suggest(name, catalogue.recipes('sweep'))}")


def main(arguments: list[str]) -> int:
    """Run sweeps; the exit status is 1 if a run failed or was left out."""
    options = parse(arguments)
    if not options.files:
        width = max(map(len, catalogue.recipes("sweep")), default=0)
        for name, summary in catalogue.recipes("sweep").items():
            print(f"{name:<{width}}  {summary}")  # noqa: T201
        return 0
    from relattn.sweeps import grid

    names = list(catalogue.recipes("sweep")) if ALL in options.files else list(dict.fromkeys(options.files))
    overrides = grid.parse_overrides(options.overrides)
    sweeps = [grid.load(find(name), overrides) for name in names]
    if len(sweeps) > 1:
        sweeps = [with_applicable(sweep) for sweep in sweeps]
    if repeated := sorted({one.name for one in sweeps if [other.name for other in sweeps].count(one.name) > 1}):
        raise InputError(f"Two of the sweep files are named {repeated[0]!r}: their runs would share a folder.")
    if options.run is not None:
        return run_one(sweeps[0], options.run, options.runs / sweeps[0].name)
    if options.launcher == "wandb" and not options.dry_run:
        from relattn.sweeps import wandb_agent

        passed = ["--runs", str(options.runs.resolve())]
        passed += [part for entry in options.overrides for part in ("--set", entry)]
        return wandb_agent.launch(sweeps[0], passed, project=options.project, entity=options.entity)
    for sweep in sweeps:
        if sweep.content["method"] != "grid":
            why = "chooses the values on W&B, so no run can be listed before" if options.dry_run else "needs W&B"
            raise InputError(f"{sweep.path}: method {sweep.content['method']} {why}: --launcher wandb.")
    plans = {sweep.name: (sweep, made) for sweep, made in zip(sweeps, planned(sweeps, options.runs), strict=True)}
    return dry_run(plans) if options.dry_run else launch(plans, options)


def with_applicable(sweep: "Sweep") -> "Sweep":
    """Drop overrides that only apply to `relattn fit` from a sweep with another command, and print which."""
    from dataclasses import replace

    command = [str(part) for part in sweep.content.get("command", [])][:2]
    if command in ([], ["relattn", "fit"]):
        return sweep
    kept = {name: value for name, value in sweep.overrides.items() if name in sweep.content["parameters"]}
    if dropped := [f"{name}={value}" for name, value in sweep.overrides.items() if name not in kept]:
        print(f"{sweep.name} runs {' '.join(command)}, without --set {', '.join(dropped)}")  # noqa: T201
    return replace(sweep, overrides=kept)


def planned(sweeps: "Sequence[Sweep]", runs: Path) -> "list[list[Planned]]":
    """The runs of each sweep; every cell is checked, and runs shared between sweeps have a single folder.

    Raises:
        InputError: If a cell cannot run.
    """
    from rich.console import Console

    from relattn.sweeps import plan

    with Console(stderr=True).status("Checking every cell ..."):
        plans = [plan.plan(sweep, runs / sweep.name, resolver()) for sweep in sweeps]
    shared = iter(plan.share([run for runs_of_one in plans for run in runs_of_one], runs))
    return [[next(shared) for _ in runs_of_one] for runs_of_one in plans]


def resolver(*, with_data: bool = True) -> "Resolve":
    """The function that resolves command lines of a sweep; Lightning is imported only if they train."""

    def resolve(lines: "Sequence[list[str]]") -> "list[Any]":
        from relattn.sweeps.plan import Resolution

        if all(line[:1] != ["fit"] for line in lines):
            return [Resolution({"command": list(line)}) for line in lines]
        from relattn.cli.lightning.commands import quieten

        quieten()
        from relattn.cli.lightning.resolve import resolve as resolve_fits

        return resolve_fits(lines, with_data=with_data)

    return resolve


def dry_run(plans: "dict[str, tuple[Sweep, list[Planned]]]") -> int:
    """List the runs: their states, their commands, and the tests after them."""
    everything = [run for _, runs in plans.values() for run in runs]
    seen: set[Path] = set()
    for run in everything:
        shared = f"  the run of {run.folder}" if run.folder in seen or run.folder.name != run.name else ""
        print(f"{run.name}  [{run.state}]{shared}\n  {shlex.join(run.command)}")  # noqa: T201
        for test in run.tests:
            print(f"  {shlex.join(test.command)}")  # noqa: T201
        if run.missing:
            print(f"  cannot run here: {run.missing}")  # noqa: T201
        seen.add(run.folder)
    places = ", ".join(sorted({str(run.folder.parent) for run in everything}))
    distinct = f", {len(seen)} of them distinct" if len(seen) < len(everything) else ""
    print(f"{len(everything)} runs{distinct}, in {places}")  # noqa: T201
    return 0


def launch(plans: "dict[str, tuple[Sweep, list[Planned]]]", options: argparse.Namespace) -> int:
    """Run what is not finished, and report the results."""
    from rich.console import Console

    from relattn.sweeps import ledger
    from relattn.sweeps.live import Board
    from relattn.sweeps.local import Local
    from relattn.sweeps.plan import unique
    from relattn.sweeps.ray_cluster import Ray

    console = Console()
    devices = tuple(part for part in (options.devices or "").split(",") if part)
    jobs = options.jobs or len(devices) or 1
    launcher = (
        Ray(options.cpus_per_run, options.gpus_per_run, options.address)
        if options.launcher == "ray"
        else Local(jobs, devices)
    )
    everything = unique(run for _, runs in plans.values() for run in runs)
    todo = [run for run in everything if run.state != "finished"]
    say_missing(todo, console)
    todo = [run for run in todo if not run.missing]
    if not todo and any(run.state != "finished" for run in everything):
        raise InputError("No run is left: the data of all of them are missing.")
    use_project(sweep for sweep, _ in plans.values())
    for name, (sweep, runs) in plans.items():
        keep_file(sweep, options.runs / name)
        ledger.write(options.runs / name, name, runs)
    if finished := sum(run.state == "finished" for run in everything):
        console.print(f"{finished} of {len(everything)} runs have finished before.", highlight=False)
    shown = [run for run in everything if not run.missing]
    board = Board(next(iter(plans)) if len(plans) == 1 else f"{len(plans)} sweeps", shown, console, jobs)
    try:
        with board:
            launcher.launch(todo, board.watch)
    except KeyboardInterrupt:
        console.print(f"Stopped; the same command resumes it: {options.runs}", highlight=False, soft_wrap=True)
        raise
    return outcome(plans, everything, options.runs, console)


def use_project(sweeps: "Iterable[Sweep]") -> None:
    """Let runs that log to W&B use the project and the team of their sweep's file, unless the environment has its own.

    Raises:
        InputError: If the files name different ones.
    """
    contents = [sweep.content for sweep in sweeps]
    for key, variable in (("project", "WANDB_PROJECT"), ("entity", "WANDB_ENTITY")):
        named = dict.fromkeys(str(content[key]) for content in contents if content.get(key))
        if len(named) > 1 and variable not in os.environ:
            raise InputError(f"The sweep files have different {key} for W&B: {some_of(named)}. Run them one at a time.")
        if named:
            os.environ.setdefault(variable, next(iter(named)))


def say_missing(runs: "Sequence[Planned]", console: "Console") -> None:
    """Report which runs are left out because their data are missing."""
    reasons: dict[str, list[str]] = {}
    for run in runs:
        if run.missing:
            reasons.setdefault(run.missing, []).append(run.name)
    for reason, names in reasons.items():
        count = "1 run is" if len(names) == 1 else f"{len(names)} runs are"
        sentence = f"{count} left out ({names[0]}{', ...' if len(names) > 1 else ''}): {reason}"
        console.print(sentence, style="yellow", highlight=False, markup=False)


def keep_file(sweep: "Sweep", place: Path) -> None:
    """Store the sweep's file next to its runs, without keys and passwords, for `relattn report`."""
    from relattn.publish import publish_text
    from relattn.runs.secrets import hidden_in_yaml

    publish_text(place / f"{sweep.name}.yaml", hidden_in_yaml(sweep.path.read_text(encoding="utf-8")))


def outcome(
    plans: "dict[str, tuple[Sweep, list[Planned]]]", everything: "Sequence[Planned]", place: Path, console: "Console"
) -> int:
    """Report failures, and print the current tables."""
    from rich.markup import escape

    from relattn.cli.report import show
    from relattn.runs import run_folder

    states = {run.folder: run.state for run in everything}
    for run in everything:
        if states[run.folder] == "failed":
            record = run_folder.read_json(run.folder / "failed.json") or {}
            console.rule(f"[red]failed[/]: {run.name}, {record.get('why')}")
            console.print(escape("\n".join(record.get("log", []))), highlight=False, soft_wrap=True)
    for name, (sweep, _) in plans.items():
        if "table" in sweep.content:
            show(sweep, [place / name], console)
    finished = list(states.values()).count("finished")
    console.print(f"{finished} of {len(everything)} runs finished: {place}", highlight=False, soft_wrap=True)
    return 0 if finished == len(everything) else 1


def run_one(sweep: "Sweep", given: list[str], place: Path) -> int:
    """Start the run for some parameter values, as given by a W&B agent.

    Raises:
        InputError: If a parameter is missing, or has a value that the file does not list.
    """
    from relattn.sweeps import ledger, plan
    from relattn.sweeps.local import Local

    point = point_of(sweep, given)
    (run,) = plan.plan_points(sweep, [point], place, resolver())
    (run,) = plan.share([run], place.parent)
    fits = run.command[:2] == ["relattn", "fit"]
    if "WANDB_SWEEP_ID" in os.environ and "logger" not in run.options and fits:
        run.command.append("--logger=wandb")
    keep_file(sweep, place)
    ledger.write(place, sweep.name, [run])
    if run.state != "finished":
        Local().launch([run], lambda seen: None)
    return 0 if run.state == "finished" else 1


def point_of(sweep: "Sweep", given: list[str]) -> dict[str, Any]:
    """The values of a sweep's parameters from `--name=value`; parameters with a distribution accept any value.

    Raises:
        InputError: If a parameter is missing, or has a value that the file does not list.
    """
    import yaml

    from relattn.sweeps.grid import text

    written = dict(entry.removeprefix("--").split("=", 1) for entry in given if "=" in entry)
    point = {}
    for name, values in sweep.parameters.items():
        chosen = [value for value in values if written.get(name) in (text(value), str(value))]
        if not values and name in written:
            chosen = [yaml.safe_load(written[name])]
        if not chosen:
            known = suggest(str(written.get(name)), map(str, values))
            raise InputError(f"--run: {name} is {written.get(name)!r}. {known}")
        point[name] = chosen[0]
    return point
