"""Checks and interprets command lines of `relattn fit` without running them, for sweeps before they start."""

import json
import warnings
from collections.abc import Sequence
from typing import Any

import torch
from jsonargparse import Namespace
from lightning.pytorch.cli import LightningArgumentParser

from relattn.backbones import build
from relattn.cli.lightning.checks import check_config
from relattn.cli.lightning.command_line import read_command_line
from relattn.cli.lightning.recipes import imported
from relattn.cli.lightning.suite import SuiteCLI
from relattn.cli.lightning.test_sets import build as build_data
from relattn.cli.lightning.test_sets import test_entries, test_set
from relattn.errors import InputError, MissingFileError
from relattn.runs.identity import decisive
from relattn.runs.run_folder import RunClaim
from relattn.sweeps.plan import Resolution
from relattn.tasks.data import Data

NETWORK = ("backbone", "attention", "stages", "placement", "backbone_options")
"""Task arguments that define how its backbone is built."""

CIRCUMSTANCES = {
    "data": ("root", "manifest", "seed"),
    "trainer": ("limit_val_batches", "limit_test_batches"),
}
"""Arguments that distinguish runs of one experiment: where the data are, their random order, how much is scored."""


class Resolver(SuiteCLI):
    """Parses many command lines of `relattn fit` with one parser, without starting anything."""

    def __init__(self, lines: Sequence[list[str]], *, with_data: bool) -> None:
        """Resolve `lines`, the arguments after `fit`; `with_data` says whether to read and check their data."""
        self.lines, self.with_data = lines, with_data
        self.found: list[Resolution] = []
        self.missing: dict[str, str] = {}
        """Why data cannot be read, by configuration; empty if they can."""
        self.built: set[str] = set()
        """Networks built so far, by the options that define them."""
        super().__init__("fit", read_command_line(["--help"]), RunClaim())

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Resolve all lines."""
        self.found = [self.resolution(parser, line) for line in self.lines]
        self.config = {"subcommand": None}

    def _set_seed(self) -> None:
        """Do nothing: there is no run."""

    def before_instantiate_classes(self) -> None:
        """Do nothing: there is no run."""

    def instantiate_classes(self) -> None:
        """Do nothing: there is no run."""

    def after_instantiate_classes(self) -> None:
        """Do nothing: there is no run."""

    def resolution(self, parser: LightningArgumentParser, line: list[str]) -> Resolution:
        """Resolve one line."""
        try:
            read = read_command_line(line)
            config = self.parsed(parser, ["fit", *read.arguments()])["fit"]
            check_config("fit", config)
            content = self.content(config)
            data = self.check_network(config, content)
            missing = self.check_data(content["data"], data, "fit") if self.with_data else ""
            task: Any = imported(content["model"]["class_path"])
            for entry in test_entries(read.suite):
                _, section = test_set(entry, content["data"], task.data_type)
                if self.with_data:
                    missing = missing or self.check_data(section, build_data(section), "test")
        except InputError as error:
            return Resolution({}, problem=str(error))
        given = {"data": content["data"].get("init_args") or {}, "trainer": content["trainer"]}
        circumstances = {
            f"{section}.{name}": str(given[section][name])
            for section, names in CIRCUMSTANCES.items()
            for name in names
            if given[section].get(name) is not None
        }
        circumstances |= {"test_data": read.suite["test_data"]} if "test_data" in read.suite else {}
        return Resolution(decisive(content), circumstances, missing=missing)

    def check_network(self, config: Any, content: dict[str, Any]) -> Data:
        """Build the backbone with its attention without computing anything; return the data, which are not read.

        Raises:
            InputError: If the backbone, the attention or its placement is refused.
        """
        try:
            made = self._parser("fit").instantiate_classes(Namespace(model=config.model, data=config.data))
            size = getattr(made.data, "image_size", None)
            arguments = content["model"].get("init_args") or {}
            network = {name: arguments.get(name) for name in NETWORK}
            if size is not None and (key := json.dumps([network, size])) not in self.built:
                self.built.add(key)
                with torch.device("meta"):
                    task: Any = made.model
                    place = {"stages": task.stages, "placement": task.placement}
                    options = task.backbone_options
                    build(task.backbone, attention=task.attention, **place, size=tuple(size), **options)
        except InputError:
            raise
        except (ValueError, TypeError) as error:
            raise InputError(" ".join(str(error).split())) from error
        except NotImplementedError:  # a user's own module that computes something when it is built
            pass
        data: Data = made.data
        return data

    def check_data(self, section: dict[str, Any], data: Data, stage: str) -> str:
        """Read and check data once per configuration; return why they are missing, empty if they are not.

        Raises:
            InputError: If they exist but cannot be used for training.
        """
        key = json.dumps([section, stage], sort_keys=True, default=str)
        if key not in self.missing:
            self.missing[key] = ""
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # each run repeats the warnings
                    data.setup(stage)
                    data.check()
            except MissingFileError as error:
                self.missing[key] = str(error)
        return self.missing[key]


def resolve(lines: Sequence[list[str]], *, with_data: bool = True) -> list[Resolution]:
    """Resolve command lines of `relattn fit`, or say why they cannot run.

    Args:
        lines: Arguments after `relattn`; commands other than `fit` are taken as they are.
        with_data: Whether to read and check data.
    """
    fits = [line[1:] for line in lines if line[:1] == ["fit"]]
    resolved = iter(Resolver(fits, with_data=with_data).found if fits else [])
    return [next(resolved) if line[:1] == ["fit"] else Resolution({"command": list(line)}) for line in lines]
