"""The configuration inside a checkpoint: which classes it may name, and how they are built.

A configuration names classes and their arguments, so its author can have anything called. A configuration that the user
gives (`--config`) is the user's own code. The one inside a checkpoint came with the weights, perhaps from a stranger.
It may name only tasks, data sets, attention modules, schedules, optimizers and layers, and cannot cause other imports.
"""

import argparse
import importlib
import importlib.util
import itertools
import os
import re
import sys
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, TypeVar

from jsonargparse import ArgumentParser
from lightning.pytorch.callbacks import Callback, LambdaCallback
from lightning.pytorch.loggers import Logger
from lightning.pytorch.profilers import Profiler
from lightning.pytorch.strategies import Strategy
from torch import nn
from torch.optim import Optimizer

from relattn.attention.base import Attention
from relattn.errors import InputError
from relattn.heads import IdentityClassifier
from relattn.runs.checkpoints import run_of
from relattn.runs.plain_yaml import MOST, TooLargeError, plain_yaml
from relattn.runs.progress import load_config
from relattn.tasks.base import Task
from relattn.tasks.data import Data
from relattn.tasks.schedules import Schedule

Built = TypeVar("Built", bound=Task | Data)

PACKAGES = ("relattn.tasks", "relattn.attention", "relattn.losses", "relattn.heads", "torch.optim", "torch.nn")
"""Packages that classes of the `KINDS` may come from."""

KINDS = (Task, Data, Attention, Schedule, Optimizer, IdentityClassifier)
"""Base classes that are allowed; in addition, any layer of `torch.nn` and any loss of `relattn.losses`."""

TRUSTED = "RELATTN_TRUSTED"
"""Environment variable with the user's own packages, separated by commas, whose classes checkpoints may name."""

DOTTED = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)+")


def section_of(content: dict[str, Any], section: str, source: str) -> dict[str, Any]:
    """The `model` or `data` section of the configuration in a checkpoint, with `class_path` and `init_args`.

    Raises:
        InputError: If there is none.
    """
    try:
        found = plain_yaml(content["config"])[section]
        return {**found, "class_path": found["class_path"], "init_args": dict(found.get("init_args") or {})}
    except TooLargeError as error:
        raise InputError(f"{source}: its configuration cannot be read: {error}") from error
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{source} holds no configuration of the {section}, as `relattn fit` writes one.") from error


def build_from_config(base: type[Built], config: dict[str, Any], source: str) -> Built:
    """Build a task or data set from the configuration in a checkpoint.

    Args:
        base: Required base class.
        config: `class_path` and `init_args`.
        source: Display name of the checkpoint in messages.

    Raises:
        InputError: If the configuration names anything but classes of the allowed kinds, or if their arguments are
            unknown or refused by them.
    """
    check_classes(config, source)
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(base, "part", fail_untyped=False)
    try:
        parsed = parser.parse_object({"part": config})
    except argparse.ArgumentError as error:
        raise InputError(f"{source}: its configuration does not fit: {error}") from error
    check_classes(parsed.as_dict(), source)  # once more in parsed form, before anything is called
    try:
        made: Built = parser.instantiate(parsed).part
    except (ValueError, TypeError) as error:  # raised by the parser around a class's complaint about its arguments
        reason = next(cause for cause in causes(error) if isinstance(cause, InputError) or cause.__cause__ is None)
        raise InputError(f"{source}: {config['class_path']} cannot be built: {reason}") from error
    return made


def check_whole_config(config: Any, checkpoint: Path) -> None:
    """Check every class in a configuration that a command takes from a checkpoint, including those of the trainer.

    Whatever the `config.yaml` in the run's folder names counts as the user's own.

    Args:
        config: The configuration.
        checkpoint: The checkpoint that it comes from.

    Raises:
        InputError: If it names anything but classes of the suite's kinds, or Lightning's callbacks and loggers.
    """
    run = run_of(checkpoint)
    known = {value for _, value in entries(load_config(run))} if run is not None else set()
    check_classes(config, str(checkpoint), known=known, kinds=(*KINDS, Callback, Logger, Profiler, Strategy))


def causes(error: BaseException) -> Iterator[BaseException]:
    """An error, and the errors that it was raised from."""
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__


def check_classes(config: Any, source: str, *, known: Collection[Any] = (), kinds: tuple[type, ...] = KINDS) -> None:
    """Check every class that a configuration names, at any depth; raises as `build_from_config` does.

    Args:
        config: The configuration.
        source: Display name of the checkpoint in messages.
        known: Other names that are allowed.
        kinds: Allowed base classes.
    """
    try:
        found = list(itertools.islice(entries(config), MOST))
    except (TooLargeError, RecursionError) as error:
        raise InputError(f"{source}: its configuration cannot be read: {error}") from error
    if len(found) == MOST:
        raise InputError(f"{source}: its configuration has {MOST:,} values or more.")
    for key, value in found:
        if key == "__path__":
            raise InputError(f"{source}: its configuration refers to the file {value}, and may not name files.")
        if isinstance(value, str) and (key.endswith("class_path") or importable(value)):
            if value not in known:
                check_class(value, source, kinds)
        elif callable(value):
            check_class(f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', value)}", source, kinds)


def entries(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Every value with its key, at any depth; text that is YAML counts too, since the parser reads it.

    A container comes before its parts, as None, so that counting values includes containers without other values.
    """
    if isinstance(value, dict | list | tuple | set):
        yield key, None
        parts = value.items() if isinstance(value, dict) else ((key, part) for part in value)
        for name, part in parts:
            yield from entries(part, str(name))
        return
    yield key, value
    if isinstance(value, str):
        try:
            read = plain_yaml(value)
        except TooLargeError:
            raise
        except InputError:
            return
        if isinstance(read, dict | list):
            yield from entries(read, key)


def importable(text: str) -> bool:
    """Whether a text may name something importable; `resnet50.tv_in1k` and `names.txt` do not."""
    if not DOTTED.fullmatch(text):
        return False
    first, second = text.split(".")[:2]
    try:
        spec = importlib.util.find_spec(first)
    except (ImportError, ValueError):
        return True
    if spec is None or spec.origin is not None:
        return spec is not None
    # A folder without __init__.py, perhaps one with data: it can be imported from if it contains such a module.
    places = [Path(place) / second for place in spec.submodule_search_locations or ()]
    return any(place.is_dir() or place.with_suffix(".py").is_file() for place in places)


def check_class(path: str, source: str, kinds: tuple[type, ...] = KINDS) -> None:
    """Refuse a class that is not of the kinds allowed in a checkpoint's configuration.

    A user's own package is allowed if the program has imported it, or if `RELATTN_TRUSTED` names it; in the latter case
    its classes may also be other modules of torch, such as losses.

    Raises:
        InputError: If the class is of another kind or does not exist.
    """
    module, _, name = path.rpartition(".")
    trusted = tuple(part.strip() for part in os.environ.get(TRUSTED, "").split(",") if part.strip())
    own = any(module == package or module.startswith(f"{package}.") for package in trusted)
    if own or any(module == package or module.startswith(f"{package}.") for package in PACKAGES):
        try:
            importlib.import_module(module)
        except ImportError as error:
            raise InputError(f"{source}: its configuration names {path}, which cannot be imported: {error}.") from error
    found = getattr(sys.modules.get(module), name, None)
    layer = isinstance(found, type) and issubclass(found, nn.Module) and found.__module__.startswith("torch.nn.")
    layer = layer or getattr(found, "__module__", "").startswith("relattn.losses.")
    allowed = (*kinds, nn.Module) if own else kinds
    if not layer and not (isinstance(found, type) and issubclass(found, allowed) and found is not LambdaCallback):
        raise InputError(
            f"{source}: its configuration names {path}, which is not a task, data set, attention, schedule, optimizer "
            f"or layer known here, so it is not used. If it is your own, set {TRUSTED}={module.partition('.')[0]}, or, "
            f"unless it is a loss, import {module.partition('.')[0]} before relattn.load."
        )
