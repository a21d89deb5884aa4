"""Traces the graph of a network with `torch.export`."""

import copy
import math
import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from relattn.adaptive_pooling import pool
from relattn.errors import InputError

SMALLEST = 32
"""Minimum side in pixels of the images with which sizes are tested."""


def other_size(size: tuple[int, int]) -> tuple[int, int]:
    """A size for testing a network, with other proportions: about half as large, with odd sides."""
    height, width = (max(side // 2 + extra, SMALLEST + extra) for side, extra in zip(size, (3, 9), strict=True))
    return height | 1, width | 1


def takes_any_size(network: nn.Module, size: tuple[int, int]) -> bool:
    """Whether a network that maps images to maps of their size also accepts images of another size than `size`."""
    with torch.no_grad():
        images = torch.zeros(1, 3, *other_size(size))
        try:
            return bool(network(images).shape[2:] == images.shape[2:])
        except InputError:  # its attention has weights for every position, or its strides need certain sides
            return False


def trace(network: nn.Module, size: tuple[int, int], *, any_size: bool) -> torch.export.ExportedProgram:
    """Trace a network for any number of images.

    Args:
        network: The network, in evaluation mode, on the CPU.
        size: Height and width of the images in pixels.
        any_size: Whether the graph should accept images of any size, rather than only of `size`.

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
    except Exception as error:  # torch has no common base class for tracing errors
        raise InputError(f"The network cannot be traced: {type(error).__name__}: {error}") from error


def pooling() -> dict[Any, Callable[..., Any]]:
    """torch.export's decompositions of all operations, with adaptive pooling replaced by `pool`.

    The cells of adaptive pooling differ in size, for which ONNX has no operation unless the image size is known.
    """
    table: dict[Any, Callable[..., Any]] = torch.export.default_decompositions()
    for name in ("adaptive_avg_pool2d", "_adaptive_avg_pool2d"):
        table[getattr(torch.ops.aten, name).default] = pool
    return table


def without_ceil(program: torch.export.ExportedProgram) -> torch.export.ExportedProgram:
    """Round sizes up with integer arithmetic in a program, because `torch.export.save` does not support `math.ceil`.

    timm's pooling with padding "same" rounds sizes up, in the shortcuts of some dilated networks.
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
