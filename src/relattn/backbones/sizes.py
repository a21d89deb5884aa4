"""Image sizes of timm's networks: which networks have a fixed size, which sizes they accept, and the feature width.

Vision transformers have weights or windows for one image size. timm marks them (`fixed_input_size`), can build them for
another size (`img_size`), and fits pretrained weights to it. Some ViTs and Swins accept any size that is a multiple of
their patches, if asked to (`dynamic_img_size`, `strict_img_size`).
"""

import inspect
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from relattn.backbones.stages import reason
from relattn.errors import InputError
from relattn.skeleton import empty_image, skeleton_of

STEPS = (1, 2, 4, 7, 8, 12, 14, 16, 24, 28, 32, 48, 56, 64, 112, 128, 224)
"""Candidate divisors of the sides of images."""

REFUSALS = (RuntimeError, AssertionError, ValueError, TypeError, IndexError, ZeroDivisionError, NotImplementedError)
"""Errors with which networks refuse a size."""


def is_fixed(name: str) -> bool:
    """Whether timm builds a network for one image size only."""
    from timm.models import get_pretrained_cfg

    if name.startswith(("hf-hub:", "local-dir:")):
        return False
    config = get_pretrained_cfg(name)
    return config is not None and bool(config.fixed_input_size)


def size_arguments(name: str, size: tuple[int, int], *, any_size: bool = False) -> dict[str, Any]:
    """The arguments with which timm builds a network for images of a size; empty if it needs none.

    Args:
        name: A network of timm.
        size: Height and width of the images in pixels.
        any_size: Whether the network should accept other sizes too, if it can.
    """
    from timm.models import get_pretrained_cfg

    config = get_pretrained_cfg(name) if is_fixed(name) else None
    if config is None:
        return {}
    found: dict[str, Any] = {} if tuple(config.input_size[1:]) == tuple(size) else {"img_size": tuple(size)}
    if any_size:
        accepted = inspect.signature(type(unbuilt(name)).__init__).parameters
        if "strict_img_size" in accepted:
            found["strict_img_size"] = False
        if "dynamic_img_size" in accepted:
            found["dynamic_img_size"] = True
    return found


def unbuilt(name: str, **arguments: Any) -> nn.Module:
    """A network of timm on the meta device, without weights, for inspection."""
    import timm

    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        return timm.create_model(name, num_classes=0, **arguments)


def takes(name: str, size: tuple[int, int], in_chans: int = 3, *, any_size: bool = False, **arguments: Any) -> bool:
    """Whether a network of timm, built for images of a size, accepts them; arguments as in `size_arguments`."""
    try:
        fitted = size_arguments(name, size, any_size=any_size)
        model = skeleton_of(unbuilt(name, in_chans=in_chans, **fitted, **arguments))
        with torch.no_grad(), empty_image(model, size, in_chans) as image:
            model.forward_features(image)
    except REFUSALS:
        return False
    return True


def larger_sizes(size: tuple[int, int]) -> Iterator[tuple[int, int]]:
    """Sizes near `size`: each side rounded up to a multiple of a step, then squares."""
    seen = {size}
    up = [tuple(-(-side // step) * step for side in size) for step in STEPS]
    for height, width in [*up, *((max(pair),) * 2 for pair in up)]:
        if (height, width) not in seen:
            seen.add((height, width))
            yield height, width


def own_size(name: str) -> list[tuple[int, int]]:
    """The image size that a network was made for, in a list; empty if timm does not know it."""
    from timm.models import get_pretrained_cfg

    config = None if name.startswith(("hf-hub:", "local-dir:")) else get_pretrained_cfg(name)
    return [] if config is None else [(config.input_size[1], config.input_size[2])]


def refusal(name: str, size: tuple[int, int], error: BaseException, in_chans: int = 3, **arguments: Any) -> InputError:
    """The error for a network that does not accept images of a size, with the nearest size that it accepts."""
    height, width = size
    message = f"{name} cannot take images {in_chans}x{height}x{width}: {reason(error)}"
    sizes = [*larger_sizes(size), *own_size(name)]
    near = next((one for one in sizes if takes(name, one, in_chans, **arguments)), None)
    if near is not None:
        return InputError(
            f"{message} The nearest size that it accepts is {near[0]}x{near[1]}: image_size [{near[0]},{near[1]}]."
        )
    return InputError(f"{message} It accepts none of the sizes nearby; use another network, for example resnet50.")


def padding_step(name: str, size: tuple[int, int], **arguments: Any) -> int:
    """The divisor that image sides must have for a network with a fixed size; 1 if it accepts all sizes.

    Args:
        name: A network of timm.
        size: Height and width of the training images.
        arguments: Other arguments that the network is created with.

    Raises:
        InputError: If the network accepts none of the nearby sizes.
    """
    if not is_fixed(name) or takes(name, size, any_size=True, **arguments):
        return 1
    for step in STEPS[1:]:
        height, width = padded(size, step)
        if all(
            takes(name, one, any_size=True, **arguments) for one in ((height, width), (height + step, width + step))
        ):
            return step
    raise refusal(name, size, ValueError("it takes no multiple of any step near it either."), **arguments)


def padded(size: tuple[int, int], step: int) -> tuple[int, int]:
    """The next size up whose sides are multiples of a step."""
    return -(-size[0] // step) * step, -(-size[1] // step) * step


def pooled_width(model: nn.Module, size: tuple[int, int], in_chans: int = 3) -> int:
    """Length of the feature that a network without a classifier returns for an image.

    timm's `num_features` is the width of the last map; MobileNetV3, VGG and others have layers between it and their
    classifier, only some of which report their width in `head_hidden_size`.

    Raises:
        InputError: If the network does not return one feature for each image.
    """
    skeleton = skeleton_of(model)
    with torch.no_grad(), empty_image(skeleton, size, in_chans) as image:
        output = skeleton(image)
    if not isinstance(output, Tensor) or output.ndim != 2:
        given = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
        raise InputError(
            f"{type(model).__name__} gives {given} and not one feature (B, D) for each image: take a network with an "
            "image classifier, for example resnet50."
        )
    return output.shape[1]
