"""A segmentation network: a backbone, a head, optionally attention as context, and a classifier for every pixel.

arXiv 1904.02998, section 4.2 and Table 6: ResNet-101 at output stride 8, plain, with PPM or with ASPP, and each of them
with RGA-SC on the last features before the classifier.
"""

import re
from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from relattn.attention.base import Attention, outermost
from relattn.errors import InputError
from relattn.heads.aspp import ASPP
from relattn.heads.convolution import Activation
from relattn.heads.fcn import FCN, AuxiliaryHead
from relattn.heads.ppm import PPM
from relattn.heads.relation_context import ContextMode, RelationContext
from relattn.skeleton import empty_image, skeleton_of
from relattn.unread import unread

Head = Literal["fcn", "ppm", "aspp"]


class SegmentationNetwork(nn.Module):
    """Classifies every pixel of images of any size: `(B, channels, H, W)` to logits `(B, num_classes, H, W)`.

    The head reads the backbone's last stage, the auxiliary head the stage before it. Dropout is applied once, right
    before the classifier: with a context, in the context and not in the head.

    Attributes:
        backbone: The given backbone, without its layers after the last stage.
        context: `RelationContext`, or an identity.
    """

    def __init__(
        self,
        backbone: nn.Module,
        *,
        num_classes: int = 19,
        head: Head = "fcn",
        context: Callable[..., Attention] | None = None,
        context_mode: ContextMode = "pooled",
        pool: tuple[int, int] = (48, 48),
        auxiliary: bool = True,
        crop: tuple[int, int] = (769, 769),
        width: int = 512,
        activation: Activation = "relu",
        align_corners: bool = True,
        step: int = 1,
        indices: Sequence[int] | None = None,
    ) -> None:
        """Build the network on a backbone.

        Args:
            backbone: A network with timm's `feature_info` and `forward_intermediates`, with or without attention. It is
                pruned: layers after its last stage are removed, and other weights that the heads do not depend on are
                not trained, so that every weight that is trained gets a gradient.
            num_classes: Number of classes.
            head: `"fcn"`, a 3x3 convolution; `"ppm"`, pyramid pooling; `"aspp"`, atrous spatial pyramid pooling.
            context: Factory of the attention module whose output is concatenated with the head's features, called as
                `context(width, size=(h, w))`; None for a network without context.
            context_mode: As `mode` in `RelationContext`.
            pool: Height and width of the grid that features are pooled to for attention.
            auxiliary: Whether to have an auxiliary head for training.
            crop: Height and width of the training crops in pixels, multiples of `step`; in the context mode `"full"`,
                attention is built for their features.
            width: Channels of the head's features.
            activation: Activation of the heads, `"relu"` or `"leaky_relu"`.
            align_corners: Whether resizing aligns the centres of the corner pixels, as in OCNet; False treats pixels as
                areas. Crops of 8n + 1 pixels, such as 769, are meant for True.
            step: Divisor that the backbone needs the sides of images to have, such as the patch size of a vision
                transformer. Images are padded with zeros at the bottom and right, and the logits there are cut off.
            indices: Indices of the two reported features to read; by default the last two.

        Raises:
            InputError: If the backbone does not report its stages, its attention does not act on the features that the
                heads read, `head` is unknown, or the context cannot be built.
        """
        super().__init__()
        self.indices, stages = stage_channels(backbone, indices)
        self.step = step
        # The norm at the end of a transformer is part of its features; convolutional networks have none there.
        norm = type(getattr(backbone, "norm", None)).__name__.lower()
        self.options: dict[str, Any] = {"norm": True} if "layernorm" in norm or "rmsnorm" in norm else {}
        prune = getattr(backbone, "prune_intermediate_layers", None)
        if prune is not None:
            prune(self.indices, prune_norm=False, prune_head=True)
        rest_where_unread(backbone, self.indices if auxiliary else self.indices[-1:], crop, self.options)
        self.backbone, self.align_corners = backbone, align_corners
        common: dict[str, Any] = {"width": width, "activation": activation}
        if context is not None:
            common["dropout"] = 0.0
        self.head: nn.Module
        if head == "fcn":
            self.head = FCN(stages[-1], **common)
        elif head == "ppm":
            self.head = PPM(stages[-1], align_corners=align_corners, **common)
        elif head == "aspp":
            self.head = ASPP(stages[-1], **common)
        else:
            raise InputError(f"head is {head!r}, expected 'fcn', 'ppm' or 'aspp'.")
        self.context: nn.Module = nn.Identity()
        if context is not None:
            self.context = RelationContext(
                width,
                attention=context,
                mode=context_mode,
                pool=pool,
                size=feature_size(backbone, self.indices, crop, self.options) if context_mode == "full" else None,
                activation=activation,
            )
        self.classifier = nn.Conv2d(width, num_classes, 1)
        self.auxiliary = (
            AuxiliaryHead(stages[-2], num_classes, width=width, activation=activation) if auxiliary else None
        )

    def stages(self, images: Tensor) -> list[Tensor]:
        """The features of the last two stages, each `(B, C, h, w)`."""
        return intermediates(self.backbone, self.padded(images), self.indices, self.options)

    def padded(self, images: Tensor) -> Tensor:
        """Pad images with zeros at the bottom and right, so that their sides are multiples of `step`."""
        if self.step == 1:
            return images
        height, width = (-side % self.step for side in images.shape[2:])
        return F.pad(images, (0, width, 0, height))

    def upsample(self, logits: Tensor, images: Tensor) -> Tensor:
        """Resize logits to the height and width of the images, in at least float32."""
        if logits.dtype in (torch.float16, torch.bfloat16):
            logits = logits.float()  # rounded logits would tie, and few logits are interpolated to many pixels
        height, width = images.shape[2:]
        size = [-(-side // self.step) * self.step for side in (height, width)]
        logits = F.interpolate(logits, size=size, mode="bilinear", align_corners=self.align_corners)
        return logits[:, :, :height, :width] if size != [height, width] else logits

    def classify(self, features: Tensor, images: Tensor) -> Tensor:
        """Map the last stage's features `(B, C, h, w)` to the logits of every pixel, `(B, num_classes, H, W)`."""
        return self.upsample(self.classifier(self.context(self.head(features))), images)

    def forward(self, images: Tensor, *, training: bool = False) -> Tensor | tuple[Tensor, Tensor | None]:
        """Map images `(B, channels, H, W)` to logits `(B, num_classes, H, W)`.

        Args:
            images: The images.
            training: Whether to return the logits of the auxiliary head too, of the same shape, or None without one.
        """
        earlier, last = self.stages(images)
        logits = self.classify(last, images)
        if not training:
            return logits
        return logits, None if self.auxiliary is None else self.upsample(self.auxiliary(earlier), images)


def stage_channels(backbone: nn.Module, indices: Sequence[int] | None) -> tuple[list[int], list[int]]:
    """The indices of two reported features, by default the last two, and their numbers of channels.

    Raises:
        InputError: If the backbone does not report two stages.
    """
    info: Any = getattr(backbone, "feature_info", None)
    entries = list(info.info if hasattr(info, "info") else info or [])
    if len(entries) < 2 or not hasattr(backbone, "forward_intermediates"):
        raise InputError(
            f"{type(backbone).__name__} cannot be used for segmentation: it does not report two stages and give their "
            "features (feature_info, forward_intermediates), as timm's networks do. Use a timm CNN, for example "
            "resnet50."
        )
    chosen = [len(entries) - 2, len(entries) - 1] if indices is None else list(indices)
    return chosen, [int(entries[index]["num_chs"]) for index in chosen]


def intermediates(backbone: Any, images: Tensor, indices: list[int], options: dict[str, Any]) -> list[Tensor]:
    """The features of some stages, each `(B, C, h, w)`.

    Raises:
        InputError: If the backbone does not accept images of this size.
    """
    try:
        features: list[Tensor] = backbone.forward_intermediates(
            images, indices=indices, intermediates_only=True, **options
        )
    except (AssertionError, RuntimeError) as error:  # the ways in which timm's networks refuse a size
        if isinstance(error, RuntimeError) and not re.search("must match|broadcast", str(error)):
            raise
        height, width = images.shape[2:]
        raise InputError(
            f"{type(backbone).__name__} cannot take images of {height}x{width}: {error}. Use images of another size "
            "or another network, for example resnet50."
        ) from error
    return features


def shapes_of_features(
    backbone: nn.Module, indices: list[int], crop: tuple[int, int], options: dict[str, Any]
) -> tuple[nn.Module, list[Tensor]]:
    """A copy of the backbone without weights and its features of a crop, which have shapes and a graph alone."""
    skeleton = skeleton_of(backbone)
    channels = next(module.in_channels for module in backbone.modules() if isinstance(module, nn.Conv2d))
    with empty_image(skeleton, crop, channels) as image:
        return skeleton, intermediates(skeleton, image, indices, options)


def feature_size(
    backbone: nn.Module, indices: list[int], crop: tuple[int, int], options: dict[str, Any]
) -> tuple[int, int]:
    """Height and width of the last stage's features of a crop."""
    _, features = shapes_of_features(backbone, indices, crop, options)
    return features[-1].shape[2], features[-1].shape[3]


def rest_where_unread(backbone: nn.Module, indices: list[int], crop: tuple[int, int], options: dict[str, Any]) -> None:
    """Stop training the weights of a backbone that the features do not depend on.

    The stages of HRNet are branches side by side, so its first stages do not lead to the last.

    Raises:
        InputError: If the features do not depend on an attention module, or attention was built for another size.
    """
    try:
        skeleton, features = shapes_of_features(backbone, indices, crop, options)
    except InputError:  # a backbone for another size, which refuses images of this one when they come
        if outermost(backbone):
            raise
        return
    except RuntimeError:  # likewise, or a module that cannot be called without values
        return
    names = unread(skeleton, features)
    attention = set(outermost(skeleton))
    idle: list[str] = []
    active: list[str] = []
    for place, module in skeleton.named_modules():
        if module in attention:
            weights = {f"{place}.{name}" for name, _ in module.named_parameters()}
            (idle if weights and weights <= names else active).append(place)
    if idle:
        stages = sorted(int(match[1]) for place in active if (match := re.search(r"stage(\d+)$", place)))
        others = f"other stages, such as --model.stages [{','.join(map(str, stages))}], or " if stages else ""
        raise InputError(
            f"{type(backbone).__name__}: the heads do not read what attention changes in {', '.join(idle)}. Use "
            f"{others}--model.attention_at context."
        )
    for name in names:
        backbone.get_parameter(name).requires_grad_(False)
