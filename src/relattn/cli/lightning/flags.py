"""Short flags, expanded into Lightning's own options before Lightning parses them.

Recipes are moved to the front, so that explicit options win wherever they stand. The expanded line is written back to
`sys.argv`, since the processes of a distributed run start from it; expanding it again changes nothing.
"""

import json
import re
import warnings
from pathlib import Path
from typing import Any

import yaml

from relattn.cli import catalogue
from relattn.errors import InputError, MissingFileError, suggest

OWN = ("name", "runs")
"""Flags of the suite itself, which Lightning does not see."""


def value_of(arguments: list[str], flag: str) -> str | None:
    """The last value of `--flag value` or `--flag=value`, or None."""
    found = None
    for position, argument in enumerate(arguments):
        if argument == flag:
            if position + 1 == len(arguments):
                raise InputError(f"{flag} needs a value.")
            found = arguments[position + 1]
        elif argument.startswith(f"{flag}="):
            found = argument.partition("=")[2]
    return found


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


def recipe(kind: str, name: str) -> Path:
    """The recipe of a name, or the file of a path.

    Raises:
        InputError: If there is neither, with the closest names.
    """
    path = catalogue.conf() / kind / f"{name}.yaml"
    if path.is_file():
        return path
    if name.endswith((".yaml", ".yml")):
        if Path(name).is_file():
            return Path(name)
        raise MissingFileError(f"--{kind} {name}: no such file.")
    raise InputError(f"--{kind}: there is no {kind} {name!r}. {suggest(name, catalogue.recipes(kind))}")


def attention(name: str, backbone: str | None) -> str:
    """The value of `--model.attention` for a recipe's name, fitted to the backbone's family.

    A class path, or what Lightning's own option takes, is passed on as it is.
    """
    if name in ("none", "null"):
        return "null"
    if name.startswith("{") or (re.fullmatch(r"\w+(\.\w+)+", name) and not name.endswith((".yaml", ".yml"))):
        return name
    content: dict[str, Any] = yaml.safe_load(recipe("attention", name).read_text())
    for family, departures in content.pop("backbones", {}).items():
        if backbone is not None and family == family_of(backbone):
            content["init_args"] = {**content.get("init_args", {}), **departures}
    return json.dumps(content)


def family_of(backbone: str) -> str:
    """The family of a backbone; only names that look like the papers' small networks need timm to tell."""
    if not re.match(r"(resnet|densenet)", backbone):
        return "timm"
    from relattn.backbones import family

    return family(backbone)


def run_of(checkpoint: Path) -> Path | None:
    """The folder of the run that a checkpoint belongs to, if it lies in one."""
    for folder in (checkpoint.parent, checkpoint.parent.parent, checkpoint.resolve().parent.parent):
        if (folder / "config.yaml").is_file():
            return folder
    return None


def checkpoint_of(asked: str, own: dict[str, str]) -> Path:
    """The file that `--ckpt_path` means.

    Args:
        asked: A file; a run's folder, for the newest whole checkpoint of the run; or `last`, for that of `--name`.
        own: The suite's own flags; with `last` the name is taken out, since a run that goes on keeps its folder.

    Raises:
        MissingFileError: If there is no such file, run or checkpoint.
        InputError: If `last` is asked for without a name, or no checkpoint of the run is whole.
    """
    file = Path(asked)
    if asked == "last":
        name = own.pop("name", None)
        if name is None:
            raise InputError("--ckpt_path last goes on with a named run: give --name, or the path of a checkpoint.")
        runs = Path(own.get("runs", "runs"))
        found = sorted(runs.glob(f"*/{name}"))
        if len(found) != 1:
            listed = ", ".join(map(str, found)) or f"none in {runs}"
            raise MissingFileError(f"--ckpt_path last --name {name}: expected one run of that name, found {listed}.")
        (file,) = found
    if file.is_dir():
        from relattn.runs.checkpoints import last_of

        checkpoint = last_of(file)
        if checkpoint.stem != "last":
            warnings.warn(f"{file}: the last checkpoint is damaged, so {checkpoint.name} is used.", stacklevel=2)
        return checkpoint
    if not file.is_file():
        raise MissingFileError(f"--ckpt_path {asked}: there is no such file.")
    return file


def expand(arguments: list[str]) -> tuple[list[str], dict[str, str]]:
    """Expand the short flags of a trainer command.

    Args:
        arguments: What follows the command's name.

    Returns:
        The arguments for Lightning, and the values of the suite's own flags.

    Raises:
        InputError: If a name is unknown, or a flag lacks its value.
    """
    own = {}
    for flag in OWN:
        if (value := value_of(arguments, f"--{flag}")) is not None:
            own[flag] = value
            arguments = without(arguments, f"--{flag}")
    configs: list[str] = []
    tasked = value_of(arguments, "--task") is not None
    for kind in ("task", "trainer", "logger"):
        if (value := value_of(arguments, f"--{kind}")) is not None:
            configs += ["--config", str(recipe(kind, value))]
            arguments = without(arguments, f"--{kind}")
    asked = value_of(arguments, "--ckpt_path")
    if asked is not None:
        checkpoint = checkpoint_of(asked, own)
        arguments = [*without(arguments, "--ckpt_path"), "--ckpt_path", str(checkpoint)]
        run = run_of(checkpoint)
        if run is not None and not tasked and value_of(arguments, "--config") is None:
            configs = ["--config", str(run / "config.yaml"), *configs]
    data = value_of(arguments, "--data")
    if data is not None and re.fullmatch(r"\w+", data) and data not in catalogue.data_sets():
        raise InputError(f"--data: there is no data set {data!r}. {suggest(data, catalogue.data_sets())}")
    backbone = configured([*configs, *arguments])
    for flag in ("--backbone", "--model.backbone", "--model.init_args.backbone"):
        backbone = value_of(arguments, flag) or backbone
    expanded: list[str] = []
    rest = iter(arguments)
    for argument in rest:
        flag, equals, value = argument.partition("=")
        if flag not in ("--data", "--backbone", "--attention", "--gpus", "--figures"):
            expanded.append(argument)
            continue
        if not equals and (value := next(rest, "")) == "":
            raise InputError(f"{flag} needs a value.")
        if flag == "--backbone":
            expanded += ["--model.backbone", value]
        elif flag == "--data":
            expanded += ["--data", catalogue.class_path(value) if value in catalogue.data_sets() else value]
        elif flag == "--attention":
            expanded += ["--model.attention", attention(value, backbone)]
        elif flag == "--figures":
            callback = {
                "class_path": "relattn.inference.draw.FiguresDuringTraining",
                "init_args": {"figures": value.split(",")},
            }
            expanded += ["--trainer.callbacks+", json.dumps(callback)]
        else:
            expanded += gpus(value)
    asks_for_help = any(argument.partition("=")[0].endswith(("-h", "help")) for argument in arguments)
    chosen = configs or asks_for_help or any(value_of(arguments, flag) for flag in ("--config", "--model"))
    if not chosen:
        raise InputError(f"Choose what to run: --task {' | '.join(catalogue.recipes('task'))}, or --config FILE.")
    return configs + expanded, own


def configured(arguments: list[str]) -> str | None:
    """The backbone that the configurations on the command line ask for.

    Raises:
        InputError: If one of them is no configuration.
    """
    backbone = None
    for position, argument in enumerate(arguments):
        flag, equals, path = argument.partition("=")
        if flag == "--config":
            if not equals and position + 1 == len(arguments):
                raise InputError("--config needs a value.")
            file = Path(path if equals else arguments[position + 1])
            model = configuration(file).get("model") if file.is_file() else None  # said when it is parsed
            given = model.get("init_args") if isinstance(model, dict) else None
            backbone = given.get("backbone", backbone) if isinstance(given, dict) else backbone
    return backbone


def configuration(file: Path) -> dict[str, Any]:
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
        found = "empty" if content is None else f"a {type(content).__name__}"
        raise InputError(
            f"--config {file} is {found}, expected options by their names, as a run's config.yaml has them."
        )
    return content


def gpus(value: str) -> list[str]:
    """Lightning's options for `--gpus`: a count, a list of indices, or `all`."""
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
