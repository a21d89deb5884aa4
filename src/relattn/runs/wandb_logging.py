"""Logs runs to Weights & Biases: their names and place, their configurations, and their results.

`relattn dashboard` shows what is logged here (`relattn.cli.dashboard`).
"""

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger, WandbLogger
from rich.console import Console

from relattn.runs.metrics import Row, log_row
from relattn.runs.wandb_account import has_account

COSTS = ("parameters", "macs", "seconds_per_step", "seconds", "epochs")
"""Entries of `result.json` besides scores that go into a run's summary."""

LONGEST_TAG, LONGEST_GROUP = 64, 128
"""Maximum numbers of characters in W&B's tags and groups."""


def name_run(arguments: Any, folder: Path, facts: Mapping[str, Any], command: str) -> None:
    """Give a run its project, name, place, group, job type and tags; offline if there is no account.

    Args:
        arguments: Arguments of the logger; those that are already set stay, and W&B's variables come next.
        folder: The run's folder.
        facts: Entries of the run's record; in a sweep with the row and column of its table.
        command: `fit`, `test`, ...; the job type of `fit` is `train`.
    """
    tags = [
        str(facts[name])[:LONGEST_TAG].rstrip(", ")
        for name in ("task", "data", "backbone", "label", "row", "column")
        if facts.get(name)
    ]
    if os.environ.get("WANDB_TAGS"):
        tags = [tag.strip() for tag in os.environ["WANDB_TAGS"].split(",")]
    arguments.tags = arguments.get("tags") or tags
    # A sweep sets its name. Otherwise, runs that differ only in the seed are a group, whose mean W&B can plot.
    by_hand = ", ".join(str(facts[name]) for name in ("data", "backbone", "label"))
    if len(by_hand) > LONGEST_GROUP:
        by_hand = f"{by_hand[: LONGEST_GROUP - 14]} {facts['identity']}"
    for name, variable, ours in (
        ("project", "WANDB_PROJECT", "relattn"),
        ("name", "WANDB_NAME", folder.name if command == "fit" else f"{folder.parent.name}-{folder.name}"),
        ("group", "WANDB_RUN_GROUP", by_hand),
        ("job_type", "WANDB_JOB_TYPE", "train" if command == "fit" else command),
    ):
        arguments[name] = arguments.get(name) or os.environ.get(variable) or ours
    arguments.save_dir = str(folder.resolve())  # W&B writes from its own process, which may have another directory
    if not arguments.get("id"):
        arguments.id = previous_id(folder)
    why = ""
    if not has_account() and "WANDB_MODE" not in os.environ:
        os.environ["WANDB_MODE"] = "offline"
        why = "no account is set up, so "
    if os.environ.get("WANDB_MODE") == "offline" or arguments.get("offline"):
        Console(stderr=True).print(f"W&B: {why}the run is kept offline; later: wandb sync {folder}/wandb/*")


def previous_id(folder: Path) -> str | None:
    """The id of the run to resume; None for a new one."""
    found = [path.name.partition("run-")[2] for path in folder.glob("wandb/*run-*-*")]  # <date>_<time>-<id>
    return max(found).partition("-")[2] if found else None


def begin_anew_offline(logger: WandbLogger, rows: Iterable[Row]) -> bool:
    """Write the whole history of a resumed run into its offline folder; return whether the run is offline.

    W&B cannot continue an offline run: each start creates its own folder, and `wandb sync` of a later one with the same
    id replaces what an earlier one sent. So the new folder gets the rows up to the checkpoint. Earlier folders move to
    `wandb-earlier/`, where `wandb sync <run>/wandb/*` does not find them, with their images and machine readings.
    """
    run = logger.experiment
    if not getattr(run, "offline", False):
        return False
    current = Path(run.sync_dir)
    aside = current.parents[1] / "wandb-earlier"
    for earlier in sorted(current.parent.glob("offline-run-*")):
        if earlier.name != current.name and not earlier.is_symlink():
            aside.mkdir(exist_ok=True)
            earlier.replace(aside / earlier.name)
    for row in rows:
        log_row(logger, row)
    return True


def loggers_of(loggers: Iterable[Logger]) -> list[WandbLogger]:
    """The loggers that are W&B's."""
    return [logger for logger in loggers if isinstance(logger, WandbLogger)]


def log_start(logger: WandbLogger, config: dict[str, Any], facts: Mapping[str, Any]) -> None:
    """Log the nested configuration, and the run's facts under `run`; define the summary of `val/score`.

    The summary has its last value, which the suite uses, and its highest, which shows whether training went on too
    long. `test/score` is logged once, so its summary needs no definition.
    """
    kept = {name: value for name, value in config.items() if name != "config"}  # which has the paths of recipes
    logger.log_hyperparams({**kept, "run": dict(facts)})
    logger.experiment.define_metric("val/score", summary="last,max", step_metric="trainer/global_step")


def log_end(logger: WandbLogger, scores: Mapping[str, float], result: Mapping[str, Any]) -> None:
    """Log scores by class or set as tables, add the costs to the summary, and end the run.

    A run that saw only a part of its images gets the tag `partial`, and its summary says which part.
    """
    for key, (columns, rows) in tables(scores).items():
        logger.log_table(key, columns=columns, data=rows)
    logger.experiment.summary.update({name: result[name] for name in COSTS if name in result})
    if partial := result.get("partial"):
        logger.experiment.tags = (*(logger.experiment.tags or ()), "partial")
        logger.experiment.summary.update({f"partial/{stage}": part for stage, part in partial.items()})
    logger.experiment.finish()


def tables(scores: Mapping[str, float]) -> dict[str, tuple[list[str], list[list[Any]]]]:
    """Tables of the scores by class or by set of pairs: columns and rows, by the name to log each table under.

    Scores `<stage>/<family>/<member>`, such as `test/IoU/road`, make one row per member. Families with the same
    members, such as those of face sets, are columns of one table, which is named after the first of them.
    """
    families: dict[tuple[str, str], dict[str, float]] = {}
    for name, value in scores.items():
        if match := re.fullmatch(r"([^/]+)/([^/]+)/(.+)", name):
            families.setdefault((match[1], match[2]), {})[match[3]] = value
    alike: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for (stage, family), members in families.items():
        alike.setdefault((stage, tuple(members)), []).append(family)
    return {
        f"{stage}/{names[0]}_table": (
            ["name", *names],
            [[member, *(families[stage, name][member] for name in names)] for member in members],
        )
        for (stage, members), names in alike.items()
    }
