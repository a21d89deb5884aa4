"""Two processes evaluate exactly like one, and train like one if no batch statistic intervenes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from relattn.runs.checkpoints import read_whole

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:.*is (not the published set|a rendered stand-in)")]

ONE = ("--trainer.devices", "1", "--trainer.strategy", "auto")
TWO = ("--trainer.devices", "2", "--trainer.strategy", "ddp")
COMMON = ("--gpus", "0", "--model.pretrained", "false", "--trainer.max_epochs", "2")
TASKS = {
    # The numbers of evaluation images do not divide by two.
    "classification": (
        "cifar",
        *("--task", "classification", "--data", "CIFAR100", "--backbone", "resnet8", "--data.eval_batch_size", "25"),
    ),
    "reid": (
        "people",
        *("--task", "reid", "--data", "Market1501", "--backbone", "resnet8", "--data.image_size", "[32,16]"),
        *("--data.batch_size", "16", "--data.epoch_over", "images", "--data.workers", "0"),
    ),
    "segmentation": (
        "streets",
        *("--task", "segmentation_ppm", "--backbone", "resnet14t", "--model.width", "32", "--model.pool", "[6,8]"),
        *("--data.crop", "[48,64]", "--data.batch_size", "4", "--trainer.max_steps", "4", "--data.workers", "0"),
    ),
    "face": (
        "faces",
        *("--task", "face", "--data", "Faces", "--backbone", "test_resnet", "--model.dimensions", "32"),
        *("--data.image_size", "[48,48]", "--data.batch_size", "8", "--data.workers", "0"),
    ),
}
LAYER_NORM = ("--backbone", "test_convnext", "--model.optimizer", "torch.optim.SGD", "--model.optimizer.lr", "0.05")
"""A network without batch norm, and steps that do not amplify rounding, as Adam's first step would."""


def relattn(*arguments: str) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-m", "relattn", *arguments], env=environment, check=True, timeout=300)


def result(folder: Path) -> dict:
    return json.loads((folder / "result.json").read_text())


@pytest.mark.parametrize("task", TASKS)
def test_two_processes_train_and_give_the_evaluation_of_one(task: str, request: pytest.FixtureRequest) -> None:
    fixture, *arguments = TASKS[task]
    root = ("--data.root", str(request.getfixturevalue(fixture)))
    relattn("fit", *arguments, *COMMON, *root, *TWO, "--name", "mine")
    folder = Path("runs") / task / "mine"
    assert list(folder.parent.iterdir()) == [folder], "both processes share one folder"
    relattn("test", "--ckpt_path", str(folder), *ONE)
    relattn("test", "--ckpt_path", str(folder), *TWO)
    trained, alone, together = (result(at) for at in (folder, folder / "test", folder / "test-2"))
    assert (trained["processes"], alone["processes"], together["processes"]) == (2, 1, 2)
    expected = alone["scores"]
    for found in (trained["scores"], together["scores"]):
        assert {name: found[name] for name in expected} == pytest.approx(expected, abs=1e-4)  # all are rounded there
        exact = {name for name in expected if "loss" not in name}
        assert {name: found[name] for name in exact} == {name: expected[name] for name in exact}


@pytest.mark.parametrize(
    ("task", "more"),
    [
        ("classification", ()),
        (
            "reid",
            (
                *("--model.neck", "plain", "--model.loss", "relattn.losses.BatchHardTriplet"),
                *(
                    "--model.loss.across_processes",
                    "true",
                ),
                *("--data.image_size", "[64,32]", "--model.last_stride", "2"),
            ),
        ),
    ],
)
def test_two_processes_train_as_one(task: str, more: tuple[str, ...], request: pytest.FixtureRequest) -> None:
    fixture, *arguments = TASKS[task]
    root = ("--data.root", str(request.getfixturevalue(fixture)))
    states = []
    for name, devices in (("one", ONE), ("two", TWO)):
        relattn("fit", *arguments, *COMMON, *LAYER_NORM, *root, *more, *devices, "--name", name)
        states.append(read_whole(Path("runs") / task / name / "checkpoints" / "last.ckpt")["state_dict"])
    moved = 0.0
    for name, value in states[0].items():
        torch.testing.assert_close(states[1][name], value, rtol=1e-4, atol=1e-5)
        moved = max(moved, float(value.abs().max()))
    assert moved > 0
