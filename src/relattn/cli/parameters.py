"""`relattn parameters`: the parameters that each attention adds to a network, next to the RGA paper's Table 3.

For several networks, it shows parameters and multiply-accumulates side by side.
"""

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from relattn.cli import catalogue
from relattn.errors import InputError
from relattn.publish import publish_json
from relattn.runs.run_folder import RUN_VARIABLE

if TYPE_CHECKING:
    from torch import nn

AFTER_STAGES = " (stage)"
"""Mark of attention that follows each stage, because the network has no convolution that it could replace."""

PUBLISHED = {
    "none": 25.1,
    "cbam_s": 26.1,
    "fc_s": 26.9,
    "nl": 30.6,
    "rga_s": 28.3,
    "cbam_c": 26.4,
    "fc_c": 26.4,
    "se": 27.6,
    "rga_c": 28.1,
}
"""Millions of parameters: ResNet-50 at 256x128 with 751 identities (Zhang et al., CVPR 2020, Table 3)."""


SIDE_BY_SIDE = ["rga_sc", "se", "cbam_cs", "nl", "stra"]
"""Default attention modules for the comparison of several networks."""


def main(arguments: list[str]) -> int:
    """Build the networks without weights, count, and print a table; a run of a sweep writes `result.json`."""
    parser = argparse.ArgumentParser(
        prog="relattn parameters",
        description="Parameters of a re-identification network with each attention, beside RGA's Table 3.",
    )
    parser.add_argument(
        "--attention", nargs="+", default=[], help="recipes; by default those of the table, then all others"
    )
    parser.add_argument(
        "--backbone", nargs="+", default=["resnet50"], help="one network, or several to compare side by side"
    )
    parser.add_argument("--identities", type=int, default=751, help="outputs of the classifier")
    options = parser.parse_args(arguments)
    if options.identities < 1:
        raise InputError(f"--identities is {options.identities}, expected at least 1.")
    if len(options.backbone) > 1:
        if options.identities != 751:
            raise InputError("--identities is for one backbone: side by side, networks have no classifier.")
        side_by_side(options.backbone, options.attention or SIDE_BY_SIDE)
        return 0
    (options.backbone,) = options.backbone

    from rich.console import Console
    from rich.table import Table

    shown = Table(
        title="Millions of parameters", caption=f"{options.backbone}, 256x128, {options.identities} identities"
    )
    for column in ("attention", "measured", "RGA's Table 3", "added"):
        shown.add_column(column, justify="left" if column == "attention" else "right")
    comparable = options.backbone.partition(".")[0] == "resnet50" and options.identities == 751
    others = [name for name in catalogue.recipes("attention") if name not in PUBLISHED]
    plain = count(network("none", options)[0])
    for name in options.attention or [*PUBLISHED, *others]:
        modules, moved = network(name, options)
        measured = count(modules)
        published = f"{PUBLISHED[name]:.1f}" if comparable and name in PUBLISHED else ""
        shown.add_row(
            name + AFTER_STAGES * moved, f"{measured / 1e6:.2f}", published, f"{(measured - plain) / 1e6:+.2f}"
        )
    Console().print(shown)
    if folder := os.environ.get(RUN_VARIABLE):
        content = {"attention": name, "backbone": options.backbone, "parameters": measured, "scores": {}}
        publish_json(Path(folder) / "result.json", content)
    return 0


def side_by_side(backbones: list[str], attentions: list[str]) -> None:
    """Print millions of parameters and billions of MACs of networks without a classifier, as a Markdown table."""
    from rich.box import MARKDOWN
    from rich.console import Console
    from rich.table import Table

    shown = Table(box=MARKDOWN)
    for column in ("network", "plain", *attentions):
        shown.add_column(column, no_wrap=True)
    for backbone in backbones:
        plain, marked = cost("none", backbone), []
        for attention in attentions:
            own = cost(attention, backbone)
            added = f"{(own[0] - plain[0]) / 1e6:+.2f} M, {(own[1] - plain[1]) / 1e9:+.2f} G"
            marked.append(added + AFTER_STAGES * own[2])
        shown.add_row(backbone, f"{plain[0] / 1e6:.2f} M, {plain[1] / 1e9:.2f} G", *marked)
    console = Console(width=None if Console().is_terminal else 240)
    console.print(shown)
    console.print(
        "Millions of parameters and billions of multiply-accumulates of an image of 256x128, and what attention adds "
        "or saves at its default place; (stage): after each stage, because the network has no convolution that it "
        "could replace.",
        soft_wrap=True,
    )


def cost(name: str, backbone: str) -> tuple[int, int, bool]:
    """Parameters and MACs of a backbone with an attention, and whether the attention had to be placed after stages."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from relattn.cli.costs import built, factory

    size = (256, 128)
    with torch.device("meta"):
        network, moved = built(backbone, factory(name, backbone), size=size)
        counter = FlopCounterMode(display=False)
        with torch.no_grad(), counter:
            network.eval()(torch.empty(1, 3, *size))
    return count([network]), counter.get_total_flops() // 2, moved


def network(name: str, options: argparse.Namespace) -> "tuple[list[nn.Module], bool]":
    """The backbone with an attention, and the neck, on the meta device, and whether attention had to follow stages."""
    import torch

    from relattn.backbones import pooled_width
    from relattn.cli.costs import built, factory
    from relattn.heads import BNNeck

    size = (256, 128)
    with torch.device("meta"):
        attention = factory(name, options.backbone)
        backbone, moved = built(options.backbone, attention, size=size, last_stride=1, num_classes=0)
        return [backbone, BNNeck(pooled_width(backbone, size), options.identities)], moved


def count(modules: "list[nn.Module]") -> int:
    """The number of all parameters, including untrained ones, as in the paper."""
    return sum(parameter.numel() for module in modules for parameter in module.parameters())
