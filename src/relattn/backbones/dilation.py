"""Networks with dilated last stages, for dense prediction.

Yu, Koltun, Funkhouser, "Dilated Residual Networks", CVPR 2017; Chen et al., arXiv 1706.05587, section 3.1: once the map
has the desired output stride, layers that would halve it get stride 1, and the convolutions after them are dilated
instead, so that their receptive fields stay the same. At output stride 8 the last two stages have dilations 2 and 4.

The first block of a dilated stage has two interpretations, with the same weights and different outputs:

    "previous"   its convolution keeps the dilation of the stage before (1 and 2), because it is the one that had the
                 stride. timm's `output_stride` and torchvision's `replace_stride_with_dilation` do this.
    "full"       every block of the stage has the stage's dilation (2 and 4), as in the code of PSPNet and OCNet, whose
                 settings arXiv 1904.02998 follows.
"""

import warnings
from typing import Any, Literal

from torch import nn

from relattn.attention.base import Attention
from relattn.attention.fade_in import FadeIn
from relattn.backbones.build import build, check_name, family
from relattn.backbones.face import use_face_stem
from relattn.backbones.sizes import unbuilt
from relattn.backbones.stages import entries_of
from relattn.errors import InputError

FirstDilation = Literal["previous", "full"]


def dilated(
    name: str, *, output_stride: int = 8, first_dilation: FirstDilation = "full", **arguments: Any
) -> nn.Module:
    """Build a network whose features are `output_stride` times smaller than the image.

    A network that cannot be dilated keeps its own strides, with a warning.

    Names and shapes of the weights stay those of timm's network, so that pretrained weights load.

    Args:
        name: A timm CNN that can be dilated, for example `resnet101.tv_in1k`.
        output_stride: 8, 16, or 32 for the network without dilation.
        first_dilation: Dilation of the first block of a dilated stage: that of the stage before (`"previous"`, as in
            timm), or that of the stage (`"full"`).
        arguments: As in `build`: attention, its placement, the size of the images, weights, ...

    Returns:
        The network, as from `build`.

    Raises:
        InputError: If the network can be dilated, but not in this way.
    """
    if output_stride not in (8, 16, 32):
        raise InputError(f"output_stride is {output_stride}, expected 8, 16 or 32.")
    if first_dilation not in ("previous", "full"):
        raise InputError(f"first_dilation is {first_dilation!r}, expected 'previous' or 'full'.")
    if output_stride == 32:
        return build(name, **arguments)  # the stride of every network
    if not can_be_dilated(name, output_stride):
        warnings.warn(
            f"{name} cannot be built at output stride {output_stride}, because timm does not dilate this network: its "
            "features keep its own strides. Networks that can be dilated are, for example, resnet101, resnet50d, "
            "mobilenetv2_100 and regnety_032.",
            stacklevel=2,
        )
        return build(name, **arguments)
    model = build(name, output_stride=output_stride, **arguments)
    if first_dilation == "full":
        plain = unbuilt(name)
        if arguments.get("stem") == "face":  # its convolution has lost its stride, but is not dilated
            use_face_stem(plain, name, arguments.get("size", (256, 128)))
        dilate_first_blocks(model, plain, name)
    return model


def can_be_dilated(name: str, output_stride: int) -> bool:
    """Whether timm can build a network with this output stride."""
    if family(name) != "timm":
        return False
    check_name(name)
    try:
        entries = entries_of(unbuilt(name, output_stride=output_stride))
        return max(entry["reduction"] for entry in entries) == output_stride
    except (TypeError, AssertionError, NotImplementedError):  # the ways networks reject the argument
        return False


def dilate_first_blocks(model: nn.Module, plain: nn.Module, name: str) -> None:
    """Give the convolutions that lost their stride the dilation of the layers after them.

    Attention in the place of such a convolution has no dilation and stays; the convolution that it fades in beside is
    dilated.

    Args:
        model: The dilated network; changed in place.
        plain: The same network with its own strides.
        name: Name of the network in messages.

    Raises:
        InputError: If such a convolution has an even kernel, or there is none.
    """
    found = False
    for key, before in plain.named_modules():
        if not isinstance(before, nn.Conv2d) or before.kernel_size == (1, 1) or before.stride == (1, 1):
            continue
        try:
            module = model.get_submodule(key)
        except AttributeError:  # the dilated network has another layer here
            continue
        if isinstance(module, Attention):
            found = True
            module = module.base if isinstance(module, FadeIn) else module
        if not isinstance(module, nn.Conv2d) or module.stride != (1, 1):
            continue
        if any(kernel % 2 == 0 for kernel in module.kernel_size):
            raise InputError(
                f"{name}: layer {key} ({module}) has an even kernel, so its dilation cannot be raised without moving "
                "the map; use --model.first_dilation previous."
            )
        factors = before.stride
        module.dilation = tuple(d * factor for d, factor in zip(module.dilation, factors, strict=True))
        if not isinstance(module.padding, str):  # 0 stays 0: such layers compute padding from dilation
            module.padding = tuple(p * factor for p, factor in zip(module.padding, factors, strict=True))
        found = True
    if not found:
        raise InputError(
            f"{name}: no convolution of the dilated stages had a stride, so first_dilation='full' has nothing to "
            "change; use --model.first_dilation previous."
        )
