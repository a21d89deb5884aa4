"""Data sets of image files: their loaders, with the same batches on any number of GPUs and workers."""

import hashlib
import os
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate

from relattn.cores import available_cores
from relattn.errors import InputError
from relattn.preprocessing import Preprocessing
from relattn.tasks.data import Data, check_one_size
from relattn.tasks.decoding import Pixels, decode_image, decode_wholly
from relattn.tasks.image_cache import decode_all
from relattn.tasks.samplers import InOrder, SampleIndex, Shuffled


def one_thread(_worker: int) -> None:
    """Keep OpenCV from starting threads in every worker process."""
    cv2.setNumThreads(0)


def stacked(samples: list[dict[str, Any]]) -> dict[str, Any]:
    """Stack samples whose `image` is (H, W, 3); it becomes (B, 3, H, W) and stays channels-last in memory."""
    batch: dict[str, Any] = default_collate(samples)
    batch["image"] = batch["image"].permute(0, 3, 1, 2)
    return batch


@dataclass(frozen=True)
class Unvaried:
    """Prepares images as evaluation does, whatever the seed of their augmentation."""

    preprocessing: Preprocessing

    def __call__(self, pixels: Pixels, seed: int) -> NDArray[np.float32]:
        """Prepare an image `(h, w, 3)`."""
        return self.preprocessing(pixels)


class TrainingLoader(DataLoader[dict[str, Any]]):
    """A training loader that can resume within an epoch, by Lightning's protocol for stateful loaders.

    An epoch begins when its first batch is requested: Lightning creates the iterator of a resumed run before it knows
    the epoch, and worker processes would immediately read images of the wrong one.
    """

    batches = 0
    """Batches handed out in this epoch, including those before an interruption."""
    resumed: tuple[int, int] = (-1, 0)
    """The epoch in which the run was stopped, and the number of its batches already used."""

    def __iter__(self) -> Iterator[dict[str, Tensor]]:  # type: ignore[override]
        sampler: Any = self.sampler
        epoch, used = self.resumed
        self.batches = sampler.first_step = used if sampler.epoch == epoch else 0
        for batch in super().__iter__():
            self.batches += 1
            yield batch

    def state_dict(self) -> dict[str, int]:
        """The epoch and the number of its batches handed out."""
        sampler: Any = self.sampler
        return {"epoch": sampler.epoch, "batches": self.batches}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Skip the batches of that epoch that were already used."""
        self.resumed = state["epoch"], state["batches"]


class ImageSet(Dataset[dict[str, Any]]):
    """The samples of a split, and the files that they are made from.

    `relattn data check` inspects the files; a set that does not override `encoded` is checked by its samples instead.
    """

    cached: list[Any] | None = None
    """The decoded images if they are kept in memory, else None."""

    def decode(self, index: int) -> Any:
        """Decode the file or files of a sample to an array `(H, W, 3)` uint8 RGB, or a tuple of arrays.

        Raises:
            InputError: If there is no file, or it cannot be decoded.
        """
        content = self.encoded(index)
        if content is None:
            raise InputError(f"{self.image_name(index)} is not in a file, so there is nothing to decode.")
        return decode_image(content, self.image_name(index))

    def decoded(self, index: int) -> Any:
        """Return the same as `decode`, from memory if the images are kept there; read-only."""
        return self.decode(index) if self.cached is None else self.cached[index]

    def __len__(self) -> int:
        """Number of samples."""
        raise NotImplementedError

    def image_key(self, index: int) -> Any:
        """A key that is equal for samples of the same image, in this split or another."""
        return id(self), index

    def image_name(self, index: int) -> str:
        """Display name of an image in messages: its path if it has one."""
        return f"image {index}"

    def relative_path(self, index: int) -> str:
        """Path of an image relative to the set's folder, with forward slashes; empty if it has none."""
        return ""

    def encoded(self, index: int) -> bytes | None:
        """Content of the image file; None if there is no file."""
        return None

    def check_labels(self, index: int, size: tuple[int, int]) -> None:
        """Check the labels of an image of the given height and width, for example a label image.

        Raises:
            InputError: If they are wrong; the message says why.
        """

    def inspect(self, index: int) -> bytes:
        """Decode an image completely, check its labels, and return a digest of its content; empty if there is no file.

        Raises:
            InputError: If the image or its labels are wrong; the message says why.
        """
        content = self.encoded(index)
        if content is None:
            self[SampleIndex(index, 0)]  # read it as training does
            return b""
        height, width = decode_wholly(content).shape[:2]
        self.check_labels(index, (height, width))
        return hashlib.blake2b(content, digest_size=16).digest()


class ImageData(Data):
    """Training images in batches, and evaluation images in order."""

    @staticmethod
    def collate(samples: list[dict[str, Any]]) -> dict[str, Any]:
        """Collate samples into a batch."""
        batch: dict[str, Any] = default_collate(samples)
        return batch

    origin: Mapping[str, bool] = {}
    """Origin of the images, known after `setup`: see `relattn.tasks.files.origin`."""

    def __init__(
        self,
        root: Path | str = "data",
        *,
        image_size: tuple[int, int],
        batch_size: int,
        eval_batch_size: int,
        check_files: bool = True,
        cache: Literal["ram"] | None = None,
        workers: int | None = None,
        seed: int | None = None,
    ) -> None:
        """Define the data.

        Args:
            root: The folder that holds the set's own folder.
            image_size: Height and width of the training images, in pixels.
            batch_size: Images per step, over all GPUs together.
            eval_batch_size: Images per evaluation step on each GPU.
            check_files: Whether to check the first and last bytes of every file before training.
            cache: `ram` decodes all training images once and keeps them in memory, which saves decoding them in every
                epoch; for sets that fit into it.
            workers: Processes that read images on each GPU; by default as many as there are processor cores for them,
                at most 8.
            seed: Seed of batches, augmentation and everything else that is random; by default the run's seed.

        Raises:
            InputError: If a number is out of range.
        """
        super().__init__()
        self.expect(batch_size=(batch_size, 1), eval_batch_size=(eval_batch_size, 1), workers=(workers or 0, 0))
        self.expect(image_size=(min(image_size), 16))
        self.root, self.image_size = Path(root), (image_size[0], image_size[1])
        self.batch_size, self.eval_batch_size = batch_size, eval_batch_size
        if cache not in (None, "ram"):
            raise InputError(f"{type(self).__name__}: cache is {cache!r}, expected 'ram' or null.")
        self.check_files, self.cache, self.workers = check_files, cache, workers
        self.seed = int(os.environ.get("PL_GLOBAL_SEED", 0)) if seed is None else seed

    def is_new(self) -> bool:
        """Whether the network in use was trained on data in another folder, so that all of this can be scored."""
        return self.trained_on is not None and Path(self.trained_on) != Path(self.root).absolute()

    def expect(self, **numbers: tuple[int, int]) -> None:
        """Raise an InputError unless each number is at least its lower limit; each value is (number, limit)."""
        for name, (value, least) in numbers.items():
            if value < least:
                raise InputError(f"{type(self).__name__}: {name} is {value}, expected at least {least}.")

    def setup(self, stage: str) -> None:
        """Find and check the images that a stage needs, once."""
        splits = self.splits_of(stage)
        if any(split not in self.sets for split in splits):
            self.read(splits)

    @abstractmethod
    def read(self, splits: Sequence[str]) -> None:
        """Find and check the images of some splits and store them in `sets`; other splits may be missing.

        Args:
            splits: Some of `train`, `val`, `test` and `predict`.
        """

    def rank_and_world_size(self) -> dict[str, int]:
        """Rank of this process and number of processes, as arguments of a sampler."""
        assert self.trainer is not None
        return {"rank": self.trainer.global_rank, "world_size": self.trainer.world_size}

    def examples(self, split: str, indices: Sequence[int]) -> dict[str, Any]:
        self.check_indices(split, indices)
        samples = [self.sets[split][SampleIndex(index, 0)] for index in indices]
        check_one_size(sample["image"].shape for sample in samples)
        return type(self).collate(samples)

    def sampler(self) -> Any:
        """Return the sampler of training batches: shuffled by default."""
        return Shuffled(
            len(self.sets["train"]), batch_size=self.batch_size, seed=self.seed, **self.rank_and_world_size()
        )

    def loader(
        self,
        split: str,
        sampler: Any,
        batch_size: int,
        kind: type[DataLoader[dict[str, Any]]] = DataLoader,
        **options: Any,
    ) -> DataLoader[dict[str, Any]]:
        """Build a loader with this process's worker processes."""
        trainer = self.trainer
        assert trainer is not None
        workers = min(8, available_cores() // max(trainer.num_devices, 1)) if self.workers is None else self.workers
        return kind(
            self.sets[split],
            batch_size=batch_size,
            sampler=sampler,
            num_workers=workers,
            worker_init_fn=one_thread,
            collate_fn=type(self).collate,
            persistent_workers=workers > 0,
            pin_memory=trainer.strategy.root_device.type == "cuda",
            **options,
        )

    def train_dataloader(self) -> DataLoader[dict[str, Any]]:
        sampler = self.sampler()
        sampler.repeats = self.trainer is not None and bool(self.trainer.overfit_batches)  # type: ignore[attr-defined]
        if self.cache is not None:
            self.keep_in_memory(self.sets["train"])
        return self.loader("train", sampler, sampler.per_process, TrainingLoader, drop_last=True)

    def keep_in_memory(self, images: ImageSet) -> None:
        """Decode the images of a split once, before the worker processes start.

        Raises:
            InputError: If the images do not fit into memory, or one cannot be decoded.
        """
        if images.cached is None:
            processes = self.trainer.num_devices if self.trainer is not None else 1
            images.cached = decode_all(type(self).__name__, len(images), images.decode, processes=processes)

    def evaluation_loader(self, split: str) -> DataLoader[dict[str, Any]]:
        """Build a loader of the samples of a split, in order."""
        return self.loader(split, InOrder(len(self.sets[split]), **self.rank_and_world_size()), self.eval_batch_size)

    def evaluation_loader_alone(self, split: str) -> DataLoader[dict[str, Any]]:
        """Build a loader of the samples of a split, in order, in this process alone and without a trainer."""
        samples = self.sets[split]
        indices = [SampleIndex(index, 0) for index in range(len(samples))]
        return DataLoader(samples, self.eval_batch_size, sampler=indices, collate_fn=type(self).collate)

    def val_dataloader(self) -> DataLoader[dict[str, Any]]:
        return self.evaluation_loader("val")

    def test_dataloader(self) -> DataLoader[dict[str, Any]]:
        return self.evaluation_loader("test")

    def predict_dataloader(self) -> DataLoader[dict[str, Any]]:
        return self.evaluation_loader("predict" if "predict" in self.sets else "test")
