"""`relattn convert`: converts a checkpoint released by the papers' authors to one of the suite."""

import argparse
import importlib
from typing import TYPE_CHECKING, Any

from relattn.cli import catalogue
from relattn.cli.lightning.command_line import read_command_line
from relattn.cli.lightning.recipes import attention_config
from relattn.cli.options import height_and_width, own_path, say
from relattn.errors import InputError

if TYPE_CHECKING:
    from relattn.released import Converted

EXAMPLES = """examples:
  relattn convert --released rga_cuhk03.pth.tar --out converted/rga/model.ckpt --data CUHK03
  relattn test --ckpt_path converted/rga/model.ckpt
  relattn embed --ckpt_path converted/rga/model.ckpt --images photos --out features/photos
  relattn convert --released stra_market1501.pth --out converted/stra/model.ckpt --data Market1501
"""


def parse(arguments: list[str]) -> argparse.Namespace:
    """Read the options."""
    tasks = list(catalogue.task_folders("released.py"))
    parser = argparse.ArgumentParser(
        prog="relattn convert",
        description="Convert a released checkpoint of RGA or StRA for `relattn test`, `predict`, `embed`, `search`.\n"
        "The file tells the release and the attention's ratios. A config.yaml is written beside the checkpoint.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--released", type=own_path, required=True, help="the authors' file")
    parser.add_argument(
        "--out", type=own_path, required=True, help="checkpoint to write, in a folder without config.yaml"
    )
    parser.add_argument("--task", choices=tasks, default=tasks[0], help=f"task of the network; {tasks[0]}")
    parser.add_argument(
        "--identities", type=int, help="outputs of the classifier, which is left out if the file has another number"
    )
    parser.add_argument("--size", default="256x128", help="height x width of its training images; default: 256x128")
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


def configuration(options: argparse.Namespace, recipe: str, released: "Converted") -> dict[str, Any]:
    """The configuration of a task's recipe with the attention of a release, to be loaded with its weights."""
    line = read_command_line(["--task", recipe, *(["--data", options.data] if options.data else [])])
    config = line.config
    arguments = config["model"]["init_args"]
    attention: Any = attention_config(released.attention, arguments["backbone"])
    attention["init_args"] |= released.arguments
    arguments |= {"attention": attention, "pretrained": False}
    config["data"]["init_args"]["image_size"] = list(options.size)
    return {"recipes": {**line.recipes, "attention": released.attention}, **config}


def main(arguments: list[str]) -> int:
    """Convert, and report on the weights."""
    options = parse(arguments)
    from rich.console import Console

    from relattn.released import read_released

    console = Console()
    released = read_released(options.released)
    from relattn.cli.lightning.checks import check_data_of_task
    from relattn.cli.lightning.commands import quieten
    from relattn.runs.stored_config import build_from_config
    from relattn.tasks.base import Task
    from relattn.tasks.data import Data

    quieten()
    task_released = importlib.import_module(f"relattn.tasks.{options.task}.released")
    config = configuration(options, task_released.RECIPES[released.release], released)
    check_data_of_task(config["model"]["class_path"], config["data"]["class_path"])
    source = str(options.released)
    task = build_from_config(Task, config["model"], source)  # type: ignore[type-abstract]
    data = build_from_config(Data, config["data"], source)  # type: ignore[type-abstract]
    for text in task_released.convert(
        options.released, options.out, task=task, data=data, config=config, identities=options.identities
    ):
        say(console, text)
    return 0
