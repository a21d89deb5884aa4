"""What the papers' tables cost: the runs of each sweep file, and the multiply-accumulates of their training.

Training on an image is counted as three forward passes, since the backward pass has two products for each one of the
forward pass. Networks are built without memory and counted, not run. Convolutions and matrix products are counted; the
local attention of StRA as small maps compute it, as a product with a banded matrix. The counts are of the recipe's
plain network and of the network with its paper's attention, which is the costliest row of most tables. The memory that
a forward pass keeps for the backward pass is measured, on the CPU in float32.

    python benchmarks/paper_tables.py
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from relattn.attention import RGA, StRA
from relattn.backbones import build
from relattn.cli.catalogue import conf
from relattn.costs.measure import count_macs, kept_memory
from relattn.sweeps.grid import load

OUT = Path(__file__).parent / "results" / "paper_tables.json"


class Recipe(NamedTuple):
    """A training recipe.

    Attributes:
        network: What is trained, in words.
        size: Height and width of its images.
        images: Number of images that a run sees; None if the data set determines it.
        batch_size: Images per step.
        build: Builds the network with an attention module, or the plain one for None.
    """

    network: str
    size: tuple[int, int]
    images: int | None
    batch_size: int
    build: Callable[[Any], nn.Module]


def resnet50(attention: Any, size: tuple[int, int], **options: Any) -> nn.Module:
    """The network of re-identification and faces, without its neck, which has few products."""
    return build("resnet50", attention=attention, size=size, num_classes=0, **options)


REID = (256, 128)
RECIPES = {
    "reid": Recipe("ResNet-50", REID, 600 * 46 * 64, 64, lambda one: resnet50(one, REID, last_stride=1)),
    "reid_stra": Recipe("ResNet-50", REID, 90 * 12_936, 32, lambda one: resnet50(one, REID, last_stride=1)),
    "classification": Recipe(
        "ResNet-110",
        (32, 32),
        164 * 391 * 128,
        128,
        lambda one: build("resnet110", attention=one, size=(32, 32), num_classes=100),
    ),
    "face": Recipe("ResNet-50", (112, 112), None, 512, lambda one: resnet50(one, (112, 112))),
}
"""Recipes by name; their lengths are those of their files, on Market-1501 and CIFAR."""

ATTENTION = {"rga": RGA, "stra": StRA}
"""Recipe names by the beginning of the sweeps' names."""


def counted(recipe: Recipe, attention: Any) -> int:
    """Multiply-accumulates of a forward pass on one image."""
    with torch.device("meta"):
        network = recipe.build(attention).eval()
        return count_macs(network, torch.zeros(1, 3, *recipe.size))


def kept(recipe: Recipe, attention: Any) -> float:
    """Bytes per image that a training forward pass keeps for the backward pass, measured with two images."""
    network = recipe.build(attention).train()
    return kept_memory(network, torch.zeros(2, 3, *recipe.size)) / 2


def rows() -> list[dict[str, Any]]:
    """Make a row for each sweep file of the papers whose recipe is counted."""
    known: dict[tuple[str, str], dict[str, Any]] = {}
    found = []
    for path in sorted((conf() / "sweep").glob("*.yaml")):
        paper = path.stem.partition("_")[0]
        if paper not in ATTENTION:
            continue
        sweep = load(path)
        points = [sweep.options_of(point) for point in sweep.grid()]
        tasks = sorted({str(point["task"]) for point in points if "task" in point})
        name = next((task for task in tasks if task in RECIPES), None)
        row: dict[str, Any] = {"sweep": path.stem, "runs": len(points), "tasks": tasks}
        if name is not None:
            recipe = RECIPES[name]
            if (name, paper) not in known:
                both = (None, ATTENTION[paper])
                known[name, paper] = {
                    "macs": [counted(recipe, one) for one in both],
                    "kept_bytes": [kept(recipe, one) for one in both],
                }
            row |= {"recipe": name, "network": recipe.network, "batch_size": recipe.batch_size, **known[name, paper]}
            if recipe.images is not None:
                petaflop = [6 * macs * recipe.images / 1e15 for macs in row["macs"]]
                row |= {"images": recipe.images, "petaflop": petaflop}
        found.append(row)
    return found


def main() -> None:
    """Count and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    options.out.write_text(json.dumps({"benchmark": "paper_tables", "tables": rows()}, indent=1) + "\n")


if __name__ == "__main__":
    main()
