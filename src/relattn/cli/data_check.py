"""`relattn data check`: reads a data set as `relattn fit` would, and decodes every image."""

import argparse
import json
import re
import time
import warnings
from typing import TYPE_CHECKING, Any

import yaml

from relattn.cli import catalogue
from relattn.cli.lightning.command_line import read_command_line, without
from relattn.cli.options import say
from relattn.cores import available_cores
from relattn.errors import InputError, some_of

if TYPE_CHECKING:
    from rich.console import Console

    from relattn.cli.lightning.command_line import CommandLine
    from relattn.cli.lightning.recipes import Config
    from relattn.tasks.data import Data

SHOWN = 20
"""Maximum number of bad images that are named."""

IGNORED = ("model", "trainer", "seed_everything", "ckpt_path", "weights_only")
"""Options of `relattn fit` that do not affect the data."""

EXAMPLES = """examples:
  relattn data check --data CIFAR100 --data.root data
  relattn data check --task segmentation --data Folders --data.root mine --data.classes '[road,sky]'
  relattn data check --config runs/reid/NAME/config.yaml

You can give every option of relattn fit, and so check the command line of a run without changing it. The options of a
data set are listed by relattn fit --data.help CLASS."""


def main(arguments: list[str]) -> int:
    """Check a data set and report its contents."""
    parser = argparse.ArgumentParser(
        prog="relattn data check",
        description="Read a data set as relattn fit does, and decode every image completely: labels, sizes, counts,\n"
        "unreadable and truncated files, copies of training images in other splits. Exit status 2 if one is bad.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--task", metavar="NAME", help="a recipe; by default that of the data set's task")
    parser.add_argument("--data", metavar="NAME", help="a data set; by default the recipe's")
    parser.add_argument("--data.root", metavar="DIR", help="where it is; and so on, as for relattn fit")
    parser.add_argument("--config", metavar="FILE", help="a configuration, such as a run's config.yaml")
    parser.add_argument(
        "--workers", type=int, metavar="N", help="processes that decode images; by default one for each core"
    )
    parser.add_argument(
        "--stage",
        choices=("fit", "test", "predict"),
        default="fit",
        help="what the data are for; by default fit, and test checks only what relattn test reads",
    )
    options, _ = parser.parse_known_args(arguments)
    if options.workers is not None and options.workers < 0:
        raise InputError(f"--workers is {options.workers}, expected at least 0.")
    arguments = without(without(arguments, "--workers"), "--stage")
    if options.task is None and options.config is None and options.data in catalogue.recipes("data"):
        arguments = ["--task", task_of(options.data), *arguments]
    return check(arguments, options.stage, available_cores() if options.workers is None else options.workers)


def task_of(data: str) -> str:
    """The recipe of the task that a data set belongs to: the first one whose folder contains its class."""
    folder = catalogue.class_path("data", data).rpartition(".")[0].rpartition(".")[2]
    return next(name for name in catalogue.recipes("task") if name.partition("_")[0] == folder)


def check(arguments: list[str], stage: str, workers: int) -> int:
    """Check the data that options of `relattn fit` specify, as a stage of the trainer reads them.

    Raises:
        InputError: If the set, or some of its images, cannot be read.
    """
    line = read_command_line(arguments)
    from rich.console import Console

    from relattn.cli.lightning import test_sets
    from relattn.cli.lightning.commands import quieten
    from relattn.cli.lightning.recipes import imported

    quieten()
    console, terminal = Console(), Console(stderr=True)
    data, config = build(line)
    check_set(data, stage, workers, console, terminal)
    for entry in test_sets.test_entries(line.suite):
        if test_sets.named_like(config, entry):
            continue
        model = line.config.get("model")
        task: Any = imported(str(model.get("class_path") if isinstance(model, dict) else model))
        name, other = test_sets.test_set(entry, config, task.data_type)
        say(console, f"\n{name}, to be tested on:")
        check_set(test_sets.build(other), "test", workers, console, terminal)
    return 0


def check_set(data: "Data", stage: str, workers: int, console: "Console", terminal: "Console") -> None:
    """Check one data set, and report it.

    Raises:
        InputError: If the set, or some of its images, cannot be read.
    """
    from rich.progress import MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from relattn.inference.inspection import Inspection, inspect_images

    started = time.monotonic()
    if hasattr(data, "check_files"):
        data.check_files = False  # which would stop at the first few bad files
    finding: InputError | None = None
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always", UserWarning)
        data.prepare_data()
        data.setup(stage)
        try:
            data.check()
        except InputError as error:  # bad images, which may be the cause, are reported first
            finding = error
    columns = (*Progress.get_default_columns()[:2], MofNCompleteColumn(), TextColumn("images"), TimeRemainingColumn())
    with Progress(*columns, console=terminal, transient=True, disable=not terminal.is_terminal) as bar:
        shown = bar.add_task("Decoding", total=len(Inspection(data).images))
        findings = inspect_images(data, workers, lambda images: bar.advance(shown, images))
    report(console, data)
    for warning in heard:
        say(console, f"warning: {warning.message}")
    if shared := findings.shared:
        copies = some_of(shared, SHOWN)
        say(console, f"warning: training has copies of {len(shared):,} images of other splits: {copies}")
    if bad := findings.faults:
        listed = some_of(bad, SHOWN, between="\n    ")
        raise InputError(f"{len(bad):,} images cannot be used:\n    {listed}\nReplace these files or remove them.")
    if finding is not None:
        raise finding
    if stage == "fit" and (shares := data.class_shares()):
        listed = ", ".join(f"{name} {100 * share:.1f} %" for name, share in shares.items())
        say(console, f"training is labelled: {listed}")
    say(console, f"every image is whole ({time.monotonic() - started:.0f} s)")


def build(line: "CommandLine") -> tuple["Data", "Config"]:
    """The data set of a command line, and its configuration.

    Raises:
        InputError: If an option is unknown or wrong.
    """
    from jsonargparse import ArgumentError, ArgumentParser

    from relattn.cli.lightning.complaints import complaint
    from relattn.cli.lightning.paths import with_absolute_paths
    from relattn.tasks.data import Data

    options, rest = [], iter(line.options)
    for argument in rest:
        flag, equals, value = argument.partition("=")
        if not equals:
            value = next(rest, "")
        section = flag.partition(".")[0].removeprefix("--")
        if section == "data":
            options += [flag, value]
        elif section not in IGNORED:
            raise InputError(f"relattn data check: there is no option {flag}. See relattn data check --help.")
    config = ["--data", json.dumps(line.config["data"], default=str)] if line.config.get("data") else []
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(Data, "data", fail_untyped=False, required=True)
    try:
        parsed = parser.parse_args([*config, *options])
        with_absolute_paths(parsed)
        data: Data = parser.instantiate(parsed).data
    except ArgumentError as error:
        raise complaint(str(error), parser, [*config, *options]) from error
    content: Config = json.loads(parser.dump(parsed, format="json"))["data"]
    return data, content


def report(console: "Console", data: "Data") -> None:
    """Report the contents of each split of the set."""
    content: dict[str, Any] = data.describe()
    say(console, str(content.pop("data")))
    origin = {name: content.pop(name, None) for name in ("genuine", "as_published")}
    images = content.pop("images", {})
    width = max(map(len, [*images, *content]), default=0)
    for split, number in images.items():
        say(console, f"  {split:<{width}}  {number:>9,} images")
    for name, value in content.items():
        listed = yaml.safe_dump(value, default_flow_style=True).strip().removesuffix("...").strip()
        say(console, f"  {name:<{width}}  {re.sub(r'[{}]', '', listed)}")
    if origin["genuine"] is False:
        say(console, "  rendered by relattn data make: scores are not comparable with published ones")
    elif origin["as_published"] is not None:
        same = "are those of the published set" if origin["as_published"] else "differ from the published set"
        say(console, f"  counts {same}")
