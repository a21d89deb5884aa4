"""A released checkpoint with the suite's names, and the part that the releases share: a ResNet-50.

Our names are those of a task: `network.*` for the backbone and `head.*` for the head.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from relattn.errors import InputError, some_of

BLOCKS = (3, 4, 6, 3)
"""Residual blocks of the four stages of a ResNet-50."""

COUNTER = "num_batches_tracked"
NORM = ("weight", "bias", "running_mean", "running_var", COUNTER)
"""Entries of a batch norm. The counter came with PyTorch 0.4.1 and is 0 for older files."""

WRAPPERS = ("state_dict", "model", "net")
"""Keys of a checkpoint that may contain the weights."""

Sources = dict[str, tuple[str, ...]]
"""For each of our names, the names in the file, whose tensors are concatenated along their outputs."""


@dataclass(frozen=True)
class Converted:
    """A released checkpoint with our names."""

    release: str
    """`RGA` or `StRA`."""

    attention: str
    """The recipe of its attention: `rga_s`, `rga_c`, `rga_sc` or `stra_released`."""

    state: dict[str, Tensor]
    """The weights by our names."""

    unplaced: tuple[str, ...] = ()
    """Names in the file that are not used."""

    missing: tuple[str, ...] = ()
    """Our names that the file has no tensor for."""

    sources: Sources = field(default_factory=dict, repr=False)
    """The names in the file that each of our names comes from."""

    arguments: dict[str, int] = field(default_factory=dict)
    """Arguments of the attention that follow from the shapes of the weights, such as its ratios."""

    def report(self) -> str:
        """Report in readable form what was converted and what was not."""
        lines = [f"{self.release} as {self.attention}: {len(self.state):,} tensors converted."]
        for names, what in (
            (self.unplaced, "of the file found no place"),
            (self.missing, "of the network are not in the file"),
        ):
            lines.append(f"{len(names):,} {what}{':' if names else '.'}")
            lines += [f"  {name}" for name in names]
        return "\n".join(lines)


def norm(ours: str, *theirs: str) -> Sources:
    """The entries of a batch norm that corresponds to one of theirs, or to several concatenated."""
    return {f"{ours}.{part}": tuple(f"{name}.{part}" for name in theirs) for part in NORM}


def trunk(prefix: str, *, spatial: Callable[[int], bool] = lambda stage: True) -> Sources:
    """A ResNet-50 without its classifier; `spatial` says whether a stage has its 3x3 convolutions."""
    found: Sources = {"network.conv1.weight": (f"{prefix}conv1.weight",), **norm("network.bn1", f"{prefix}bn1")}
    for stage, blocks in enumerate(BLOCKS, start=1):
        for block in range(blocks):
            name = f"layer{stage}.{block}"
            for layer in (1, 2, 3):
                if layer != 2 or spatial(stage):
                    found[f"network.{name}.conv{layer}.weight"] = (f"{prefix}{name}.conv{layer}.weight",)
                found |= norm(f"network.{name}.bn{layer}", f"{prefix}{name}.bn{layer}")
        shortcut = f"layer{stage}.0.downsample"
        found[f"network.{shortcut}.0.weight"] = (f"{prefix}{shortcut}.0.weight",)
        found |= norm(f"network.{shortcut}.1", f"{prefix}{shortcut}.1")
    return found


def unwrap(content: Any) -> dict[str, Tensor]:
    """The weights of a checkpoint by name, without enclosing dictionaries and without DataParallel's `module.`.

    Raises:
        InputError: If there are no weights.
    """
    for key in WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    tensors = {str(k): v for k, v in content.items() if isinstance(v, Tensor)} if isinstance(content, Mapping) else {}
    if not tensors:
        what = f"a mapping of {some_of(content)}" if isinstance(content, Mapping) else type(content).__name__
        raise InputError(f"No weights were found, but {what}: expected a state dict, bare or under state_dict.")
    return {re.sub(r"^(module\.)+", "", name): value for name, value in tensors.items()}


def convert(
    release: str, attention: str, state: dict[str, Tensor], sources: Sources, arguments: dict[str, int]
) -> Converted:
    """Rename weights according to `sources`; `arguments` are those of the attention."""
    converted: dict[str, Tensor] = {}
    missing: list[str] = []
    for ours, theirs in sources.items():
        parts = [state[name] for name in theirs if name in state]
        if ours.endswith(COUNTER):
            converted[ours] = parts[0].clone() if parts else torch.tensor(0)
        elif len(parts) < len(theirs):
            missing.append(ours)
        else:
            joined = torch.cat(parts)
            if joined.ndim == 4 and ours.startswith("network.attention."):
                joined = joined.flatten(2)  # convolutions of RGA keep three dimensions (`NodeConvolution`)
            elif joined.ndim == 4 and ours.startswith("head."):
                joined = joined.flatten(1)  # a 1x1 convolution of a pooled feature is a linear layer
            converted[ours] = joined
    used = {name for ours in converted for name in sources[ours]}
    unplaced = tuple(name for name in state if name not in used)
    return Converted(release, attention, converted, unplaced, tuple(missing), sources, arguments)
