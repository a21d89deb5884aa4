"""Sweep files: W&B's own format with `method: grid`, and two sections of ours.

`options` says what a parameter's value stands for where it is more than itself; `table` says how the runs make a table
of a paper (`relattn.sweeps.table`). W&B is given the file without them (`relattn.sweeps.wandb_agent`).
"""

import hashlib
import itertools
import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from relattn.errors import InputError, MissingFileError, suggest

SEED = "seed_everything"
"""The parameter over which scores are averaged."""

WANDB_KEYS = {
    *("program", "command", "method", "name", "description", "project", "entity", "metric", "parameters"),
    *("early_terminate", "run_cap", "controller"),
}
"""The top level of W&B's format."""

OWN_KEYS = {"options", "table"}
"""The sections that W&B does not know."""

NOT_HASHED = ("logger",)
"""Options that change where numbers are written, and not the numbers."""

RECIPE_OPTIONS = ("task", "attention", "trainer")
"""Options whose value may be the name of a recipe, `conf/<option>/<value>.yaml`."""

VARIABLE = re.compile(r"\$\{envvar:(\w+)\}")
"""W&B's macro for a variable of the environment: replaced when the run starts, so that no file holds its value."""


@dataclass(frozen=True)
class Planned:
    """One run of a sweep.

    Attributes:
        name: The name of its folder: what varies in the sweep, and the beginning of its fingerprint.
        parameters: The values of the sweep's parameters.
        options: What they stand for on the command line, overrides included.
        command: What is run; its options are in `options`' order, names of recipes first.
        fingerprint: A hash of what decides the outcome: command, options, and the recipes they name.
        overrides: What `--set` changed.
    """

    name: str
    parameters: dict[str, Any]
    options: dict[str, Any]
    command: list[str]
    fingerprint: str
    overrides: dict[str, Any]


@dataclass(frozen=True)
class Sweep:
    """A sweep file.

    Attributes:
        path: The file.
        name: The name of the sweep, of its folder of runs, and of the group on W&B.
        content: All of the file.
        overrides: What `--set` changed.
    """

    path: Path
    name: str
    content: dict[str, Any]
    overrides: dict[str, Any]

    @property
    def parameters(self) -> dict[str, list[Any]]:
        """The values of each parameter, overrides of parameters included."""
        values = {name: values_of(name, entry) for name, entry in self.content["parameters"].items()}
        given = {name: as_list(value) for name, value in self.overrides.items() if name in values or is_grid(value)}
        return {**values, **given}

    def grid(self) -> list[dict[str, Any]]:
        """All combinations in W&B's order: names sorted, the last one running fastest."""
        parameters = self.parameters
        names = sorted(parameters)
        combinations = itertools.product(*(parameters[name] for name in names))
        found = [dict(zip(names, values, strict=True)) for values in combinations]
        return [{name: point[name] for name in parameters} for point in found]

    def options_of(self, parameters: dict[str, Any]) -> dict[str, Any]:
        """What values of parameters stand for on the command line; `--set` wins."""
        named = self.content.get("options", {})
        options: dict[str, Any] = {}
        for name, value in parameters.items():
            options.update(named.get(name, {}).get(value, {name: value}) if is_name(value) else {name: value})
        options.update({name: value for name, value in self.overrides.items() if name not in self.parameters})
        return dict(sorted(options.items(), key=lambda item: "." in item[0]))

    def plan(self, conf: Path | None = None) -> list[Planned]:
        """All runs; `conf` is the folder of recipes, which are part of what a run is."""
        return [self.planned(point, conf) for point in self.grid()]

    def planned(self, parameters: dict[str, Any], conf: Path | None = None) -> Planned:
        """The run of one combination."""
        options = self.options_of(parameters)
        command = self.command(options)
        decisive = {name: value for name, value in options.items() if name not in NOT_HASHED}
        content = {"command": self.command(decisive), "recipes": recipes_of(decisive, conf)}
        fingerprint = hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()[:16]
        # A part of the sweep, chosen with --set, has the folders that all of it has.
        listed = {name: values_of(name, entry) for name, entry in self.content["parameters"].items()}
        varies = {name for values in (listed, self.parameters) for name in values if len(values[name]) > 1}
        varying = [name for name in self.parameters if name in varies and name != SEED]
        parts = [slug(parameters[name]) for name in varying] or [self.name]
        if SEED in parameters:
            parts.append(f"s{parameters[SEED]}")
        name = "-".join([*parts, fingerprint[:6]])
        return Planned(name, parameters, options, command, fingerprint, self.overrides)

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
        """What a part of a command stands for."""
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
        MissingFileError: If there is no such file.
        InputError: If it is no grid, or something in it is not understood.
    """
    if not path.is_file():
        raise MissingFileError(f"{path}: there is no such sweep file.")
    try:
        content = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise InputError(f"{path} is not YAML: {error}") from error
    if not isinstance(content, dict) or not isinstance(content.get("parameters"), dict):
        raise InputError(f"{path} is no sweep: it needs `method: grid` and `parameters`.")
    for key in content:
        if key not in WANDB_KEYS | OWN_KEYS:
            raise InputError(f"{path} has {key!r}, which is not known. {suggest(key, WANDB_KEYS | OWN_KEYS)}")
    if content.get("method") != "grid":
        raise InputError(f"{path}: method is {content.get('method')!r}; only grid can be run here. Others need W&B.")
    for name, entry in content["parameters"].items():
        values_of(name, entry)
    for name, named in content.get("options", {}).items():
        if name not in content["parameters"]:
            known = suggest(name, content["parameters"])
            raise InputError(f"{path}: options describes {name!r}, which is no parameter. {known}")
        unused = [value for value in named if value not in values_of(name, content["parameters"][name])]
        if unused:
            raise InputError(f"{path}: options describes {name} {unused[0]!r}, which is none of its values.")
    name = str(content.get("name") or path.stem)
    if name in (".", "..") or Path(name).name != name:
        raise InputError(f"{path}: name is {name!r}, expected the name of a folder: its runs' folder has it.")
    sweep = Sweep(path, name, content, overrides or {})
    for name, values in sweep.parameters.items():
        known_values = values_of(name, content["parameters"][name]) if name in content["parameters"] else values
        named = content.get("options", {}).get(name, {})
        stands_for_others = named and all(is_name(value) and value in named for value in known_values)
        wrong = [value for value in values if value not in known_values] if stands_for_others else []
        if wrong:
            known = suggest(str(wrong[0]), map(str, known_values))
            raise InputError(f"--set {name}={wrong[0]}: {path} does not say what that is. {known}")
    return sweep


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


def parse_overrides(given: list[str]) -> dict[str, Any]:
    """Read `key=value`, where the value is YAML; a list stands for several values."""
    overrides = {}
    for entry in given:
        name, equals, value = entry.partition("=")
        if not equals or not name:
            raise InputError(f"--set {entry}: expected key=value, such as trainer.max_epochs=2.")
        try:
            overrides[name.removeprefix("--")] = yaml.safe_load(value) if value else ""
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
    """A value as an option's text: as W&B writes it, but for null and lists, which W&B has no form for."""
    if isinstance(value, list | dict) or value is None:
        return json.dumps(value)
    return str(value)


def slug(value: Any) -> str:
    """A value as part of a folder's name."""
    return re.sub(r"[^a-z0-9_.]+", "_", text(value).lower()).strip("_") or "empty"


def recipes_of(options: dict[str, Any], conf: Path | None) -> dict[str, Any]:
    """The content of the recipes that options name: when one changes, the run is another."""
    found = {}
    for option in RECIPE_OPTIONS:
        path = conf / option / f"{options.get(option)}.yaml" if conf else None
        if path is not None and path.is_file():
            found[option] = yaml.safe_load(path.read_text())
    return found
