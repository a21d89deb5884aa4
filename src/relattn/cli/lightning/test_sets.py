"""Data that a network was not trained on: additional test sets, `--test_data`, and sets of another kind."""

import inspect
import re
from argparse import ArgumentError
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser

from relattn.cli import catalogue
from relattn.cli.lightning.complaints import complaint
from relattn.cli.lightning.recipes import (
    Config,
    common_kind,
    imported,
    is_class_path,
    merge,
    parameters_of,
    read_config,
    recipe_content,
    recipe_file,
    shared_arguments,
)
from relattn.errors import InputError, MissingFileError
from relattn.preprocessing import Preprocessing
from relattn.runs.resume import at
from relattn.tasks.data import Data

TABLES = (".csv",)
"""Suffixes of files that a data set reads as its argument `manifest`."""


def test_entries(suite: Mapping[str, str]) -> list[str]:
    """The entries of `--test_data`."""
    return [entry.strip() for entry in suite.get("test_data", "").split(",") if entry.strip()]


def kept_entry(entry: str) -> str:
    """An entry for a run's configuration: files have absolute paths, so that they mean the same in any directory."""
    return str(Path(entry).absolute()) if Path(entry).is_file() else entry


def test_set(entry: str, run: Config, data_type: type) -> tuple[str, Config]:
    """Name and configuration of a test set.

    Args:
        entry: A recipe, a file in the form of a recipe, a class path, or a table of images.
        run: Configuration of the run's own data set, whose folder and image preparation the test set shares.
        data_type: Type of data that the task is tested on.

    Raises:
        InputError: If the data set does not exist, or the task cannot be tested on it.
    """
    if entry.lower().endswith(TABLES):
        if not Path(entry).is_file():
            raise MissingFileError(f"--test_data {entry}: there is no such file.")
        name, chosen = Path(entry).stem, merge(table_recipe(data_type), {"init_args": {"manifest": entry}})
    elif is_class_path(entry):
        name, chosen = entry.rpartition(".")[2], {"class_path": entry}
    else:
        file = recipe_file("data", entry)
        name, chosen = Path(entry).stem, read_config(file)
    kind = imported(str(chosen.get("class_path")))
    if kind is None or not issubclass(kind, data_type):
        raise InputError(f"--test_data {entry}: the task is tested on data that derive from {data_type.__name__}.")
    shared = shared_arguments(run, chosen)
    arguments = run.get("init_args") or {}
    if "root" in arguments and "root" in (chosen.get("init_args") or {}):
        shared["root"] = arguments["root"]
    return re.sub(r"[^\w.+-]+", "_", name), merge(chosen, {"init_args": shared})


def table_recipe(data_type: type) -> Config:
    """The recipe of the data set for tables of images that a task can be tested on.

    Raises:
        InputError: If there is none.
    """
    for recipe in catalogue.recipes("data"):
        content = recipe_content("data", recipe)
        kind = imported(content["class_path"])
        if kind is not None and issubclass(kind, data_type) and "manifest" in parameters_of(kind):
            return content
    raise InputError(f"--test_data: no data set of {data_type.__name__} reads a table of images.")


def build(config: Config) -> Data:
    """Build a data set; its files are not read.

    Raises:
        InputError: If its arguments are refused.
    """
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(Data, "data", fail_untyped=False)
    try:
        data: Data = parser.instantiate(parser.parse_object({"data": config})).data
    except ArgumentError as error:
        raise complaint(str(error), parser, []) from error
    return data


def build_all(entries: Sequence[str], run: Config, data_type: type, stage: str = "test") -> dict[str, Data]:
    """Build and check the test sets of a list; return them by name.

    Raises:
        InputError: If two have the same name, or one is missing or cannot be scored.
    """
    sets: dict[str, Data] = {}
    for entry in entries:
        name, config = test_set(entry, run, data_type)
        if name in sets:
            raise InputError(f"--test_data names {name} twice: their scores would have one name.")
        data = build(config)
        data.setup(stage)
        data.check()
        sets[name] = data
    return sets


def named_like(config: Any, entry: str) -> bool:
    """Whether the run's own data set is the one in an entry, so that its scores are already known."""
    kind = imported(catalogue.class_path("data", entry)) if entry in catalogue.recipes("data") else None
    return kind is not None and inspect.isclass(kind) and imported(str(config.get("class_path"))) is kind


def prepare_as_trained(data: Data, run: Config, specification: Config, *, sized: bool) -> None:
    """Prepare images as for the network's training, if the data are of another kind with defaults of its own.

    Args:
        data: The data to score or predict.
        run: The configuration of the network's training.
        specification: The specification of the data that it was trained on.
        sized: Whether the command line gives the size of the images, which then stays.
    """
    trained, before = specification.get("preprocessing"), imported(str(at(run, ("data", "class_path"))))
    if trained is None or before is None or common_kind(before, type(data)) is not None:
        return
    own, wanted = data.preprocessing(), Preprocessing.from_json(trained)
    if sized:
        wanted = replace(wanted, size=own.size)
    if wanted != own:
        data.prepare_as(wanted)
