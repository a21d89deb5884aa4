"""Where attention goes in a network: after a stage, into its residual blocks, or in place of their convolutions."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from relattn.attention.base import Attention, Placement
from relattn.attention.fade_in import FadeIn
from relattn.backbones.stages import Shapes, entries_of, modules_of, probe, stages_of
from relattn.errors import InputError

AttentionFactory = Callable[..., Attention]
"""Called as `factory(channels, size=(height, width))`: an attention class, or a partial of one."""

NORMS = (nn.modules.batchnorm._BatchNorm, nn.GroupNorm, nn.LayerNorm, nn.InstanceNorm2d)
SHORTCUTS = ("downsample", "shortcut", "skip")
"""Names of the modules of a block that are not on its branch."""


def place(
    model: nn.Module,
    attention: AttentionFactory,
    *,
    name: str,
    small: bool,
    placement: Placement | None,
    stages: Sequence[int] | None,
    size: tuple[int, int],
    in_chans: int,
) -> None:
    """Put attention into a network.

    Args:
        model: The network, with its weights.
        attention: Creates a module for a number of channels and a size.
        name: What messages call the network.
        small: Whether it is one of the papers' networks for small images.
        placement: Where, as of `build`; None for where the module belongs.
        stages: Numbers of the stages, from 1; None for the papers' choice.
        size: Height and width of the images in pixels.
        in_chans: Channels of the images.

    Raises:
        InputError: If a stage is unknown, or does not have what the placement needs.
    """
    ends = stages_of(model)
    shapes = probe(model, [*ends, *(module for module, _ in model.named_modules() if module)], size, in_chans)
    sample = shapes.get(ends[-1], Shapes(None, None)).output
    # Its place alone is read: the last stage's map may be too small for a module that goes into earlier stages.
    channels, *where = sample[1:] if sample is not None and len(sample) == 4 else (2048, 8, 8)
    belongs = specimen(attention, channels, (max(where[0], 8), max(where[1], 8)))
    placement = placement or belongs.placement
    default: Sequence[int] = [len(ends)] if placement == "convolution" else [1] if small else range(1, len(ends) + 1)
    if placement == belongs.placement and belongs.stages is not None:
        default = belongs.stages
    chosen = sorted(set(default if stages is None else stages))
    if unknown := [stage for stage in chosen if not 1 <= stage <= len(ends)]:
        raise InputError(f"{name} has stages 1 to {len(ends)}, and attention is asked for in {unknown}.")
    if placement == "convolution":
        for stage in chosen:
            replace_convolutions(model, attention, stage, name, shapes)
        return
    modules: dict[str, Attention] = {}
    for stage in chosen:
        found = {f"stage{stage}": stage_end(model, stage, name, shapes)}
        if placement == "after_block":
            blocks = list(enumerate(block_outputs(model, stage, name, shapes), start=1))
            chosen_blocks = (
                blocks[belongs.every - 1 :: belongs.every] or blocks[-1:]
            )  # a stage may have one block alone
            found = {f"stage{stage}_block{place}": block for place, block in chosen_blocks}
        elif placement == "block":
            found = {f"stage{stage}_block{place + 1}": end for place, end in enumerate(block_ends(model, stage, name))}
        for key, module in found.items():
            shape = shapes[module].output
            assert shape is not None
            modules[key] = attention(shape[1], size=(shape[2], shape[3]))
            # Attention lives in the network itself and is called by a hook: some stages iterate over their children, so
            # that a module added to them would run as one of their blocks.
            model.get_submodule(module).register_forward_hook(functools.partial(apply_attention, modules[key]))
    model.attention = nn.ModuleDict(modules)


def specimen(attention: AttentionFactory, channels: int, size: tuple[int, int]) -> Attention:
    """A module of a factory for `channels` and `size`, without weights, which tells where it belongs."""
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        return attention(channels, size=size)


def apply_attention(attention: Attention, _module: nn.Module, _inputs: Any, output: Tensor) -> Tensor:
    """Forward hook: pass a module's output through attention."""
    attended: Tensor = attention(output)
    return attended


def stage_end(model: nn.Module, stage: int, name: str, shapes: dict[str, Shapes]) -> str:
    """The module whose output is the stage's map."""
    entry = next(entry for entry in entries_of(model) if entry["module"] == stages_of(model)[stage - 1])
    module, channels = str(entry["module"]), entry["num_chs"]
    shape = shapes[module].output if module in shapes else None
    if shape is None or len(shape) != 4 or shape[1] != channels:
        raise InputError(
            f"{name}: stage {stage} ({module}) does not give one map (B, {channels}, H, W) but "
            f"{'several' if shape is None else tuple(shape)}, so attention cannot follow it."
        )
    return module


def blocks_of(model: nn.Module, stage: int) -> list[str]:
    """The blocks of a stage: the smallest modules of it that have a convolution and a shortcut around it.

    Which modules have a shortcut is not written anywhere; they are the ones that are not sequences and have several
    convolutions on their branch.
    """
    found: list[str] = []
    for name in modules_of(model)[stage - 1]:
        module = model.get_submodule(name)
        sequence = isinstance(module, nn.Sequential | nn.ModuleList)
        if not sequence and len(branch(module, nn.Conv2d)) > 1 and not any(name.startswith(f"{b}.") for b in found):
            found.append(name)
    return found


def branch(block: nn.Module, kind: type[nn.Module] | tuple[type[nn.Module], ...]) -> list[str]:
    """The names of a block's modules of a kind that are not on its shortcut."""
    return [
        name
        for name, module in block.named_modules()
        if isinstance(module, kind) and not any(part in SHORTCUTS for part in name.split("."))
    ]


def block_outputs(model: nn.Module, stage: int, name: str, shapes: dict[str, Shapes]) -> list[str]:
    """The residual blocks of a stage, whose outputs have their shortcuts added."""
    blocks = blocks_of(model, stage)
    if not blocks or any((shape := shapes[block].output) is None or len(shape) != 4 for block in blocks):
        raise InputError(
            f"{name}: stage {stage} has no residual blocks that give maps (B, C, H, W); place attention after it "
            "(placement: stage)."
        )
    return blocks


def block_ends(model: nn.Module, stage: int, name: str) -> list[str]:
    """The last normalisation of each block of a stage: what it gives is added to the shortcut."""
    ends = []
    for block in blocks_of(model, stage):
        module = model.get_submodule(block)
        norms, convolutions = branch(module, NORMS), branch(module, nn.Conv2d)
        order = [inner for inner, _ in module.named_modules()]
        if not norms or order.index(norms[-1]) < order.index(convolutions[-1]):
            raise InputError(
                f"{name}: the blocks of stage {stage} ({block}) do not end in a normalisation, so attention cannot be "
                "put at their end; place it after the stage (placement: stage)."
            )
        ends.append(f"{block}.{norms[-1]}")
    if not ends:
        raise InputError(f"{name}: stage {stage} has no residual blocks; place attention after it (placement: stage).")
    return ends


def replace_convolutions(
    model: nn.Module, attention: AttentionFactory, stage: int, name: str, shapes: dict[str, Shapes]
) -> None:
    """Put attention in place of each block's spatial convolution: the last one that keeps the number of channels.

    Attention that fades in keeps the convolution beside it. Where the convolution has a stride, average pooling over as
    many positions follows, as in Ramachandran et al., "Stand-Alone Self-Attention in Vision Models", NeurIPS 2019,
    section 3.2.
    """
    replaced = 0
    for block in blocks_of(model, stage):
        module = model.get_submodule(block)
        spatial = [
            inner
            for inner in branch(module, nn.Conv2d)
            if max(module.get_submodule(inner).kernel_size) > 1  # type: ignore[arg-type]
            and module.get_submodule(inner).in_channels == module.get_submodule(inner).out_channels
        ]
        shape = shapes[f"{block}.{spatial[-1]}"].input if spatial and f"{block}.{spatial[-1]}" in shapes else None
        if shape is None:
            continue
        convolution = module.get_submodule(spatial[-1])
        new: nn.Module = attention(shape[1], size=(shape[2], shape[3]))
        if isinstance(new, FadeIn):
            new.take_place_of(convolution)  # type: ignore[arg-type]
        elif max(convolution.stride) > 1:  # type: ignore[arg-type]
            new = nn.Sequential(new, nn.AvgPool2d(convolution.stride, ceil_mode=True))  # type: ignore[arg-type]
        parent, _, child = spatial[-1].rpartition(".")
        setattr(module.get_submodule(parent), child, new)
        replaced += 1
    if not replaced:
        raise InputError(
            f"{name}: stage {stage} has no block with a spatial convolution that keeps its channels, so attention "
            "cannot take its place; place it after the stage (placement: stage)."
        )
