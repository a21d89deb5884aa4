"""The blocks of a network's stages, the ends of their branches, and their spatial convolutions.

No network says which of its modules are blocks. Here a block is a module with several convolutions or linear layers
that is not just a list of modules: a bottleneck, an inverted residual, a transformer block.
"""

from torch import nn

from relattn.backbones.maps import MapView, view_of
from relattn.backbones.stages import Shapes, has_channels_last, modules_of, stages_of
from relattn.errors import InputError

NORMS = (nn.modules.batchnorm._BatchNorm, nn.GroupNorm, nn.LayerNorm, nn.InstanceNorm2d)
WEIGHTED = (nn.Conv2d, nn.Linear)
SHORTCUTS = ("downsample", "shortcut", "skip")
"""Names of the modules of a block that are not on its residual branch."""
STEMS = ("stem", "patch_embed", "conv_stem", "pos_embed")
"""Names of modules before the first stage, which has no shortcut around it."""


class PlacementError(InputError):
    """A stage does not have what a placement of attention needs; attention can still be placed after the stage."""


def is_list(module: nn.Module) -> bool:
    """Whether a module is only a list of other modules."""
    return isinstance(module, nn.Sequential | nn.ModuleList | nn.ModuleDict)


def branch(block: nn.Module, kind: type[nn.Module] | tuple[type[nn.Module], ...]) -> list[str]:
    """The names of a block's modules of the given types that are not on its shortcut."""
    return [
        name
        for name, module in block.named_modules()
        if isinstance(module, kind) and not any(part in SHORTCUTS for part in name.split("."))
    ]


def could_be_block(module: nn.Module) -> bool:
    """Whether a module has several convolutions or linear layers and is not a list."""
    return not is_list(module) and len(branch(module, WEIGHTED)) > 1


def blocks_of(model: nn.Module, stage: int) -> list[str]:
    """The names of the blocks of a stage, in order.

    If the stage is a module with a list of blocks, as in ConvNeXt, RegNet and Swin, the blocks are the items of the
    list; otherwise they are the outermost modules that could be blocks.
    """
    end = model.get_submodule(stages_of(model)[stage - 1])
    found: list[str] = []

    def descend(name: str, module: nn.Module) -> None:
        children = [(f"{name}.{child}", part) for child, part in module.named_children() if child not in STEMS]
        if is_list(module):
            for child in children:
                descend(*child)
            return
        if type(module) is type(end) or any(part is end for part in module.modules()):
            lists = [(n, part) for n, part in children if is_list(part) and any(map(could_be_block, part.children()))]
            for child in lists:
                descend(*child)
            if not lists and type(module).__name__.endswith("Stage"):  # RegNet's stage runs its children in turn
                lists = [(n, part) for n, part in children if could_be_block(part)]
                for child in lists:
                    descend(*child)
            if lists:
                return
        if could_be_block(module):
            found.append(name)

    inside = modules_of(model)[stage - 1]
    for name in inside:
        outer = not any(name.startswith(f"{other}.") for other in inside)
        if outer and name.partition(".")[0] not in STEMS:
            descend(name, model.get_submodule(name))
    return found


def branch_end(
    model: nn.Module, block: str, shapes: dict[str, Shapes], size: tuple[int, int]
) -> tuple[str, MapView] | None:
    """The module whose output is added to the shortcut of a block, and how to view it as a map.

    It is the block's last normalisation if no convolution or linear layer comes after it. Otherwise it is the last part
    of the block that has weights and keeps the block's shape, such as a transformer's MLP. Attention comes before the
    learned scale of a branch, which some networks initialise to 1e-6, and after the sum of parallel convolutions that
    can be reparametrised into one (RepVGG, MobileOne).

    Args:
        model: The network.
        block: Name of the block.
        shapes: Shapes of all modules of the network, in the order in which they finish.
        size: Height and width of the stage's map.

    Returns:
        None if the block has no such end, as in a dense layer, which appends to its input.
    """
    module, last = model.get_submodule(block), has_channels_last(model)
    if hasattr(module, "reparam_conv") and f"{block}.attn" in shapes:  # where its parallel branches have been added
        view = view_of(shapes[f"{block}.attn"].output, None, size, last=last)
        return None if view is None else (f"{block}.attn", view)
    order = [name.removeprefix(f"{block}.") for name in shapes if name.startswith(f"{block}.")]
    norms, weighted = (
        [name for name in order if name in inside]
        for inside in (set(branch(module, NORMS)), set(branch(module, WEIGHTED)))
    )
    if norms and weighted and order.index(norms[-1]) > order.index(weighted[-1]):
        end = f"{block}.{norms[-1]}"
        view = view_of(shapes[end].output, None, size, last=last) or view_of(shapes[end].output, None, None)
        return None if view is None else (end, view)
    whole = shapes.get(block, Shapes(None, None))
    candidates = {whole.output, *whole.several}
    for name in reversed(order):
        part = model.get_submodule(f"{block}.{name}")
        scale = "scale" in type(part).__name__.lower() or next(part.parameters(), None) is None
        if "." in name or name in SHORTCUTS or scale:
            continue
        found = shapes[f"{block}.{name}"].output
        channels = {one[axis] for one in candidates if one is not None for axis in (1, -1)}
        view = view_of(found, None, size, last=last)
        return (f"{block}.{name}", view) if view is not None and view.channels in channels else None
    return None


def branch_ends(
    model: nn.Module, stage: int, name: str, shapes: dict[str, Shapes], size: tuple[int, int]
) -> list[tuple[str, MapView]]:
    """The ends of the branches of all blocks of a stage; arguments as in `branch_end`.

    Raises:
        PlacementError: If there are none.
    """
    ends = []
    for block in blocks_of(model, stage):
        end = branch_end(model, block, shapes, size)
        if end is None:
            raise PlacementError(
                f"{name}: the blocks of stage {stage} ({block}) do not end in a normalisation or another layer that is "
                "added to their input, so attention cannot be put at their end; place it after the stage "
                "(--model.placement stage)."
            )
        ends.append(end)
    if not ends:
        raise PlacementError(
            f"{name}: stage {stage} has no residual blocks; place attention after it (--model.placement stage)."
        )
    return ends


def block_outputs(
    model: nn.Module, stage: int, name: str, shapes: dict[str, Shapes], size: tuple[int, int]
) -> list[tuple[str, MapView]]:
    """The blocks of a stage, whose outputs include the shortcut; arguments as in `branch_end`.

    Raises:
        PlacementError: If there are none, or they do not give maps.
    """
    found, last = [], has_channels_last(model)
    for block in blocks_of(model, stage):
        at = shapes.get(block, Shapes(None, None))
        views = [view_of(at.output, None, size, last=last) or view_of(at.output, None, None)]
        views += [view_of(one, None, size, index=place, last=last) for place, one in enumerate(at.several)]
        found += [(block, view) for view in views if view is not None][:1]
    if not found or len(found) < len(blocks_of(model, stage)):
        raise PlacementError(
            f"{name}: stage {stage} has no residual blocks that output maps; place attention after it "
            "(--model.placement stage)."
        )
    return found


def spatial_convolutions(model: nn.Module, stage: int, shapes: dict[str, Shapes]) -> list[str]:
    """The spatial convolution of each block of a stage: the last one that keeps the number of channels.

    If no block has one, as in VGG, which has no blocks, it is the last one of the stage.
    """
    inside = modules_of(model)[stage - 1]
    outer = [name for name in inside if not any(name.startswith(f"{other}.") for other in inside)]
    of_blocks = [last_spatial(model, [block], shapes) for block in blocks_of(model, stage)]
    found = [name for name in of_blocks if name is not None]
    if not found and (whole := last_spatial(model, [n for n in outer if n.partition(".")[0] not in STEMS], shapes)):
        found = [whole]
    return found


def last_spatial(model: nn.Module, parts: list[str], shapes: dict[str, Shapes]) -> str | None:
    """The last convolution of some modules that has a kernel larger than 1x1 and keeps the number of channels."""
    found = None
    for part in parts:
        module = model.get_submodule(part)
        for inner in branch(module, nn.Conv2d):
            name = f"{part}.{inner}" if inner else part
            convolution: nn.Conv2d = module.get_submodule(inner)  # type: ignore[assignment]
            keeps = convolution.in_channels == convolution.out_channels
            shape = shapes[name].input if name in shapes else None
            if keeps and max(convolution.kernel_size) > 1 and shape is not None and len(shape) == 4:
                found = name
    return found
