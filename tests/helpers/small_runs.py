"""The small run of each task, which tests share or vary: two steps on the generated sets of `conftest`."""

import csv
import json
from pathlib import Path
from typing import Any

from relattn.cli.main import run

CPU = (
    *("--gpus", "0", "--trainer.max_epochs", "1", "--trainer.limit_train_batches", "2"),
    *("--trainer.num_sanity_val_steps", "0"),
)

RUNS: dict[str, tuple[str, ...]] = {
    "classification": (
        *("fit", "--task", "classification", "--data", "CIFAR10", "--backbone", "resnet8", "--attention", "rga_sc"),
        *(*CPU, "--trainer", "deterministic", "--model.stages", "[3]", "--data.batch_size", "100"),
    ),
    "reid": (
        *("fit", "--task", "reid", "--data", "Market1501", "--backbone", "resnet8", "--attention", "rga_sc"),
        *(*CPU, "--model.pretrained", "false", "--data.image_size", "[32,16]", "--data.batch_size", "16"),
        *("--data.workers", "0", "--data.epoch_over", "images"),
    ),
    "segmentation": (
        *("fit", "--task", "segmentation_ppm", "--data", "Cityscapes", "--backbone", "resnet14t"),
        *("--attention", "rga_sc", *CPU, "--trainer.check_val_every_n_epoch", "1"),
        *("--model.pretrained", "false", "--model.width", "16", "--model.pool", "[4,4]"),
        *("--data.crop", "[32,32]", "--data.batch_size", "2", "--data.workers", "0"),
    ),
    "face": (
        *("fit", "--task", "face", "--data", "Faces", "--backbone", "test_resnet", "--attention", "stra"),
        *(*CPU, "--model.dimensions", "32", "--data.image_size", "[32,32]", "--data.batch_size", "16"),
        *("--data.workers", "0", "--data.verification_sets", "[lfw,cfp_fp]"),
    ),
}
"""Options that are given again win."""


def fit(task: str, root: Path, *arguments: str) -> Path:
    """Train the small run of a task, varied by `arguments`; return the run's folder."""
    before = set(Path("runs").glob("*/*"))
    assert run([*RUNS[task], "--data.root", str(root), *arguments]) == 0
    (folder,) = set(Path("runs").glob("*/*")) - before
    return folder


def result(folder: Path) -> dict[str, Any]:
    """The result of a run."""
    found: dict[str, Any] = json.loads((folder / "result.json").read_text())
    return found


def checkpoint_of(folder: Path) -> Path:
    """The last checkpoint of a run."""
    return folder / "checkpoints" / "last.ckpt"


def rows(file: Path) -> list[dict[str, str]]:
    """The rows of a CSV file."""
    with file.open() as lines:
        return list(csv.DictReader(lines))
