"""The released StRA: `stru_resnet50`, a network for torchreid 0.9.1.

It is a ResNet-50 whose last stage has `mask_conv`, `value_conv` and `moe` in place of its 3x3 convolutions, and which
ends in an embedding of 512 dimensions with a batch norm and a classifier. Its trunk corresponds to the suite's, its
attention to `StRA(variant="released")`, and its head to `EmbeddingNeck`, where the 1x1 convolution is a linear layer.
"""

import math
import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from relattn.errors import InputError, some_of
from relattn.released.converted import BLOCKS, Converted, Sources, convert, norm, trunk, unwrap


def convert_stra(state_dict: Mapping[str, Any]) -> Converted:
    """Convert the weights of the released `stru_resnet50`.

    The names follow the published code; no published file was available for comparison.

    Args:
        state_dict: The saved weights: bare or under `state_dict`, with or without `module.` before each name.

    Raises:
        InputError: If it contains no StRA, or its blocks have different neighbourhoods.
    """
    state = unwrap(state_dict)
    if not is_stra(state):
        raise InputError(
            f"This is not StRA of the released code: expected layer4.0.conv2.mask_conv.*, and found {some_of(state)}."
        )
    sources = trunk("", spatial=lambda stage: stage < len(BLOCKS))
    for block in range(BLOCKS[-1]):
        name = f"layer4.{block}.conv2"
        sources |= two_layers(f"network.{name}.local.logits", f"{name}.mask_conv")
        sources[f"network.{name}.local.values.weight"] = (f"{name}.value_conv.weight",)
        sources |= two_layers(f"network.{name}.mode.mask", f"{name}.moe.gap_weight")
        sources |= norm(f"network.{name}.mode.similarity_norms.0", f"{name}.moe.bn")
        sources |= norm(f"network.{name}.mode.similarity_norms.1", f"{name}.moe.bn2")
    sources["head.embedding.0.weight"] = ("global_avg_pool.1.weight",)
    sources |= norm("head.embedding.1", "global_avg_pool.2")
    sources |= {f"head.classifier.{part}": (f"classifier.{part}",) for part in ("weight", "bias")}
    return convert("StRA", "stra_released", state, sources, arguments_of(state))


def two_layers(ours: str, theirs: str) -> Sources:
    """The entries of two convolutions with biases and batch norms; their second convolution is the fourth layer."""
    found: Sources = {}
    for mine, convolution in ((f"{ours}.0", 0), (f"{ours}.2", 3)):
        for part in ("weight", "bias"):
            found[f"{mine}.0.{part}"] = (f"{theirs}.{convolution}.{part}",)
        found |= norm(f"{mine}.1", f"{theirs}.{convolution + 1}")
    return found


def is_stra(state: Mapping[str, Tensor]) -> bool:
    """Whether the names are those of the released StRA."""
    return any(re.match(r"layer4\.\d+\.\w+\.mask_conv\.", name) for name in state)


def arguments_of(state: Mapping[str, Tensor]) -> dict[str, int]:
    """Heads, neighbourhood and reduction of the attention, from the shapes.

    The released code builds the first block with its default neighbourhood, 3x3, whatever the size in the others.
    `StRA` has one size for all blocks, so only files with 3x3, the default, can be loaded.

    Raises:
        InputError: If blocks have different neighbourhoods.
    """
    found: dict[str, int] = {}
    kernels: dict[int, int] = {}
    for block in range(BLOCKS[-1]):
        shapes = [
            tuple(state[name].shape) if (name := f"layer4.{block}.conv2.{layer}.weight") in state else (0, 0)
            for layer in ("value_conv", "mask_conv.0", "mask_conv.3")
        ]
        (channels, each, *_), (hidden, *_), (maps, *_) = shapes
        if min(each, hidden, maps) < 1:
            continue
        found |= {"heads": channels // each, "reduction": channels // hidden}
        kernels[block] = math.isqrt(maps // found["heads"] - 1)
    if len(set(kernels.values())) > 1:
        listed = ", ".join(f"block {block + 1} {kernel}x{kernel}" for block, kernel in kernels.items())
        raise InputError(
            f"The blocks of the last stage have different neighbourhoods ({listed}), as the released code builds "
            "any but 3x3, and StRA has one for all: expected a file with 3x3 in every block."
        )
    return found | ({"kernel": kernel} if (kernel := next(iter(kernels.values()), 0)) else {})
