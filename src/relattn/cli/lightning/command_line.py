"""Turns a command line with short flags into one configuration and Lightning's own options.

Recipes and the files of `--config` are merged in this order: the checkpoint's configuration, the task's recipe on its
base, the user's files, overlays of the trainer and the logger, the recipe of the data set, the attention's recipe.
Options on the command line override all of them, because the parser reads them last.
"""

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from relattn.cli import catalogue
from relattn.cli.lightning.recipes import (
    NONE,
    Config,
    attention_config,
    imported,
    is_class_path,
    is_subclass,
    merge,
    read_config,
    recipe_content,
    recipe_file,
    same_class,
    shared_arguments,
    task_recipe,
    with_data_of,
)
from relattn.errors import InputError

SUITE_FLAGS = ("name", "runs", "test_data")
"""Flags of the suite itself, which are not passed to Lightning."""

RECIPE_FLAGS = ("task", "data", "attention", "trainer", "logger")
"""Flags that name recipes, or files in the same form."""

BEST_CHECKPOINT = "relattn.runs.best.BestCheckpoint"
"""The callback that `--best` adds."""

CLASS_OPTIONS = ("model", "data", "model.attention", "model.optimizer", "model.schedule", "model.loss")
"""Options that select a class, whose arguments are nested options."""


@dataclass
class CommandLine:
    """A command line for Lightning, and the flags in it that belong to the suite.

    Attributes:
        config: The merged configuration of recipes and files.
        options: Options for the parser, which override `config`.
        recipes: Names of the recipes in `config`, by their flags.
        suite: Values of the suite's own flags.
        dropped: Sentences on arguments of recipes that do not carry over to another class on the command line.
    """

    config: Config
    options: list[str]
    recipes: dict[str, str] = field(default_factory=dict)
    suite: dict[str, str] = field(default_factory=dict)
    dropped: list[str] = field(default_factory=list)

    def arguments(self) -> list[str]:
        """The arguments for the parser: the configuration as text, then the options."""
        return [*as_argument(self.config), *self.options]

    def reference(self, backbone: str) -> list[str] | None:
        """The arguments for the recipes alone, without overrides, as the reference for departures.

        Args:
            backbone: The network that the attention's recipe is fitted to.

        Returns:
            None if the task's recipe is unknown or no longer exists.
        """
        if "task" not in self.recipes:
            return None
        try:
            plain = CommandLine(task_recipe(self.recipes["task"]), [])
            choose_data(plain, self.recipes.get("data"))
            choose_attention(plain, self.recipes.get("attention"), backbone)
        except InputError:
            return None
        return as_argument(plain.config)


def kept_name(kind: str, name: str) -> str:
    """A recipe's name, or the absolute path of a file, so that it means the same in any working directory."""
    return name if name in catalogue.recipes(kind) else str(recipe_file(kind, name).absolute())


def as_argument(config: Config) -> list[str]:
    """A configuration in the form of an argument for the parser."""
    return ["--config", yaml.safe_dump(config, sort_keys=False, allow_unicode=True)] if config else []


# --- Arguments ------------------------------------------------------------------------------------------------------


def value_of(arguments: list[str], flag: str) -> str | None:
    """The last value of `--flag value` or `--flag=value`, or None; raises as `values_of` does."""
    values = values_of(arguments, flag)
    return values[-1] if values else None


def values_of(arguments: list[str], flag: str) -> list[str]:
    """All values of `--flag value` and `--flag=value`, in order.

    Raises:
        InputError: If the flag is last and has no value.
    """
    values = []
    for position, argument in enumerate(arguments):
        if argument == flag:
            if position + 1 == len(arguments):
                raise InputError(f"{flag} needs a value.")
            values.append(arguments[position + 1])
        elif argument.startswith(f"{flag}="):
            values.append(argument.partition("=")[2])
    return values


def without(arguments: list[str], flag: str) -> list[str]:
    """The arguments without `--flag value` and `--flag=value`."""
    kept, skip = [], False
    for argument in arguments:
        if skip:
            skip = False
        elif argument == flag:
            skip = True
        elif not argument.startswith(f"{flag}="):
            kept.append(argument)
    return kept


# --- The command line -----------------------------------------------------------------------------------------------


def read_command_line(arguments: list[str], command: str = "fit") -> CommandLine:
    """Merge the recipes, files and options on the command line of a trainer command.

    Args:
        arguments: The arguments after the command's name.
        command: Its name.

    Raises:
        InputError: If a name is unknown, a file cannot be read, or a flag lacks its value.
    """
    arguments = [re.sub("^-c(?=$|=)", "--config", argument) for argument in arguments]  # LightningCLI's short form
    suite: dict[str, str] = {}
    for flag in SUITE_FLAGS:
        if (value := value_of(arguments, f"--{flag}")) is not None:
            suite[flag] = str(Path(value).expanduser()) if flag == "runs" else value
            arguments = without(arguments, f"--{flag}")
    if "--quiet" in arguments:
        suite["quiet"] = "true"
        arguments = [argument for argument in arguments if argument != "--quiet"]
    chooses_best = "--best" in arguments
    arguments = with_test_data([argument for argument in arguments if argument != "--best"], suite)
    names = {flag: value for flag in RECIPE_FLAGS if (value := value_of(arguments, f"--{flag}")) is not None}
    files = values_of(arguments, "--config")
    for flag in (*RECIPE_FLAGS, "config"):
        arguments = without(arguments, f"--{flag}")
    own_config = "task" not in names and not any(names_model(read_config(Path(file))) for file in files)
    arguments, checkpoint_config = with_checkpoint(arguments, suite, own_config=own_config, to_train=command == "fit")
    line = CommandLine(checkpoint_config, [], checkpoint_config.pop("recipes", None) or {}, suite)
    scored_on = [checkpoint_config.pop("test_data", None)]
    if "task" in names:
        line.config = merge(line.config, task_recipe(names["task"]))
        line.recipes = {"task": kept_name("task", names["task"])}
    for file in files:
        content = read_config(Path(file))
        line.recipes |= content.pop("recipes", None) or {}
        scored_on.append(content.pop("test_data", None))
        before, line.config = line.config, merge(with_data_of(line.config, content), content)
        line.dropped += dropped_by(before, line.config, file)
    if command == "fit" and (kept := [str(entry) for entry in scored_on if entry]):
        suite.setdefault("test_data", kept[-1])
    for overlay in ("trainer", "logger"):
        if overlay in names:
            line.config = merge(line.config, read_config(recipe_file(overlay, names[overlay])))
            line.recipes[overlay] = kept_name(overlay, names[overlay])
    choose_data(line, names.get("data"))
    rest = choose_classes(line, arguments)
    flags = ("--backbone", "--model.backbone", "--model.init_args.backbone")
    backbone = next((value for flag in flags if (value := value_of(rest, flag)) is not None), None)
    choose_attention(line, names.get("attention"), backbone)
    line.options = expand_short_flags(rest)
    if chooses_best and command != "fit":
        raise InputError(f"--best is for fit, which chooses a checkpoint, and not for {command}.")
    if chooses_best and BEST_CHECKPOINT not in str(line.config.get("trainer", {}).get("callbacks")):
        line.options += ["--trainer.callbacks+", json.dumps({"class_path": BEST_CHECKPOINT})]
    asks_for_help = any(argument.partition("=")[0].endswith(("-h", "help")) for argument in arguments)
    if not (names_model(line.config) or value_of(rest, "--model") or asks_for_help):
        raise InputError(f"Choose what to run: --task {' | '.join(catalogue.recipes('task'))}, or --config FILE.")
    return line


def with_test_data(arguments: list[str], suite: dict[str, str]) -> list[str]:
    """Keep only the first of the data sets in `--data A,B,C`; the others become test sets."""
    value = value_of(arguments, "--data")
    if value is None or "," not in value or value.startswith("{"):
        return arguments
    first, *others = (name.strip() for name in value.split(","))
    suite["test_data"] = ",".join([*others, *filter(None, [suite.get("test_data")])])
    return [*without(arguments, "--data"), "--data", first]


def names_model(config: Config) -> bool:
    """Whether a configuration specifies the task."""
    model = config.get("model")
    return isinstance(model, str) or (isinstance(model, dict) and "class_path" in model)


def with_checkpoint(
    arguments: list[str], suite: dict[str, str], *, own_config: bool, to_train: bool
) -> tuple[list[str], Config]:
    """The arguments with the path that `--ckpt_path` refers to, and the configuration in that checkpoint.

    Args:
        arguments: Arguments of the command.
        suite: The suite's own flags; `last` removes the name, since a resumed run keeps its folder.
        own_config: Whether to use the checkpoint's configuration, because neither a recipe nor a file is named.
        to_train: Whether training resumes from it.
    """
    asked = value_of(arguments, "--ckpt_path")
    if asked is None:
        return arguments, {}
    from relattn.runs.checkpoints import config_of, find_checkpoint

    checkpoint = find_checkpoint(
        asked,
        name=suite.pop("name", None) if asked == "last" else None,
        runs=suite.get("runs"),
        to_train=to_train,
    )
    arguments = [*without(arguments, "--ckpt_path"), "--ckpt_path", str(checkpoint)]
    if not own_config:
        return arguments, {}
    from relattn.runs.stored_config import check_whole_config

    config = config_of(checkpoint)
    check_whole_config(config, checkpoint)
    return arguments, config


def choose_data(line: CommandLine, name: str | None) -> None:
    """Put the data set into the configuration: from `--data`, or from the task's recipe, or none.

    The task's recipe specifies how its data sets are used in training (`data.init_args`). This applies to all data sets
    of the task, but not to classes of another kind. Arguments in a file or a mapping of the user's own count more.
    """
    section = line.config.get("data") or {}
    if not isinstance(section, dict):
        return
    training = section.get("init_args") or {}
    recipe = section.pop("recipe", None)
    if name is None and recipe is None:
        return
    chosen: Config
    if name is not None and "+" in name and not name.startswith("{"):
        chosen = joined_sets(name)
        line.recipes.pop("data", None)
    elif name is None or not (is_class_path(name) or name.startswith("{")):
        line.recipes["data"] = kept_name("data", str(name or recipe))
        chosen = recipe_content("data", line.recipes["data"])
    else:
        line.recipes.pop("data", None)
        chosen = yaml.safe_load(name) if name.startswith("{") else {"class_path": name}
    if name is not None:  # a different data set than that of the task's recipe, or of the run with this configuration
        before = section if recipe is None else recipe_content("data", str(recipe))
        asked, training = training, shared_arguments({**before, "init_args": training}, chosen)
        if "root" in asked and "root" in (chosen.get("init_args") or {}):  # both lie in the folder of all data sets
            training["root"] = asked["root"]
        if left := {key: value for key, value in asked.items() if key not in training and key != "root"}:
            line.dropped.append(starts_anew(f"--data {name}", str(before.get("class_path", "data set")), left))
    if not training:
        line.config["data"] = chosen
    elif name is not None and (name.startswith("{") or Path(line.recipes.get("data", "")).is_absolute()):
        line.config["data"] = merge({**chosen, "init_args": training}, chosen)
    else:
        line.config["data"] = merge(chosen, {"init_args": training})


def joined_sets(names: str) -> Config:
    """The configuration for training on several data sets at once, `A+B`.

    Raises:
        InputError: If a name is unknown, or the sets cannot be joined.
    """
    parts: list[Config] = [recipe_content("data", name.strip()) for name in names.split("+")]
    kinds = {getattr(imported(part["class_path"]), "joint", "") for part in parts}
    if len(kinds) > 1 or "" in kinds:
        raise InputError(
            f"--data {names}: these data sets cannot be joined: expected sets of one kind, such as people."
        )
    return {"class_path": kinds.pop(), "init_args": {"joined": parts}}


def choose_classes(line: CommandLine, arguments: list[str]) -> list[str]:
    """Drop arguments of recipes if an option selects another class; the option itself is left to the parser."""
    for option in CLASS_OPTIONS:
        value = value_of(arguments, f"--{option}")
        if value is not None and option == "model.attention":
            line.recipes.pop("attention", None)
        if value in NONE:
            arguments = [*without(arguments, f"--{option}"), f"--{option}", "null"]
        if value is None or value in NONE or value.startswith("{"):
            continue
        holder, key = line.config, option
        *path, last = option.split(".")
        for name in path:
            holder = holder.get(name) or {}
        if path:
            holder = holder.get("init_args") or {}
        key = last
        section = holder.get(key)
        if not isinstance(section, dict) or same_class(str(section.get("class_path", "")), value):
            continue
        if option in ("model", "data") and is_subclass(value, str(section.get("class_path"))):
            holder[key] = {**section, "class_path": value}
            arguments = without(arguments, f"--{option}")
            continue
        dropped = section.get("init_args") or {}
        del holder[key]
        if dropped:
            line.dropped.append(starts_anew(f"--{option} {value}", str(section["class_path"]), dropped))
    return arguments


def starts_anew(choice: str, class_path: str, dropped: Config) -> str:
    """The sentence on arguments of a recipe's class that do not carry over to another one."""
    name = class_path.rpartition(".")[2]
    listed = ", ".join(f"{key} {value}" for key, value in dropped.items())
    return f"{choice} starts from its own defaults, without the recipe's {name} ({listed})."


def dropped_by(before: Config, after: Config, file: str) -> list[str]:
    """Sentences on arguments that were dropped because a file selects another class."""
    sentences = []
    for option in CLASS_OPTIONS:
        was, now = (section_at(config, option) for config in (before, after))
        if was.get("class_path") and now.get("class_path") and not same_class(was["class_path"], now["class_path"]):
            kept = now.get("init_args") or {}
            left = {name: value for name, value in (was.get("init_args") or {}).items() if name not in kept}
            if left:
                choice = f"--config {file}: {now['class_path'].rpartition('.')[2]}"
                sentences.append(starts_anew(choice, was["class_path"], left))
    return sentences


def section_at(config: Config, option: str) -> Config:
    """The class and arguments in a configuration for an option of `CLASS_OPTIONS`; empty if it has none."""
    section: Any = config
    for place, name in enumerate(option.split(".")):
        section = (section.get("init_args") or {}).get(name) if place else section.get(name)
        if not isinstance(section, dict):
            return {}
    return section


def choose_attention(line: CommandLine, name: str | None, backbone: str | None) -> None:
    """Put the attention of `--attention` into the configuration of the model."""
    if name is None:
        return
    model = line.config.setdefault("model", {})
    arguments = model.setdefault("init_args", {})
    backbone = backbone or arguments.get("backbone")
    if name.startswith("{"):
        line.recipes.pop("attention", None)
        arguments["attention"] = json.loads(name)
    elif is_class_path(name):
        line.recipes.pop("attention", None)
        arguments["attention"] = {"class_path": name}
    else:
        arguments["attention"] = attention_config(name, backbone)
        line.recipes["attention"] = "none" if name in NONE else kept_name("attention", name)


def expand_short_flags(arguments: list[str]) -> list[str]:
    """Replace `--backbone`, `--gpus` and `--figures` by Lightning's options."""
    expanded: list[str] = []
    rest = iter(arguments)
    for argument in rest:
        flag, equals, value = argument.partition("=")
        if flag not in ("--backbone", "--gpus", "--figures"):
            expanded.append(argument)
            continue
        if not equals and (value := next(rest, "")) == "":
            raise InputError(f"{flag} needs a value.")
        if flag == "--backbone":
            expanded += ["--model.backbone", value]
        elif flag == "--figures":
            callback = {
                "class_path": "relattn.inference.figures.FiguresDuringTraining",
                "init_args": {"figures": value.split(",")},
            }
            expanded += ["--trainer.callbacks+", json.dumps(callback)]
        else:
            expanded += gpus(value)
    return expanded


def gpus(value: str) -> list[str]:
    """Lightning's options for `--gpus`: a count, a list of indices, or `all`.

    Raises:
        InputError: If it is not one of them.
    """
    if value == "all":
        devices = "-1"
    elif re.fullmatch(r"\d+", value):
        if value == "0":
            return ["--trainer.accelerator", "cpu", "--trainer.devices", "1"]
        devices = value
    elif re.fullmatch(r"\d+(,\d*)+", value):
        devices = json.dumps([int(index) for index in value.split(",") if index])
    else:
        raise InputError(f"--gpus is {value!r}, expected a count such as 2, indices such as 0,2, or all.")
    return ["--trainer.accelerator", "gpu", "--trainer.devices", devices]
