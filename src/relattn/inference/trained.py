"""A trained network for use, with what belongs to it: what `relattn.load` gives."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import ImageOps
from torch import Tensor, nn

from relattn.errors import InputError, MissingFileError
from relattn.tasks.images import read_image

Pixels = NDArray[np.uint8]

Image = Path | str | Pillow.Image | Pixels
"""An image file, a picture of Pillow's, or `(h, w, 3)` uint8 RGB."""


class Prediction(NamedTuple):
    """The class of an image."""

    name: str
    probability: float


class Embedder(nn.Module):
    """Images `(B, 3, H, W)` to the features `(B, D)` that a task compares, of length 1 where their angle counts."""

    def __init__(self, network: nn.Module, *, norm: nn.Module, flip: str, normalised: bool) -> None:
        """Join the parts.

        Args:
            network: Gives the feature of an image.
            norm: What the feature passes before it is compared, or an identity.
            flip: What is done with the mirror image's feature: `sum`, `concatenate`, or `none`.
            normalised: Whether features are brought to length 1.
        """
        super().__init__()
        self.network, self.norm, self.flip, self.normalised = network, norm, flip, normalised

    def forward(self, images: Tensor) -> Tensor:
        """Return the features."""
        feature: Tensor = self.norm(self.network(images))
        if self.flip != "none":
            mirrored = self.norm(self.network(images.flip(3)))
            feature = feature + mirrored if self.flip == "sum" else torch.cat([feature, mirrored], dim=1)
        return F.normalize(feature, dim=1) if self.normalised else feature


@dataclass
class Trained:
    """A trained network, with what belongs to its use.

    Call it with images for the answer: of classification a list of `Prediction`s; of segmentation a list of maps
    `(h, w)` uint8 of classes, at the size of the images, segmented as the run's evaluation does it; of
    re-identification and faces the features, a tensor `(images, D)`.

    Attributes:
        network: A plain module in evaluation mode on the CPU, which maps a batch `(B, 3, H, W)` to logits
            `(B, classes)` or `(B, classes, H, W)`, or to the features that are compared, `(B, D)`. Features have length
            1 if they are compared by their angle (`metadata["output"]["normalised"]`). Move it to a GPU with
            `network.cuda()`.
        transform: From an image to what the network sees, `(3, H, W)` float32, as evaluation does it.
        metadata: What is known of the network: `task`, `input`, `output`, `preprocessing`, `scores` and, as far as the
            task has them, `classes`, `palette`, `distance`, `feature`, `flip` and `threshold`.
    """

    network: nn.Module
    transform: Callable[[Image], Tensor]
    metadata: dict[str, Any]
    answer: Callable[[nn.Module, list[Pixels], list[Tensor]], Any]
    """From the network, the images and what the network sees of them to what a call returns."""

    def __call__(self, *images: Image) -> Any:
        """The answer for images.

        Raises:
            InputError: If there is no image, or one is of another kind.
        """
        if not images:
            raise InputError("There is no image to answer for: give one or more.")
        device = next(self.network.parameters()).device
        pixels = [pixels_of(image) for image in images]
        with torch.inference_mode():
            return self.answer(self.network, pixels, [self.transform(image).to(device) for image in pixels])


def pixels_of(image: Image) -> Pixels:
    """The pixels of an image, `(h, w, 3)` uint8 RGB.

    Raises:
        MissingFileError: If there is no such file.
        InputError: If it cannot be decoded, or is no image.
    """
    if isinstance(image, Path | str):
        if not Path(image).is_file():
            raise MissingFileError(f"{image}: there is no such image.")
        return read_image(Path(image))
    if isinstance(image, Pillow.Image):
        return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))  # upright, as files are read
    if isinstance(image, np.ndarray) and image.ndim == 3 and image.shape[2] == 3 and image.dtype == np.uint8:
        return image
    kind = f"{image.dtype} {tuple(image.shape)}" if hasattr(image, "shape") else type(image).__name__
    raise InputError(f"An image is {kind}, expected a file, a picture of Pillow's, or a uint8 array (h, w, 3) in RGB.")
