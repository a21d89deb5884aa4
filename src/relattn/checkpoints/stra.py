"""The released StRA: `stru_resnet50`, a network for torchreid 0.9.1.

A ResNet-50 whose last stage has `mask_conv`, `value_conv` and `moe` in place of its 3x3 convolutions, and which ends in
an embedding of 512 numbers. The trunk is the suite's; the attention is another one than `StRA`, see `convert_stra`.
"""

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from relattn.checkpoints.converted import BLOCKS, Converted, convert, norm, some, trunk, unwrap
from relattn.errors import InputError


def convert_stra(state_dict: Mapping[str, Any]) -> Converted:
    """Convert what has a place of the weights of the released StRA, a ResNet-50 for torchreid 0.9.1.

    Placed: the trunk; of the attention the convolution of the values and the norms of the similarities, `moe.bn` and
    `moe.bn2`. What is placed does not make the released network, for the rest has no place:

    - `mask_conv`: one pair of convolutions with biases gives the neighbours' terms and the position's own in one output
      of G (1 + K K) channels, of which the first G are the neighbours' terms. Cut into groups, these come from the
      first head alone, and the others from one or two heads that are not their own; `LocalAttention` gives each head
      its own, in two branches. Nor do the values pass a batch norm there.
    - `moe.gap_weight`, the masks: both convolutions have biases and 8 channels a head between them. Here that is C / r.
    - `global_avg_pool` and `classifier`: an embedding of 512 numbers, which no head of the suite has.

    Nor are weights all that differs: the released code divides each row of the modes' scalar products by its length and
    multiplies it with the root of G before the softmax of Eq. (6).

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
        sources[f"network.{name}.local.values.0.weight"] = (f"{name}.value_conv.weight",)
        sources |= norm(f"network.{name}.mode.similarity_norms.0", f"{name}.moe.bn")
        sources |= norm(f"network.{name}.mode.similarity_norms.1", f"{name}.moe.bn2")
    return convert("StRA", "stra_released", state, sources)


def is_stra(state: Mapping[str, Tensor]) -> bool:
    """Whether the names are those of the released StRA."""
    return any(re.match(r"layer4\.\d+\.\w+\.mask_conv\.", name) for name in state)
