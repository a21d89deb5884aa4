"""Sweep files: W&B's own format, and two sections of ours.

`options` maps parameter values to the command-line options that they stand for; `table` describes how the runs form a
table of a paper (`relattn.sweeps.layout`). W&B gets the file without these sections (`relattn.sweeps.wandb_agent`). A
file with method `grid` can run anywhere; `random` and `bayes` need W&B, which chooses the values.
"""

import itertools
import json
import math
import re
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from relattn.errors import InputError, MissingFileError, suggest
from relattn.runs.identity import SEED
from relattn.runs.plain_yaml import plain_yaml

WANDB_KEYS = {
    *("program", "command", "method", "name", "description", "project", "entity", "metric", "parameters"),
    *("early_terminate", "run_cap", "controller"),
}
"""The top-level keys of W&B's format."""

METHODS = ("grid", "random", "bayes")

PLACES = {"data.root", "data.manifest", "logger"}
"""Options for locations: they do not make a run depart from its cell."""

RESERVED = {"name", "runs", "ckpt_path", "config"}
"""Options that a sweep sets itself."""

OWN_KEYS = {"options", "table"}
"""The sections that W&B does not have."""

MOST_RUNS = 10_000
"""Maximum number of combinations in a sweep."""

VARIABLE = re.compile(r"\$\{envvar:(\w+)\}")
"""W&B's macro for an environment variable; it is replaced when the run starts, so that no file contains its value."""


@dataclass(frozen=True)
class Sweep:
    """A sweep file.

    Attributes:
        path: The file.
        name: The name of the sweep, of its folder of runs, and of the group on W&B.
        content: The whole content of the file.
        overrides: Values changed by `--set`.
    """

    path: Path
    name: str
    content: dict[str, Any]
    overrides: dict[str, Any]

    @property
    def parameters(self) -> dict[str, list[Any]]:
        """The values of each parameter, with overrides applied; none for a parameter that W&B draws."""
        values = {name: listed(entry) for name, entry in self.content["parameters"].items()}
        given = {
            name: as_list(value)
            for name, value in self.overrides.items()
            if name in values or name == SEED or is_grid(value)
        }
        return {**values, **given}

    @property
    def named_options(self) -> dict[str, dict[Any, dict[str, Any]]]:
        """The command-line options that values of parameters stand for."""
        return {name: named for name, named in (self.content.get("options") or {}).items() if named is not None}

    def grid(self) -> list[dict[str, Any]]:
        """All combinations in W&B's order: names sorted, the last one varying fastest."""
        parameters = self.parameters
        if (count := math.prod(map(len, parameters.values()))) > MOST_RUNS:
            raise InputError(
                f"{self.path} has {count:,} combinations, and {MOST_RUNS:,} are as many as can be planned."
            )
        names = sorted(parameters)
        combinations = itertools.product(*(parameters[name] for name in names))
        found = [dict(zip(names, values, strict=True)) for values in combinations]
        return [{name: point[name] for name in parameters} for point in found]

    def options_of(self, parameters: dict[str, Any]) -> dict[str, Any]:
        """The command-line options that parameter values stand for; `--set` takes precedence."""
        named = self.named_options
        options: dict[str, Any] = {}
        for name, value in parameters.items():
            options.update(named.get(name, {}).get(value, {name: value}) if is_name(value) else {name: value})
        options.update({name: value for name, value in self.overrides.items() if name not in self.parameters})
        return dict(sorted(options.items(), key=lambda item: "." in item[0]))

    def filed_options_of(self, parameters: dict[str, Any]) -> dict[str, Any]:
        """The options that the cell of some values stands for in the file, without changes by `--set`.

        A parameter with a single value, such as the task, comes from the file; others come from the combination.
        """
        entries = self.content["parameters"]
        values = {}
        for name, value in parameters.items():
            known = listed(entries.get(name))
            if name in entries or name == SEED:
                values[name] = known[0] if len(known) == 1 and name != SEED else value
        filed = replace(self, overrides={name: self.overrides[name] for name in PLACES & self.overrides.keys()})
        return filed.options_of(values)

    def command(self, options: dict[str, Any]) -> list[str]:
        """The command line, with W&B's macros replaced; by default `relattn fit ${args}`."""
        if "command" in self.content:
            template = [str(part) for part in self.content["command"]]
        elif "program" in self.content:
            template = ["${env}", "${interpreter}", "${program}", "${args}"]
        else:
            template = ["relattn", "fit", "${args}"]
        return [part for macro in template for part in self.replaced(macro, options)]

    def replaced(self, macro: str, options: dict[str, Any]) -> list[str]:
        """The words that replace a part of a command."""
        if VARIABLE.fullmatch(macro):
            return [macro]
        if not (match := re.fullmatch(r"\$\{(\w+)\}", macro)):
            return [macro]
        written = {name: text(value) for name, value in options.items()}
        known: dict[str, list[str]] = {
            "env": ["/usr/bin/env"],
            "interpreter": [sys.executable],
            "program": [str(self.content.get("program", ""))],
            "args": [f"--{name}={value}" for name, value in written.items()],
            "args_no_hyphens": [f"{name}={value}" for name, value in written.items()],
            "args_no_equals": [part for name, value in written.items() for part in (f"--{name}", value)],
            "args_no_boolean_flags": [
                f"--{name}" if value is True else f"--{name}={written[name]}"
                for name, value in options.items()
                if value is not False
            ],
            "args_json": [json.dumps(options)],
        }
        if match[1] not in known:
            raise InputError(f"{self.path}: command has {macro}, which is not known here. {suggest(match[1], known)}")
        return known[match[1]]


def load(path: Path, overrides: dict[str, Any] | None = None) -> Sweep:
    """Read and check a sweep file.

    Raises:
        MissingFileError: If the file does not exist.
        InputError: If it is not a valid sweep, or contains something unknown.
    """
    if not path.is_file():
        raise MissingFileError(f"{path}: there is no such sweep file.")
    try:
        content = plain_yaml(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as YAML: {error}") from error
    if not isinstance(content, dict) or not isinstance(content.get("parameters"), dict):
        raise InputError(f"{path} is not a sweep: it needs `method: grid` and `parameters`.")
    for key in content:
        if key not in WANDB_KEYS | OWN_KEYS:
            raise InputError(f"{path} has {key!r}, which is not known. {suggest(key, WANDB_KEYS | OWN_KEYS)}")
    if content.get("method") not in METHODS:
        raise InputError(f"{path}: method is {content.get('method')!r}, expected one of {', '.join(METHODS)}.")
    if content["method"] == "grid":
        for name, entry in content["parameters"].items():
            values_of(name, entry)
    check_options(path, content)
    command = content.get("command")
    if command is not None and not (isinstance(command, list) and all(is_name(part) for part in command)):
        raise InputError(f"{path}: command is {command!r}, expected a list of its words, as W&B has it.")
    name = str(content.get("name") or path.stem)
    if name in (".", "..") or Path(name).name != name:
        raise InputError(f"{path}: name is {name!r}, expected the name of a folder: its runs' folder has it.")
    sweep = Sweep(path, name, content, overrides or {})
    for name in RESERVED & sweep.overrides.keys():
        raise InputError(f"--set {name}={sweep.overrides[name]}: a sweep names the folders of its runs itself.")
    for name, values in sweep.parameters.items() if content["method"] == "grid" else ():
        known_values = values_of(name, content["parameters"][name]) if name in content["parameters"] else values
        named = sweep.named_options.get(name, {})
        stands_for_others = named and all(is_name(value) and value in named for value in known_values)
        wrong = [value for value in values if value not in known_values] if stands_for_others else []
        if wrong:
            known = suggest(str(wrong[0]), map(str, known_values))
            raise InputError(f"--set {name}={wrong[0]}: {path} does not say what that is. {known}")
    return sweep


def check_options(path: Path, content: dict[str, Any]) -> None:
    """Check the names of the parameters, and the section `options`.

    Raises:
        InputError: If a name is not a text, or `options` has a part that no value of a parameter stands for.
    """
    for name in content["parameters"]:
        if not isinstance(name, str):
            raise InputError(f"{path}: parameters has {name!r}, expected the name of an option.")
        if name in RESERVED:
            raise InputError(f"{path}: parameters has {name!r}, but a sweep names the folders of its runs itself.")
    for name, named in mapping(content.get("options") or {}, f"{path}: options").items():
        if name not in content["parameters"]:
            known = suggest(str(name), content["parameters"])
            raise InputError(f"{path}: options describes {name!r}, which is not a parameter. {known}")
        for value, own in mapping(named or {}, f"{path}: options, {name}").items():
            if value not in listed(content["parameters"][name]):
                raise InputError(f"{path}: options describes {name} {value!r}, which is not one of its values.")
            mapping(own, f"{path}: options, {name}, {value}")


def mapping(value: Any, where: str) -> dict[Any, Any]:
    """Return a part of a sweep's file that consists of keys and values.

    Raises:
        InputError: If it is something else.
    """
    if not isinstance(value, dict):
        raise InputError(f"{where} is {value!r}, expected keys with values.")
    return value


def values_of(name: str, entry: Any) -> list[Any]:
    """The values of a parameter in W&B's format."""
    if not isinstance(entry, dict) or not {"value", "values"} & entry.keys():
        raise InputError(f"Parameter {name}: expected `values: [...]` or `value: ...`, as a grid has, and not {entry}.")
    if "value" in entry:
        return [entry["value"]]
    values = entry["values"]
    if not isinstance(values, list) or not values:
        raise InputError(f"Parameter {name}: `values` is {values!r}, expected a list that is not empty.")
    return values


def listed(entry: Any) -> list[Any]:
    """The values that a parameter lists; empty for a distribution."""
    if not isinstance(entry, dict):
        return []
    return [entry["value"]] if "value" in entry else list(entry.get("values") or [])


def parse_overrides(given: list[str]) -> dict[str, Any]:
    """Parse `key=value`, where the value is YAML; a list stands for several values."""
    overrides = {}
    for entry in given:
        name, equals, value = entry.partition("=")
        if not equals or not name:
            raise InputError(f"--set {entry}: expected key=value, such as trainer.max_epochs=2.")
        name = name.removeprefix("--")
        if name in overrides:
            raise InputError(f"--set {entry}: {name} is set twice; for several values give a list, {name}=[1,2].")
        try:
            overrides[name] = yaml.safe_load(value) if value else ""
        except yaml.YAMLError as error:
            raise InputError(f"--set {entry}: the value is not YAML: {error}") from error
    return overrides


def is_grid(value: Any) -> bool:
    """Whether an override gives several values."""
    return isinstance(value, list) and bool(value)


def as_list(value: Any) -> list[Any]:
    """The values of an override."""
    return value if is_grid(value) else [value]


def is_name(value: Any) -> bool:
    """Whether a value can be a key of `options`."""
    return isinstance(value, str | int | float | bool) or value is None


def text(value: Any) -> str:
    """A value as the text of an option: in W&B's form, except for null and lists, for which W&B has no form."""
    if isinstance(value, list | dict) or value is None:
        return json.dumps(value)
    return str(value)
