"""The graph of a network, traced by `torch.export`."""

import copy
import math
import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from relattn.errors import InputError

SMALLEST = 32
"""Side of the smallest images that sizes are tried with, in pixels."""


def other_size(size: tuple[int, int]) -> tuple[int, int]:
    """A size of other proportions, to try what a network does with it: about half, and odd."""
    height, width = (max(side // 2 + extra, SMALLEST + extra) for side, extra in zip(size, (3, 9), strict=True))
    return height | 1, width | 1


def takes_any_size(network: nn.Module, size: tuple[int, int]) -> bool:
    """Whether a network that maps images to maps of their size also takes images of another size than `size`."""
    with torch.no_grad():
        images = torch.zeros(1, 3, *other_size(size))
        try:
            return bool(network(images).shape[2:] == images.shape[2:])
        except InputError:  # attention in it has weights for every position
            return False


def trace(network: nn.Module, size: tuple[int, int], *, any_size: bool) -> torch.export.ExportedProgram:
    """Trace a network for any number of images.

    Args:
        network: In evaluation mode, on the CPU.
        size: Height and width of the images in pixels.
        any_size: Whether the graph is to take images of any size, rather than of `size` only.

    Raises:
        InputError: If the network cannot be traced.
    """
    plain = copy.deepcopy(network).to(memory_format=torch.contiguous_format)
    dynamic = {0: torch.export.Dim.DYNAMIC}
    if any_size:
        dynamic |= dict.fromkeys((2, 3), torch.export.Dim.DYNAMIC)
    try:
        with torch.no_grad():
            program = torch.export.export(plain, (torch.zeros(2, 3, *size),), dynamic_shapes=(dynamic,))
            return program.run_decompositions(pooling()) if any_size else program
    except Exception as error:  # torch has no common base of what tracing raises
        raise InputError(f"The network cannot be traced: {type(error).__name__}: {error}") from error


def pooling() -> dict[Any, Callable[..., Any]]:
    """Every operation as torch.export decomposes it, but adaptive pooling as `pool` does.

    Its cells are of several sizes, which ONNX knows no operation for unless the size of the image is known.
    """
    table: dict[Any, Callable[..., Any]] = torch.export.default_decompositions()
    for name in ("adaptive_avg_pool2d", "_adaptive_avg_pool2d"):
        table[getattr(torch.ops.aten, name).default] = pool
    return table


def pool(x: Tensor, output_size: list[int]) -> Tensor:
    """Adaptive average pooling of `(B, C, H, W)` as two products with matrices made from the size: `(B, C, h, w)`.

    Cell c of n along a side of length L is the mean of positions floor(c L / n) to ceil((c + 1) L / n), exclusive.
    """
    for dim, cells in zip((2, 3), output_size, strict=True):
        x = (x.transpose(dim, 3) @ cell_means(x, x.shape[dim], cells)).transpose(dim, 3)
    return x


def cell_means(x: Tensor, length: int, cells: int) -> Tensor:
    """The matrix `(length, cells)` whose columns take the means of cells, with the dtype of `x`."""
    cell = torch.arange(cells, device=x.device)
    start = (cell * length) // cells
    stop = ((cell + 1) * length + cells - 1) // cells
    position = torch.arange(length, device=x.device).unsqueeze(1)
    inside = ((position >= start) & (position < stop)).to(x.dtype)
    return inside / (stop - start).to(x.dtype)


def without_ceil(program: torch.export.ExportedProgram) -> torch.export.ExportedProgram:
    """The program with sizes that are rounded up found by integers, as `torch.export.save` knows no `math.ceil`.

    timm's pooling with padding "same" has them, in the shortcuts of some dilated networks.
    """
    graph = program.graph
    for node in list(graph.nodes):
        quotient = node.args[0] if node.target is math.ceil else None
        if isinstance(quotient, torch.fx.Node) and quotient.target is operator.truediv:
            arguments: Any = quotient.args
            length, step = arguments
            with graph.inserting_before(node):
                longer = graph.call_function(operator.add, (length, step - 1))
                rounded = graph.call_function(operator.floordiv, (longer, step))
            longer.meta["val"], rounded.meta["val"] = length.meta["val"] + step - 1, node.meta["val"]
            node.replace_all_uses_with(rounded)
            graph.erase_node(node)
    graph.eliminate_dead_code()
    program.graph_module.recompile()
    return program
