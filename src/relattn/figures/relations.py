"""How positions relate to a target position: Zhang et al., CVPR 2020, Fig. 4.

The figure shows "the connecting weights (relation values) from all positions w.r.t. three target positions". For a
target i and every position j these are

    non-local   f(x_i, x_j) / C(x), what i takes from j; for the simplified block the same for every i
    RGA         R(i, j) = theta_i^T phi_j, the target in the place that it has in the non-local block

What RGA makes of a relation is learned: W = [W_in | W_out] reads R(i, j) and R(j, i) with the j-th columns of its
halves. `connecting` weights are the length of what that adds,

    |W_in(:, j) R(i, j) + W_out(:, j) R(j, i)|

Whether they depend on the target is measured over all targets by `spread`.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from relattn.attention import RGA, Attention, NonLocal, SimplifiedNonLocal
from relattn.errors import InputError
from relattn.extras import Lazy
from relattn.figures.canvas import (
    INK,
    SEQUENTIAL,
    SIGNED,
    SMALL,
    TARGET,
    Pixels,
    bar,
    check_count,
    grid,
    head,
    label,
    show_image,
    show_map,
)
from relattn.figures.capture import capture
from relattn.figures.names import modules_of, present, title_of
from relattn.figures.spread import spread

if TYPE_CHECKING:
    from matplotlib.figure import Figure

patches = Lazy("matplotlib.patches", "suite")

Weights = Literal["relations", "connecting"]
Target = tuple[float, float]
"""A position, as parts of the height and of the width, each in [0, 1]."""

TARGETS: tuple[Target, ...] = ((0.25, 0.5), (0.7, 0.35), (0.1, 0.1))
"""In a picture of a person: the chest, a leg, and the background."""


class Relations(NamedTuple):
    """The weights of one module for all targets."""

    module: str
    """Its name in the network."""
    weights: Tensor
    """(B, N, M): what stands between target i, in raster order, and each of M positions."""
    size: tuple[int, int]
    """Height and width of the map of the N targets."""
    source: tuple[int, int]
    """Height and width of the map of the M positions, smaller where they are subsampled."""

    def spread(self) -> Tensor:
        """How much the weights of each image depend on the target, (B,), as of `relattn.figures.spread`."""
        return spread(self.weights)

    def place(self, target: Target) -> int:
        """The target in raster order."""
        row, column = (min(int(part * side), side - 1) for part, side in zip(target, self.size, strict=True))
        return row * self.size[1] + column


def connecting(module: RGA, relations: Tensor) -> Tensor:
    """The connecting weights of the spatial mask of RGA for its relations R, both (B, N, N).

    |a r + b s|^2 = |a|^2 r^2 + |b|^2 s^2 + 2 <a, b> r s, so that no N x N x n values are held. Of a varphi that reads
    the relations of neighbours too, a and b are those of the position itself.
    """
    assert module.spatial is not None
    assert module.spatial.relate is not None
    weight = module.spatial.relate.weight
    row, column = weight[:, :, weight.shape[2] // 2].detach().to(relations.dtype).chunk(2, dim=1)
    there, back = relations, relations.mT
    squares = row.square().sum(0) * there.square() + column.square().sum(0) * back.square()
    return (squares + 2 * (row * column).sum(0) * there * back).clamp(min=0).sqrt()


def has_relations(module: Attention) -> bool:
    """Whether a module relates positions to each other."""
    if isinstance(module, RGA):
        return module.spatial is not None and module.spatial.relate is not None
    return isinstance(module, NonLocal | SimplifiedNonLocal)


def relations(
    network: nn.Module, forward: Callable[[], object], *, module: str | None = None, weights: Weights = "relations"
) -> Relations:
    """The weights of a module of a network for all targets.

    Args:
        network: In evaluation mode.
        forward: Runs it on the images.
        module: The module's name or title; by default the last one that relates positions.
        weights: Relation values, or `connecting` weights, which differ for RGA.

    Raises:
        InputError: If no module relates positions, or not that one.
    """
    found = {name: one for name, one in modules_of(network).items() if has_relations(one)}
    if not found:
        raise InputError(
            "relations draws what stands between positions, which RGA with a spatial mask (rga_s, rga_sc, rga_cs, "
            f"rga_parallel), NonLocal (nl) and SimplifiedNonLocal (snl) have. The network has {present(network)}."
        )
    named = [name for name in found if module in (None, name, title_of(name))]
    if not named:
        raise InputError(
            f"--module is {module!r}, and what relates positions in the network is "
            f"{', '.join(repr(title_of(name)) for name in found)}."
        )
    name, chosen = named[-1], found[named[-1]]
    inputs: list[Tensor] = []

    def keep(_module: nn.Module, arguments: Any) -> None:
        inputs.append(arguments[0].detach())

    handle = chosen.register_forward_pre_hook(keep)
    try:
        with torch.no_grad(), capture(network) as maps:
            forward()
            x = inputs[-1]
            size = source = (x.shape[2], x.shape[3])
            if isinstance(chosen, RGA):
                values = chosen.relations(x)["spatial"]
                values = connecting(chosen, values) if weights == "connecting" else values
            elif isinstance(chosen, NonLocal):
                values = maps[name]["weights"]
                source = (size[0] // chosen.subsample, size[1] // chosen.subsample)
            else:
                row = maps[name]["spatial"].flatten(2)
                values = row.expand(-1, row.shape[2], -1)
    finally:
        handle.remove()
    return Relations(name, values, size, source)


def relations_figure(
    pixels: Sequence[Pixels],
    found: Mapping[str, Relations],
    targets: Sequence[Target] = TARGETS,
    *,
    title: str = "Relations of all positions to a target",
) -> "Figure":
    """Draw the weights of all positions for chosen targets, a row for each image and network.

    Args:
        pixels: B images (H, W, 3).
        found: By the networks' titles, as of `relations`.
        targets: The positions.
        title: The line above.
    """
    check_count(len(pixels))
    height, width = pixels[0].shape[:2]
    measured = ", ".join(f"{name} {float(one.spread().nanmean()):.3f}" for name, one in found.items())
    figure, axes = grid(
        len(pixels) * len(found),
        1 + len(targets),
        aspect=width / height,
        title=title,
        note=f"Red squares mark the targets; colours span a row's values. Mean cosine distance of the maps of all "
        f"pairs of targets (0: they do not depend on the target): {measured}.",
    )
    head(axes[0, 0], "image", width / height)
    for number in range(len(targets)):
        head(axes[0, 1 + number], f"target {number + 1}", width / height)
    for image, shown_pixels in enumerate(pixels):
        for place, (name, one) in enumerate(found.items()):
            row = axes[image * len(found) + place]
            show_image(row[0], shown_pixels)
            label(row[0], f"{name}\n{title_of(one.module)}")
            chosen = [one.place(target) for target in targets]
            values = one.weights[image, chosen].unflatten(1, one.source)
            low, high = min(float(values.min()), 0.0), float(values.max())
            signed = low < 0
            limits = (-max(-low, high), max(-low, high)) if signed else (low, high if high > low else low + 1e-3)
            for number, (ax, target) in enumerate(zip(row[1:], chosen, strict=True)):
                cmap = SIGNED if signed else SEQUENTIAL
                shown = show_map(ax, values[number], limits, (height, width), cmap=cmap)
                for where in (ax, row[0]):
                    mark(where, target, one.size, (height, width))
                down, column = (target // one.size[1] + 0.5) * height / one.size[0], target % one.size[1]
                last = 0 < column == one.size[1] - 1  # its number has no room at the right
                across = (column + (column + 1 < one.size[1])) * width / one.size[1]
                row[0].annotate(
                    str(number + 1), (across, down), (-3 if last else 3, 0), textcoords="offset points",
                    va="center", ha="right" if last else "left",
                    fontsize=SMALL, color=INK, bbox={"boxstyle": "round,pad=0.15", "fc": "white", "ec": "none"},
                )  # fmt: skip
            bar(figure, shown, row[1:].tolist(), beside=True)
    return figure


def mark(ax: Any, target: int, size: tuple[int, int], image: tuple[int, int]) -> None:
    """Draw a square around a target on a map that is drawn as large as its image."""
    row, column = divmod(target, size[1])
    high, wide = image[0] / size[0], image[1] / size[1]
    corner = (column * wide - 0.5, row * high - 0.5)
    ax.add_patch(patches.Rectangle(corner, wide, high, fill=False, edgecolor=TARGET, linewidth=1.8))
