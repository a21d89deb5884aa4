"""Seconds that commands take to start, compared with Python alone and with the imports that they need.

    python benchmarks/start_up.py

Each command runs in its own process. They take turns, after a first turn in which files are read from the disk. A
training is stopped when its first step begins, and is compared with the imports of its packages.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from claims import parser, report

from relattn.costs.side_by_side import Claim, seconds, take_turns
from relattn.synthetic.objects.layouts import write_cifar

PYTHON = [sys.executable, "-c"]
RELATTN = [sys.executable, "-m", "relattn"]
FIT = [*RELATTN, "fit", "--task", "reid", "--attention", "rga_sc", "--print_config"]
TRAINING = [
    *RELATTN,
    *[
        "fit",
        "--task",
        "classification",
        "--backbone",
        "resnet20",
        "--data",
        "CIFAR10",
        "--attention",
        "rga_sc",
        "--gpus",
        "0",
    ],
]
WAYS = {
    "python -c pass": [*PYTHON, "pass"],
    "import torch": [*PYTHON, "import torch"],
    "import lightning": [*PYTHON, "import lightning.pytorch"],
    "import all": [*PYTHON, "import lightning.pytorch, torchvision, timm, torchmetrics, jsonargparse"],
    "relattn --help": [*RELATTN, "--help"],
    "relattn list": [*RELATTN, "list"],
    "relattn fit --help": [*RELATTN, "fit", "--help"],
    "relattn fit --print_config": FIT,
    "relattn fit": [*TRAINING, "--trainer.callbacks+=start_up.UntilFirstStep"],
}
BESIDE = {
    "relattn --help": "python -c pass",
    "relattn list": "python -c pass",
    "relattn fit --help": "python -c pass",
    "import lightning": "import torch",
    "relattn fit --print_config": "import lightning",
    "relattn fit": "import all",
}


class UntilFirstStep(pl.Callback):
    """Ends the process at the first step of training."""

    def on_train_batch_start(self, *_: Any) -> None:
        os._exit(0)


def start(command: list[str], folder: str) -> None:
    """Run a command until it ends."""
    environment = {**os.environ, "WANDB_MODE": "offline", "PYTHONPATH": str(Path(__file__).parent)}
    subprocess.run(command, check=True, capture_output=True, env=environment, cwd=folder)


def main(arguments: list[str] | None = None) -> None:
    options = parser(__doc__, rounds=3)
    asked = options.parse_args(arguments)
    ways = {name: command for name, command in WAYS.items() if not asked.quick or "lp" in name or "pass" in name}
    with tempfile.TemporaryDirectory() as folder:
        write_cifar(Path(folder) / "data", "cifar10", train=128, test=10)
        sides = take_turns(
            {name: lambda command=command: seconds(lambda: start(command, folder)) for name, command in ways.items()},
            rounds=asked.rounds,
            warmup=0 if asked.quick else 1,
        )
    claims = [Claim(one, sides[one], sides[two], "s", "cost") for one, two in BESIDE.items() if one in sides]
    report("start_up", asked, claims)


if __name__ == "__main__":
    main()
