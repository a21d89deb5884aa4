"""Makes paths in a configuration absolute, so that they mean the same in any working directory."""

from pathlib import Path
from typing import Any, get_args

from relattn.cli.lightning.recipes import imported, parameters_of
from relattn.runs.checkpoints import find_checkpoint

PATH_NAMES = ("root", "manifest", "folder", "directory", "path", "file")
"""Arguments of a user's own data set that are paths, whatever their annotations."""


def with_absolute_paths(config: Any) -> None:
    """Make the paths among the arguments of the data and, if there is one, the model of a configuration absolute.

    These are arguments annotated with `Path`, arguments of the data with usual names, and files of weights; `~` is
    expanded.
    """
    for part in ("data", "model"):
        section = config.get(part)
        arguments = None if section is None else section.get("init_args")
        if arguments is None:
            continue
        annotations = parameters_of(kind) if (kind := imported(section.class_path)) is not None else {}
        for name, value in list(vars(arguments).items()):
            is_path = mentions_path(annotations.get(name)) or (part == "data" and name in PATH_NAMES)
            if name == "pretrained" and isinstance(value, str):
                file = Path(value).expanduser()
                is_path = file.exists()
                value = str(find_checkpoint(file)) if file.is_dir() else value
            if is_path and isinstance(value, str | Path) and str(value):
                setattr(arguments, name, str(Path(value).expanduser().absolute()))


def mentions_path(annotation: Any) -> bool:
    """Whether an annotation allows a `Path`."""
    if isinstance(annotation, str):
        return "Path" in annotation
    return annotation is Path or any(mentions_path(part) for part in get_args(annotation))
