"""Augmentation of training images, on albumentations.

Zhang et al., CVPR 2020, section 4.1: random cropping, horizontal flipping and random erasing, as in RGA's released
code. StRA's augmentation, which uses torchreid 0.9.1, has the same steps. It differs in what is translated and in the
fill of erased rectangles: `Augmentation.translate` and `erasing_fill`.
"""

import os
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # otherwise its import looks for updates online
import albumentations as A

from relattn.errors import InputError
from relattn.preprocessing import IMAGENET_MEAN, IMAGENET_STD, Interpolation, resize

Pixels = NDArray[Any]

Translated = Literal["image", "resized"]


@dataclass
class Augmentation:
    """Options of the augmentation of training images; the defaults are RGA's."""

    translation: float = 0.5
    """Probability of a random 2-D translation: resize to 9/8 of the size and crop at a random position."""

    translate: Translated = "image"
    """What is translated: the `image` itself, or the `resized` image, which is then resized a second time (as in
    torchreid and therefore in StRA's released code)."""

    flip: float = 0.5
    """Probability of a horizontal flip."""

    erasing: float = 0.5
    """Probability of erasing a rectangle."""

    erasing_fill: float | tuple[float, float, float] = 0.0
    """Fill of the erased rectangle in units of the normalised image: 0 is ImageNet's mean colour."""

    def __post_init__(self) -> None:
        """Refuse values that are not a probability or not a choice.

        Raises:
            InputError: If a value is invalid; the message names it.
        """
        if self.translate not in get_args(Translated):
            raise InputError(f"Augmentation: translate is {self.translate!r}, expected image or resized.")
        for name in ("translation", "flip", "erasing"):
            if not 0 <= (value := getattr(self, name)) <= 1:
                raise InputError(f"Augmentation: {name} is {value}, expected a probability, from 0 to 1.")


class Resized(A.ImageOnlyTransform):
    """Resizes images as evaluation does."""

    def __init__(self, height: int, width: int, interpolation: Interpolation, p: float = 1.0) -> None:
        """Define the transform to `height` x `width` pixels; `interpolation` as in `relattn.preprocessing.resize`."""
        super().__init__(p=p)
        self.size, self.interpolation = (height, width), interpolation

    def apply(self, img: Pixels, **params: Any) -> Pixels:
        return resize(img, self.size, self.interpolation)


class RandomTranslation(A.ImageOnlyTransform):
    """Resizes to 9/8 of the size, and crops to the size at a random position."""

    def __init__(self, height: int, width: int, interpolation: Interpolation, p: float = 0.5) -> None:
        """Define the transform for `height` x `width` pixels; `interpolation` as in `relattn.preprocessing.resize`."""
        super().__init__(p=p)
        self.height, self.width, self.interpolation = height, width, interpolation

    def get_params(self) -> dict[str, Any]:
        larger = round(self.height * 1.125), round(self.width * 1.125)
        top = self.py_random.randint(0, larger[0] - self.height)
        left = self.py_random.randint(0, larger[1] - self.width)
        return {"larger": larger, "top": top, "left": left}

    def apply(self, img: Pixels, larger: tuple[int, int], top: int, left: int, **params: Any) -> Pixels:
        resized = resize(img, larger, self.interpolation)
        return resized[top : top + self.height, left : left + self.width]


class RandomErasing(A.ImageOnlyTransform):
    """Fills a random rectangle (Zhong et al., "Random Erasing Data Augmentation", AAAI 2020, algorithm 1).

    Area and aspect ratio are drawn until the rectangle fits into the image. `albumentations.Erasing` instead limits the
    area to what fits at every ratio: on images of 2:1, to 15 per cent rather than 40.
    """

    TRIES = 100

    def __init__(
        self,
        area: tuple[float, float] = (0.02, 0.4),
        ratio: tuple[float, float] = (0.3, 1 / 0.3),
        fill: float | tuple[float, ...] = 0.0,
        p: float = 0.5,
    ) -> None:
        """Define the transform; `area` is a share of the image's, `ratio` is height over width; both are uniform."""
        super().__init__(p=p)
        self.area, self.ratio, self.fill = area, ratio, fill

    def get_params_dependent_on_data(self, params: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
        height, width = params["shape"][:2]
        for _ in range(self.TRIES):
            area = self.py_random.uniform(*self.area) * height * width
            ratio = self.py_random.uniform(*self.ratio)
            h, w = round((area * ratio) ** 0.5), round((area / ratio) ** 0.5)
            if h < height and w < width:
                top, left = self.py_random.randint(0, height - h), self.py_random.randint(0, width - w)
                return {"box": (top, left, top + h, left + w)}
        return {"box": (0, 0, 0, 0)}

    def apply(self, img: Pixels, box: tuple[int, int, int, int], **params: Any) -> Pixels:
        top, left, bottom, right = box
        img = img.copy()
        img[top:bottom, left:right] = self.fill
        return img


class Pipeline:
    """Turns `(H, W, 3)` uint8 RGB into `(height, width, 3)` float32, normalised."""

    def __init__(
        self, size: tuple[int, int], augmentation: Augmentation, interpolation: Interpolation = "antialiased"
    ) -> None:
        """Define the pipeline for images of `size`, height and width; `interpolation` is that of evaluation."""
        sizing = [
            RandomTranslation(*size, interpolation, p=augmentation.translation),
            Resized(*size, interpolation),  # does nothing to translated images
        ]
        self.steps: list[A.BasicTransform] = [
            *(sizing if augmentation.translate == "image" else reversed(sizing)),
            A.HorizontalFlip(p=augmentation.flip),
            A.Normalize(IMAGENET_MEAN, IMAGENET_STD),
            RandomErasing(fill=augmentation.erasing_fill, p=augmentation.erasing),
        ]
        self.compose = A.Compose(self.steps)

    def __call__(self, image: Pixels, seed: int) -> Pixels:
        """Process an image; the same seed gives the same result.

        Each step has its own seed: `Compose.set_random_seed` would give all steps the same one, so that flipping and
        erasing would be correlated.
        """
        for number, step in enumerate(self.steps):
            step.set_random_seed(int(np.random.SeedSequence((seed, number)).generate_state(1)[0]))
        pixels: Pixels = self.compose(image=image)["image"]
        return np.ascontiguousarray(pixels)
