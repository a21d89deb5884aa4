"""Runs of every task are killed at every moment and resumed: they end exactly like an uninterrupted run, bit for bit.

The test compares weights, optimizer, schedule, callbacks, scores, rows of metrics, the result and pictures, and the
content of an offline W&B run.
"""

import json
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from killed_runs import REFUSED, Camera, differences, in_child, told_at
from small_runs import RUNS
from wandb_files import history

import relattn.cli.lightning.suite  # noqa: F401 (so that the processes that are forked need not import it)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:.*is (not the published set|a rendered stand-in)"),
    pytest.mark.filterwarnings("ignore:The warm-up is"),
]

COMMON = (
    *("--attention", "none", "--trainer", "deterministic", "--quiet", "--name", "mine"),
    *("--trainer.max_epochs", "2", "--trainer.limit_train_batches", "4", "--trainer.check_val_every_n_epoch", "1"),
    *("--trainer.log_every_n_steps", "1"),
)
TASKS = {
    "classification": ("--data.batch_size", "50"),
    "reid": ("--model.frozen_epochs", "1"),  # early stages are frozen for an epoch
    "segmentation": (),
    "face": ("--data.batch_size", "8"),  # dropout is drawn anew at every step
}
"""Options that give epochs of four batches."""

WORKERS = ("--data.workers", "2")
ACCUMULATION = ("--trainer.accumulate_grad_batches", "3")  # the last step of an epoch has one batch
STEPS = ("--trainer.max_epochs", "-1", "--trainer.max_steps", "7")  # which end within the second epoch
INTERVAL = ("--trainer.val_check_interval", "3", "--trainer.check_val_every_n_epoch", "null")
FRACTION = ("--trainer.val_check_interval", "0.5")
EMA = ("--trainer.callbacks", "EMAWeightAveraging", "--trainer.callbacks.decay", "0.5")
STOPPING = (
    *("--trainer.max_epochs", "5", "--trainer.callbacks", "EarlyStopping", "--trainer.callbacks.monitor", "val/score"),
    *("--trainer.callbacks.mode", "max", "--trainer.callbacks.patience", "1", "--trainer.callbacks.min_delta", "100"),
)  # which stops after two validations
WANDB = ("--logger", "wandb")
BF16 = ("--trainer.precision", "bf16-mixed")

ALONE = {
    "accumulation": ACCUMULATION,
    "max_steps": STEPS,
    "val_check_interval of 3": INTERVAL,
    "val_check_interval of 0.5": FRACTION,
    "EMA": EMA,
    "EarlyStopping": STOPPING,
    "bf16": BF16,
    "W&B": WANDB,
}
PAIRS = {
    "workers, accumulation": (*WORKERS, *ACCUMULATION),
    "max_steps, val_check_interval of 3": (*STEPS, *INTERVAL),
    "val_check_interval of 0.5, EMA": (*FRACTION, *EMA),
    "EarlyStopping, bf16": (*STOPPING, *BF16),
}
MATRIX = {
    **{("classification", name): options for name, options in {"plain": (), "workers": (), **ALONE}.items()},
    **{(task, name): options for task in ("reid", "segmentation", "face") for name, options in PAIRS.items()},
    **{(task, "plain"): () for task in ("reid", "segmentation", "face")},
}
"""Options by task and name: each alone with the quickest task, and in pairs with the others."""

CHOSEN = ("between a checkpoint and its row of metrics", "in the test: batch_end")
"""Moments from which each set of options is resumed, besides those within the second epoch; one plain run has all."""


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few images in folders of two classes, which child processes may read."""
    root, random = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    for split, number in (("train", 16), ("val", 4), ("test", 4)):
        for index in range(number):
            file = root / split / "ab"[index % 2] / f"{index}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(file), random.integers(0, 255, (32, 32, 3), np.uint8))
    return root


def command(request: pytest.FixtureRequest, task: str, name: str) -> list[str]:
    """The command line of a cell of the matrix."""
    sets = {"classification": "cifar", "reid": "people", "segmentation": "streets", "face": "faces"}
    chosen, data = TASKS[task], sets[task]
    if (task, name) == ("classification", "workers"):  # CIFAR's batches are made without
        size = ("--data.image_size", "[32,32]", "--data.batch_size", "4")
        chosen, data = ("--data", "ImageFolders", *size, *WORKERS), "photos"
    root = request.getfixturevalue(data)
    return [*RUNS[task], *COMMON, *chosen, *MATRIX[task, name], "--data.root", str(root)]


def going_on(folder: Path, prepare: Callable[[], None] | None = None) -> int:
    """Resume a run; return the exit status."""
    return in_child(["fit", "--ckpt_path", str(folder), "--quiet"], prepare, Path("log"))


def put_back(copy: Path, folder: Path) -> None:
    """Restore a run's folder from a copy of it."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(copy, folder)


def compared(whole: Path, folder: Path) -> list[str]:
    """Differences between two runs, and between their W&B histories if they have any."""
    found = differences(whole, folder)
    if (whole / "wandb").is_dir() and history(whole) != history(folder):
        found.append(f"W&B: {history(whole)} {history(folder)}")
    return found


def states(moments: list[list[str]], *, every: bool) -> Iterator[tuple[Path, list[str]]]:
    """The copies to resume, and the moments at which the run was in that state."""
    wanted = set(CHOSEN)
    for number, found in enumerate(moments):
        copy = Path("copies", str(number))
        if not every and not (wanted & set(found) and (copy / "checkpoints" / "last.ckpt").is_file()):
            continue
        wanted -= set(found)
        yield copy, found


@pytest.mark.parametrize(("task", "name"), MATRIX)
def test_a_run_that_is_killed_ends_as_one_that_was_not(task: str, name: str, request: pytest.FixtureRequest) -> None:
    line, folder = command(request, task, name), Path("runs", task, "mine")
    assert in_child(line, Camera(folder, Path("copies")).install, Path("log")) == 0, Path("log").read_text()
    whole = folder.rename("whole")
    moments: list[list[str]] = json.loads(Path("copies/moments.json").read_text())
    cells = 0
    for copy, found in states(moments, every=(task, name) == ("classification", "plain")):
        put_back(copy, folder)
        status = going_on(folder)
        cells += len(found)
        if (copy / "checkpoints" / "last.ckpt").is_file():
            assert status == 0, (found, Path("log").read_text())
            assert compared(whole, folder) == [], found
        else:  # before its first checkpoint there is nothing to resume
            assert status == REFUSED, found
            assert "Start it again" in Path("log").read_text()
    # Stopped after the first and the third step of its second epoch, within which a kill leaves the same folder.
    amid = next(number for number, found in enumerate(moments) if "in a step of epoch 1" in found)
    put_back(Path("copies", str(amid)), folder)
    for batch in (0, 2):
        assert going_on(folder, told_at(1, batch, signal.SIGTERM)) in (143, 0), Path("log").read_text()
    assert going_on(folder) == 0, Path("log").read_text()
    assert compared(whole, folder) == [], moments[amid]
    cells += len(moments[amid])
    print(f"{task}, {name}: {cells} moments")  # noqa: T201 (for the record of the matrix)
