"""Seconds that commands take to start, beside Python alone and beside the imports that they cannot do without.

    python benchmarks/start_up.py

Each is a process of its own; they take turns, after one turn in which files come from the disk.
"""

import os
import subprocess
import sys

from claims import parser, report

from relattn.costs.side_by_side import Claim, seconds, take_turns

PYTHON = [sys.executable, "-c"]
RELATTN = [sys.executable, "-m", "relattn"]
FIT = [*RELATTN, "fit", "--task", "reid", "--attention", "rga_sc", "--print_config"]
WAYS = {
    "python -c pass": [*PYTHON, "pass"],
    "import torch": [*PYTHON, "import torch"],
    "import lightning": [*PYTHON, "import lightning.pytorch"],
    "relattn --help": [*RELATTN, "--help"],
    "relattn list": [*RELATTN, "list"],
    "relattn fit --help": [*RELATTN, "fit", "--help"],
    "relattn fit --print_config": FIT,
}
BESIDE = {
    "relattn --help": "python -c pass",
    "relattn list": "python -c pass",
    "relattn fit --help": "python -c pass",
    "import lightning": "import torch",
    "relattn fit --print_config": "import lightning",
}


def start(command: list[str]) -> None:
    """Run a command to its end."""
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, "WANDB_MODE": "offline"})


def main(arguments: list[str] | None = None) -> None:
    options = parser(__doc__, rounds=3)
    asked = options.parse_args(arguments)
    ways = {name: command for name, command in WAYS.items() if not asked.quick or "lp" in name or "pass" in name}
    sides = take_turns(
        {name: lambda command=command: seconds(lambda: start(command)) for name, command in ways.items()},
        rounds=asked.rounds,
        warmup=0 if asked.quick else 1,
    )
    claims = [Claim(one, sides[one], sides[two], "s", "cost") for one, two in BESIDE.items() if one in sides]
    report("start_up", asked, claims)


if __name__ == "__main__":
    main()
