"""How an image is prepared for a network in evaluation: resized, then normalised.

One description serves evaluation, prediction, figures (which undo it) and exported files (which contain it as JSON);
training augmentation resizes with the same `resize`. With p the pixels of the resized image in RGB, 0 to 255, the input
of a network is

    x = (p / 255 * value_range - mean) / std         of shape (H, W, 3), float32

The filter of a resize is part of a recipe: if images are larger than the network's input, testing a network with
another filter than it was trained with costs points. Both papers' released code resizes with PIL's bilinear filter,
which is `antialiased` here. OpenCV's filter, `linear`, reads only four pixels for each output pixel and skips the
others.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from relattn.errors import InputError
from relattn.extras import Lazy

cv2 = Lazy("cv2", "suite")

Pixels = NDArray[np.uint8]
"""`(H, W, 3)` RGB."""

Resize = Literal["stretch", "cover", "scale", "none"]
Interpolation = Literal["linear", "area_or_linear", "antialiased"]

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Mean and standard deviation of RGB in [0, 1] that most pretrained networks expect."""


@dataclass(frozen=True)
class Preprocessing:
    """Resizing and normalisation of an image.

    Attributes:
        size: Height and width in pixels of the network's input, or of its training crops if `resize` is `scale` or
            `none`.
        resize: `stretch` to `size` regardless of the proportions; `cover`: resize until the image just covers `size`,
            and crop its centre; `scale` by the factor `scale`; or `none`.
        interpolation: As in `resize`.
        scale: The factor for `resize="scale"`.
        mean: Mean of each channel, RGB, in units of `value_range`.
        std: Standard deviation of each channel, in the same units.
        value_range: The value that 255 is mapped to: 1 or 255.
    """

    size: tuple[int, int]
    resize: Resize = "stretch"
    interpolation: Interpolation = "linear"
    scale: float = 1.0
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    value_range: float = 1.0

    def __post_init__(self) -> None:
        """Check the choices.

        Raises:
            InputError: If a name is unknown, or there are not three means and positive deviations.
        """
        for name, known in (("resize", Resize), ("interpolation", Interpolation)):
            if getattr(self, name) not in get_args(known):
                raise InputError(
                    f"preprocessing: {name} is {getattr(self, name)!r}, expected one of {', '.join(get_args(known))}."
                )
        if len(self.mean) != 3 or len(self.std) != 3 or min(self.std) <= 0:
            raise InputError(
                f"preprocessing: mean is {self.mean} and std {self.std}, expected three of each, std positive."
            )

    def __call__(self, image: Pixels) -> NDArray[np.float32]:
        """Prepare an image `(h, w, 3)` uint8 RGB: `(H, W, 3)` float32.

        Raises:
            InputError: If the image is of another kind.
        """
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
            raise InputError(f"The image is {image.dtype} {image.shape}, expected uint8 (height, width, 3) in RGB.")
        return self.normalise(self.resized(image))

    def resized(self, image: Pixels) -> Pixels:
        """Resize an image `(h, w, 3)`."""
        height, width = image.shape[:2]
        size = self.scaled(height, width) if self.resize == "scale" else self.size
        if self.resize == "none":
            return image
        target = size
        if self.resize == "cover":
            factor = max(size[0] / height, size[1] / width)
            target = max(round(height * factor), size[0]), max(round(width * factor), size[1])
        image = resize(image, target, self.interpolation)
        top, left = (target[0] - size[0]) // 2, (target[1] - size[1]) // 2
        return np.ascontiguousarray(image[top : top + size[0], left : left + size[1]])

    def scaled(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of an image after `resize="scale"`."""
        return max(round(height * self.scale), 1), max(round(width * self.scale), 1)

    def normalise(self, image: Pixels) -> NDArray[np.float32]:
        """Normalise an image `(H, W, 3)`, by a table of the 256 values of each channel."""
        unit = np.float32(255 / self.value_range)
        mean, std = (np.array(values, np.float32) * unit for values in (self.mean, self.std))
        table = (np.arange(256, dtype=np.float32)[:, None] - mean) * np.reciprocal(std)
        normalised: NDArray[np.float32] = cv2.LUT(image, table[None])
        return normalised

    def restored(self, images: Tensor) -> list[Pixels]:
        """Undo the normalisation of images `(B, 3, H, W)`: `(H, W, 3)` uint8 each."""
        values = images.permute(0, 2, 3, 1).double().cpu().numpy() * np.array(self.std) + np.array(self.mean)
        return list((values * 255 / self.value_range).round().clip(0, 255).astype(np.uint8))

    def as_json(self) -> dict[str, Any]:
        """The description as JSON, for checkpoints and exported files."""
        return {
            "colour": "RGB",
            "resize": self.resize,
            "size": list(self.size),
            "scale": self.scale,
            "interpolation": self.interpolation,
            "range": [0, self.value_range],
            "mean": [float(value) for value in self.mean],
            "std": [float(value) for value in self.std],
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "Preprocessing":
        """Read the result of `as_json`.

        Raises:
            InputError: If something is missing or has another type.
        """
        try:
            return cls(
                size=pair(content["size"]),
                resize=content["resize"],
                interpolation=content["interpolation"],
                scale=float(content.get("scale", 1.0)),
                mean=tuple(map(float, content["mean"])),
                std=tuple(map(float, content["std"])),
                value_range=float(content["range"][1]),
            )
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise InputError(f"The preprocessing {dict(content)} is not as relattn writes it: {error!r}.") from error


def resize(image: Pixels, size: tuple[int, int], interpolation: Interpolation) -> Pixels:
    """Resize an image `(h, w, 3)`, regardless of its proportions; an image of that size is returned unchanged.

    Args:
        image: RGB, uint8.
        size: Height and width in pixels.
        interpolation: The filter. `linear` is OpenCV's bilinear filter, without antialiasing. `area_or_linear` averages
            the pixels that each output pixel covers if the image gets smaller, and is `linear` otherwise. `antialiased`
            is PIL's `BILINEAR`, whose support grows as the image gets smaller, computed by PyTorch: its weights have
            fewer bits, so pixels differ by at most 2 of 255, and most not at all.
    """
    if size == image.shape[:2]:
        return image
    if interpolation == "antialiased":
        # A single image with channels-last strides, for which PyTorch has a vectorised kernel; so has its output.
        pixels = torch.from_numpy(np.require(image, requirements=["C", "W"])).unsqueeze(0).permute(0, 3, 1, 2)
        resized = F.interpolate(pixels, size=size, mode="bilinear", antialias=True)
        found: Pixels = resized.permute(0, 2, 3, 1)[0].numpy()
        return found
    smaller = interpolation == "area_or_linear" and size[0] * size[1] < image.shape[0] * image.shape[1]
    flag = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
    scaled: Pixels = cv2.resize(image, size[::-1], interpolation=flag)
    return scaled


def pair(values: Sequence[int]) -> tuple[int, int]:
    """A height and a width."""
    height, width = values
    return int(height), int(width)
