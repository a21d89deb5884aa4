"""Paths in a configuration: absolute, so that it means the same from any working directory."""

import inspect
from pathlib import Path
from typing import Any, get_args

from relattn.cli.lightning.recipes import imported

PATH_NAMES = ("root", "manifest", "folder", "directory", "path", "file")
"""Arguments of a user's own data set that are paths, whatever they are annotated with."""


def with_absolute_paths(config: Any) -> None:
    """Make the paths among the arguments of the data and the model of a command's configuration absolute.

    Paths are arguments annotated with `Path`, arguments of the data with usual names, and files of weights; `~` is
    expanded.
    """
    for section in (config.data, config.model):
        arguments = section.get("init_args")
        if arguments is None:
            continue
        annotations = annotations_of(imported(section.class_path))
        for name, value in list(vars(arguments).items()):
            is_path = mentions_path(annotations.get(name)) or (section is config.data and name in PATH_NAMES)
            if name == "pretrained" and isinstance(value, str):
                is_path = Path(value).expanduser().exists()
            if is_path and isinstance(value, str | Path) and str(value):
                setattr(arguments, name, str(Path(value).expanduser().absolute()))


def annotations_of(kind: type | None) -> dict[str, Any]:
    """The annotations of the arguments of a class, those that it hands on to its bases included."""
    annotations: dict[str, Any] = {}
    for base in reversed(kind.__mro__ if kind is not None else ()):
        if "__init__" in vars(base):
            parameters = inspect.signature(vars(base)["__init__"]).parameters.values()
            annotations |= {parameter.name: parameter.annotation for parameter in parameters}
    return annotations


def mentions_path(annotation: Any) -> bool:
    """Whether an annotation admits a `Path`."""
    if isinstance(annotation, str):
        return "Path" in annotation
    return annotation is Path or any(mentions_path(part) for part in get_args(annotation))
