"""`relattn sweep`: run all of a sweep file, a table of the papers for example."""

import argparse
import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from relattn.cli import catalogue
from relattn.errors import InputError, MissingFileError, suggest

if TYPE_CHECKING:
    from rich.console import Console

    from relattn.sweeps.grid import Planned, Sweep

EXAMPLES = """examples:
  relattn sweep                                    the tables that there are
  relattn sweep rga_table1 --dry_run               what would be run
  relattn sweep rga_table1 --devices 0,1,2,3       four runs at once, each on its GPU
  relattn sweep stra_table3a --set seed_everything=0 --set trainer.max_epochs=2 --set data.root=data/generated
  relattn sweep rga_arxiv_table7 --launcher ray --gpus_per_run 1
  relattn sweep rga_table1 --launcher wandb        the same file as a sweep on W&B, with an agent here
"""


def parse(arguments: list[str]) -> argparse.Namespace:
    """Read the options."""
    parser = argparse.ArgumentParser(
        prog="relattn sweep",
        description="Run a W&B sweep file of method grid. Runs that have finished are skipped, interrupted ones go on.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", nargs="?", help="a file, or the name of one in conf/sweep; without it, their list")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="overrides")
    parser.add_argument("--runs", type=Path, default=Path("runs/sweeps"), help="a folder of runs goes there")
    parser.add_argument("--dry_run", "--dry-run", action="store_true", help="list the runs and their commands")
    parser.add_argument("--launcher", choices=["local", "ray", "wandb"], default="local")
    parser.add_argument("--jobs", type=int, help="local: runs at once; by default one, or one for each device")
    parser.add_argument("--devices", help="local: GPUs such as 0,1, of which each run sees one")
    parser.add_argument("--cpus_per_run", type=float, default=1, help="ray: cores of a run")
    parser.add_argument("--gpus_per_run", type=float, default=0, help="ray: GPUs of a run")
    parser.add_argument("--address", help="ray: the cluster; by default RAY_ADDRESS, or a new one on this machine")
    parser.add_argument("--project", default="relattn", help="wandb: the project")
    parser.add_argument("--entity", help="wandb: the team")
    parser.add_argument("--run", nargs=argparse.REMAINDER, help="start the one run of these values: for W&B's agents")
    options = parser.parse_args(arguments)
    if options.jobs is not None and options.jobs < 1:
        raise InputError(f"--jobs is {options.jobs}, expected at least 1.")
    return options


def find(name: str) -> Path:
    """The sweep file of a name or path.

    Raises:
        InputError: If there is none, with the closest names.
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
    """Run a sweep; the exit status is 1 if a run has failed."""
    options = parse(arguments)
    if options.file is None:
        width = max(map(len, catalogue.recipes("sweep")), default=0)
        for name, summary in catalogue.recipes("sweep").items():
            print(f"{name:<{width}}  {summary}")  # noqa: T201
        return 0
    from relattn.sweeps import grid

    sweep = grid.load(find(options.file), grid.parse_overrides(options.overrides))
    place = options.runs / sweep.name
    if options.run is not None:
        return run_one(sweep, options.run, place)
    plan = sweep.plan(catalogue.conf())
    if options.dry_run:
        return dry_run(plan, place)
    if options.launcher == "wandb":
        from relattn.sweeps import wandb_agent

        passed = ["--runs", str(options.runs.resolve())]
        passed += [part for entry in options.overrides for part in ("--set", entry)]
        return wandb_agent.launch(sweep, passed, project=options.project, entity=options.entity)
    return launch(sweep, plan, place, options)


def keep_file(sweep: "Sweep", place: Path) -> None:
    """Keep the sweep's file beside its runs, for `relattn report`."""
    place.mkdir(parents=True, exist_ok=True)
    (place / f"{sweep.name}.yaml").write_text(sweep.path.read_text())


def dry_run(plan: "list[Planned]", place: Path) -> int:
    """List the runs: what became of them, and their commands."""
    from relattn.runs import run_folder

    for planned in plan:
        state = run_folder.state_of(place / planned.name)
        print(f"{planned.name}  [{state}]\n  {shlex.join(planned.command)}")  # noqa: T201
    print(f"{len(plan)} runs, in {place}")  # noqa: T201
    return 0


def launch(sweep: "Sweep", plan: "list[Planned]", place: Path, options: argparse.Namespace) -> int:
    """Run what is not finished, and say what came out."""
    from rich.console import Console

    from relattn.runs import run_folder
    from relattn.sweeps.live import Board
    from relattn.sweeps.local import Local
    from relattn.sweeps.ray_cluster import Ray

    console = Console()
    devices = tuple(part for part in (options.devices or "").split(",") if part)
    jobs = options.jobs or len(devices) or 1
    launcher = (
        Ray(options.cpus_per_run, options.gpus_per_run, options.address)
        if options.launcher == "ray"
        else Local(jobs, devices)
    )
    keep_file(sweep, place)
    todo = [planned for planned in plan if run_folder.state_of(place / planned.name) != "finished"]
    if len(todo) < len(plan):
        console.print(f"{len(plan) - len(todo)} of {len(plan)} runs have finished before.", highlight=False)
    board = Board(sweep.name, plan, place, console, jobs)
    try:
        with board:
            launcher.launch(todo, place, sweep.name, board.watch)
    except KeyboardInterrupt:
        console.print(f"Stopped; the same command goes on: {place}", highlight=False, soft_wrap=True)
        raise
    return outcome(sweep, plan, place, console)


def outcome(sweep: "Sweep", plan: "list[Planned]", place: Path, console: "Console") -> int:
    """Say what failed, and print the table so far."""
    from rich.markup import escape

    from relattn.cli.report import show
    from relattn.runs import run_folder

    states = {planned.name: run_folder.state_of(place / planned.name) for planned in plan}
    failed = [planned for planned in plan if states[planned.name] == "failed"]
    finished = list(states.values()).count("finished")
    for planned in failed:
        record = run_folder.read_json(place / planned.name / "failed.json") or {}
        console.rule(f"[red]failed[/]: {planned.name}, {record.get('why')}")
        console.print(escape("\n".join(record.get("log", []))), highlight=False, soft_wrap=True)
    if "table" in sweep.content:
        show(sweep, [place], console)
    console.print(f"{finished} of {len(plan)} runs finished: {place}", highlight=False, soft_wrap=True)
    return 0 if finished == len(plan) else 1


def run_one(sweep: "Sweep", given: list[str], place: Path) -> int:
    """Start the run of some values, as an agent of W&B gives them."""
    from relattn.runs import run_folder
    from relattn.sweeps.grid import text
    from relattn.sweeps.local import Local

    written = dict(entry.removeprefix("--").split("=", 1) for entry in given if "=" in entry)
    parameters = {}
    for name, values in sweep.parameters.items():
        chosen = [value for value in values if written.get(name) in (text(value), str(value))]
        if not chosen:
            known = suggest(str(written.get(name)), map(str, values))
            raise InputError(f"--run: {name} is {written.get(name)!r}. {known}")
        parameters[name] = chosen[0]
    planned = sweep.planned(parameters, catalogue.conf())
    if "WANDB_SWEEP_ID" in os.environ and "logger" not in planned.options and planned.command[:2] == ["relattn", "fit"]:
        planned.command.append("--logger=wandb")
    keep_file(sweep, place)
    folder = place / planned.name
    if run_folder.state_of(folder) == "finished":
        return 0
    Local().launch([planned], place, sweep.name, lambda seen: None)
    return 0 if run_folder.state_of(folder) == "finished" else 1
