"""Augmentation of training images with their labels, on albumentations."""

import os
from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from relattn.tasks.segmentation.labels import IGNORED

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # otherwise its import looks for updates online
import albumentations as A

Pixels = NDArray[Any]
Normalisation = Literal["imagenet", "caffe"]

STATISTICS: dict[Normalisation, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "caffe": ((102.9801 / 255, 115.9465 / 255, 122.7717 / 255), (1 / 255, 1 / 255, 1 / 255)),
}
"""Mean and standard deviation of RGB in [0, 1]. OCNet subtracts BGR means from RGB images with values from 0 to 255,
and its published networks were trained that way."""


@dataclass
class Augmentation:
    """Options of the augmentation of training images; the defaults are OCNet's, whose settings the paper uses."""

    scales: tuple[float, float] = (0.5, 2.1)
    """Minimum and maximum scale, both included."""

    step: float = 0.1
    """Difference between successive scales, which are equally likely; rounded so that it divides the range."""

    flip: float = 0.5
    """Probability of a horizontal flip."""


class RandomScaledCrop(A.DualTransform):
    """Scales an image and crops a window at a random position, in one step: only the window is ever computed.

    The image is interpolated bilinearly and without smoothing, like `cv2.resize`; the labels are those of the nearest
    pixel. If the scaled image is smaller than the window, all of it is kept, and the result is smaller.
    """

    def __init__(self, size: tuple[int, int], scales: tuple[float, float], step: float) -> None:
        """Define the transform; `size` is the window's height and width, scales as in `Augmentation`."""
        super().__init__(p=1)
        self.size, self.scales, self.step = size, scales, step

    def get_params_dependent_on_data(self, params: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
        low, high = self.scales
        steps = max(round((high - low) / self.step), 1)
        scale = low + self.py_random.randint(0, steps) * (high - low) / steps
        shape = params["shape"][:2]
        scaled = tuple(max(round(side * scale), 1) for side in shape)
        window = tuple(min(side, most) for side, most in zip(scaled, self.size, strict=True))
        start = tuple(self.py_random.randint(0, side - part) for side, part in zip(scaled, window, strict=True))
        ratio = tuple(side / after for side, after in zip(shape, scaled, strict=True))
        return {"window": window, "start": start, "ratio": ratio}

    def apply(self, img: Pixels, window: Any, start: Any, ratio: Any, **params: Any) -> Pixels:
        # The centre of the window's pixel p is at (start + p + 1/2) * ratio in the image.
        shift = [(first + 0.5) * part - 0.5 for first, part in zip(start, ratio, strict=True)]
        matrix = np.array([[ratio[1], 0, shift[1]], [0, ratio[0], shift[0]]])
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        return cv2.warpAffine(img, matrix, window[::-1], flags=flags, borderMode=cv2.BORDER_REPLICATE)

    def apply_to_mask(self, mask: Pixels, window: Any, start: Any, ratio: Any, **params: Any) -> Pixels:
        rows, columns = (
            np.minimum(((first + np.arange(length) + 0.5) * part).astype(np.int64), side - 1)
            for first, length, part, side in zip(start, window, ratio, mask.shape, strict=True)
        )
        return mask[rows][:, columns]


class Pipeline:
    """Turns `(H, W, 3)` uint8 RGB and `(H, W)` uint8 train ids into a float32 image, normalised, and its labels.

    The steps are a random scale, padding at the bottom and on the right with 0 (the mean colour) and ignored labels, a
    random window of `size`, and a flip.
    """

    def __init__(
        self, size: tuple[int, int], augmentation: Augmentation, *, normalisation: Normalisation = "imagenet"
    ) -> None:
        """Define the pipeline.

        Args:
            size: Height and width of the windows.
            augmentation: Options of the augmentation.
            normalisation: Name of the mean and standard deviation in `STATISTICS`.
        """
        self.steps: list[A.BasicTransform] = [
            RandomScaledCrop(size, augmentation.scales, augmentation.step),
            A.Normalize(*STATISTICS[normalisation]),
            A.PadIfNeeded(*size, position="top_left", border_mode=cv2.BORDER_CONSTANT, fill=0, fill_mask=IGNORED),
            A.HorizontalFlip(p=augmentation.flip),
        ]
        self.compose = A.Compose(self.steps)

    def __call__(self, image: Pixels, labels: Pixels, seed: int) -> tuple[Pixels, Pixels]:
        """Process an image and its labels; the same seed gives the same result.

        Each step has its own seed: `Compose.set_random_seed` would give all steps the same one, so that scale and flip
        would be correlated.
        """
        for number, step in enumerate(self.steps):
            step.set_random_seed(int(np.random.SeedSequence((seed, number)).generate_state(1)[0]))
        varied = self.compose(image=image, mask=labels)
        return np.ascontiguousarray(varied["image"]), np.ascontiguousarray(varied["mask"])
