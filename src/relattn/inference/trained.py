"""A trained network ready for use, as `relattn.load` returns it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image as Pillow
from PIL import ImageOps
from torch import Tensor, nn

from relattn.errors import InputError, MissingFileError
from relattn.tasks.decoding import eight_bits, read_image
from relattn.tasks.predictor import Answer, Pixels

ImageSource = Path | str | Pillow.Image | Pixels
"""An image file, a Pillow image, or `(h, w, 3)` uint8 RGB."""


@dataclass
class Trained:
    """A trained network, with its preprocessing, its predictions and its metadata.

    Call it with images to get predictions: for classification a list of `Prediction`s; for segmentation a list of maps
    `(h, w)` uint8 of classes, at the size of the images, segmented as in the run's evaluation; for re-identification
    and faces the features, a tensor `(images, D)`.

    Attributes:
        network: A plain module in evaluation mode on the CPU, which maps a batch `(B, 3, H, W)` to logits
            `(B, classes)` or `(B, classes, H, W)`, or to the features that are compared, `(B, D)`. Features have length
            1 if they are compared by their angle (`metadata["output"]["normalised"]`). Move it to a GPU with
            `network.cuda()`.
        transform: Function from an image to the network's input, `(3, H, W)` float32, as in evaluation.
        metadata: Metadata of the network: `task`, `input`, `output`, `preprocessing`, `scores` and, if the task has
            them, `classes`, `palette`, `distance`, `feature`, `flip` and `threshold`.
    """

    network: nn.Module
    transform: Callable[[ImageSource], Tensor]
    metadata: dict[str, Any]
    answer: Answer

    def __call__(self, *images: ImageSource) -> Any:
        """The predictions for images.

        Raises:
            InputError: If there is no image, or one is of another kind.
        """
        if not images:
            raise InputError("No image is given: give one or more.")
        device = next(self.network.parameters()).device
        pixels = [pixels_of(image) for image in images]
        with torch.inference_mode():
            return self.answer(self.network, pixels, [self.transform(image).to(device) for image in pixels])


def pixels_of(image: ImageSource) -> Pixels:
    """The pixels of an image, `(h, w, 3)` uint8 RGB.

    Raises:
        MissingFileError: If the file does not exist.
        InputError: If it cannot be decoded, or is not an image.
    """
    if isinstance(image, Path | str):
        if not Path(image).is_file():
            raise MissingFileError(f"{image}: there is no such image.")
        return read_image(Path(image))
    if isinstance(image, Pillow.Image):
        return eight_bits(ImageOps.exif_transpose(image))  # upright, like images read from files
    if (
        isinstance(image, np.ndarray)
        and image.ndim == 3
        and image.shape[2] == 3
        and image.dtype == np.uint8
        and image.size
    ):
        return image
    kind = f"{image.dtype} {tuple(image.shape)}" if hasattr(image, "shape") else type(image).__name__
    raise InputError(f"An image is {kind}, expected a file, a picture of Pillow's, or a uint8 array (h, w, 3) in RGB.")
