"""The places of attention in a network, and its costs there: map sizes, parameters and multiply-accumulates."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from relattn.attention.base import outermost
from relattn.backbones import padded
from relattn.backbones.placement import stage_shapes
from relattn.backbones.stages import modules_of
from relattn.extras import Lazy
from relattn.figures.canvas import FAINT, INK, SMALL
from relattn.figures.names import display_name
from relattn.figures.style import SIZE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

mpl_figure = Lazy("matplotlib.figure", "suite")
patches = Lazy("matplotlib.patches", "suite")

PLAIN, ATTENTION = "#8fa3b8", "#d5762c"
"""Colours of stages and of attention, which also differ in lightness."""


@dataclass(frozen=True)
class Part:
    """A stage without its attention, the attention of a stage, or the rest of a network."""

    name: str
    attention: bool
    shape: tuple[int, ...]
    """Channels, height and width of the output; empty if it is not a map."""
    parameters: int
    macs: int
    """Multiply-accumulates per image (matrix products and convolutions)."""
    inside: bool = False
    """Whether this is attention inside the blocks of its stage, rather than after them."""


def parts_of(network: nn.Module, size: tuple[int, int]) -> list[Part]:
    """Split a network into parts by its stages; the costs of the parts add up to those of the network.

    Args:
        network: A network with timm's `feature_info`, or one with such a `backbone`, in evaluation mode.
        size: Height and width of the images, in pixels.
    """
    backbone: Any = getattr(network, "backbone", network)
    prefix = "backbone." if backbone is not network else ""
    names = {id(module): name for name, module in network.named_modules()}
    shapes, macs = measure(network, size)
    attentions = {names[id(module)]: module for module in outermost(network)}
    parts: list[Part] = []
    maps = stage_shapes(backbone, padded(size, getattr(network, "step", 1)))
    for number, (shape, inside) in enumerate(zip(maps, modules_of(backbone), strict=True), start=1):
        outer = [prefix + name for name in inside if not any(name.startswith(f"{other}.") for other in inside)]
        own = [name for name in outer if name.partition(".")[0 if not prefix else 2] != "attention"]
        within = [name for name in attentions if any(f"{name}.".startswith(f"{one}.") for one in own)]
        after = [name for name in attentions if f"{name}_".startswith(f"{prefix}attention.stage{number}_")]
        cost = (
            sum(count(network, name) for name in own) - sum(count(network, name) for name in within),
            sum(macs.get(name, 0) for name in own) - sum(macs.get(name, 0) for name in within),
        )
        parts.append(Part(f"stage {number}", False, shape, *cost))
        if found := [*within, *after]:
            kinds = sorted({display_name(attentions[name]) for name in found})
            many = f" x {len(found)}" if len(found) > 1 else ""
            total = sum(count(network, name) for name in found), sum(macs.get(name, 0) for name in found)
            in_blocks = bool(within) or "_block" in found[0]
            parts.append(Part(f"{', '.join(kinds)}{many}", True, shapes.get(found[-1], shape), *total, in_blocks))
            for name in found:
                del attentions[name]
    for name, module in attentions.items():  # attention in a head
        parts.append(Part(display_name(module), True, shapes.get(name, ()), count(network, name), macs.get(name, 0)))
    rest = (
        sum(parameter.numel() for parameter in network.parameters()) - sum(part.parameters for part in parts),
        macs[""] - sum(part.macs for part in parts),
    )
    head = Part("head and the rest", False, (), *rest)
    return parts if not any(rest) else [*parts, head]


def count(network: nn.Module, name: str) -> int:
    """Parameters of a part of a network."""
    return sum(parameter.numel() for parameter in network.get_submodule(name).parameters())


def measure(network: nn.Module, size: tuple[int, int]) -> tuple[dict[str, tuple[int, ...]], dict[str, int]]:
    """Output shapes `(C, H, W)` of all modules that return maps, and multiply-accumulates of all modules, by name.

    The network itself has the empty name.
    """
    shapes: dict[str, tuple[int, ...]] = {}

    def keep(name: str) -> Any:
        def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
            if isinstance(output, Tensor) and output.ndim == 4:
                shapes[name] = tuple(output.shape[1:])

        return hook

    handles = [module.register_forward_hook(keep(name)) for name, module in network.named_modules() if name]
    device = next(network.parameters()).device
    counter = FlopCounterMode(display=False)
    try:
        with torch.no_grad(), counter:
            network(torch.zeros(1, 3, *size, device=device))
    finally:
        for handle in handles:
            handle.remove()
    macs = {"": counter.get_total_flops() // 2}
    for name, operations in counter.get_flop_counts().items():
        macs[name.partition(".")[2]] = sum(operations.values()) // 2
    macs[""] = counter.get_total_flops() // 2
    return shapes, macs


def architecture_figure(parts: Sequence[Part], *, title: str, size: tuple[int, int]) -> "Figure":
    """Draw the parts of a network: a row of boxes as high as their maps, and a table with bars below it.

    Args:
        parts: Parts from `parts_of`.
        title: Title of the network.
        size: Height and width of the images, in pixels.
    """
    figure = mpl_figure.Figure(figsize=(9.4, 2.7 + 0.3 * (len(parts) + 2)), layout="constrained")
    boxes, table = figure.subplots(2, 1, height_ratios=[2.1, 0.3 * (len(parts) + 2)])
    figure.suptitle(title, fontsize=SIZE + 2, color=INK, fontweight="bold", parse_math=False)
    diagram(boxes, [part for part in parts if part.shape], size)
    listing(table, parts)
    return figure


def diagram(ax: "Axes", parts: Sequence[Part], size: tuple[int, int]) -> None:
    """Draw the flow from the image to the last map."""
    ax.set_axis_off()
    step, x, last = 1.0, 0.0, (0.0, 0.0, 0.0)
    sides = [max(size), *(max(part.shape[1:]) for part in parts)]
    for index, side in enumerate(sides):
        high = 0.35 + 0.65 * (side / sides[0]) ** 0.5
        part = parts[index - 1] if index else None
        if part is not None and part.inside:
            left, wide, high = last
            box = patches.FancyBboxPatch(
                (left + 0.12, -0.3 * high), wide - 0.24, 0.6 * high, boxstyle="round,pad=0,rounding_size=0.05",
                fc=ATTENTION, ec="none",
            )  # fmt: skip
            ax.add_patch(box)
            ax.text(left + wide / 2, 0.72, part.name, ha="center", va="bottom", fontsize=SMALL, color=ATTENTION)
            continue
        attention = part is not None and part.attention
        wide = 0.34 if attention else 0.62
        colour = "#dde3ea" if part is None else ATTENTION if attention else PLAIN
        if index:
            ax.annotate("", (x, 0), (x - (step - 0.62) + 0.02, 0), arrowprops={"arrowstyle": "-|>", "color": FAINT})
        ax.add_patch(
            patches.FancyBboxPatch(
                (x, -high / 2), wide, high, boxstyle="round,pad=0,rounding_size=0.05", fc=colour, ec="none"
            )
        )
        name, shape = ("image", (3, *size)) if part is None else (part.name, part.shape)
        middle = x + wide / 2
        ax.text(middle, 0.58, name, ha="center", va="bottom", fontsize=SMALL, color=ATTENTION if attention else INK)
        below = f"{shape[0]}\n{shape[1]}x{shape[2]}" if not attention else ""
        ax.text(middle, -0.58, below, ha="center", va="top", fontsize=SMALL, color=FAINT)
        last = (x, wide, high)
        x += wide + step - 0.62
    ax.set_xlim(-0.3, max(x, 4.0))
    ax.set_ylim(-0.95, 0.95)


def listing(ax: "Axes", parts: Sequence[Part]) -> None:
    """Draw the table: a line for each part and one for the sum, with bars for the shares."""
    ax.set_axis_off()
    parameters, macs = sum(part.parameters for part in parts), sum(part.macs for part in parts)
    rows = [*parts, Part("whole network", False, (), parameters, macs)]
    columns = {"map, C x H x W": 2.75, "parameters": 4.6, "MACs": 7.6}
    ax.set_xlim(0, 9.4)
    ax.set_ylim(len(rows), -1)
    for text, right in columns.items():
        ax.text(right, -0.4, text, ha="right", va="center", fontsize=SIZE, color=FAINT)
    ax.axhline(0.05, color=FAINT, linewidth=0.6)
    for line, part in enumerate(rows):
        y, whole = line + 0.55, line == len(rows) - 1
        colour = ATTENTION if part.attention else INK
        style: dict[str, Any] = {"va": "center", "fontsize": SIZE, "color": colour}
        if whole:
            style["fontweight"] = "bold"
            ax.axhline(line + 0.05, color=FAINT, linewidth=0.6)
        name = f"{part.name}, in its blocks" if part.inside else part.name
        ax.text(0.15 if part.attention else 0.0, y, name, ha="left", **style)
        shape = " x ".join(map(str, part.shape))
        for text, right, share in (
            (shape, columns["map, C x H x W"], None),
            (f"{part.parameters:,}", columns["parameters"], part.parameters / max(parameters, 1)),
            (amount(part.macs), columns["MACs"], part.macs / max(macs, 1)),
        ):
            ax.text(right, y, text, ha="right", **style)
            if share is not None and not whole:
                ax.barh(y, share * 1.05, 0.5, left=right + 0.12, color=ATTENTION if part.attention else PLAIN)
                ax.text(
                    right + 0.18 + share * 1.05, y, f"{100 * share:.1f} %", va="center", fontsize=SMALL, color=FAINT
                )


def amount(macs: int) -> str:
    """Multiply-accumulates in millions, or in thousands if they would round to 0 millions."""
    return f"{macs / 1e6:,.1f} M" if macs >= 5e4 or not macs else f"{macs / 1e3:,.1f} k"
