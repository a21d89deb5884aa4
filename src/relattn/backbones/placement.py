"""Places attention in a network: after a stage, in its residual blocks, or in place of their convolutions."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from relattn.attention.base import Attention, Placement
from relattn.attention.fade_in import FadeIn
from relattn.backbones.blocks import PlacementError, block_outputs, blocks_of, branch_ends, spatial_convolutions
from relattn.backbones.maps import ImageSize, MapView, view_of
from relattn.backbones.stages import Shapes, StageMap, Stages, has_channels_last, map_size, stages_of
from relattn.errors import InputError

AttentionFactory = Callable[..., Attention]
"""An attention class or a partial of one, called as `factory(channels, size=(height, width))`."""

REPARAMETRISE = ("fuse", "reparameterize", "switch_to_deploy")
"""The methods by which timm's `reparameterize_model` joins the parts of a block into one convolution."""


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
        attention: Factory of a module for a number of channels and a size.
        name: Name of the network in messages.
        small: Whether it is one of the papers' networks for small images.
        placement: Where to put it, as in `build`; None for the module's own placement.
        stages: Numbers of the stages, from 1; None for the papers' choice.
        size: Height and width of the images in pixels.
        in_chans: Channels of the images.

    Raises:
        InputError: If a stage is unknown.
        PlacementError: If a stage does not have what the placement needs.
    """
    found = Stages(model, name, size, in_chans)
    count = len(found.names)
    sample = found.shapes.get(found.names[-1], Shapes(None, None)).output
    # Only its placement is read: the last stage's map may be too small for a module that goes into earlier stages.
    channels, *where = sample[1:] if sample is not None and len(sample) == 4 else (2048, 8, 8)
    if sample is not None and len(sample) == 4 and has_channels_last(model):
        channels, *where = (where[-1], channels, where[0])
    belongs = specimen(attention, channels, (max(where[0], 8), max(where[1], 8)))
    placement = placement or belongs.placement
    default: Sequence[int] = [count] if placement == "convolution" else [1] if small else range(1, count + 1)
    if placement == belongs.placement and belongs.stages is not None:
        default = belongs.stages
    chosen = sorted(set(default if stages is None else stages))
    if unknown := [stage for stage in chosen if not 1 <= stage <= count]:
        raise InputError(f"{name} has stages 1 to {count}, and attention is requested in {unknown}.")
    if placement == "convolution":
        for stage in chosen:
            replace_convolutions(model, attention, stage, name, found.shapes)
        return
    places = {key: end for stage in chosen for key, end in ends_in(found, stage, placement, belongs.every).items()}
    modules: dict[str, Attention] = {}
    image = ImageSize((size[0], size[1]))
    for key, (module, view) in places.items():
        modules[key] = attention(view.channels, size=view.size)
        if view.layout == "tokens":
            view.image = image
        # Attention is a submodule of the network itself and is called by a hook: some stages iterate over their
        # children and would run a module added to them as one of their blocks.
        hook = functools.partial(apply_attention, modules[key], view)
        last_called(model.get_submodule(module)).register_forward_hook(hook)
        refuse_reparametrisation(model, module)
    if any(view.layout == "tokens" for _, view in places.values()):
        for layer in [layer for layer, at in found.shapes.items() if at.input == (1, in_chans, *size)][:1]:
            model.get_submodule(layer).register_forward_pre_hook(image.hook)
    model.attention = nn.ModuleDict(modules)


def last_called(module: nn.Module) -> nn.Module:
    """The module whose output is that of `module`: of a sequence its last part.

    Gradient checkpointing (timm's `checkpoint_seq`) calls the parts of a stage and not the stage itself.
    """
    while type(module) is nn.Sequential and len(module):
        module = module[-1]
    return module


def refuse_reparametrisation(model: nn.Module, name: str) -> None:
    """Let timm's `reparameterize_model` raise if it would remove the module of this name, which calls attention.

    RepVGG's and MobileOne's `attn` stays.
    """
    *outer, last = name.split(".")
    for depth in range(1, len(outer) + 1):
        around = model.get_submodule(".".join(outer[:depth]))
        if last == "attn" and hasattr(around, "reparam_conv"):
            continue
        for method in REPARAMETRISE:
            if hasattr(around, method):
                setattr(around, method, functools.partial(raise_lost, name))


def raise_lost(name: str) -> None:
    """Raise the error of a network that cannot be reparametrised."""
    raise InputError(
        f"Attention stands at {name}, which reparametrisation would remove, and attention with it: build the network "
        'with placement="after_block" or "stage" to reparametrise it.'
    )


def ends_in(stages: Stages, stage: int, placement: Placement, every: int) -> dict[str, StageMap]:
    """The places for attention in a stage, by module name: after the stage, in its blocks, or after them.

    Attention after blocks follows every `every`-th block, or the last one if the stage has fewer. The last block is
    left out if the network does not read its map, because it reads only the class token after it.
    """
    end = stages.end(stage)
    unread = is_unread(stages.model, stage, end.view)
    if placement == "stage":
        return {f"stage{stage}": attended_end(stages, stage, end) if unread else end}
    where = block_outputs if placement == "after_block" else branch_ends
    inside = list(enumerate(where(stages.model, stage, stages.name, stages.shapes, end.view.size), start=1))
    inside = inside[:-1] if unread else inside
    if placement == "after_block":
        inside = inside[every - 1 :: every] or inside[-1:]
    return {f"stage{stage}_block{number}": StageMap(*one) for number, one in inside}


def is_unread(model: nn.Module, stage: int, view: MapView) -> bool:
    """Whether a network reads only the class token at the end of a stage, and nothing of the map."""
    beside = view.prefix > 0 or view.index is not None
    return beside and stage == len(stages_of(model)) and getattr(model, "global_pool", None) == "token"


def attended_end(stages: Stages, stage: int, end: StageMap) -> StageMap:
    """The place for attention on the map of the last stage if only the class token is read in the end.

    It is the end of the second last block: the last block passes the result of attention on to the class token.

    Raises:
        InputError: If the stage has only one block.
    """
    blocks = blocks_of(stages.model, stage)[:-1]
    found = stages.shapes.get(blocks[-1], Shapes(None, None)) if blocks else Shapes(None, None)
    views = [view_of(found.output, None, end.view.size)]
    views += [view_of(one, None, end.view.size, index=place) for place, one in enumerate(found.several)]
    for view in views:
        if view is not None and view.channels == end.view.channels:
            return StageMap(blocks[-1], view)
    raise InputError(
        f"{stages.name} reads only its class token after stage {stage}, so attention there would change nothing: "
        f"choose earlier stages, for example --model.stages [{stage - 1}]."
    )


def last_map(model: nn.Module, size: tuple[int, int], in_chans: int = 3, *, stage: int | None = None) -> StageMap:
    """The last map of a stage that a network's output depends on: the place of attention in the stage.

    Args:
        model: The network, with or without attention.
        size: Height and width of the images in pixels.
        in_chans: Channels of the images.
        stage: The stage, from 1; by default the last.

    Raises:
        InputError: If there is no such stage, or it does not end in a map.
    """
    stages = Stages(model, type(model).__name__, size, in_chans)
    stage = len(stages.names) if stage is None else stage
    if not 1 <= stage <= len(stages.names):
        raise InputError(f"{stages.name} has stages 1 to {len(stages.names)}, and stage {stage} is not one of them.")
    end = stages.end(stage)
    return attended_end(stages, stage, end) if is_unread(model, stage, end.view) else end


def stage_shapes(model: nn.Module, size: tuple[int, int], in_chans: int = 3) -> list[tuple[int, ...]]:
    """Channels, height and width of the maps at the ends of all stages; an empty tuple for a stage without a map."""
    stages = Stages(model, type(model).__name__, size, in_chans)
    found: list[tuple[int, ...]] = []
    for stage in range(1, len(stages.names) + 1):
        try:
            view = stages.end(stage).view
            found.append((view.channels, *view.size))
        except InputError:
            found.append(())
    return found


def specimen(attention: AttentionFactory, channels: int, size: tuple[int, int]) -> Attention:
    """A module from a factory for `channels` and `size`, without weights, for reading its placement."""
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        return attention(channels, size=size)


def apply_attention(attention: Attention, view: MapView, _module: nn.Module, _inputs: Any, output: Any) -> Any:
    """Forward hook: apply attention to the map in a module's output."""
    return view.put_back(attention(view.map_of(output)), output)


def replace_convolutions(
    model: nn.Module, attention: AttentionFactory, stage: int, name: str, shapes: dict[str, Shapes]
) -> None:
    """Put attention in place of each block's spatial convolution: the last one that keeps the number of channels.

    Attention that fades in keeps the convolution next to it. If the convolution has a stride, average pooling with that
    stride follows, as in Ramachandran et al., "Stand-Alone Self-Attention in Vision Models", NeurIPS 2019,
    section 3.2.

    Raises:
        PlacementError: If there is no such convolution, or its padding changes the size of the map.
    """
    found = spatial_convolutions(model, stage, shapes)
    if not found:
        raise PlacementError(
            f"{name}: stage {stage} has no block with a spatial convolution that keeps its channels, so attention "
            "cannot take its place; place it after the stage (--model.placement stage)."
        )
    for layer in found:
        convolution: nn.Conv2d = model.get_submodule(layer)  # type: ignore[assignment]
        shape, after = shapes[layer].input, map_size(shapes[layer])
        assert shape is not None
        if after != tuple(-(-side // stride) for side, stride in zip(shape[2:], convolution.stride, strict=True)):
            raise PlacementError(
                f"{name}: convolution {layer} of stage {stage} changes the map from {tuple(shape[2:])} to {after} by "
                "its padding, so attention cannot take its place; place it after the stage (--model.placement stage)."
            )
        new: nn.Module = attention(shape[1], size=(shape[2], shape[3]))
        if isinstance(new, FadeIn):
            new.take_place_of(convolution)
        elif max(convolution.stride) > 1:
            new = nn.Sequential(new, nn.AvgPool2d(convolution.stride, ceil_mode=True))  # type: ignore[arg-type]
        parent, _, child = layer.rpartition(".")
        setattr(model.get_submodule(parent), child, new)


@dataclass(frozen=True)
class StagePlaces:
    """The places for attention in one stage of a network."""

    stage: int
    module: str
    """The module that attention follows when placed after the stage."""
    shape: tuple[int, int, int]
    """Channels, height and width of the stage's map."""
    layout: str
    blocks: tuple[str, ...]
    """Blocks whose branches attention can follow, before the shortcut is added."""
    convolutions: tuple[str, ...]
    """Convolutions that attention can replace."""
    problems: tuple[str, ...]
    """Why attention cannot go after the stage or into its blocks."""


def places_of(model: nn.Module, name: str, size: tuple[int, int], in_chans: int = 3) -> list[StagePlaces]:
    """All places for attention in a network that has none.

    Args:
        model: The network.
        name: Name of the network in messages.
        size: Height and width of the images in pixels.
        in_chans: Channels of the images.
    """
    stages, found = Stages(model, name, size, in_chans), []
    for stage, end in enumerate(stages.names, start=1):
        problems: list[str] = []
        module, shape, layout = end, (0, 0, 0), ""
        blocks: tuple[str, ...] = ()
        try:
            module, view = stages.end(stage)
            shape, layout = (view.channels, *view.size), view.layout
            branch_ends(model, stage, name, stages.shapes, view.size)
            blocks = tuple(blocks_of(model, stage))
        except InputError as error:
            problems.append(str(error))
        convolutions = tuple(spatial_convolutions(model, stage, stages.shapes))
        found.append(StagePlaces(stage, module, shape, layout, blocks, convolutions, tuple(problems)))
    return found
