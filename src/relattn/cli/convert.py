"""`relattn convert`: a checkpoint that the papers' authors released, as one of the suite's."""

import argparse
import importlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from relattn.cli import catalogue
from relattn.cli.lightning import flags
from relattn.errors import InputError, suggest

if TYPE_CHECKING:
    from relattn.tasks.base import Task

EXAMPLES = """examples:
  relattn convert --released rga_cuhk03.pth.tar --out converted/rga/model.ckpt --data CUHK03
  relattn test --ckpt_path converted/rga/model.ckpt
  relattn embed --checkpoint converted/rga/model.ckpt --images photos --out features/photos
"""


def parse(arguments: list[str]) -> argparse.Namespace:
    """Read the options."""
    parser = argparse.ArgumentParser(
        prog="relattn convert",
        description="Convert a released checkpoint of RGA for `relattn test`, `predict`, `embed` and `search`.\n"
        "Beside it a config.yaml is written, which those commands read. StRA's released weights are reported on:\n"
        "their head has no counterpart here.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--released", type=Path, required=True, help="the authors' file")
    parser.add_argument("--out", type=Path, required=True, help="checkpoint to write, in a folder without config.yaml")
    parser.add_argument(
        "--identities", type=int, help="outputs of the classifier, which is left out if the file has another number"
    )
    parser.add_argument("--size", default="256x128", help="height x width of the images of its training; 256x128")
    parser.add_argument("--data", default="Market1501", help="the data set that it is for; Market1501")
    options = parser.parse_args(arguments)
    if options.identities is not None and options.identities < 1:
        raise InputError(f"--identities is {options.identities}, expected at least 1.")
    sets = [name for name in catalogue.data_sets() if catalogue.class_path(name).startswith("relattn.tasks.reid.")]
    if options.data not in sets:
        raise InputError(f"--data: {options.data!r} is no data set of re-identification. {suggest(options.data, sets)}")
    config = options.out.parent / "config.yaml"
    for path in (options.out, config):
        if path.exists():
            raise InputError(f"{path} exists. Choose a folder of its own for --out.")
    return options


def configuration(attention: str, data: str, size: tuple[int, int]) -> dict[str, Any]:
    """The recipe of re-identification with an attention, whose weights come from the checkpoint."""
    content: dict[str, Any] = yaml.safe_load(flags.recipe("task", "reid").read_text())
    model = content["model"]["init_args"]
    model["attention"] = json.loads(flags.attention(attention, model["backbone"]))
    model["pretrained"] = False
    content["data"]["class_path"] = catalogue.class_path(data)
    content["data"]["init_args"]["image_size"] = list(size)
    return content


def build(config: dict[str, Any], shapes: dict[str, Any]) -> "Task":
    """The task of a configuration, with its network."""
    from types import SimpleNamespace

    from jsonargparse import ArgumentParser

    from relattn.tasks.base import Task

    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(Task, "model", fail_untyped=False)
    task: Task = parser.instantiate(parser.parse_object({"model": config["model"]})).model
    task.assemble(SimpleNamespace(**shapes))  # type: ignore[arg-type]
    return task


def main(arguments: list[str]) -> int:
    """Convert, and say what became of the weights."""
    options = parse(arguments)
    from rich.console import Console

    from relattn.cli.costs import size

    try:
        image_size = size(options.size)
    except argparse.ArgumentTypeError as error:
        raise InputError(f"--size: {error}.") from error

    from relattn.released import load_released, read_released

    console = Console()

    def say(text: str) -> None:
        console.print(text, markup=False, highlight=False, soft_wrap=True)

    released = read_released(options.released)
    if released.release != "RGA":
        say(released.report())
        raise InputError(
            f"{options.released}: the head of this release has no counterpart here, so that no checkpoint is written. "
            "Its trunk and attention can be loaded in Python: relattn.released.load_released(file, network)."
        )
    if options.identities is None and "head.classifier.weight" not in released.state:
        raise InputError(f"{options.released} has no classifier (cls.weight): say with --identities how many it had.")
    import lightning
    import torch

    from relattn.cli.lightning.commands import quieten
    from relattn.tasks.files import digest

    quieten()
    config = configuration(released.attention, options.data, image_size)
    identities = options.identities or len(released.state["head.classifier.weight"])
    feature = getattr(importlib.import_module("relattn.tasks.reid"), options.data).feature
    shapes = {"num_classes": identities, "image_size": image_size, "feature": feature}
    task = build(config, shapes)
    loaded = load_released(options.released, task, classes="check" if options.identities is None else "ignore")
    say(loaded.report())
    text = yaml.safe_dump(config, sort_keys=False)
    checkpoint = {
        "pytorch-lightning_version": lightning.__version__,
        "epoch": 0,
        "global_step": 0,
        "state_dict": task.state_dict(),
        "config": text,
        "shapes": shapes,
        "released": {"file": options.released.name, "sha256": digest(options.released), "release": loaded.release},
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    torch.save(checkpoint, options.out)
    (options.out.parent / "config.yaml").write_text(text)
    say(f"{options.out}: {loaded.attention}, {identities:,} identities, {options.data}, {options.size}")
    return 0
