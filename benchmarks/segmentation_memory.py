"""Peak memory and time of segmenting a whole Cityscapes image, and of RGA on every position of a feature map.

    python benchmarks/segmentation_memory.py
    python benchmarks/segmentation_memory.py --threads 1

The network is ResNet-101 at output stride 8 with ASPP, in inference on one image. The first comparison, at 1024x2048,
is the recipe's context (RGA-SC on a grid of 48x48) against the network without it. The second has RGA-SC on every
position of a window of 769x769 pixels, as with `context_mode full`: 9,409 positions, whose relations take 338 MiB and,
stacked for the layer that reads them, twice that; the factored form never stores them. Every measurement runs in its
own process, and memory is the process's peak, including libraries and weights.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from claims import parser, report
from torch import nn

from relattn.attention import RGA
from relattn.backbones import dilated
from relattn.costs.materialised import materialised
from relattn.costs.side_by_side import Claim, Side, difference, seconds
from relattn.heads import SegmentationNetwork

FORMS = ("plain", "pooled", "full", "full, materialised")

Measured = tuple[list[float], list[float], torch.Tensor]
"""Seconds and peaks in MiB of each round, and the output of attention for the features."""


def network(form: str, size: tuple[int, int], quick: bool) -> nn.Module:
    """Build the network for images of a size."""
    torch.manual_seed(0)
    built = SegmentationNetwork(
        dilated("resnet18" if quick else "resnet101", output_stride=8),
        head="aspp",
        context=None if form == "plain" else RGA,
        context_mode="pooled" if form == "pooled" else "full",
        pool=(6, 6) if quick else (48, 48),
        width=32 if quick else 512,
        crop=size,
        auxiliary=False,
    ).eval()
    return materialised(built) if form.endswith("materialised") else built


def segment(asked: argparse.Namespace) -> None:
    """Segment an image; write the seconds, the process's peak in MiB, and the output of attention for the features."""
    torch.set_num_threads(asked.threads)
    size = tuple(asked.image)
    built, image = network(asked.form, size, asked.quick), torch.randn(1, 3, *size)
    features: list[torch.Tensor] = []
    built.context.register_forward_pre_hook(lambda _, inputs: features.append(inputs[0]))
    with torch.inference_mode():
        spent = seconds(lambda: built(image))
        status = Path("/proc/self/status").read_text()  # getrusage would return the parent's peak if that is higher
        peak = int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) / 1024
        attended = features[0]
        if asked.form != "plain":
            # Training mode uses the batch's statistics: those of an untrained norm shrink embeddings until all masks
            # are 1/2.
            attended = built.context.attention.train()(features[0])
    torch.save((spent, peak, attended), asked.out)


def measure(forms: tuple[str, str], size: tuple[int, int], asked: argparse.Namespace) -> list[Measured]:
    """Segment by two forms, which take turns."""
    found: dict[str, Measured] = {}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(asked.rounds):
            for form in forms:
                file = Path(folder) / "measured.pt"
                command = [sys.executable, __file__, "--form", form, "--image", *map(str, size), "--out", str(file)]
                command += ["--threads", str(asked.threads), *(["--quick"] if asked.quick else [])]
                subprocess.run(command, check=True)
                spent, peak, attended = torch.load(file)
                times, peaks, _ = found.get(form, ([], [], attended))
                found[form] = ([*times, spent], [*peaks, peak], attended)
    return [found[form] for form in forms]


def claims(forms: tuple[str, str], size: tuple[int, int], asked: argparse.Namespace) -> list[Claim]:
    """Build the claims; memory comes first, since it is the main claim."""
    ours, other = measure(forms, size, asked)
    kind = "cost" if "plain" in forms else "gain"
    shared = {"kind": kind, "sizes": {"image": size, "threads": asked.threads}}
    shared["difference"] = difference(ours[2], other[2]) if kind == "gain" else None
    what = f"{forms[0]} context, {size[0]}x{size[1]}"
    time, memory = (
        [Side(form, tuple(values)) for form, values in zip(forms, pair, strict=True)]
        for pair in zip(ours[:2], other[:2], strict=True)
    )
    return [Claim(f"{what}: peak memory", *memory, "MiB", **shared), Claim(f"{what}: time", *time, "s", **shared)]


def main(arguments: list[str] | None = None) -> None:
    options = parser(__doc__, rounds=1)
    options.add_argument("--threads", type=int, default=torch.get_num_threads())
    options.add_argument("--form", choices=FORMS, help=argparse.SUPPRESS)
    options.add_argument("--image", type=int, nargs=2, help=argparse.SUPPRESS)
    asked = options.parse_args(arguments)
    if asked.form:
        segment(asked)
        return
    whole, window = ((64, 128), (65, 65)) if asked.quick else ((1024, 2048), (769, 769))
    found = claims(("pooled", "plain"), whole, asked) + claims(("full", "full, materialised"), window, asked)
    report("segmentation_memory", asked, found)


if __name__ == "__main__":
    main()
