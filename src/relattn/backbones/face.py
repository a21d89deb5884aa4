"""Networks for faces of 112x112 pixels: the stem of an ImageNet network with half its down-sampling.

Deng et al., "ArcFace", CVPR 2019, section 3.1: a 3x3 convolution of stride 1 replaces the 7x7 convolution of stride 2
for faces of 112x112, so that the last stage has 7x7 positions and not 4x4. StRA specifies no stem but adopts the
structure of ArcFace (section 5.2), so the face recipes use this stem by default and the plain stem as an option.
"""

import math
from typing import Literal

from torch import nn

from relattn.backbones.densenet_cifar import DenseNetCIFAR
from relattn.backbones.resnet_cifar import ResNetCIFAR
from relattn.backbones.sizes import is_fixed
from relattn.backbones.stages import Shapes, SizeError, probe
from relattn.errors import InputError

Stem = Literal["imagenet", "face"]
OWN_STEM = "Keep the network's own stem: --model.stem imagenet."


def use_face_stem(model: nn.Module, name: str, size: tuple[int, int], in_chans: int = 3) -> None:
    """Halve the first down-sampling of a network, in place.

    The layers that read the map at the size of the images and have a stride get half of it; a stem with parallel
    branches (RepVGG) has several such layers. A convolution wider than 3x3, such as ResNet's 7x7, keeps the middle 3x3
    of its weights, scaled so that their variance is that with which the network initialises a 3x3 convolution. A
    pooling layer (VGG) is removed. The papers' networks for small images have this stem already and stay unchanged.

    `feature_info` still reports the strides of the ImageNet stem, because stages are identified by them.

    Args:
        model: The network, before attention is inserted.
        name: Name of the network in messages.
        size: Height and width of the images in pixels.
        in_chans: Channels of the images.

    Raises:
        InputError: If a layer of the stem cannot have half its stride.
    """
    if isinstance(model, ResNetCIFAR | DenseNetCIFAR):
        return
    if is_fixed(name):
        raise InputError(
            f"stem=face: {name} is built for patches of one size, so its stem cannot have half its stride. {OWN_STEM}"
        )
    names = [layer for layer, _ in model.named_modules() if layer]
    double = (2 * size[0], 2 * size[1])  # the size for the network's own stem; some networks refuse half of it
    try:
        shapes = probe(model, names, double, in_chans)
    except SizeError as error:
        raise InputError(f"stem=face: {error} {OWN_STEM}") from error
    first = [layer for layer in shapes if is_stem(model, layer, shapes[layer], double)]
    wanted = {}
    for layer in first:
        module = model.get_submodule(layer)
        if isinstance(module, nn.Conv2d):
            halve(module)
            wanted[layer] = tuple(side // stride for side, stride in zip(size, module.stride, strict=True))
        elif isinstance(module, nn.MaxPool2d | nn.AvgPool2d) and module.stride in (2, (2, 2)):
            parent, _, child = layer.rpartition(".")
            setattr(model.get_submodule(parent), child, nn.Identity())
            wanted[layer] = tuple(size)
    found = {layer: at.output for layer, at in probe(model, list(wanted), size, in_chans).items()}
    wrong = [layer for layer in first if layer not in wanted or tuple(found[layer] or ())[2:] != wanted[layer]]
    if wrong or not first:
        layers = f"layer {wrong[0]} cannot have half its stride" if wrong else "no layer of it lowers the images' size"
        raise InputError(f"stem=face: {name}: {layers}. {OWN_STEM}")


def is_stem(model: nn.Module, layer: str, shapes: Shapes, size: tuple[int, int]) -> bool:
    """Whether a layer reads the map at the images' size and makes it smaller."""
    module = model.get_submodule(layer)
    if not isinstance(module, nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d) or module.stride in (1, (1, 1)):
        return False
    return shapes.input is not None and tuple(shapes.input[2:]) == tuple(size)


def halve(convolution: nn.Conv2d) -> None:
    """Give a convolution half its stride, and the middle 3x3 of its weights if it is wider and odd."""
    kernel = convolution.kernel_size
    convolution.stride = tuple(max(1, stride // 2) for stride in convolution.stride)
    if all(side % 2 for side in kernel) and max(kernel) > 3:
        rows, columns = (slice((side - 3) // 2, (side + 3) // 2) for side in kernel)
        scale = math.sqrt(kernel[0] * kernel[1]) / 3
        convolution.weight = nn.Parameter(scale * convolution.weight.detach()[:, :, rows, columns].clone())
        convolution.kernel_size = (3, 3)
    sides = zip(convolution.kernel_size, convolution.stride, strict=True)
    convolution.padding = tuple(max(0, math.ceil((side - stride) / 2)) for side, stride in sides)
