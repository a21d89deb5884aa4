"""Augmentation of training images, on albumentations."""

import os
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # else it asks the network for news when it is imported
import albumentations as A

from relattn.errors import InputError
from relattn.preprocessing import IMAGENET_MEAN, IMAGENET_STD

Pixels = NDArray[Any]


@dataclass
class Augmentation:
    """How training images are varied; the defaults are RGA's."""

    translation: float = 0.5
    """Probability of a random 2-D translation: resized to 9/8 of the size and cut at a random place."""

    flip: float = 0.5
    """Probability of a horizontal flip."""

    erasing: float = 0.5
    """Probability of erasing a rectangle."""

    erasing_fill: float | tuple[float, float, float] = 0.0
    """What it is filled with, in units of the normalised image: 0 is ImageNet's mean colour."""

    def __post_init__(self) -> None:
        """Refuse what is no probability.

        Raises:
            InputError: With its name and value.
        """
        for name in ("translation", "flip", "erasing"):
            if not 0 <= (value := getattr(self, name)) <= 1:
                raise InputError(f"Augmentation: {name} is {value}, expected a probability, from 0 to 1.")


class RandomTranslation(A.ImageOnlyTransform):
    """Resizes to 9/8 of the size, and cuts the size out at a random place."""

    def __init__(self, height: int, width: int, p: float = 0.5) -> None:
        """Define the transform for images of `height` x `width` pixels."""
        super().__init__(p=p)
        self.height, self.width = height, width

    def get_params(self) -> dict[str, Any]:
        larger = round(self.height * 1.125), round(self.width * 1.125)
        top = self.py_random.randint(0, larger[0] - self.height)
        left = self.py_random.randint(0, larger[1] - self.width)
        return {"larger": larger, "top": top, "left": left}

    def apply(self, img: Pixels, larger: tuple[int, int], top: int, left: int, **params: Any) -> Pixels:
        resized = cv2.resize(img, larger[::-1], interpolation=cv2.INTER_LINEAR)
        return resized[top : top + self.height, left : left + self.width]


class RandomErasing(A.ImageOnlyTransform):
    """Fills a random rectangle (Zhong et al., "Random Erasing Data Augmentation", AAAI 2020, algorithm 1).

    Area and aspect ratio are drawn until the rectangle fits into the image. `albumentations.Erasing` instead limits the
    area to what fits at every ratio: on images of 2:1 to 15 per cent rather than 40.
    """

    TRIES = 100

    def __init__(
        self,
        area: tuple[float, float] = (0.02, 0.4),
        ratio: tuple[float, float] = (0.3, 1 / 0.3),
        fill: float | tuple[float, ...] = 0.0,
        p: float = 0.5,
    ) -> None:
        """Define the transform; `area` is a part of the image's, `ratio` height over width, both drawn uniformly."""
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

    def __init__(self, size: tuple[int, int], augmentation: Augmentation) -> None:
        """Define the pipeline for images of `size`, height and width."""
        self.steps: list[A.BasicTransform] = [
            RandomTranslation(*size, p=augmentation.translation),
            A.Resize(*size, interpolation=cv2.INTER_LINEAR),
            A.HorizontalFlip(p=augmentation.flip),
            A.Normalize(IMAGENET_MEAN, IMAGENET_STD),
            RandomErasing(fill=augmentation.erasing_fill, p=augmentation.erasing),
        ]
        self.compose = A.Compose(self.steps)

    def __call__(self, image: Pixels, seed: int) -> Pixels:
        """Process an image; the same seed does the same to it.

        Each step is seeded by itself: `Compose.set_random_seed` gives all the same seed, and then whether an image is
        flipped tells whether it is erased.
        """
        for number, step in enumerate(self.steps):
            step.set_random_seed(int(np.random.SeedSequence((seed, number)).generate_state(1)[0]))
        pixels: Pixels = self.compose(image=image)["image"]
        return np.ascontiguousarray(pixels)
