"""Reads recipes (`conf/<kind>/<name>.yaml`) and configuration files, and merges one onto another.

If a later part selects another class, arguments of the earlier class are dropped: arguments that a recipe sets for one
class are never passed to another.
"""

import copy
import importlib
import inspect
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from relattn.cli import catalogue
from relattn.errors import InputError, MissingFileError, suggest

NONE = ("none", "null")
"""Words for the plain network, and for no value."""

Config = dict[str, Any]


# --- Files ----------------------------------------------------------------------------------------------------------


def recipe_file(kind: str, name: str) -> Path:
    """The recipe with a name, or the file at a path.

    Raises:
        InputError: If neither exists; the message has the closest names.
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


def recipe_content(kind: str, name: str) -> Config:
    """The content of a recipe for one class, a data set or an attention module; raises as `recipe_file` does."""
    content: Config = yaml.safe_load(recipe_file(kind, name).read_text(encoding="utf-8"))
    return content


def read_config(file: Path) -> Config:
    """Read a configuration file.

    Raises:
        MissingFileError: If the file does not exist.
        InputError: If it is not valid YAML, or not a dictionary of options.
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
            f"--config {file} is {kind}, expected names of options with their values, as in a run's config.yaml."
        )
    if (odd := next((name for name in content if not isinstance(name, str)), "")) != "":
        raise InputError(f"--config {file} has the option {odd!r}, expected a name such as trainer.")
    for section in ("trainer", "recipes"):
        if section in content and not isinstance(content[section], dict | str):
            raise InputError(
                f"--config {file}: {section} is {content[section]!r}, expected names of options with their values."
            )
    try:
        json.dumps(content, default=str)
    except (ValueError, RecursionError) as error:
        raise InputError(f"--config {file} has a YAML alias to one of its own parents, which never ends.") from error
    if (wrong := next((one for one in class_paths(content) if not isinstance(one, str)), None)) is not None:
        raise InputError(f"--config {file}: class_path is {wrong!r}, expected the path of a class.")
    return with_referenced_files(content, file)


def class_paths(content: Any) -> Iterator[Any]:
    """The values of all `class_path` keys in a configuration, at any depth."""
    if isinstance(content, dict):
        if "class_path" in content:
            yield content["class_path"]
        for part in content.values():
            yield from class_paths(part)
    elif isinstance(content, list):
        for part in content:
            yield from class_paths(part)


def with_referenced_files(content: Config, file: Path) -> Config:
    """Load the files that `model`, `data` and `trainer` may refer to, by paths relative to the configuration."""
    for section in ("model", "data", "trainer"):
        value = content.get(section)
        if isinstance(value, str) and value.endswith((".yaml", ".yml")):
            content[section] = read_config(file.parent / value)
    return content


def task_recipe(name: str) -> Config:
    """The configuration of a task's recipe, merged on its base.

    Raises:
        InputError: If the recipe does not exist, or its bases form a cycle.
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
    """Merge two configurations; `above` takes precedence.

    Dictionaries are merged key by key, everything else is replaced. If `above` names another class, the arguments
    (`init_args`) of the class below are dropped. `replace: true` in a dictionary drops everything below it. A key that
    ends in `+` appends to a list.
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
    """A list unchanged, anything else as a list of one."""
    return value if isinstance(value, list) else [value]


def same_class(first: str, second: str) -> bool:
    """Whether two class paths name the same class; a short name is compared with the last part."""
    if "." in first and "." in second:
        return first == second
    return first.rpartition(".")[2] == second.rpartition(".")[2]


# --- Attention ------------------------------------------------------------------------------------------------------


def attention_config(name: str, backbone: str | None) -> Config | None:
    """The configuration of an attention recipe, fitted to the backbone's family, or of a class; None for no attention.

    Raises:
        InputError: If the recipe does not exist.
    """
    if name in NONE:
        return None
    if is_class_path(name):
        return {"class_path": name}
    content = recipe_content("attention", name)
    for family, departures in content.pop("backbones", {}).items():
        if backbone is not None and family == family_of(backbone):
            content["init_args"] = {**content.get("init_args", {}), **departures}
    return content


def family_of(backbone: str) -> str:
    """The family of a backbone; timm is only needed for names that look like the papers' small networks."""
    if not re.match(r"(resnet|densenet)", backbone):
        return "timm"
    from relattn.backbones import family

    return family(backbone)


def is_class_path(text: str) -> bool:
    """Whether a text is the path of a class rather than the name of a recipe or file."""
    return bool(re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+", text)) and not text.endswith((".yaml", ".yml"))


# --- Classes --------------------------------------------------------------------------------------------------------


def imported(class_path: str) -> type | None:
    """The class at a path; None if it cannot be imported, which the parser will report."""
    module, _, name = class_path.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name, None)
    except (ImportError, ValueError):
        return None
    return found if isinstance(found, type) else None


def is_subclass(path: str, base: str) -> bool:
    """Whether a class derives from another, both given by their paths."""
    first, second = imported(path), imported(base)
    return first is not None and second is not None and issubclass(first, second)


def shared_arguments(before: Config, chosen: Config) -> Config:
    """The arguments of a data set that also apply to another one of the same kind; empty for another kind."""
    arguments = before.get("init_args") or {}
    if not arguments or "class_path" not in before or "class_path" not in chosen:
        return {}
    first, second = (imported(content["class_path"]) for content in (before, chosen))
    kind = None if first is None or second is None else common_kind(first, second)
    known = {} if kind is None else parameters_of(kind)
    return {name: value for name, value in arguments.items() if name in known and name != "root"}


def common_kind(first: type, second: type) -> type | None:
    """The class of data sets, such as that of people, that two data sets belong to; None for different kinds."""
    from relattn.tasks.data import Data
    from relattn.tasks.image_data import ImageData

    general = (Data, ImageData, object)
    shared = [kind for kind in first.__mro__ if kind in second.__mro__ and kind not in general]
    return shared[0] if any(issubclass(kind, Data) for kind in shared) else None


def parameters_of(kind: type) -> dict[str, Any]:
    """The arguments of a class with their annotations, including those that it passes on to its bases."""
    annotations: dict[str, Any] = {}
    for base in reversed(kind.__mro__):
        if "__init__" in vars(base):
            parameters = inspect.signature(vars(base)["__init__"]).parameters.values()
            annotations |= {parameter.name: parameter.annotation for parameter in parameters}
    return annotations


def with_data_of(config: Config, above: Config) -> Config:
    """The configuration without data arguments that do not apply to the data set selected in `above`."""
    section, chosen = config.get("data"), above.get("data")
    if not isinstance(section, dict) or not isinstance(chosen, dict) or "class_path" not in chosen:
        return config
    if "recipe" not in section:
        return config  # `merge` handles the change of class
    recipe = recipe_content("data", str(section["recipe"]))
    training = shared_arguments({**recipe, "init_args": section.get("init_args")}, chosen)
    return {**config, "data": {"init_args": training}}
