"""From a command line with short flags to one configuration and Lightning's own options.

Recipes (`conf/<kind>/<name>.yaml`) and the files of `--config` are merged here, in this order: the task's recipe on its
base, the recipe of its data set, the checkpoint's configuration, the attention's recipe, overlays of the trainer and the
logger, the user's files. Options that stand on the command line win over all of them, since the parser reads them last.
Where a later part chooses another class, arguments of the earlier class are dropped: nothing that a recipe says of one class
is ever an argument of another.

The merged configuration keeps the names of its recipes under `recipes`, so that a run knows them.
"""

import copy
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from relattn.cli import catalogue
from relattn.errors import InputError, MissingFileError, suggest

SUITE_FLAGS = ("name", "runs")
"""Flags of the suite itself, which Lightning does not see."""

RECIPE_FLAGS = ("task", "data", "attention", "trainer", "logger")
"""Flags that name recipes, or files in their form."""

CLASS_OPTIONS = (
    "model",
    "data",
    "model.attention",
    "model.optimizer",
    "model.schedule",
    "model.loss",
)
"""Options that choose a class; its arguments are options below them."""

NONE = ("none", "null")

Config = dict[str, Any]


@dataclass
class CommandLine:
    """A command line of Lightning's, and what the suite itself reads of it.

    Attributes:
        config: The merged configuration of recipes and files, with the names of the recipes under `recipes`.
        options: Options for the parser, which win over `config`.
        suite: Values of the suite's own flags.
        dropped: Sentences on arguments of recipes that another class on the command line does not inherit.
    """

    config: Config
    options: list[str]
    suite: dict[str, str] = field(default_factory=dict)
    dropped: list[str] = field(default_factory=list)

    def arguments(self) -> list[str]:
        """The arguments for the parser: the configuration as text, then the options."""
        text = yaml.safe_dump(self.config, sort_keys=False, allow_unicode=True)
        return [*(["--config", text] if self.config else []), *self.options]


# --- Arguments ------------------------------------------------------------------------------------------------------


def value_of(arguments: list[str], flag: str) -> str | None:
    """The last value of `--flag value` or `--flag=value`, or None.

    Raises:
        InputError: If the flag stands at the end, without a value.
    """
    value = None
    for position, argument in enumerate(arguments):
        if argument == flag:
            if position + 1 == len(arguments):
                raise InputError(f"{flag} needs a value.")
            value = arguments[position + 1]
        elif argument.startswith(f"{flag}="):
            value = argument.partition("=")[2]
    return value


def values_of(arguments: list[str], flag: str) -> list[str]:
    """All values of `--flag value` and `--flag=value`, in their order."""
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


# --- Files ----------------------------------------------------------------------------------------------------------


def recipe_file(kind: str, name: str) -> Path:
    """The recipe of a name, or the file of a path.

    Raises:
        InputError: If there is neither, with the closest names.
    """
    file = catalogue.conf() / kind / f"{name}.yaml"
    if file.is_file():
        return file
    if name.endswith((".yaml", ".yml")):
        if Path(name).is_file():
            return Path(name)
        raise MissingFileError(f"--{kind} {name}: no such file.")
    names = catalogue.recipes(kind)
    label = "data set" if kind == "data" else kind
    raise InputError(f"--{kind}: there is no {label} {name!r}. {suggest(name, names)}")


def read_config(file: Path) -> Config:
    """The content of a configuration.

    Raises:
        MissingFileError: If there is no such file.
        InputError: If it is no YAML, or not a configuration of options by their names.
    """
    if not file.is_file():
        raise MissingFileError(f"--config {file}: there is no such file.")
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise InputError(f"--config {file} cannot be read as YAML: {' '.join(str(error).split())}.") from error
    if not isinstance(content, dict):
        kind = "empty" if content is None else f"a {type(content).__name__}"
        raise InputError(
            f"--config {file} is {kind}, expected options by their names, as a run's config.yaml has them."
        )
    return with_referenced_files(content, file)


def with_referenced_files(content: Config, file: Path) -> Config:
    """A configuration whose `model`, `data` and `trainer` may be paths of files of their own, relative to it."""
    for section in ("model", "data", "trainer"):
        value = content.get(section)
        if isinstance(value, str) and value.endswith((".yaml", ".yml")):
            content[section] = read_config(file.parent / value)
    return content


def task_recipe(name: str) -> Config:
    """The configuration of a task's recipe, merged on its base.

    Raises:
        InputError: If there is no such recipe, or its bases go in a circle.
    """
    file = recipe_file("task", name)
    content = read_config(file)
    seen = [file]
    while (base := content.pop("base", None)) is not None:
        beside = seen[-1].parent / f"{base}.yaml"
        file = beside if beside.is_file() else recipe_file("task", str(base))
        if file in seen:
            raise InputError(f"{seen[-1]}: the base {base!r} leads back to {file}.")
        seen.append(file)
        content = merge(read_config(file), content)
    return content


# --- Merging --------------------------------------------------------------------------------------------------------


def merge(below: Any, above: Any) -> Any:
    """Two configurations, `above` winning.

    Dictionaries are merged key by key, everything else is replaced. Arguments (`init_args`) of another class than the one
    that `above` names are dropped, and `replace: true` in a dictionary drops all that is below it. A key that ends in `+`
    appends to a list.
    """
    if not isinstance(below, Mapping) or not isinstance(above, Mapping):
        return copy.deepcopy(above)
    merged = dict(below)
    above = dict(above)
    if above.pop("replace", False):
        return copy.deepcopy(above)
    if "class_path" in above and "class_path" in below and not same_class(below["class_path"], above["class_path"]):
        merged.pop("init_args", None)
        merged.pop("dict_kwargs", None)
    for key, value in above.items():
        if str(key).endswith("+"):
            before = merged.get(key[:-1]) or []
            merged[key[:-1]] = [*(before if isinstance(before, list) else [before]), *as_list(value)]
        else:
            merged[key] = merge(merged[key], value) if key in merged else copy.deepcopy(value)
    return merged


def as_list(value: Any) -> list[Any]:
    """A list as it is, anything else as a list of one."""
    return value if isinstance(value, list) else [value]


def same_class(first: str, second: str) -> bool:
    """Whether two class paths name one class; a short name is compared by itself."""
    if "." in first and "." in second:
        return first == second
    return first.rpartition(".")[2] == second.rpartition(".")[2]


# --- Attention ------------------------------------------------------------------------------------------------------


def attention_config(name: str, backbone: str | None) -> Config | None:
    """The configuration of an attention recipe, fitted to the backbone's family; None for the plain network.

    Raises:
        InputError: If there is no such recipe.
    """
    if name in NONE:
        return None
    content: Config = yaml.safe_load(recipe_file("attention", name).read_text())
    for family, departures in content.pop("backbones", {}).items():
        if backbone is not None and family == family_of(backbone):
            content["init_args"] = {**content.get("init_args", {}), **departures}
    return content


def family_of(backbone: str) -> str:
    """The family of a backbone; only names that look like the papers' small networks need timm to tell."""
    if not re.match(r"(resnet|densenet)", backbone):
        return "timm"
    from relattn.backbones import family

    return family(backbone)


def is_class_path(text: str) -> bool:
    """Whether a text is the path of a class, and not the name of a recipe or file."""
    return bool(re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+", text)) and not text.endswith((".yaml", ".yml"))


# --- The command line -----------------------------------------------------------------------------------------------


def read_command_line(arguments: list[str]) -> CommandLine:
    """Merge what a command line of a trainer command names.

    Args:
        arguments: What follows the command's name.

    Raises:
        InputError: If a name is unknown, a file cannot be read, or a flag lacks its value.
    """
    suite: dict[str, str] = {}
    for flag in SUITE_FLAGS:
        if (value := value_of(arguments, f"--{flag}")) is not None:
            suite[flag] = value
            arguments = without(arguments, f"--{flag}")
    names = {flag: value for flag in RECIPE_FLAGS if (value := value_of(arguments, f"--{flag}")) is not None}
    files = values_of(arguments, "--config")
    for flag in (*RECIPE_FLAGS, "config"):
        arguments = without(arguments, f"--{flag}")
    arguments, checkpoint_config = with_checkpoint(arguments, suite, own_config="task" not in names and not files)
    config: Config = checkpoint_config
    recipes: dict[str, str] = dict(config.get("recipes") or {})
    if "task" in names:
        config = merge(config, task_recipe(names["task"]))
        recipes = {"task": names["task"]}
    for file in files:
        content = read_config(Path(file))
        recipes |= content.get("recipes") or {}
        config = merge(with_data_of(config, content), content)
    for overlay in ("trainer", "logger"):
        if overlay in names:
            config = merge(config, read_config(recipe_file(overlay, names[overlay])))
            recipes[overlay] = names[overlay]
    line = CommandLine(config, [], suite)
    choose_data(line, names.get("data"), recipes)
    rest = choose_classes(line, arguments, recipes)
    flags = ("--backbone", "--model.backbone", "--model.init_args.backbone")
    backbone = next((value for flag in flags if (value := value_of(rest, flag)) is not None), None)
    choose_attention(line, names.get("attention"), backbone, recipes)
    line.options = expand_short_flags(rest)
    asks_for_help = any(argument.partition("=")[0].endswith(("-h", "help")) for argument in arguments)
    if not (names_model(line.config) or value_of(rest, "--model") or asks_for_help):
        raise InputError(f"Choose what to run: --task {' | '.join(catalogue.recipes('task'))}, or --config FILE.")
    if recipes:
        line.config["recipes"] = recipes
    return line


def names_model(config: Config) -> bool:
    """Whether a configuration says which task is run."""
    model = config.get("model")
    return isinstance(model, str) or (isinstance(model, dict) and "class_path" in model)


def with_data_of(config: Config, above: Config) -> Config:
    """The configuration without arguments of its data that do not hold for the data set that `above` chooses."""
    section, chosen = config.get("data"), above.get("data")
    if not isinstance(section, dict) or not isinstance(chosen, dict) or "class_path" not in chosen:
        return config
    if "recipe" not in section:
        return config  # `merge` compares the classes
    recipe = yaml.safe_load(recipe_file("data", str(section["recipe"])).read_text())
    training = shared_arguments({**recipe, "init_args": section.get("init_args")}, chosen)
    return {**config, "data": {"init_args": training}}


def with_checkpoint(arguments: list[str], suite: dict[str, str], *, own_config: bool) -> tuple[list[str], Config]:
    """The arguments with the path of the checkpoint that `--ckpt_path` means, and the configuration that it brings.

    Args:
        arguments: Of the command.
        suite: The suite's own flags; `last` takes the name out, since a run that goes on keeps its folder.
        own_config: Whether the checkpoint's configuration is wanted: neither a recipe nor a file is named.
    """
    asked = value_of(arguments, "--ckpt_path")
    if asked is None:
        return arguments, {}
    from relattn.runs.checkpoints import config_of, find_checkpoint

    checkpoint = find_checkpoint(
        asked, name=suite.pop("name", None) if asked == "last" else None, runs=suite.get("runs")
    )
    arguments = [*without(arguments, "--ckpt_path"), "--ckpt_path", str(checkpoint)]
    return arguments, config_of(checkpoint) if own_config else {}


def choose_data(line: CommandLine, name: str | None, recipes: dict[str, str]) -> None:
    """Put the data set into the configuration: that of `--data`, or of the task's recipe, or none.

    The task's recipe says how its data sets are trained on (`data.init_args`), whichever it is; that holds for the data
    sets of the task, and not for a class of another kind.
    """
    section = line.config.get("data") or {}
    if not isinstance(section, dict):
        return
    training = section.get("init_args") or {}
    recipe = section.pop("recipe", None)
    if name is None and recipe is None:
        return
    chosen: Config
    if name is None or not (is_class_path(name) or name.startswith("{")):
        recipes["data"] = str(name or recipe)
        chosen = yaml.safe_load(recipe_file("data", recipes["data"]).read_text())
    else:
        recipes.pop("data", None)
        chosen = yaml.safe_load(name) if name.startswith("{") else {"class_path": name}
    if name is not None:  # another one than the task's recipe has, or the run whose configuration it is
        before = section if recipe is None else yaml.safe_load(recipe_file("data", str(recipe)).read_text())
        training = shared_arguments({**before, "init_args": training}, chosen)
    line.config["data"] = merge(chosen, {"init_args": training}) if training else chosen


def shared_arguments(before: Config, chosen: Config) -> Config:
    """The arguments of a data set that hold for another one of the same kind as well; none for one of another kind."""
    arguments = before.get("init_args") or {}
    if not arguments or "class_path" not in before or "class_path" not in chosen:
        return {}
    first, second = (imported(content["class_path"]) for content in (before, chosen))
    if first is None or second is None:
        return {}
    from relattn.tasks.data import Data
    from relattn.tasks.image_data import ImageData

    general = (Data, ImageData, object)
    shared = [kind for kind in first.__mro__ if kind in second.__mro__ and kind not in general]
    if not any(issubclass(kind, Data) for kind in shared):
        return {}
    places = {"root", "manifest", "boxes", "protocol", "split", "version"}
    return {name: value for name, value in arguments.items() if name not in places}


def imported(class_path: str) -> type | None:
    """The class of a path; None if it cannot be imported, which the parser says."""
    import importlib

    module, _, name = class_path.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name, None)
    except (ImportError, ValueError):
        return None
    return found if isinstance(found, type) else None


def choose_classes(line: CommandLine, arguments: list[str], recipes: dict[str, str]) -> list[str]:
    """Drop arguments of recipes where an option chooses another class; the option itself is left to the parser."""
    for option in CLASS_OPTIONS:
        value = value_of(arguments, f"--{option}")
        if value is not None and option == "model.attention":
            recipes.pop("attention", None)
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
            name = str(section["class_path"]).rpartition(".")[2]
            listed = ", ".join(f"{key} {value}" for key, value in dropped.items())
            line.dropped.append(
                f"--{option} {value} starts from its own defaults, without the recipe's {name} ({listed})."
            )
    return arguments


def is_subclass(path: str, base: str) -> bool:
    """Whether a class derives from another, both by their paths."""
    first, second = imported(path), imported(base)
    return first is not None and second is not None and issubclass(first, second)


def choose_attention(line: CommandLine, name: str | None, backbone: str | None, recipes: dict[str, str]) -> None:
    """Put the attention of `--attention` into the configuration of the model."""
    if name is None:
        return
    model = line.config.setdefault("model", {})
    arguments = model.setdefault("init_args", {})
    backbone = backbone or arguments.get("backbone")
    if name.startswith("{"):
        recipes.pop("attention", None)
        arguments["attention"] = json.loads(name)
    elif is_class_path(name):
        recipes.pop("attention", None)
        arguments["attention"] = {"class_path": name}
    else:
        arguments["attention"] = attention_config(name, backbone)
        recipes["attention"] = "none" if name in NONE else name


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
        InputError: If it is none of them.
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
