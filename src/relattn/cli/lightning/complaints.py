"""Turns jsonargparse's message about a wrong option into one line: option, value, expected values, closest name.

For an argument of a class, jsonargparse prints the tree of all types that it tried, since the model and the data may be
one of many classes. This module finds the deepest entry of the tree, which is the one about the option.
"""

import ast
import importlib
import re
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

import yaml

from relattn.errors import InputError, suggest

CLASS_OPTIONS = ("model", "data")

BASES = ("lightning.Callback", "relattn.attention.Attention")
"""Classes that arguments are tried with if no class is selected."""

USUAL = {
    "lr": "--model.optimizer.lr",
    "learning_rate": "--model.optimizer.lr",
    "weight_decay": "--model.optimizer.weight_decay",
    "momentum": "--model.optimizer.momentum",
    "epochs": "--trainer.max_epochs",
    "max_epochs": "--trainer.max_epochs",
    "num_epochs": "--trainer.max_epochs",
    "steps": "--trainer.max_steps",
    "batch_size": "--data.batch_size",
    "workers": "--data.workers",
    "num_workers": "--data.workers",
    "root": "--data.root",
    "data_dir": "--data.root",
    "precision": "--trainer.precision",
    "devices": "--trainer.devices",
    "seed": "--seed_everything",
    "resume": "--ckpt_path",
    "checkpoint": "--ckpt_path",
    "pretrained": "--model.pretrained",
}
"""This suite's options for option names of other programs."""

TYPES = {"int": "a whole number", "float": "a number", "bool": "true or false", "str": "text", "NoneType": "null"}
LISTS = dict.fromkeys(("list", "tuple", "Iterable"), "a list such as [1,2]") | {"dict": "a dictionary such as {a: 1}"}

TIME = "a time such as 1:30:00"

KEY = re.compile(r'Parser key "([^"]+)"')
CLASS = re.compile(r"given class_path '([^']+)'|Namespace\(class_path='([^']+)'")
GIVEN = re.compile(r"(?:Given value|Got value): (?!NestedArg|Namespace)(.*?)(?:\. Got value.*|\.)?$", re.MULTILINE)
NESTED = re.compile(r"NestedArg\(key='([^']*)', val='?(.*?)'?\)$", re.MULTILINE)
EXPECTED = re.compile(r"Expected a (?!path|dot import)(.+?)(?:\. Got value.*)?$", re.MULTILINE)
UNKNOWN = re.compile(
    r"[Uu]nrecognized arguments: (?:--)?(.+)|Option '([^']+)' is not accepted|does not accept option '([^']+)'"
)
REQUIRED = re.compile(r"the following arguments are required: (.+)|Key \"([^\"]+)\" is required")
NO_CLASS = re.compile(
    r"No module named '[^']+'|[Mm]odule '[^']+' has no attribute '[^']+'|to be a sub|to a subclass|Unexpected import|"
    r"dot import path string: \S+"
)
REASONS = {"odule": "{}", "dot import": "there is no class of this short name"}
"""What to say about a class, by a part of jsonargparse's message; other classes are of the wrong kind."""

NAMES = {
    "callbacks": "lightning.pytorch.callbacks",
    "logger": "lightning.pytorch.loggers",
    "profiler": "lightning.pytorch.profilers",
    "strategy": "lightning.pytorch.strategies",
    "optimizer": "torch.optim",
    "schedule": "relattn.tasks.schedules",
}
"""Modules with the usual classes of an option, by its last part."""

DERIVE = {
    "model": "relattn.tasks.base.Task",
    "data": "relattn.tasks.data.Data",
    "attention": "relattn.attention.Attention",
    "schedule": "relattn.tasks.schedules.Schedule",
    "optimizer": "torch.optim.Optimizer",
    "callbacks": "lightning.pytorch.callbacks.Callback",
    "logger": "lightning.pytorch.loggers.Logger",
}
"""The classes that those of an option derive from, by its last part."""
CLASS_ALONE = re.compile(r"\{'class_path': '([\w.]+)'\}")
NO_FILE = re.compile(r"File does not exist: '(.+)'|Path is not a file: '(.+)'")


def complaint(text: str, parser: Any, arguments: Sequence[str]) -> InputError:
    """The error for a message of jsonargparse.

    Args:
        text: The message.
        parser: The parser of the command.
        arguments: The arguments that it was given.
    """
    text = without_repeats(text)
    option = option_of(text)
    if "is abstract" in text and (nested := NESTED.findall(text)):
        return InputError(f"{option}.{nested[-1][0]} is an argument of a class: give {option} CLASS before it.")
    if found := UNKNOWN.search(text):
        name = re.split(r"[ =]", next(filter(None, found.groups())))[0]
        option = option_of(text, keys_alone=bool(found[1]))
        return unknown(option, name, class_of(text), parser, arguments)
    if found := REQUIRED.search(text):
        missing = next(filter(None, found.groups()))
        # Of a class within another, the message names only the outer one.
        within = option.lstrip("-").partition(".")
        owner = f"the class of {option}" if within[0] in CLASS_OPTIONS and within[2] else class_of(text)
        return InputError(f"{option}.{missing} is not given, and {owner or 'it'} needs it.")
    if found := NO_FILE.search(text):
        return InputError(f"{option or '--config'} {next(filter(None, found.groups()))}: there is no such file.")
    value = value_of(text)
    number = option and "number" in expectation(text)  # an option may accept a number or a tensor's class
    if (found := NO_CLASS.search(text)) and not number:
        base = DERIVE.get(option.lstrip("-").rpartition(".")[2])
        another = f"it does not derive from {base}" if base else "it is another"
        reason = next((said for part, said in REASONS.items() if part in found[0]), another)
        if value.startswith(("{", "[")) and "dot import" in found[0]:
            value = found[0].rpartition(" ")[2]  # only the name of the class, out of all that was given
        closest = closest_class(option, value)
        return InputError(
            f"{option} is {value!r}, expected the path of a class of that kind: {reason.format(found[0])}.{closest}"
        )
    if option and (expected := expectation(text)):
        if expected == "a number" and value.strip("+-").lower() in ("inf", "nan"):
            expected = "a finite number"
        return InputError(f"{option} is {value!r}, expected {expected}.")
    if option:
        deepest = text[[match.end() for match in KEY.finditer(text)][-1] :].lstrip(": \n").partition("\n")[0]
        if deepest.startswith("Does not validate"):
            return InputError(f"{option} is {value}, expected a class_path and its init_args.")
        return InputError(f"{option} cannot be read: {deepest.removeprefix('- ').removesuffix('.')}.")
    return InputError(" ".join(text.split()))


def without_repeats(text: str) -> str:
    """The message without repetitions about one class, tried alone and in a list, or about the base class."""
    tree, end, given = text.partition("\n  Given value type")
    before, *entries = re.split(r"\n(?=    - )", tree)
    kept = list(dict.fromkeys(entries))
    if sum(entry.startswith("    - Problem with") for entry in kept) > 1:
        kept = [entry for entry in kept if not entry.startswith(f"    - Problem with given class_path '{BASES[0]}'")]
    return "\n".join([before, *kept]) + end + given


def closest_class(option: str, value: str) -> str:
    """The usual classes of an option with the most similar names, as a sentence; empty if there are none."""
    module = NAMES.get(option.rpartition(".")[2])
    if module is None:
        return ""
    names = [name for name, one in vars(importlib.import_module(module)).items() if isinstance(one, type)]
    said = suggest(value.rpartition(".")[2], names)
    return f" {said}" if said.startswith("Closest") else ""


def reason_of(text: str) -> str | None:
    """Why a class could not be built, out of all types that were tried; None for other kinds of messages.

    Args:
        text: Message of jsonargparse for a value that fits no type of a union.
    """
    if "any of the Union subtypes" not in text:
        return None
    lines = text.partition("Errors:")[2].partition("Given value type")[0].split("\n")
    tried = [line.strip().removeprefix("- ") for line in lines]
    reasons = [line for line in tried if line and not line.startswith(("Expected a", "Not a valid", "Problem with"))]
    if not reasons:
        return None
    name = class_of(text.replace("Given value type", "", 1)).rpartition(".")[2]
    return f"{name}: {reasons[0]}" if name else reasons[0]


def option_of(text: str, *, keys_alone: bool = False) -> str:
    """The option that the deepest entry is about, as written on the command line; empty if there is none."""
    keys = [key for key in KEY.findall(text) if not key.endswith(("init_args", "class_path"))]
    path: list[str] = []
    for key in keys:
        parts = [part for part in key.split(".") if part != "init_args"]
        path = parts if parts[: len(path)] == path else [*path, *parts]
    if (
        not keys_alone and len(path) < 2 and (nested := NESTED.findall(text))
    ):  # the tree names the class, the argument the rest
        path += [part for part in nested[-1][0].split(".")[:-1] if part != "init_args"]
    return f"--{'.'.join(path)}" if path else ""


def value_of(text: str) -> str:
    """The value that was given."""
    given = [value for value in GIVEN.findall(text) if value]
    value = given[0] if given else NESTED.findall(text)[-1][1] if NESTED.search(text) else ""
    alone = CLASS_ALONE.fullmatch(value)
    return alone[1] if alone else value


def class_of(text: str) -> str:
    """The class that the deepest entry is about; empty if there is none."""
    found = CLASS.findall(text.partition("Given value type")[0])
    return next(filter(None, found[-1])) if found else ""


def expectation(text: str) -> str:
    """What the deepest entry expects, in words."""
    deepest = text[[match.end() for match in KEY.finditer(text)][-1] :]
    deepest = deepest.partition("Given value type")[0]
    words: list[str] = []
    for kind in EXPECTED.findall(deepest):
        if kind.startswith("string with form"):
            words.append(TIME)
            continue
        if kind.startswith("typing.Literal"):
            words += [str(choice) for choice in ast.literal_eval(kind.removeprefix("typing.Literal"))]
            continue
        name = kind.strip("<>").removeprefix("class ").strip("'").rpartition(".")[2]
        words.append({**TYPES, **LISTS}.get(name, name))
    words = [word for word in dict.fromkeys(words) if word not in ("Tensor", "null")]
    if len(words) > 1:  # a time is tried wherever text of another form is valid
        words = [word for word in words if word != TIME]
    if "a number" in words or any(word.isdigit() for word in words):
        words = [word for word in words if word != "a whole number"]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}" if words else ""


def unknown(of: str, name: str, class_path: str, parser: Any, arguments: Sequence[str]) -> InputError:
    """The error for an unknown option, with the most similar ones.

    Args:
        of: The option whose argument it would be; empty for an option of the command itself.
        name: The name that was given.
        class_path: The class that has no such argument, if there is one.
        parser: The parser of the command.
        arguments: The arguments that it was given.
    """
    if not of and name in arguments:
        return InputError(f"{name!r} is not an option: options begin with --, and each has one value.")
    if class_path in BASES and not of.endswith(f".{name}"):
        return InputError(f"{of}.{name} is an argument of a class: give {of} CLASS before it.")
    if class_path and of:
        known = {f"{of}.{argument}" for argument in arguments_of(class_path)}
        sought = f"{of}.{name.partition('.')[0]}"
    else:
        known = {flag for action in parser._actions for flag in action.option_strings if flag.startswith("--")}
        known |= {"--attention", "--backbone", "--gpus", "--logger", "--name", "--runs", "--task", "--trainer"}
        for option, path in classes(arguments).items():
            known |= {f"--{option}.{argument}" for argument in arguments_of(path)}
        sought = f"--{name}"
    closest = suggest(sought, known)
    if (usual := USUAL.get(name.rpartition(".")[2])) and usual != sought:
        closest = f"Closest: {usual}."
    hint = closest if closest.startswith("Closest") or class_path else "See relattn fit --help_all."
    written = f"{of}.{name}" if of else f"--{name}"
    return InputError(f"There is no option {written}{f' of {class_path}' if class_path else ''}. {hint}")


def classes(arguments: Sequence[str]) -> dict[str, str]:
    """The classes of the model and the data that a command line selects, by their options."""
    found: dict[str, str] = {}
    for flag, value in pairwise(arguments):
        if flag == "--config":  # in text form: `relattn.cli.lightning.command_line` has merged all files
            content = yaml.safe_load(value) or {}
            sections = {name: content.get(name) for name in CLASS_OPTIONS}
            found |= {
                name: one["class_path"]
                for name, one in sections.items()
                if isinstance(one, dict) and "class_path" in one
            }
        elif flag.removeprefix("--") in CLASS_OPTIONS and re.fullmatch(r"\w+(\.\w+)+", value):
            found[flag.removeprefix("--")] = value
    return found


def arguments_of(class_path: str) -> Iterable[str]:
    """The names of a class's arguments, including those that it passes on."""
    from jsonargparse import ArgumentParser
    from jsonargparse.typing import import_object  # type: ignore[attr-defined]

    try:
        found: list[str] = ArgumentParser().add_class_arguments(import_object(class_path), fail_untyped=False)
    except (ValueError, ImportError, AttributeError):
        return []
    return found
