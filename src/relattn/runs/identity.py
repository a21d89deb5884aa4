"""The identity of a run: its whole recipe with all overrides, except the seed and options that change no number.

Two runs with the same identity are seeds of one experiment. Short labels are made from the differences between runs.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

SEED = "seed_everything"

INCIDENTAL = {
    "trainer": {
        *("accelerator", "devices", "num_nodes", "strategy", "plugins", "use_distributed_sampler", "barebones"),
        *("logger", "default_root_dir", "enable_progress_bar", "enable_model_summary", "enable_checkpointing"),
        *("log_every_n_steps", "profiler", "detect_anomaly", "num_sanity_val_steps", "benchmark", "deterministic"),
        *("check_val_every_n_epoch", "val_check_interval", "limit_val_batches", "limit_test_batches"),
        *("limit_predict_batches", "fast_dev_run", "inference_mode", "enable_autolog_hparams", "model_registry"),
        "reload_dataloaders_every_n_epochs",
    },
    "data": {"root", "workers", "check_files", "cache", "eval_batch_size", "seed"},
    "model": {"channels_last", "compile_mode", "recompute_attention"},
}
"""Options of each section that decide where and how fast a run is computed and what is shown, not what is trained."""

OPTIMIZER_IMPLEMENTATION = {"fused", "foreach", "capturable", "differentiable"}
"""Options of torch's optimizers that select between implementations of the same steps."""

WATCHING_CALLBACKS = {
    *("ModelCheckpoint", "LearningRateMonitor", "RichProgressBar", "TQDMProgressBar", "RichModelSummary"),
    *("ModelSummary", "DeviceStatsMonitor", "ThroughputMonitor", "FiguresDuringTraining"),
}
"""Callbacks that observe training without changing it."""

CHOOSING_CALLBACKS = {"EarlyStopping", "BestCheckpoint"}
"""Callbacks by whose choices validation decides the outcome."""

VALIDATION = {"check_val_every_n_epoch", "val_check_interval", "limit_val_batches"}
"""Options of the trainer that are incidental, except with these callbacks."""

UNCLEAR = {"lr", "warmup", "of", "size", "name", "start", "end", "seed", "weight", "margin", "scale"}
"""Names of options that are shown together with the part that they belong to."""

Decisive = dict[str, Any]
"""Options by name, such as `model.attention.relation`, without `init_args`; a class is the value of its own name."""


def decisive(config: Mapping[str, Any]) -> Decisive:
    """The options of a configuration that decide the outcome, without the seed and without options that are null."""
    options: Decisive = {}
    chosen: set[str] = set()

    def walk(name: str, value: Any) -> None:
        if value is None or ("." in name and is_incidental(name) and name not in chosen):
            return
        if isinstance(value, Mapping):
            if "class_path" in value:
                options[name] = str(value["class_path"])
                parts = {**(value.get("init_args") or {}), **(value.get("dict_kwargs") or {})}
            else:
                parts = dict(value)
            for key, part in parts.items():
                walk(f"{name}.{key}", part)
        else:
            options[name] = value

    for section in ("model", "data", "trainer"):
        content = config.get(section)
        if not isinstance(content, Mapping):
            continue
        content = dict(content)
        if section == "trainer":
            content["callbacks"] = training_callbacks(content.get("callbacks"))
            if any(class_name(one) in CHOOSING_CALLBACKS for one in content["callbacks"] or ()):
                chosen = {f"trainer.{name}" for name in VALIDATION}
        walk(section, content)
    return {name: value for name, value in sorted(options.items()) if not name.startswith("trainer.callbacks.")}


def is_incidental(name: str) -> bool:
    """Whether an option changes no number."""
    section, _, rest = name.partition(".")
    if name.startswith("model.optimizer."):
        return name.rpartition(".")[2] in OPTIMIZER_IMPLEMENTATION
    return rest.partition(".")[0] in INCIDENTAL[section]


def training_callbacks(callbacks: Any) -> list[Any] | None:
    """The callbacks that may change training; None if there are none."""
    listed = callbacks if isinstance(callbacks, Sequence) and not isinstance(callbacks, str) else [callbacks]
    kept = [one for one in listed if one and class_name(one) not in WATCHING_CALLBACKS]
    return kept or None


def class_name(entry: Any) -> str:
    """Short class name of a configuration entry or a class path."""
    path = entry.get("class_path", "") if isinstance(entry, Mapping) else entry
    return str(path).rpartition(".")[2]


def identity(options: Decisive) -> str:
    """Twelve hexadecimal digits, the same for runs with the same decisive options."""
    text = json.dumps(options, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def changes(before: Decisive, after: Decisive) -> dict[str, tuple[Any, Any]]:
    """The options that differ, with both values; None stands for an option that is missing on one side.

    If a class differs, its arguments are left out.
    """
    names = [name for name in sorted({**before, **after}) if before.get(name) != after.get(name)]
    classes = [
        name for name in names if all(is_class_path(one[name]) for one in (before, after) if one.get(name) is not None)
    ]
    return {
        name: (before.get(name), after.get(name))
        for name in names
        if not any(name.startswith(f"{other}.") for other in classes if other not in ("model", "data"))
    }


def short(name: str) -> str:
    """Display name of an option: its last part, and the part before it if the last alone says little."""
    *parts, last = name.removeprefix("trainer.max_").removeprefix("trainer.").split(".")
    return f"{parts[-1]}.{last}" if last in UNCLEAR and len(parts) > 1 else last


def shown(name: str, value: Any) -> str:
    """An option and its value in a short, readable form: `w/o relation`, `16 heads`, `lr 0.1`."""
    if isinstance(value, bool):
        return short(name) if value else f"w/o {short(name)}"
    if value is None:
        return f"w/o {short(name)}"
    if is_class_path(value):
        return class_name(value) if name.count(".") < 2 else f"{short(name)} {class_name(value)}"
    if isinstance(value, int) and (counted := short(name)).endswith("s") and "_" not in counted:
        return f"{value} {counted if value != 1 else counted[:-1]}"
    if isinstance(value, int | float):
        return f"{short(name)} {value:g}"
    if isinstance(value, list) and value and all(isinstance(one, Mapping) and "class_path" in one for one in value):
        return ", ".join(map(class_name, value))
    text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
    return f"{short(name)} {text}"


def label(names: Iterable[str], overrides: Mapping[str, Any]) -> str:
    """A short label: the names of recipes, then each override."""
    return ", ".join([*(name for name in names if name), *(shown(name, value) for name, value in overrides.items())])


def is_class_path(value: Any) -> bool:
    """Whether a value looks like the path of a class, or of a function in a package; timm's names have only one dot."""
    path = r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*\.([A-Z]\w*|[a-z_]\w*\.[a-z_]\w*)"
    return isinstance(value, str) and re.fullmatch(path, value) is not None
