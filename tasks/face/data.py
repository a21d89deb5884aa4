"""What face verification reads: labelled faces to train with, and packs of pairs to verify."""

from abc import abstractmethod
from itertools import accumulate
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, default_collate

from relattn.errors import InputError
from relattn.tasks.face.images import SIZE, central, decode
from relattn.tasks.face.packs import OFFICIAL, Pack
from relattn.tasks.face.sources import Joined
from relattn.tasks.fingerprint import combined
from relattn.tasks.images import ImageData
from relattn.tasks.samplers import Draw

CENTRE, RANGE = 127.5, 128.0
"""From 0 to 255 to nearly -1 to 1 (StRA's supplement, training details)."""


class Labelled(Dataset[dict[str, Any]]):
    """Faces to train with, flipped half of the time.

    A sample is `image` (H, W, 3) uint8 RGB, `label` and `index`, its place in the set.
    """

    def __init__(self, images: Joined, size: tuple[int, int], flip: float) -> None:
        """Keep the images; `flip` is the probability of a horizontal flip."""
        self.images, self.size, self.flip = images, size, flip

    def __len__(self) -> int:
        """Number of images."""
        return len(self.images)

    def __getitem__(self, draw: Draw) -> dict[str, Any]:
        """Read an image."""
        index = draw.index
        pixels = central(decode(self.images.read(index), self.images.where(index)), self.size)
        if np.random.default_rng(draw.seed).random() < self.flip:
            pixels = cv2.flip(pixels, 1)  # type: ignore[assignment]
        return {"image": torch.from_numpy(pixels), "label": int(self.images.labels[index]), "index": index}


class Pairs(Dataset[dict[str, Any]]):
    """The images of all packs, one pack after the other: 2i and 2i+1 of a pack are its pair i.

    A sample is `image` (H, W, 3) uint8 RGB, `label` -1, and `index`, its place in the concatenation.
    """

    def __init__(self, packs: list[Pack], size: tuple[int, int]) -> None:
        """Keep the packs."""
        self.packs, self.size = packs, size
        self.starts = [0, *accumulate(map(len, packs))]

    def __len__(self) -> int:
        """Number of images."""
        return self.starts[-1]

    def __getitem__(self, draw: Draw) -> dict[str, Any]:
        """Read an image."""
        place = int(np.searchsorted(self.starts, draw.index, side="right")) - 1
        pixels = self.packs[place].read(draw.index - self.starts[place], self.size)
        return {"image": torch.from_numpy(pixels), "label": -1, "index": draw.index}


def collate(samples: list[dict[str, Any]]) -> dict[str, Tensor]:
    """Stack samples; `image` becomes (B, 3, H, W) float32, normalised, and stays channels-last in memory."""
    batch: dict[str, Tensor] = default_collate(samples)
    batch["image"] = batch["image"].to(torch.float32).sub_(CENTRE).div_(RANGE).permute(0, 3, 1, 2)
    return batch


class FacesData(ImageData):
    """Training faces in shuffled batches; the images of all packs in order for validation and test."""

    packs: dict[str, Pack]
    """By name, in the order in which `val` and `test` go through them."""

    collate = staticmethod(collate)

    def __init__(
        self,
        root: Path | str = "data",
        *,
        image_size: tuple[int, int] = SIZE,
        batch_size: int = 512,
        eval_batch_size: int = 256,
        flip: float = 0.5,
        **arguments: Any,
    ) -> None:
        """Define the data.

        Args:
            root: The folder that holds the training sets and the packs.
            image_size: Height and width of the faces, in pixels: an image is resized to cover it, and its centre taken.
            batch_size: Images of one step, over all GPUs together.
            eval_batch_size: Images of one step of evaluation, on each GPU.
            flip: Probability of flipping a training image, the only augmentation in the paper.
            arguments: Shared by all sets of images, see `ImageData`; files of records are checked when they are read.

        Raises:
            InputError: If a number is out of range.
        """
        sizes = {"image_size": image_size, "batch_size": batch_size, "eval_batch_size": eval_batch_size}
        super().__init__(root, **sizes, **arguments)
        name = type(self).__name__
        if not 0 <= flip <= 1:
            raise InputError(f"{name}: flip is {flip}, expected a probability, from 0 to 1.")
        self.flip = flip

    @abstractmethod
    def read_train(self) -> Joined:
        """Find the training images."""

    @abstractmethod
    def read_packs(self) -> list[Pack]:
        """Find the packs."""

    def setup(self, stage: str) -> None:
        """Find and check the images, once."""
        if self.sets:
            return
        packs, train = self.read_packs(), self.read_train()
        if self.check_files:
            for part in (*packs, *train.sources):
                if hasattr(part, "check"):
                    part.check()
        self.packs = {pack.name: pack for pack in packs}
        self.genuine = {name: len(pack.same) for name, pack in self.packs.items()} == OFFICIAL
        self.identities = train.identities
        self.num_classes = len(train.identities)
        test = Pairs(packs, self.image_size)
        self.sets = {"train": Labelled(train, self.image_size, self.flip), "val": test, "test": test}

    def describe(self) -> dict[str, Any]:
        train = self.sets["train"]
        assert isinstance(train, Labelled)
        return {
            "data": type(self).__name__,
            "images": {"train": len(train), **{name: len(pack) for name, pack in self.packs.items()}},
            "identities": self.num_classes,
            "sources": train.images.counts(),
            "pairs": {name: len(pack.same) for name, pack in self.packs.items()},
            "genuine": self.genuine,
            "fingerprint": combined([train.images.fingerprint(), *(p.fingerprint() for p in self.packs.values())]),
        }
