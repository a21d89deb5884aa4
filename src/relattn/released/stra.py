"""The released StRA: `stru_resnet50`, a network for torchreid 0.9.1.

A ResNet-50 whose last stage has `mask_conv`, `value_conv` and `moe` in place of its 3x3 convolutions, and which ends in
an embedding of 512 numbers. The trunk is the suite's, and the attention is `StRA(variant="released")`; the embedding
has no counterpart.
"""

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from relattn.errors import InputError
from relattn.released.converted import BLOCKS, Converted, Sources, convert, norm, some, trunk, unwrap


def convert_stra(state_dict: Mapping[str, Any]) -> Converted:
    """Convert what has a place of the weights of the released StRA, a ResNet-50 for torchreid 0.9.1.

    Placed: the trunk and all of the attention, `layer4.*.conv2.{mask_conv, value_conv, moe}`, which goes into
    `StRA(variant="released")`. Not placed: `global_avg_pool` and `classifier`, an embedding of 512 numbers, which no
    head of the suite has, and whatever else is in the file.

    The names are those of the published code; no published file was at hand to compare with.

    Args:
        state_dict: As saved: bare or under `state_dict`, with or without `module.` before each name.

    Raises:
        InputError: If there is no StRA in it.
    """
    state = unwrap(state_dict)
    if not is_stra(state):
        raise InputError(f"No StRA of the released code: expected layer4.0.conv2.mask_conv.*, and found {some(state)}.")
    sources = trunk("", spatial=lambda stage: stage < len(BLOCKS))
    for block in range(BLOCKS[-1]):
        name = f"layer4.{block}.conv2"
        sources |= two_layers(f"network.{name}.local.logits", f"{name}.mask_conv")
        sources[f"network.{name}.local.values.weight"] = (f"{name}.value_conv.weight",)
        sources |= two_layers(f"network.{name}.mode.mask", f"{name}.moe.gap_weight")
        sources |= norm(f"network.{name}.mode.similarity_norms.0", f"{name}.moe.bn")
        sources |= norm(f"network.{name}.mode.similarity_norms.1", f"{name}.moe.bn2")
    return convert("StRA", "stra_released", state, sources)


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
