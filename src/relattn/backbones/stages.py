"""The stages of a network: what they are called, what is in them, and the sizes of their maps."""

import copy
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from relattn.backbones.densenet_cifar import DenseNetCIFAR
from relattn.backbones.resnet_cifar import ResNetCIFAR
from relattn.errors import InputError


def entries_of(model: nn.Module) -> list[dict[str, Any]]:
    """What a network reports of its stages: channels `num_chs`, stride `reduction`, and `module`."""
    info: Any = getattr(model, "feature_info", None)
    if not info:
        raise InputError(f"{type(model).__name__} does not report its stages (feature_info), so none can be chosen.")
    return list(info.info) if hasattr(info, "info") else list(info)


def stages_of(model: nn.Module) -> list[str]:
    """The module names of a network's stages, stage 1 first; in a timm network the stem (stride 2) is not a stage."""
    least = 1 if isinstance(model, ResNetCIFAR | DenseNetCIFAR) else 4
    return [str(entry["module"]) for entry in entries_of(model) if entry["reduction"] >= least]


class Shapes(NamedTuple):
    """What goes into a module and what comes out of it; None where that is not one tensor."""

    input: torch.Size | None
    output: torch.Size | None


def map_size(shapes: Shapes) -> tuple[int, ...]:
    """Height and width of what comes out of a module; nothing if that is not one map."""
    return tuple(shapes.output[-2:]) if shapes.output is not None else ()


def probe(model: nn.Module, names: Sequence[str], size: tuple[int, int], in_chans: int) -> dict[str, Shapes]:
    """Shapes at the named modules for one image of `size`, without computing anything (meta device).

    Modules come in the order in which they finish; those that do not run are left out.
    """
    shapes: dict[str, Shapes] = {}
    skeleton = copy.deepcopy(model).to("meta").eval()

    def keep(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(_module: nn.Module, inputs: Any, output: Any) -> None:
            entering, leaving = (value.shape if isinstance(value, Tensor) else None for value in (inputs[0], output))
            shapes[name] = Shapes(entering, leaving)

        return hook

    for name in names:
        try:
            skeleton.get_submodule(name).register_forward_hook(keep(name))
        except AttributeError as error:
            raise InputError(
                f"{type(model).__name__} reports stage {name!r} but has no module of that name, so it cannot be used."
            ) from error
    try:
        with torch.no_grad(), torch.device("meta"):
            skeleton.forward_features(torch.empty(1, in_chans, *size, device="meta"))  # type: ignore[operator]
    except (RuntimeError, AssertionError) as error:  # how networks refuse a size
        raise InputError(
            f"{type(model).__name__} cannot take images {in_chans}x{size[0]}x{size[1]}: {error}"
        ) from error
    return shapes


def modules_of(model: nn.Module) -> list[list[str]]:
    """The names of the modules of each stage, in their order.

    A stage is known by the module at its end: it has what comes after the end of the stage before. The stem counts to
    stage 1. What contains modules of several stages belongs to none.
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
