"""Augmentation of photos: a random crop, resized and flipped.

The crop of Szegedy et al., "Going deeper with convolutions", CVPR 2015, section 6, drawn by torchvision.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torchvision.transforms.v2 import RandomResizedCrop  # type: ignore[import-untyped]

from relattn.errors import InputError
from relattn.preprocessing import Preprocessing, resize
from relattn.tasks.decoding import Pixels


@dataclass
class Augmentation:
    """Options of the augmentation of training images."""

    area: tuple[float, float] = (0.35, 1.0)
    """Minimum and maximum share of the image's area that is cropped; (1, 1) for the whole image."""

    ratio: tuple[float, float] = (0.75, 4 / 3)
    """Minimum and maximum aspect ratio, width over height, of the crop."""

    flip: float = 0.5
    """Probability of a horizontal flip."""

    def __post_init__(self) -> None:
        """Refuse values that are not a probability or not a range.

        Raises:
            InputError: If a value is invalid; the message names it.
        """
        if not 0 < self.area[0] <= self.area[1] <= 1:
            raise InputError(f"Augmentation: area is {self.area}, expected two parts above 0 and at most 1, in order.")
        if not 0 < self.ratio[0] <= self.ratio[1]:
            raise InputError(f"Augmentation: ratio is {self.ratio}, expected two ratios above 0, in order.")
        if not 0 <= self.flip <= 1:
            raise InputError(f"Augmentation: flip is {self.flip}, expected a probability, from 0 to 1.")


class Pipeline:
    """Turns `(h, w, 3)` uint8 RGB into `(height, width, 3)` float32, normalised."""

    def __init__(self, preprocessing: Preprocessing, augmentation: Augmentation) -> None:
        """Keep the preprocessing of evaluation and the augmentation of training."""
        self.preprocessing, self.augmentation = preprocessing, augmentation

    def __call__(self, pixels: Pixels, seed: int) -> NDArray[np.float32]:
        """Process an image; the same seed gives the same result."""
        varied, preprocessing = self.augmentation, self.preprocessing
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            crop = RandomResizedCrop(preprocessing.size, varied.area, varied.ratio)
            box = crop.make_params([torch.empty(3, *pixels.shape[:2], device="meta")])
            flipped = bool(torch.rand(()) < varied.flip)
        part = pixels[box["top"] : box["top"] + box["height"], box["left"] : box["left"] + box["width"]]
        part = resize(np.ascontiguousarray(part), preprocessing.size, preprocessing.interpolation)
        return preprocessing.normalise(np.ascontiguousarray(part[:, ::-1] if flipped else part))
