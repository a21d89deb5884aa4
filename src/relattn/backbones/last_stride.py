"""The last stage of a network at the size of the one before, as in re-identification.

Luo et al., "Bag of Tricks and A Strong Baseline for Deep Person Re-identification", CVPR Workshops 2019, section 3.6.
"""

from torch import nn

from relattn.backbones.stages import SizeError, Stages, stage_indices
from relattn.errors import InputError

OWN_STRIDE = "Keep the network's own stride: --model.last_stride 2."


def remove_last_stride(model: nn.Module, name: str, size: tuple[int, int], in_chans: int) -> None:
    """Let the last stage keep the size of the one before, without dilation.

    Every layer that would halve the map of the second last stage gets stride 1. timm's `output_stride` would also
    dilate the convolutions after it, which gives a different network from the one used in re-identification. A network
    with a single map size, such as a vision transformer, stays unchanged.

    Raises:
        InputError: If a layer cannot keep the size, because its kernel is even or it is not a convolution or a pooling.
    """
    (previous, before), (last, after) = last_stages(model, name, size, in_chans)
    if before == after:
        return
    order = list(Stages(model, name, size, in_chans).shapes)
    if previous not in order or last not in order:
        raise InputError(f"last_stride=1: {name} has no layer that halves the map before its last stage. {OWN_STRIDE}")
    for layer in order[order.index(previous) + 1 : order.index(last) + 1]:
        module = model.get_submodule(layer)
        stride = getattr(module, "stride", 1)
        if next(module.children(), None) is not None or stride in (1, (1, 1)):
            continue
        if isinstance(module, nn.AvgPool2d | nn.MaxPool2d):
            parent, _, child = layer.rpartition(".")
            setattr(model.get_submodule(parent), child, nn.Identity())
        elif isinstance(module, nn.Conv2d) and all(kernel % 2 for kernel in module.kernel_size):
            module.stride = (1, 1)
        else:
            raise InputError(f"last_stride=1: layer {layer} ({module}) cannot keep its input's size. {OWN_STRIDE}")
    try:
        (previous, before), (last, after) = last_stages(model, name, size, in_chans)
    except SizeError as error:  # not because of the size, which the network accepted before
        raise InputError(f"last_stride=1: the last stage of {name} is built for its own size. {OWN_STRIDE}") from error
    if before != after:
        raise InputError(f"last_stride=1: {last} gives {after} where {previous} gives {before}. {OWN_STRIDE}")


def last_stages(model: nn.Module, name: str, size: tuple[int, int], in_chans: int) -> list[tuple[str, tuple[int, int]]]:
    """The modules at the ends of the last two stages, and the sizes of their maps."""
    stages, found = Stages(model, name, size, in_chans), []
    count = len(stages.names)
    for stage in (count - 1, count):
        try:
            end = stages.end(stage)
            found.append((end.module, end.view.size))
        except InputError:
            _, height, width = stages.reported[stage_indices(model)[stage - 1]]
            found.append((stages.names[stage - 1], (height, width)))
    return found
