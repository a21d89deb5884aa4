"""The stages of a network: their names, their modules, and the maps at their ends."""

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from relattn.backbones.densenet_cifar import DenseNetCIFAR
from relattn.backbones.maps import MapView, view_of
from relattn.backbones.resnet_cifar import ResNetCIFAR
from relattn.errors import InputError
from relattn.skeleton import empty_image, skeleton_of

GROUPS = 4
"""Number of equal stages that the blocks of a network with a single map size are divided into. In ViT-B they end after
blocks 3, 6, 9 and 12, from which Bao et al., "BEiT", ICLR 2022, and Li et al., "Exploring Plain Vision Transformer
Backbones for Object Detection", ECCV 2022, take their four feature maps."""

RENAMED = {
    "MultiScaleVit": ("block.", "stages."),
    "Gemma4VitClassifier": ("blocks.", "encoder.blocks."),
    "Twins": ("block.", "blocks."),
    "HighResolutionNet": ("stage", "incre_modules."),
}
"""Networks whose `feature_info` names modules differently from the network itself: the prefix to replace and its
replacement. HRNet's maps are those of its `incre_modules`, counted from 0, because its own stages return several maps
each."""

WITHOUT_MAPS = {
    "CrossVit": "has two grids of patches side by side",
    "EfficientViM": "hands on another map than the one that it reports",
    "Hiera": "orders its tokens by windows and not row by row",
}
"""Networks whose stages attention cannot follow, and why."""


def entries_of(model: nn.Module) -> list[dict[str, Any]]:
    """The entries of a network's `feature_info`: channels `num_chs`, stride `reduction`, and `module`.

    Raises:
        InputError: If the network does not report its stages.
    """
    info: Any = getattr(model, "feature_info", None)
    if not info:
        raise InputError(f"{type(model).__name__} does not report its stages (feature_info), so none can be chosen.")
    entries = [dict(entry) for entry in (info.info if hasattr(info, "info") else info)]
    before, after = RENAMED.get(type(model).__name__, ("", ""))
    for entry in entries if before else []:
        name = str(entry["module"])
        if name.startswith(before):
            rest = name.removeprefix(before)
            entry["module"] = after + (str(int(rest) - 1) if before == "stage" else rest)
    return entries


def stage_indices(model: nn.Module) -> list[int]:
    """Indices of the reported entries that are the ends of stages; the stem (stride 2) is not a stage.

    Networks that report all their blocks at one stride, such as vision transformers, have `GROUPS` stages of (nearly)
    equal length.
    """
    least = 1 if isinstance(model, ResNetCIFAR | DenseNetCIFAR) else 4
    entries = entries_of(model)
    found = [index for index, entry in enumerate(entries) if entry["reduction"] >= least]
    if len(found) > GROUPS and len({entries[index]["reduction"] for index in found}) == 1:
        return [found[len(found) * group // GROUPS - 1] for group in range(1, GROUPS + 1)]
    return found


def stages_of(model: nn.Module) -> list[str]:
    """The module names of a network's stages, stage 1 first."""
    entries = entries_of(model)
    return [str(entries[index]["module"]) for index in stage_indices(model)]


class SizeError(InputError):
    """A network does not accept images of a size; the cause is the network's own error."""


class Shapes(NamedTuple):
    """Input and output shapes of a module; None for anything but a single tensor."""

    input: torch.Size | None
    output: torch.Size | None
    several: tuple[torch.Size | None, ...] = ()
    """The output shapes if a module returns several tensors."""


def map_size(shapes: Shapes) -> tuple[int, ...]:
    """Height and width of a module's output; an empty tuple if that is not one map."""
    return tuple(shapes.output[-2:]) if shapes.output is not None else ()


def shape_of(value: Any) -> torch.Size | None:
    """The shape of a tensor; None for anything else."""
    return value.shape if isinstance(value, Tensor) else None


def probe(model: nn.Module, names: Sequence[str], size: tuple[int, int], in_chans: int) -> dict[str, Shapes]:
    """Shapes at the named modules for one image of `size`.

    Modules come in the order in which they finish; modules that do not run are left out.

    Raises:
        InputError: If the network has no module of one of the names.
        SizeError: If the network does not accept images of that size.
    """
    shapes: dict[str, Shapes] = {}
    skeleton = skeleton_of(model)

    def keep(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(_module: nn.Module, inputs: Any, output: Any) -> None:
            several = tuple(map(shape_of, output)) if isinstance(output, list | tuple) else ()
            shapes[name] = Shapes(shape_of(inputs[0]) if inputs else None, shape_of(output), several)

        return hook

    for name in names:
        try:
            skeleton.get_submodule(name).register_forward_hook(keep(name))
        except AttributeError as error:
            raise InputError(
                f"{type(model).__name__} reports stage {name!r} but has no module of that name, so it cannot be used."
            ) from error
    try:
        with torch.no_grad(), empty_image(skeleton, size, in_chans) as image:
            skeleton.forward_features(image)
    except (RuntimeError, AssertionError, ValueError, TypeError, IndexError) as error:  # the ways to refuse a size
        raise SizeError(
            f"{type(model).__name__} cannot take images {in_chans}x{size[0]}x{size[1]}: {reason(error)}"
        ) from error
    return shapes


def reason(error: BaseException) -> str:
    """The message of a network that refuses an input, in one line."""
    said = " ".join(str(error).split())[:200] or "its layers do not fit that size"
    return said if said.endswith((".", "!", "?")) else f"{said}."


def reported_maps(model: nn.Module, size: tuple[int, int], in_chans: int) -> dict[int, tuple[int, int, int]]:
    """Channels, height and width of the maps at the ends of the stages, as the network reports them.

    Returns:
        By index of the entry; computed from the network's strides if its `forward_intermediates` fails.
    """
    entries, indices = entries_of(model), stage_indices(model)
    skeleton = skeleton_of(model)
    try:
        with torch.no_grad(), empty_image(skeleton, size, in_chans) as image:
            features = skeleton.forward_intermediates(image, indices=indices, intermediates_only=True)
        return {index: tuple(one.shape[1:]) for index, one in zip(indices, features, strict=True)}
    except (AttributeError, RuntimeError):  # it has none, or it reads values, which the meta device does not have
        pass
    strides = {index: entries[index]["reduction"] for index in indices}
    return {
        index: (int(entries[index]["num_chs"]), -(-size[0] // stride), -(-size[1] // stride))
        for index, stride in strides.items()
    }


class StageMap(NamedTuple):
    """The module at the end of a stage, and how to view its output as a map."""

    module: str
    view: MapView


class Stages:
    """The stages of a network for images of one size.

    Attributes:
        names: The module names of the stages, stage 1 first.
        shapes: Shapes of all modules, in the order in which they finish, as from `probe`.
    """

    def __init__(self, model: nn.Module, name: str, size: tuple[int, int], in_chans: int = 3) -> None:
        """Inspect a network.

        Args:
            model: The network.
            name: Name of the network in messages.
            size: Height and width of the images in pixels.
            in_chans: Channels of the images.

        Raises:
            SizeError: If the network does not accept images of that size.
        """
        self.model, self.name, self.size, self.in_chans = model, name, size, in_chans
        self.names = stages_of(model)
        self.shapes = probe(model, [module for module, _ in model.named_modules() if module], size, in_chans)

    @cached_property
    def reported(self) -> dict[int, tuple[int, int, int]]:
        """The result of `reported_maps`."""
        return reported_maps(self.model, self.size, self.in_chans)

    def end(self, stage: int) -> StageMap:
        """The end of a stage, by its number from 1.

        Raises:
            InputError: If the output of the stage cannot be viewed as a map.
        """
        if why := WITHOUT_MAPS.get(type(self.model).__name__):
            raise InputError(
                f"{self.name} {why}, so attention cannot follow its stages. Train it without attention, or use a "
                "network that passes on one map, for example vit_small_patch16_224, swin_tiny_patch4_window7_224 or "
                "resnet50."
            )
        index = stage_indices(self.model)[stage - 1]
        entry = entries_of(self.model)[index]
        module, channels = str(entry["module"]), int(entry["num_chs"])
        if module not in self.shapes:  # a list of blocks, which does not run as a module; its last block does
            start = f"{module}."
            inner = [name for name in self.shapes if name.startswith(start) and "." not in name.removeprefix(start)]
            module = inner[-1] if inner else module
        found, last = self.shapes.get(module, Shapes(None, None)), has_channels_last(self.model)
        view = view_of(found.output, channels, None)
        if view is None or (last and channels in view.size):
            (channels, *where) = self.reported[index]
            grid = (where[0], where[1])
            own = [view_of(found.output, channels, grid, last=last)]
            own += [view_of(one, channels, grid, index=place) for place, one in enumerate(found.several)]
            view = next((one for one in own if one is not None), None)
        if view is None:
            given = "several" if found.output is None else str(tuple(found.output))
            raise InputError(
                f"{self.name}: stage {stage} ({module}) returns {given} and not one map of {channels} channels, so "
                "attention cannot follow it. Use another network, for example resnet50 or vit_small_patch16_224."
            )
        return StageMap(module, view)


def has_channels_last(model: nn.Module) -> bool:
    """Whether a network declares its features as `(B, H, W, C)`."""
    return getattr(model, "output_fmt", None) == "NHWC"


def modules_of(model: nn.Module) -> list[list[str]]:
    """The names of the modules of each stage, in order.

    A stage ends at its reported module and begins after the end of the stage before. The stem belongs to stage 1. A
    module that contains modules of several stages belongs to none.
    """
    names = [name for name, _ in model.named_modules() if name]
    parts, start = [], 0
    for end in stages_of(model):
        last = [place for place, name in enumerate(names) if f"{name}.".startswith(f"{end}.")][-1]
        ends_later = {
            name for name in names[start : last + 1] if any(o.startswith(f"{name}.") for o in names[last + 1 :])
        }
        parts.append([name for name in names[start : last + 1] if name not in ends_later])
        start = last + 1
    return parts
