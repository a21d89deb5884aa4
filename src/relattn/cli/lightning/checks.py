"""Checks of a configuration before a run begins: finite numbers, and a task and data that are compatible."""

import math
import re
from collections.abc import Iterator
from typing import Any

from jsonargparse import Namespace

from relattn.cli import catalogue
from relattn.cli.lightning.callbacks import listed
from relattn.cli.lightning.recipes import imported
from relattn.errors import InputError, some_of

LARGEST_SEED = 2**32 - 1
"""The largest seed that NumPy accepts."""

STARTED_LATE = ("_spawn", "_fork", "_notebook")
"""Suffixes of strategies whose processes are copies of the first one."""

SHARDING = ("fsdp", "deepspeed", "modelparallel", "xla", "single_xla")
"""Prefixes of strategies that divide a network among devices."""

LEAST = {
    **dict.fromkeys(("check_val_every_n_epoch", "accumulate_grad_batches", "log_every_n_steps", "num_nodes"), 1),
    **dict.fromkeys(("min_epochs", "min_steps", "reload_dataloaders_every_n_epochs"), 0),
    "num_sanity_val_steps": -1,
}
"""Minimum values of trainer options, below which Lightning misinterprets them or fails."""

LEAST_OF_CALLBACKS: dict[str, dict[str, float]] = {
    "BatchSizeFinder": {"init_val": 1, "max_trials": 1, "steps_per_trial": 1},
    "EarlyStopping": {"patience": 0},
    "EMAWeightAveraging": {"update_every_n_steps": 1},
    "LearningRateFinder": {"num_training_steps": 2, "min_lr": 1e-12},
}
"""Minimum values of callback arguments, by class."""

DURATION = re.compile(r"\d+:\d+:\d+:\d+")
"""Days, hours, minutes and seconds, separated by colons."""

UNITS = ("weeks", "days", "hours", "minutes", "seconds")


def check_config(command: str, config: Any) -> None:
    """Refuse a configuration that cannot run, however it is written.

    Args:
        command: `fit`, `validate`, `test` or `predict`.
        config: The command's configuration, parsed and not yet instantiated.

    Raises:
        InputError: If a number is infinite, NaN or out of range, or the model and the data belong to different tasks.
    """
    for part in ("model", "data", "trainer"):
        for option, value in numbers(config[part], f"--{part}"):
            if not math.isfinite(value):
                raise InputError(f"{option} is {value}, expected a finite number.")
    seed = config.seed_everything
    if not isinstance(seed, bool) and seed is not None and not 0 <= seed <= LARGEST_SEED:
        raise InputError(f"--seed_everything is {seed}, expected 0 to {LARGEST_SEED}.")
    trainer = config.trainer
    for name, least in LEAST.items():
        if (value := trainer.get(name)) is not None and value < least:
            raise InputError(f"--trainer.{name} is {value}, expected at least {least}.")
    if trainer.get("val_check_interval") is not None and trainer.val_check_interval == 0:
        raise InputError("--trainer.val_check_interval is 0, expected a fraction of an epoch, or at least 1 step.")
    if (clip := trainer.get("gradient_clip_val")) is not None and clip < 0:
        raise InputError(f"--trainer.gradient_clip_val is {clip}, expected 0 or more; leave it out not to clip.")
    check_trainer(trainer)
    if command == "fit":
        for name in ("max_epochs", "max_steps", "limit_train_batches"):
            if trainer.get(name) == 0:
                raise InputError(f"--trainer.{name} is 0: nothing would be trained. Give at least 1.")
        check_optimizer(config.model.init_args.get("optimizer"), config.model.init_args.get("channels_last"))
    check_data_of_task(config.model.class_path, config.data.class_path)


def check_trainer(trainer: Any) -> None:
    """Refuse settings that conflict with a run keeping records in its folder.

    Raises:
        InputError: If so; the message has the option to use instead.
    """
    if trainer.get("default_root_dir") is not None:
        raise InputError("--trainer.default_root_dir: a run's folder is chosen with --runs and --name.")
    if trainer.get("barebones"):
        raise InputError("--trainer.barebones: a run keeps its metrics and checkpoints. Leave it out.")
    for name in ("epochs", "steps"):
        least, most = trainer.get(f"min_{name}"), trainer.get(f"max_{name}")
        if least and most is not None and 0 < most < least:
            raise InputError(f"--trainer.min_{name} is {least}, expected at most --trainer.max_{name}, {most}.")
    check_duration(trainer.get("max_time"), "--trainer.max_time")
    for callback in listed(trainer.get("callbacks")):
        check_callback(callback)
    strategy = trainer.get("strategy")
    if isinstance(strategy, str) and strategy.startswith(("{", "[")):  # parsed as a name because it fits no class
        raise InputError(
            f"--trainer.strategy is {strategy}, which fits no class: expected a name such as ddp, or a class_path and "
            "the init_args that it has."
        )
    kind = str(getattr(strategy, "class_path", strategy)).rpartition(".")[2]
    start = (strategy.get("init_args") or {}).get("start_method") if isinstance(strategy, Namespace) else None
    if kind.endswith(STARTED_LATE) or start in ("spawn", "fork", "forkserver"):
        raise InputError(
            f"--trainer.strategy {start or kind}: processes that start after the network is built do not return the "
            "run's scores. Give --trainer.strategy ddp."
        )
    if kind.lower().startswith(SHARDING):
        raise InputError(
            f"--trainer.strategy {kind} keeps parts of a network on each device, and a run's checkpoints hold it "
            "whole. Give --trainer.strategy ddp."
        )


def check_duration(value: Any, option: str) -> None:
    """Refuse an invalid length of time.

    Raises:
        InputError: If so; the message has the two valid forms.
    """
    is_text = isinstance(value, str) and DURATION.fullmatch(value)
    is_parts = isinstance(value, dict) and value and set(value) <= {*UNITS}
    if value is None or is_text or is_parts or not isinstance(value, str | dict):
        return
    raise InputError(
        f"{option} is {value!r}, expected days:hours:minutes:seconds such as 00:12:00:00, or a dictionary such as "
        f"{{minutes: 30}}, of {', '.join(UNITS)}."
    )


def check_callback(callback: Any) -> None:
    """Refuse arguments of Lightning's callbacks that they accept but cannot use.

    Args:
        callback: Configuration of a callback.

    Raises:
        InputError: If so; the message says what is expected.
    """
    name = str(getattr(callback, "class_path", "")).rpartition(".")[2]
    arguments: Any = callback.get("init_args") or {} if hasattr(callback, "get") else {}
    for argument, least in LEAST_OF_CALLBACKS.get(name, {}).items():
        value = arguments.get(argument)
        if value is not None and value < least:
            raise InputError(f"{name}: {argument} is {value}, expected at least {least}.")
    if name == "Timer":
        check_duration(arguments.get("duration"), "Timer: duration")
    if name == "LearningRateFinder" and (low := arguments["min_lr"]) >= (high := arguments["max_lr"]):
        raise InputError(f"LearningRateFinder: min_lr is {low}, expected less than max_lr, {high}.")


def numbers(value: Any, option: str) -> Iterator[tuple[str, float]]:
    """All floating-point numbers in a configuration, with their options."""
    if isinstance(value, float):
        yield option, value
    elif isinstance(value, list | tuple):
        for item in value:
            yield from numbers(item, option)
    elif isinstance(value, dict | Namespace):
        for name, item in (value if isinstance(value, dict) else vars(value)).items():
            yield from numbers(item, option if name == "init_args" else f"{option}.{name}")


def check_optimizer(optimizer: Any, channels_last: bool | None) -> None:
    """Refuse what the optimizer would refuse later, after the data are read and the network is built.

    Args:
        optimizer: Its configuration.
        channels_last: Whether the network uses the channels-last memory format.

    Raises:
        InputError: If the optimizer does not accept its arguments.
    """
    import importlib

    import torch

    if not hasattr(optimizer, "class_path"):
        return
    module, _, name = optimizer.class_path.rpartition(".")
    kind = getattr(importlib.import_module(module), name)
    if channels_last and isinstance(kind, type) and issubclass(kind, torch.optim.LBFGS):
        raise InputError(
            "--model.optimizer LBFGS: torch flattens only gradients in the default memory format. Give "
            "--model.channels_last false."
        )
    arguments = vars(optimizer.get("init_args") or {}) if hasattr(optimizer.get("init_args"), "__dict__") else {}
    if not isinstance(kind, type) or not issubclass(kind, torch.optim.Optimizer):
        return
    try:
        kind([torch.nn.Parameter(torch.zeros(1))], **arguments)
    except (ValueError, TypeError, RuntimeError) as error:
        raise InputError(f"--model.optimizer {optimizer.class_path}: {error}.") from error


def check_composition(config: dict[str, Any]) -> None:
    """Refuse a task with another task's data, if recipes and files name both; raises as `check_data_of_task` does."""
    sections = [config.get("model"), config.get("data")]
    model, data = (section.get("class_path") if isinstance(section, dict) else None for section in sections)
    if model and data:
        check_data_of_task(model, data)


def check_data_of_task(model: str, data: str) -> None:
    """Refuse data on which the task cannot be trained.

    Args:
        model: Class path of the task.
        data: Class path of the data.

    Raises:
        InputError: If so; the message has the task's data sets.
    """
    task, chosen = imported(model), imported(data)
    if task is None or chosen is None or issubclass(chosen, task.data_type):  # type: ignore[attr-defined]
        return
    kind: type = task.data_type  # type: ignore[attr-defined]
    known = [name for name in catalogue.recipes("data") if is_of(name, kind)]
    listed = f" Choose one of {', '.join(known)}." if known else ""
    raise InputError(
        f"--data {chosen.__name__} does not fit {task.__name__}, which is trained on data sets that derive from "
        f"{kind.__module__}.{kind.__name__}.{listed}"
    )


def is_of(recipe: str, kind: type) -> bool:
    """Whether a data recipe's class derives from `kind`."""
    found = imported(catalogue.class_path("data", recipe))
    return found is not None and issubclass(found, kind)


def misfit(error: Exception, checkpoint: str | None) -> InputError | None:
    """Convert a Lightning error about a given checkpoint; None if the error has another cause.

    Args:
        error: The error.
        checkpoint: The checkpoint, if there is one.
    """
    if checkpoint is None or isinstance(error, InputError):
        return None
    if isinstance(error, KeyError) and error.args == ("pytorch-lightning_version",):
        return InputError(f"{checkpoint} is not a checkpoint of `relattn fit` but of another program.")
    if "loading state_dict" in str(error):
        found = [line.strip()[:200] for line in str(error).splitlines()[1:]]
        return InputError(
            f"{checkpoint} does not fit the requested network: {some_of(found, 1)}. Request the network of its run, or "
            "leave --task out to use the configuration of its run."
        )
    return None
