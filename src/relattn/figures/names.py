"""Display names of attention modules: their kind, and the stage that they stand in."""

import re
from collections.abc import Iterable

from torch import nn

from relattn.attention import Attention, Chain, FixedSize
from relattn.attention.base import outermost


def title_of(module: str) -> str:
    """The title of a module's name: `attention.stage2_block1` is stage 2, block 1."""
    match = re.search(r"attention\.stage(\d+)(?:_block(\d+))?(?:\.parts\.(\d+))?", module)
    if match:
        stage, block, part = match.groups()
        return f"stage {stage}" + (f", block {block}" if block else "") + (f", part {int(part) + 1}" if part else "")
    for prefix in ("network.", "backbone."):
        module = module.removeprefix(prefix)
    return "context" if module.startswith("context.") else module or "attention"


def display_name(module: Attention) -> str:
    """Display name of a module's kind: its class, or the kinds of the modules that it holds."""
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
    """Of the modules of one stage the last: networks with attention in every block have dozens."""
    kept: dict[str, str] = {}
    for name in names:
        stage = re.search(r"attention\.stage\d+|(?:layer|stages?|blocks|features)[._]?\d+", name)
        kept[stage[0] if stage else name] = name
    return list(kept.values())


def modules_of(network: nn.Module) -> dict[str, Attention]:
    """All attention modules by their names, the parts of others too."""
    return {name: module for name, module in network.named_modules() if isinstance(module, Attention)}
