"""`relattn list`: names of tasks, attention modules, data sets and backbones, and the places for attention."""

import argparse
import fnmatch

from relattn.cli.options import height_and_width
from relattn.errors import InputError

EXAMPLES = """examples:
  relattn list backbones 'vit_small*'
  relattn list placements --backbone swin_tiny_patch4_window7_224 --size 256x128
"""


def main(arguments: list[str]) -> int:
    """List the names of one kind; only backbones need timm, and therefore take seconds."""
    from relattn.cli import catalogue

    parser = argparse.ArgumentParser(
        prog="relattn list",
        description="List what can be chosen.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("kind", nargs="?", choices=["tasks", "attentions", "data", "backbones", "placements"])
    parser.add_argument("pattern", nargs="?", default="*", help="part of a name, or a pattern such as 'resnet*d'")
    parser.add_argument("--backbone", help="the network whose places for attention are listed")
    parser.add_argument("--size", type=height_and_width, help="height x width of its images (256x128)")
    options = parser.parse_args(arguments)
    if options.kind is None:
        print(catalogue.text())  # noqa: T201
        return 0
    if options.kind == "placements":
        if options.backbone is None:
            raise InputError("relattn list placements: name the network, for example --backbone resnet50.")
        print_placements(options.backbone, options.size)
        return 0
    if options.kind == "backbones":
        import timm

        from relattn.backbones import CIFAR_NAMES

        names = dict.fromkeys([*CIFAR_NAMES, *timm.list_models()], "")
    else:
        flag = {"tasks": "--task", "attentions": "--attention", "data": "--data"}[options.kind]
        names = catalogue.sections()[flag]
    pattern = options.pattern if any(sign in options.pattern for sign in "*?[") else f"*{options.pattern}*"
    for name, summary in names.items():
        if fnmatch.fnmatch(name.lower(), pattern.lower()):
            print(f"{name:<32} {summary}".rstrip())  # noqa: T201
    return 0


def print_placements(backbone: str, size: tuple[int, int] | None) -> None:
    """Print the stages of a network, their maps, blocks and spatial convolutions."""
    import torch
    from rich.console import Console
    from rich.table import Table

    from relattn.backbones import build, family, places_of

    size = size or ((256, 128) if family(backbone) == "timm" else (32, 32))
    with torch.device("meta"):
        model = build(backbone, size=size)
    places = places_of(model, backbone, size)
    table = Table(
        title=f"Places for attention in {backbone}, images {size[0]}x{size[1]}",
        caption="placement: after the stage, at the end of each block's branch, in place of its spatial convolution",
    )
    for column in ("stage", "ends in", "map, C x H x W", "block", "convolution"):
        table.add_column(column, justify="right" if column == "stage" else "left", overflow="fold")
    for place in places:
        shape = " x ".join(map(str, place.shape)) if place.layout else "none"
        layout = {"tokens": " (tokens)", "channels_last": " (channels last)"}.get(place.layout, "")
        row = (place.module, shape + layout, several(place.blocks), several(place.convolutions))
        table.add_row(str(place.stage), *row)
    console = Console(width=None if Console().is_terminal else 150)
    console.print(table)
    for line in dict.fromkeys(problem for place in places for problem in place.problems):
        console.print(line, markup=False, highlight=False)


def several(names: tuple[str, ...]) -> str:
    """The number of modules, and their names from the first to the last."""
    if not names:
        return "none"
    return f"{len(names)}: {names[0]}" + (f" to {names[-1]}" if len(names) > 1 else "")
