"""Runs on Weights & Biases: their names and place, what they are, and what came out.

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

COSTS = ("parameters", "macs", "seconds_per_step", "seconds", "epochs")
"""What `result.json` says beside scores, and a run's summary has."""

LONGEST_TAG, LONGEST_GROUP = 64, 128
"""W&B refuses tags and groups with more characters."""


def has_account() -> bool:
    """Whether W&B knows who is at the keyboard."""
    netrc = Path.home() / ".netrc"
    return "WANDB_API_KEY" in os.environ or (netrc.is_file() and "wandb" in netrc.read_text())


def name_run(arguments: Any, folder: Path, facts: Mapping[str, Any], command: str) -> None:
    """Give a run its folder's name and place, group, job type and tags; offline where there is no account.

    Args:
        arguments: Those of the logger; what they say already stays.
        folder: The run's folder.
        facts: Of the run's record; in a sweep with the row and column of its table.
        command: `fit`, `test`, ...; the job type of the first is `train`.
    """
    tags = [
        str(facts[name])[:LONGEST_TAG].rstrip(", ")
        for name in ("task", "data", "backbone", "label", "row", "column")
        if facts.get(name)
    ]
    trained = folder if command == "fit" else folder.parent
    arguments.name = arguments.get("name") or (folder.name if command == "fit" else f"{trained.name}-{folder.name}")
    arguments.tags = arguments.get("tags") or tags
    # A sweep gives its name; by hand, runs that differ in the seed alone are a group, whose mean W&B can draw.
    by_hand = ", ".join(str(facts[name]) for name in ("data", "backbone", "label"))
    if len(by_hand) > LONGEST_GROUP:
        by_hand = f"{by_hand[: LONGEST_GROUP - 14]} {facts['identity']}"
    arguments.group = arguments.get("group") or os.environ.get("WANDB_RUN_GROUP") or by_hand
    arguments.job_type = arguments.get("job_type") or ("train" if command == "fit" else command)
    arguments.save_dir = str(folder.resolve())  # W&B writes from a process of its own, which may have started elsewhere
    if not arguments.get("id"):
        arguments.id = previous_id(folder)
    if not has_account() and "WANDB_MODE" not in os.environ:
        os.environ["WANDB_MODE"] = "offline"
        console = Console(stderr=True)
        console.print(f"W&B: no account is set up, so the run is kept offline; later: wandb sync {folder}/wandb/*")


def previous_id(folder: Path) -> str | None:
    """The id of the run that is gone on with, None for a new one."""
    found = [path.name.partition("run-")[2] for path in folder.glob("wandb/*run-*-*")]  # <date>_<time>-<id>
    return max(found).rpartition("-")[2] if found else None


def begin_anew_offline(logger: WandbLogger, rows: Iterable[Row]) -> bool:
    """Let an offline run that goes on hold its whole history; returns whether it is one.

    W&B cannot continue an offline run: each start has a folder of its own, and `wandb sync` of a later one with the
    same id replaces what an earlier one sent. So the new folder gets the rows up to the checkpoint, and earlier ones
    go to `wandb-earlier/`, out of the way of `wandb sync <run>/wandb/*`, with their pictures and machine readings.
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
    """Those loggers that are W&B's."""
    return [logger for logger in loggers if isinstance(logger, WandbLogger)]


def log_start(logger: WandbLogger, config: dict[str, Any], facts: Mapping[str, Any]) -> None:
    """Log the configuration as it is nested, and what the run is under `run`; say what the summary has of `val/score`.

    That is its last value, by which the suite goes, and its best, the highest, which says whether training went on for
    too long. `test/score` is logged once, and is in the summary as it is.
    """
    kept = {name: value for name, value in config.items() if name != "config"}  # that holds the recipes' paths
    logger.log_hyperparams({**kept, "run": dict(facts)})
    logger.experiment.define_metric("val/score", summary="last,max", step_metric="trainer/global_step")


def log_end(logger: WandbLogger, scores: Mapping[str, float], result: Mapping[str, Any]) -> None:
    """Log scores by class or set as tables, bring the costs into the summary, and end the run.

    A run that saw a part of its images has the tag `partial`, and its summary says which part.
    """
    for key, (columns, rows) in tables(scores).items():
        logger.log_table(key, columns=columns, data=rows)
    logger.experiment.summary.update({name: result[name] for name in COSTS if name in result})
    if partial := result.get("partial"):
        logger.experiment.tags = (*(logger.experiment.tags or ()), "partial")
        logger.experiment.summary.update({f"partial/{stage}": part for stage, part in partial.items()})
    logger.experiment.finish()


def tables(scores: Mapping[str, float]) -> dict[str, tuple[list[str], list[list[Any]]]]:
    """Columns and rows of tables of the scores by class or by set of pairs, by the name that each is logged under.

    Scores `<stage>/<family>/<member>`, such as `test/IoU/road`, make a row for each member; families of the same
    members, such as those of sets of faces, are columns of one table, which has the first one's name.
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
