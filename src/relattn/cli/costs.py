"""`relattn benchmark`: the cost of attention, next to the plain backbone and to the usual implementation.

The usual implementation materialises the relations for RGA, and unfolds neighbourhoods for StRA and SASA.
"""

import argparse
import copy
import dataclasses
import json
import os
import re
import subprocess
import sys
import tempfile
from argparse import ArgumentError
from pathlib import Path
from typing import TYPE_CHECKING, Any

from relattn.cli.lightning import recipes
from relattn.cli.memory import keep_freed_memory
from relattn.cli.options import height_and_width, own_path
from relattn.cli.parameters import AFTER_STAGES
from relattn.errors import InputError
from relattn.publish import check_writable, publish_json

if TYPE_CHECKING:
    from torch import Tensor, nn

    from relattn.backbones import AttentionFactory
    from relattn.costs.measure import Cost

EXAMPLES = """examples:
  relattn benchmark --attention rga_sc --channels 256 --size 64x32 --batch_size 8
  relattn benchmark --attention stra --channels 512 --size 16x8 --batch_size 16
  relattn benchmark --attention rga_sc --backbone resnet50 --size 256x128 --batch_size 16 --last_stride 1 --apart 2
"""

SLOW_FORMS = ("materialised", "unfolded")
NOTHING = "There is nothing to measure: give --attention, or --backbone, or both."


def parse(arguments: list[str]) -> argparse.Namespace:
    """Read the options."""
    parser = argparse.ArgumentParser(
        prog="relattn benchmark",
        description="Parameters, MACs, time and memory of forward and backward, side by side in one run.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--attention", nargs="+", default=["rga_sc"], help="attention modules, by recipe")
    parser.add_argument("--backbone", help="measure in this network; without it, the module alone")
    parser.add_argument("--channels", type=int, default=256, help="channels of the input of a module alone")
    parser.add_argument(
        "--size", type=height_and_width, help="height x width: of the image, or of a module's input (64x32)"
    )
    parser.add_argument("--batch_size", type=int, default=8)
    parser.add_argument("--stages", type=int, nargs="+", help="stages that attention follows")
    parser.add_argument("--last_stride", type=int, choices=[1, 2], help="1 for the trunk of re-identification")
    parser.add_argument("--classes", type=int, default=0, help="outputs of a classifier; by default none")
    parser.add_argument("--rounds", type=int, default=9, help="timed passes of each network")
    parser.add_argument("--warmup", type=int, default=8, help="untimed passes of each network before them")
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1, ...")
    parser.add_argument("--layout", choices=["channels_last", "contiguous"], default="channels_last")
    parser.add_argument("--compile", action="store_true", help="compile each network")
    parser.add_argument(
        "--recompute",
        nargs="+",
        choices=["cheap", "all", "nothing"],
        default=["cheap"],
        help="what attention computes again in the backward pass; several are measured side by side",
    )
    parser.add_argument("--no_materialised", action="store_true", help="leave materialised and unfolded forms out")
    parser.add_argument(
        "--apart",
        type=int,
        default=0,
        metavar="TIMES",
        help="measure each network in this many processes of its own, in turns, so that none affects another's memory",
    )
    parser.add_argument("--json", type=own_path, help="also write the numbers to this file")
    # The only network that a process of --apart measures.
    parser.add_argument("--form", choices=["plain", "own", "slow"], help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    for name in ("channels", "batch_size", "rounds"):
        if getattr(options, name) < 1:
            raise InputError(f"--{name} is {getattr(options, name)}, expected at least 1.")
    for name in ("warmup", "classes", "apart"):
        if getattr(options, name) < 0:
            raise InputError(f"--{name} is {getattr(options, name)}, expected at least 0.")
    if not re.fullmatch(r"cpu|cuda(:\d+)?|mps", options.device):
        raise InputError(f"--device is {options.device!r}, expected cpu, cuda or cuda:1, for example.")
    if options.json is not None and options.form is None:
        if options.json.exists():
            raise InputError(f"--json {options.json} exists, and nothing is overwritten. Choose another, or remove it.")
        check_writable(options.json)
    if options.size is None:
        small = options.backbone is not None and recipes.family_of(options.backbone) != "timm"
        options.size = (32, 32) if small else (256, 128) if options.backbone else (64, 32)
    return options


def factory(name: str, backbone: str | None) -> "AttentionFactory | None":
    """The attention that a recipe defines, or a class by its path.

    Raises:
        InputError: If there is none of this name.
    """
    from jsonargparse import ArgumentParser

    from relattn.backbones import AttentionFactory
    from relattn.cli.lightning.complaints import complaint

    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--attention", type=AttentionFactory | None)
    value = recipes.attention_config(name, backbone)
    try:
        chosen: AttentionFactory | None = parser.instantiate(parser.parse_object({"attention": value})).attention
    except ArgumentError as error:
        raise complaint(str(error), parser, ["--attention", name]) from error
    return chosen


def built(backbone: str, attention: "AttentionFactory | None", **arguments: Any) -> "tuple[nn.Module, bool]":
    """Build a network, and say whether its attention comes after stages because there is no convolution to replace."""
    from relattn.backbones import PlacementError, build

    try:
        return build(backbone, attention=attention, **arguments), False
    except PlacementError:
        return build(backbone, attention=attention, placement="stage", **arguments), True


def networks(options: argparse.Namespace) -> "dict[str, nn.Module]":
    """Build the networks to compare: the plain backbone, if any, and each attention with its usual, slow form."""
    from torch import nn

    from relattn.attention.base import outermost
    from relattn.costs.materialised import has_relations, materialised
    from relattn.costs.unfolded import has_neighbourhoods, unfolded

    found: dict[str, nn.Module] = {}

    def network(attention: "AttentionFactory | None") -> tuple[nn.Module, bool]:
        if options.backbone is None:
            assert attention is not None
            return attention(options.channels, size=options.size), False
        arguments = {name: getattr(options, name) for name in ("stages", "size", "last_stride")}
        return built(options.backbone, attention, **arguments, num_classes=options.classes)

    if options.backbone is not None and options.form in (None, "plain"):
        found[options.backbone], _ = network(None)
    for name in options.attention if options.form != "plain" else []:
        attention = factory(name, options.backbone)
        if attention is None:
            continue
        own, moved = network(attention)
        label = label_of(name, options.backbone) + AFTER_STAGES * moved
        for number, recompute in enumerate(options.recompute):
            same = own if number == 0 else copy.deepcopy(own)
            for module in outermost(same):
                module.recompute = recompute
            if options.form in (None, "own"):
                found[label if number == 0 else recomputed(label, recompute)] = same
        if options.no_materialised or options.form == "own":
            continue
        if has_relations(own):
            found[f"{label}, materialised"] = materialised(own)
        if has_neighbourhoods(own):
            found[f"{label}, unfolded"] = unfolded(own)
    if not found:
        raise InputError(NOTHING)
    return found


def label_of(attention: str, backbone: str | None) -> str:
    """Display name of a network with that attention."""
    return attention if backbone is None else f"{backbone} + {attention}"


def recomputed(label: str, recompute: str) -> str:
    """Display name of the same network with another `recompute` setting of attention."""
    return f"{label}, {recompute} recomputed"


def table(costs: "list[Cost]", options: argparse.Namespace, device: str) -> None:
    """Print the costs, with ratios to the first network and of each slow form to its network."""
    from rich.console import Console
    from rich.table import Table

    what = f"{options.batch_size} x {options.size[0]}x{options.size[1]}, {options.layout}, {device}"
    caption = "time: median (fastest to slowest); memory: peak of a pass / kept for the backward pass"
    shown = Table(title=f"Forward and backward, {what}", caption=caption)
    for column in ("", "parameters", "MACs / image", "time, ms", "ratio", "peak / kept, MiB", "slow form / this"):
        shown.add_column(column, justify="left" if not column else "right")
    by_name = {cost.name: cost for cost in costs}
    for cost in costs:
        twin = by_name.get(f"{cost.name}, materialised") or by_name.get(f"{cost.name}, unfolded")
        shown.add_row(
            cost.name,
            f"{cost.parameters:,}",
            f"{cost.macs / 1e6:,.1f} M",
            f"{cost.milliseconds:.1f} ({cost.fastest:.1f} to {cost.slowest:.1f})",
            f"{cost.milliseconds / costs[0].milliseconds:.2f}",
            f"{cost.peak_bytes / 2**20:,.0f} / {cost.kept_bytes / 2**20:,.0f}",
            ""
            if twin is None
            else f"{twin.milliseconds / cost.milliseconds:.1f} x time, "
            f"{twin.peak_bytes / max(cost.peak_bytes, 1):.1f} x peak, "
            f"{twin.kept_bytes / max(cost.kept_bytes, 1):.1f} x kept",
        )
    Console(width=None if Console().is_terminal else 150).print(shown)


def differences(built: "dict[str, nn.Module]", inputs: "Tensor") -> dict[str, float]:
    """The difference between the outputs of each slow form and its network, relative to the largest output."""
    import torch

    from relattn.costs.side_by_side import difference

    found = {}
    with torch.no_grad():
        for name, network in built.items():
            own, _, form = name.rpartition(", ")
            if form in SLOW_FORMS and own in built:
                found[name] = difference(built[own](inputs), network(inputs))
    return found


def measure(arguments: list[str]) -> "list[Cost]":
    """Build the networks that the command line specifies, and measure them."""
    options = parse(arguments)
    if not options.apart:
        keep_freed_memory()
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # the profiler, which counts memory, logs its start and stop
    import torch

    if options.device.startswith("cuda") and not torch.cuda.is_available():
        raise InputError(f"--device {options.device}: torch {torch.__version__} finds no GPU.")
    return measure_apart(options, arguments) if options.apart else measure_here(options)


def build_all(options: argparse.Namespace) -> "tuple[dict[str, nn.Module], Tensor]":
    """The networks and their inputs, the same in every call."""
    import torch

    device = torch.device(options.device)
    torch.manual_seed(0)
    layout = torch.channels_last if options.layout == "channels_last" else torch.contiguous_format
    built = {name: network.to(device).to(memory_format=layout) for name, network in networks(options).items()}
    channels = 3 if options.backbone else options.channels
    return built, torch.randn(options.batch_size, channels, *options.size, device=device).to(memory_format=layout)


def measure_here(options: argparse.Namespace) -> "list[Cost]":
    """Measure the networks in this process."""
    from relattn.costs.measure import compare

    built, inputs = build_all(options)
    differ = differences(built, inputs)
    if options.compile:
        for network in built.values():
            network.compile()
    inputs.requires_grad_(options.backbone is None)
    costs = compare(built, inputs, rounds=options.rounds, warmup=options.warmup)
    return [dataclasses.replace(cost, difference=differ.get(cost.name)) for cost in costs]


def measure_apart(options: argparse.Namespace, arguments: list[str]) -> "list[Cost]":
    """Measure each network in separate processes, which take turns."""
    from relattn.costs.measure import Cost

    differ = {} if options.no_materialised else differences(*build_all(options))
    chosen = {} if options.backbone is None else {options.backbone: ["--form", "plain"]}
    for name in options.attention:
        if name in ("none", "null"):
            continue
        label, (first, *others) = label_of(name, options.backbone), options.recompute
        chosen[label] = ["--attention", name, "--form", "own", "--recompute", first]
        for form in SLOW_FORMS:
            if f"{label}, {form}" in differ:
                chosen[f"{label}, {form}"] = ["--attention", name, "--form", "slow", "--recompute", first]
        for other in others:
            chosen[recomputed(label, other)] = ["--attention", name, "--form", "own", "--recompute", other]
    if not chosen:
        raise InputError(NOTHING)
    found: dict[str, Cost] = {}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "cost.json"
        for _ in range(options.apart):
            for name, one in chosen.items():
                command = [sys.executable, "-P", "-m", "relattn", "benchmark", *arguments, *one, "--apart", "0"]
                command += ["--json", str(file)]
                run = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603, it is ours
                if run.returncode:
                    raise InputError(f"{' '.join(command)} failed:\n{run.stderr.strip()}")
                (cost,) = json.loads(file.read_text(encoding="utf-8"))["costs"]
                fields = {key.name: cost[key.name] for key in dataclasses.fields(Cost)}
                times = (*(found[name].times if name in found else ()), *fields["times"])
                found[name] = Cost(**{**fields, "name": name, "times": times, "difference": differ.get(name)})
    return list(found.values())


def main(arguments: list[str]) -> int:
    """Measure and print."""
    options, costs = parse(arguments), measure(arguments)
    from relattn.costs.measure import as_json
    from relattn.costs.side_by_side import environment

    machine = environment(options.device)
    table(costs, options, machine["device"])
    if options.json:
        shown = {key: str(value) if isinstance(value, Path) else value for key, value in vars(options).items()}
        content = {"options": shown, "machine": machine, "costs": as_json(costs)}
        publish_json(options.json, content)
    return 0
