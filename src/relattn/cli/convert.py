"""`relattn convert`: a checkpoint that the papers' authors released, as one of the suite's."""

import argparse
import importlib
from pathlib import Path
from typing import Any

from relattn.cli import catalogue
from relattn.cli.lightning.command_line import read_command_line
from relattn.cli.lightning.recipes import attention_config
from relattn.cli.options import height_and_width, say
from relattn.errors import InputError

EXAMPLES = """examples:
  relattn convert --released rga_cuhk03.pth.tar --out converted/rga/model.ckpt --data CUHK03
  relattn test --ckpt_path converted/rga/model.ckpt
  relattn embed --ckpt_path converted/rga/model.ckpt --images photos --out features/photos
"""


def parse(arguments: list[str]) -> argparse.Namespace:
    """Read the options."""
    tasks = list(catalogue.task_folders("released.py"))
    parser = argparse.ArgumentParser(
        prog="relattn convert",
        description="Convert a released checkpoint of RGA for `relattn test`, `predict`, `embed` and `search`.\n"
        "Beside it a config.yaml is written. StRA's released weights are reported on: their head has no counterpart.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--released", type=Path, required=True, help="the authors' file")
    parser.add_argument("--out", type=Path, required=True, help="checkpoint to write, in a folder without config.yaml")
    parser.add_argument("--task", choices=tasks, default=tasks[0], help=f"recipe of the task; {tasks[0]}")
    parser.add_argument(
        "--identities", type=int, help="outputs of the classifier, which is left out if the file has another number"
    )
    parser.add_argument("--size", default="256x128", help="height x width of the images of its training; 256x128")
    parser.add_argument("--data", help="the data set that it is for; by default that of the recipe")
    options = parser.parse_args(arguments)
    if options.identities is not None and options.identities < 1:
        raise InputError(f"--identities is {options.identities}, expected at least 1.")
    try:
        options.size = height_and_width(options.size)
    except argparse.ArgumentTypeError as error:
        raise InputError(f"--size: {error}.") from error
    for path in (options.out, options.out.parent / "config.yaml"):
        if path.exists():
            raise InputError(f"{path} exists. Choose a folder of its own for --out.")
    return options


def configuration(options: argparse.Namespace, attention: str) -> dict[str, Any]:
    """The configuration of the task's recipe with an attention, whose weights come from the checkpoint."""
    line = read_command_line(["--task", options.task, *(["--data", options.data] if options.data else [])])
    config = line.config
    arguments = config["model"]["init_args"]
    arguments["attention"] = attention_config(attention, arguments["backbone"])
    arguments["pretrained"] = False
    config["data"]["init_args"]["image_size"] = list(options.size)
    return {"recipes": {**line.recipes, "attention": attention}, **config}


def main(arguments: list[str]) -> int:
    """Convert, and report on the weights."""
    options = parse(arguments)
    from rich.console import Console

    from relattn.released import read_released

    console = Console()
    released = read_released(options.released)
    if released.release != "RGA":
        say(console, released.report())
        raise InputError(
            f"{options.released}: the head of this release has no counterpart here, so that no checkpoint is written. "
            "Its trunk and attention can be loaded in Python: relattn.released.load_released(file, network)."
        )
    from relattn.cli.lightning.checks import check_data_of_task
    from relattn.cli.lightning.commands import quieten
    from relattn.runs.stored_config import build_from_config
    from relattn.tasks.base import Task
    from relattn.tasks.data import Data

    quieten()
    config = configuration(options, released.attention)
    check_data_of_task(config["model"]["class_path"], config["data"]["class_path"])
    source = str(options.released)
    task = build_from_config(Task, config["model"], source)  # type: ignore[type-abstract]
    data = build_from_config(Data, config["data"], source)  # type: ignore[type-abstract]
    convert = importlib.import_module(f"relattn.tasks.{options.task}.released").convert
    for text in convert(
        options.released, options.out, task=task, data=data, config=config, identities=options.identities
    ):
        say(console, text)
    return 0
