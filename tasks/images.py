"""What data sets of image files share: their loaders, with the same batches on any number of GPUs and workers."""

import os
from abc import abstractmethod
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import cv2
import numpy as np
from torch import Tensor
from torch.utils.data import DataLoader

from relattn.cores import available_cores
from relattn.errors import InputError
from relattn.tasks.base import Data
from relattn.tasks.samplers import InOrder, Shuffled


def read_image(path: Path) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Read an image file as `(H, W, 3)` uint8 RGB.

    Raises:
        InputError: If it cannot be decoded.
    """
    pixels = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if pixels is None:
        state = f"{path.stat().st_size} bytes" if path.is_file() else "no such file"
        raise InputError(f"{path} cannot be read as an image ({state}).")
    return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)  # type: ignore[return-value]


def one_thread(_worker: int) -> None:
    """Keep OpenCV from starting threads in every worker process."""
    cv2.setNumThreads(0)


class TrainingLoader(DataLoader[dict[str, Any]]):
    """A loader whose epoch begins when its first batch is asked for.

    Lightning makes the iterator of a run that goes on before it knows the epoch, and worker processes would at once
    read images of another one.
    """

    def __iter__(self) -> Iterator[dict[str, Tensor]]:  # type: ignore[override]
        yield from super().__iter__()


class ImageData(Data):
    """Training images in batches, and the images of evaluation in order."""

    collate: ClassVar[Callable[[list[dict[str, Any]]], dict[str, Tensor]]]
    """Makes a batch of samples; a static method."""

    sets: dict[str, Any]
    """The samples of `train`, `val`, `test` and, where it is another set than test's, `predict`."""

    genuine: bool
    """Whether there is as much of everything as in the published set."""

    def __init__(
        self,
        root: Path | str = "data",
        *,
        image_size: tuple[int, int],
        batch_size: int,
        eval_batch_size: int,
        check_files: bool = True,
        workers: int | None = None,
        seed: int | None = None,
    ) -> None:
        """Define the data.

        Args:
            root: The folder that holds the set's own folder.
            image_size: Height and width of the images that are trained on, in pixels.
            batch_size: Images of one step, over all GPUs together.
            eval_batch_size: Images of one step of evaluation, on each GPU.
            check_files: Whether to look at the first and last bytes of every file before training.
            workers: Processes that read images on each GPU; by default as many as there are processor cores for them,
                at most 8.
            seed: Seed of batches, augmentation and whatever else is drawn; by default the run's seed.

        Raises:
            InputError: If a number is out of range.
        """
        super().__init__()
        self.expect(batch_size=(batch_size, 1), eval_batch_size=(eval_batch_size, 1), workers=(workers or 0, 0))
        self.expect(image_size=(min(image_size), 16))
        self.root, self.image_size = Path(root), (image_size[0], image_size[1])
        self.batch_size, self.eval_batch_size = batch_size, eval_batch_size
        self.check_files, self.workers = check_files, workers
        self.seed = int(os.environ.get("PL_GLOBAL_SEED", 0)) if seed is None else seed
        self.sets = {}

    def expect(self, **numbers: tuple[int, int]) -> None:
        """Raise an InputError unless each number is at least what stands beside it."""
        for name, (value, least) in numbers.items():
            if value < least:
                raise InputError(f"{type(self).__name__}: {name} is {value}, expected at least {least}.")

    @abstractmethod
    def setup(self, stage: str) -> None:
        """Find and check the images, once."""

    def place(self) -> dict[str, int]:
        """Which of the processes this is, for a sampler."""
        assert self.trainer is not None
        return {"rank": self.trainer.global_rank, "world_size": self.trainer.world_size}

    def sampler(self) -> Any:
        """The batches of training: shuffled."""
        return Shuffled(len(self.sets["train"]), batch_size=self.batch_size, seed=self.seed, **self.place())

    def loader(
        self,
        split: str,
        sampler: Any,
        batch_size: int,
        kind: type[DataLoader[dict[str, Any]]] = DataLoader,
        **options: Any,
    ) -> DataLoader[dict[str, Any]]:
        """A loader on this process's worker processes."""
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
        return self.loader("train", sampler, sampler.share, TrainingLoader, drop_last=True)

    def evaluation_loader(self, split: str) -> DataLoader[dict[str, Any]]:
        """The samples of a split, in order."""
        return self.loader(split, InOrder(len(self.sets[split]), **self.place()), self.eval_batch_size)

    def val_dataloader(self) -> DataLoader[dict[str, Any]]:
        return self.evaluation_loader("val")

    def test_dataloader(self) -> DataLoader[dict[str, Any]]:
        return self.evaluation_loader("test")

    def predict_dataloader(self) -> DataLoader[dict[str, Any]]:
        return self.evaluation_loader("predict" if "predict" in self.sets else "test")
