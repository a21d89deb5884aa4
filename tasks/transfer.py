"""Start from a network trained by the suite on other data, and score with a network that has other classes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from relattn.attention.base import Attention
from relattn.backbones.build import fitted
from relattn.errors import InputError, some_of

NAMED = 3
"""Number of modules that a sentence names."""

LEAST_PART = 0.5
"""A checkpoint that fits less than this fraction of the network's tensors, attention aside, is of another network."""


@dataclass(frozen=True)
class TrainedState:
    """The part of a suite checkpoint that describes its network.

    Attributes:
        weights: The state dict of its task.
        class_names: Names of the classes or identities that it was trained on; None if they are not stored.
    """

    weights: dict[str, Tensor]
    class_names: list[str] | None


def trained_state(file: Path) -> TrainedState | None:
    """Read a checkpoint of the suite; None for any other file, also one that cannot be read."""
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
    except Exception:
        return None
    if not isinstance(content, Mapping) or not {"config", "specification", "state_dict"} <= content.keys():
        return None
    names = content["specification"].get("class_names")
    return TrainedState(dict(content["state_dict"]), None if names is None else [str(name) for name in names])


def start_from(
    module: nn.Module, trained: TrainedState, *, trunk: nn.Module, classifiers: Sequence[str], same_classes: bool
) -> str:
    """Load those weights into a module that fit it.

    Args:
        module: A task with its network.
        trained: State of the task that the weights come from.
        trunk: The backbone inside the module; positions of a transformer are fitted to its image size.
        classifiers: Names of the modules whose outputs are classes.
        same_classes: Whether both tasks have the same classes.

    Returns:
        A text that says which weights were taken, left out, or newly initialised.

    Raises:
        InputError: If weights for less than half of the network, attention and classifiers aside, fit.
    """
    own = module.state_dict()
    prefix = next(f"{name}." for name, part in module.named_modules() if part is trunk)
    inner = {name.removeprefix(prefix): value for name, value in trained.weights.items() if name.startswith(prefix)}
    weights = trained.weights | {f"{prefix}{name}": value for name, value in fitted(trunk, inner).items()}
    of_classes = tuple(f"{name}." for name in classifiers)
    taken = {
        name: value
        for name, value in weights.items()
        if name in own
        and own[name].shape == value.shape
        and "." in name  # a task's own buffers, such as a threshold, belong to its data
        and (same_classes or not name.startswith(of_classes))
    }
    parameters = {name for name, _ in module.named_parameters()}
    inside = tuple(f"{name}." for name, part in module.named_modules() if isinstance(part, Attention))
    plain = {name for name in parameters if not name.startswith((*inside, *of_classes))}
    if len(plain & taken.keys()) < LEAST_PART * len(plain):
        raise InputError(
            f"{len(plain & taken.keys()):,} of the network's {len(plain):,} tensors without attention have a "
            f"counterpart in it, by name and shape (missing: {some_modules(sorted(plain - taken.keys()))}): expected "
            "the same backbone."
        )
    module.load_state_dict(taken, strict=False)
    left = [name for name in trained.weights if name not in taken and "." in name]
    new = [name for name in own if name not in taken and name in parameters]
    return f"{len(taken):,} tensors taken; left out: {some_modules(left)}; new: {some_modules(new)}"


def some_modules(names: Sequence[str]) -> str:
    """Name the modules that tensors belong to, or tensors of the whole network, the first few in order."""
    return some_of(dict.fromkeys(name.rpartition(".")[0] if name.count(".") > 1 else name for name in names), NAMED)


def fill_unused(module: nn.Module, state: dict[str, Any], unused: Sequence[str]) -> None:
    """Make a state dict fit a module except for the modules that only training uses, which keep their own weights.

    Args:
        module: The module that will load the state dict, strictly.
        state: The state dict; changed in place.
        unused: Names of the modules that only training uses.
    """
    own = module.state_dict()
    prefixes = tuple(f"{name}." for name in unused)
    for name in [name for name in state if name.startswith(prefixes)]:
        if name not in own or own[name].shape != state[name].shape:
            del state[name]
    state.update({name: value for name, value in own.items() if name.startswith(prefixes) and name not in state})
