"""The base of the data for face verification: labelled faces for training, and sets of pairs to verify."""

import warnings
from abc import abstractmethod
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import default_collate

from relattn.errors import InputError
from relattn.preprocessing import Preprocessing
from relattn.tasks.decoding import Pixels
from relattn.tasks.face.sources import Joined
from relattn.tasks.face.verification_sets import OFFICIAL, VerificationSet
from relattn.tasks.files import departures, origin
from relattn.tasks.fingerprint import combined
from relattn.tasks.image_data import ImageData, ImageSet
from relattn.tasks.samplers import SampleIndex

ALIGNED_SIZE = (112, 112)
"""Height and width of aligned faces in pixels, as in StRA and in the papers of both margins."""

CENTRE, RANGE = 127.5, 128.0
"""Maps 0 to 255 to nearly -1 to 1 (StRA's supplement, training details)."""


class FaceImages(ImageSet):
    """Training faces, flipped half of the time.

    A sample is `image` (H, W, 3) uint8 RGB, `label`, and `index`, its position in the set.
    """

    def __init__(self, images: Joined, preprocessing: Preprocessing, flip: float) -> None:
        """Keep the images; `flip` is the probability of a horizontal flip."""
        self.images, self.preprocessing, self.flip = images, preprocessing, flip

    def __len__(self) -> int:
        """Number of images."""
        return len(self.images)

    def image_name(self, index: int) -> str:
        return self.images.where(index)

    def encoded(self, index: int) -> bytes:
        return self.images.read(index)

    def decode(self, index: int) -> Pixels:
        """Decode a face at the network's input size."""
        return self.preprocessing.resized(super().decode(index))

    def __getitem__(self, request: SampleIndex) -> dict[str, Any]:
        """Read an image."""
        index = request.index
        pixels = self.decoded(index)
        flipped = np.random.default_rng(request.seed).random() < self.flip
        pixels = cv2.flip(pixels, 1) if flipped else pixels.copy()
        return {"image": torch.from_numpy(pixels), "label": int(self.images.labels[index]), "index": index}


class VerificationImages(ImageSet):
    """The images of all verification sets, one set after the other: images 2i and 2i+1 of a set are its pair i.

    A sample is `image` (H, W, 3) uint8 RGB, `label` -1, and `index`, its position in the concatenation.
    """

    def __init__(self, sets: list[VerificationSet], preprocessing: Preprocessing) -> None:
        """Keep the sets."""
        self.sets, self.preprocessing = sets, preprocessing
        self.starts = [0, *accumulate(map(len, sets))]

    def __len__(self) -> int:
        """Number of images."""
        return self.starts[-1]

    def locate(self, index: int) -> tuple[VerificationSet, int]:
        """The set that an image belongs to, and its index in that set."""
        number = int(np.searchsorted(self.starts, index, side="right")) - 1
        return self.sets[number], index - self.starts[number]

    def image_name(self, index: int) -> str:
        pairs, number = self.locate(index)
        return pairs.where(number)

    def encoded(self, index: int) -> bytes:
        pairs, number = self.locate(index)
        return pairs.encoded(number)

    def __getitem__(self, request: SampleIndex) -> dict[str, Any]:
        """Read an image."""
        pairs, number = self.locate(request.index)
        pixels = self.preprocessing.resized(pairs.read(number))
        return {"image": torch.from_numpy(pixels), "label": -1, "index": request.index}


class FaceData(ImageData):
    """Training faces in shuffled batches; the images of all verification sets in order, for validation and test."""

    verification: dict[str, VerificationSet]
    """The verification sets by name, in the order in which `val` and `test` visit them."""

    holding_out = "the verification sets are both"

    @staticmethod
    def collate(samples: list[dict[str, Any]]) -> dict[str, Any]:
        """Stack samples; `image` becomes (B, 3, H, W) float32, normalised, and stays channels-last in memory."""
        batch: dict[str, Tensor] = default_collate(samples)
        batch["image"] = batch["image"].to(torch.float32).sub_(CENTRE).div_(RANGE).permute(0, 3, 1, 2)
        return batch

    def __init__(
        self,
        root: Path | str = "data",
        *,
        image_size: tuple[int, int] = ALIGNED_SIZE,
        batch_size: int = 512,
        eval_batch_size: int = 256,
        flip: float = 0.5,
        **arguments: Any,
    ) -> None:
        """Define the data.

        Args:
            root: The folder that contains the training sets and the verification sets.
            image_size: Height and width of the faces in pixels: an image is resized to cover it, and its centre is
                cropped.
            batch_size: Images per step, over all GPUs together.
            eval_batch_size: Images per evaluation step on each GPU.
            flip: Probability of flipping a training image, the only augmentation in the paper.
            arguments: Arguments shared by all image data sets, see `ImageData`; record files are checked when they are
                read.

        Raises:
            InputError: If a number is out of range.
        """
        super().__init__(
            root, image_size=image_size, batch_size=batch_size, eval_batch_size=eval_batch_size, **arguments
        )
        name = type(self).__name__
        if not 0 <= flip <= 1:
            raise InputError(f"{name}: flip is {flip}, expected a probability, from 0 to 1.")
        self.flip = flip

    @abstractmethod
    def read_train(self) -> Joined:
        """Find the training images."""

    @abstractmethod
    def read_verification_sets(self) -> list[VerificationSet]:
        """Find the verification sets."""

    def preprocessing(self) -> Preprocessing:
        """StRA's: resize the shorter side to the face's, crop the centre, subtract 127.5, divide by 128 (supplement B).

        The public sets are aligned at 112x112 and pass unchanged. The paper names no filter for other sizes, so the
        filter is not an option: each pixel is the mean of those it covers, which avoids aliasing in larger images.
        """
        return Preprocessing(
            self.image_size, "cover", "area_or_linear", mean=(CENTRE,) * 3, std=(RANGE,) * 3, value_range=255.0
        )

    def read(self, splits: Sequence[str]) -> None:
        sets, train = self.read_verification_sets(), self.read_train() if "train" in splits else None
        sources = train.sources if train is not None else []
        if self.check_files:
            for part in (*sets, *sources):
                if hasattr(part, "check"):
                    part.check()
        self.verification = {pairs.name: pairs for pairs in sets}
        files = [*(one.origin for one in sets), *(source.path for source in sources)]
        pairs = {one.name: len(one.same) for one in sets}
        official = {name: OFFICIAL[name] for name in pairs if name in OFFICIAL}
        self.origin = origin(type(self).__name__, self.root, departures(pairs, official) if official else None, files)
        test = VerificationImages(sets, self.preprocessing())
        self.sets = {"val": test, "test": test, "predict": test}
        if train is not None:
            self.identities = train.identities
            self.num_classes, self.class_names = len(train.identities), train.identities
            self.sets["train"] = FaceImages(train, self.preprocessing(), self.flip)

    def check(self) -> None:
        for name, pairs in self.verification.items():
            if pairs.same.all() or not pairs.same.any():
                kind = "one person" if pairs.same.all() else "two people"
                raise InputError(
                    f"{name} ({pairs.origin}): all {len(pairs.same):,} pairs show {kind}, so that no threshold can "
                    "be told: both kinds are needed. Correct the list."
                )
        if "train" in self.sets:
            labels = self.sets["train"].images.labels
            if alone := int((np.bincount(labels, minlength=self.num_classes) == 1).sum()):
                warnings.warn(
                    f"{alone:,} of {self.num_classes:,} training identities have one image: leave them out with "
                    "--data.min_images 2, if they teach nothing.",
                    stacklevel=2,
                )

    def describe(self) -> dict[str, Any]:
        images = {name: len(pairs) for name, pairs in self.verification.items()}
        made_of = [pairs.fingerprint() for pairs in self.verification.values()]
        training = {}
        if "train" in self.sets:
            train = self.sets["train"]
            assert isinstance(train, FaceImages)
            images = {"train": len(train), **images}
            training = {"identities": self.num_classes, "sources": train.images.counts()}
            made_of = [train.images.fingerprint(), *made_of]
        return {
            "data": type(self).__name__,
            "images": images,
            **training,
            "pairs": {name: len(pairs.same) for name, pairs in self.verification.items()},
            **self.origin,
            "fingerprint": combined(made_of),
        }
