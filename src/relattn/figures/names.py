"""Display names of attention modules: their kind, and their stage."""

import re
from collections.abc import Iterable
from typing import Any

from torch import nn

from relattn.attention import Attention, Chain, FixedSize
from relattn.attention.base import outermost
from relattn.backbones.stages import modules_of as modules_of_stages
from relattn.errors import InputError


def title_of(module: str) -> str:
    """The title for a module's name: `attention.stage2_block1` is stage 2, block 1."""
    match = re.search(r"attention\.stage(\d+)(?:_block(\d+))?(?:\.parts\.(\d+))?", module)
    if match:
        stage, block, part = match.groups()
        return f"stage {stage}" + (f", block {block}" if block else "") + (f", part {int(part) + 1}" if part else "")
    for prefix in ("network.", "backbone."):
        module = module.removeprefix(prefix)
    return "context" if module.startswith("context.") else module or "attention"


def display_name(module: Attention) -> str:
    """Display name of a module's kind: its class, or the kinds of the modules inside it."""
    if isinstance(module, Chain):
        return ", ".join(display_name(part) for part in module.parts if isinstance(part, Attention))
    return f"{display_name(module.attention)} on a grid" if isinstance(module, FixedSize) else type(module).__name__


def present(network: nn.Module) -> str:
    """The attention that a network has, for messages: `RGA (stage 2, stage 3)`."""
    names = {id(module): name for name, module in network.named_modules()}
    found: dict[str, list[str]] = {}
    for module in outermost(network):
        found.setdefault(display_name(module), []).append(title_of(names[id(module)]))
    return "; ".join(f"{kind} ({', '.join(places)})" for kind, places in found.items()) or "no attention"


def last_of_each_stage(names: Iterable[str]) -> list[str]:
    """The last module of each stage, because networks with attention in every block have dozens."""
    kept: dict[str, str] = {}
    for name in names:
        stage = re.search(r"attention\.stage\d+|(?:layer|stages?|blocks|features)[._]?\d+", name)
        kept[stage[0] if stage else name] = name
    return list(kept.values())


def modules_of(network: nn.Module) -> dict[str, Attention]:
    """All attention modules by name, including parts of other attention modules."""
    return {name: module for name, module in network.named_modules() if isinstance(module, Attention)}


def chosen_modules(network: nn.Module, names: Iterable[str], module: str | None, what: str) -> list[str]:
    """The modules that `--module` refers to: the module with that name or title, or all of a stage.

    Args:
        network: The network.
        names: Names of modules, in the order of the network.
        module: A name, a title, or a stage such as `stage 3`; None for all.
        what: What the modules are, for the message, such as `a module with spatial masks`.

    Raises:
        InputError: If no module matches.
    """
    known = list(names)
    exact = [name for name in known if module in (None, name, title_of(name))]
    found = exact or [name for name in known if module == f"stage {stage_number(network, name)}"]
    if not found:
        titles = ", ".join(map(title_of, known))
        raise InputError(f"--module is {module!r}, expected {what}: {titles}.")
    return found


def stage_number(network: nn.Module, module: str) -> int | None:
    """The number, from 1, of the stage that a module is in or follows; None for a module in a head."""
    if match := re.search(r"attention\.stage(\d+)", module):
        return int(match[1])
    backbone: Any = getattr(network, "backbone", network)
    within = module.removeprefix("backbone.") if backbone is not network else module
    if not hasattr(backbone, "feature_info"):
        return None
    for number, inside in enumerate(modules_of_stages(backbone), start=1):
        if any(f"{within}.".startswith(f"{one}.") for one in inside):
            return number
    return None
