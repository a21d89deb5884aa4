"""Batches of a whole data set that lives on the training device.

CIFAR is 150 MB as uint8: it goes to the device once, and each batch is cut, flipped and normalised there in a few
operations. No worker processes, no copies from the host, and nothing that waits for the device.
"""

from collections.abc import Iterator, Sequence
from types import SimpleNamespace

import torch
import torch.nn.functional as F
from torch import Tensor

from relattn.errors import InputError


class DeviceBatches:
    """Yields `{"image": (B, 3, H, W) float32, "label": (B,) int64, "index": (B,) int64}`, images channels-last.

    For training, an epoch is a permutation; each image is padded with zeros (black), cut to its size at a random
    position and flipped with probability 1/2, which is in distribution what `RandomCrop(size, padding)` and
    `RandomHorizontalFlip` do image by image. All random numbers of an epoch are drawn at its start, on the CPU, from
    the seed and the epoch alone: they are the same on every device, and any batch of any epoch can be made again.

    With several processes, each takes its share of every batch. In evaluation every image is seen exactly once; in
    training the few images that do not divide among the processes are left out of that epoch's last batch.
    """

    def __init__(
        self,
        images: Tensor,
        labels: Tensor,
        *,
        batch_size: int,
        mean: Sequence[float],
        std: Sequence[float],
        padding: int | None = None,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        device: torch.device | str = "cpu",
        repeats: bool = False,
    ) -> None:
        """Move a data set to the device.

        Args:
            images: `(N, H, W, 3)` uint8.
            labels: `(N,)` int64.
            batch_size: Images of one step, over all processes together.
            mean: Mean of each channel, in [0, 1].
            std: Standard deviation of each channel, in [0, 1].
            padding: Pixels of padding on each side for training; None for evaluation, in order and unchanged.
            seed: Seed of the epochs.
            rank: Number of this process.
            world_size: Number of processes.
            device: Where the data live.
            repeats: Whether every epoch of training is the first: `overfit_batches`.

        Raises:
            InputError: If the batch does not divide among the processes.
        """
        if batch_size < 1 or batch_size % world_size:
            raise InputError(
                f"batch_size is {batch_size}, the images of one step over all processes; expected a positive multiple "
                f"of the {world_size} processes."
            )
        self.training = padding is not None
        self.padding = padding or 0
        self.size = (images.shape[1], images.shape[2])
        self.count = len(images)
        self.batch_size, self.seed, self.epoch = batch_size, seed, 0
        self.batches = 0
        """Batches of the epoch that were handed out, those before an interruption included."""
        self.resumed = (-1, 0)
        """The epoch that a run was stopped in, and its batches that were used before."""
        self.rank, self.world_size, self.repeats = rank, world_size, repeats
        self.images = F.pad(images, (0, 0, *(2 * (self.padding,)), *(2 * (self.padding,)))).to(device)
        self.labels = labels.to(device)
        # (x / 255 - mean) / std as one multiplication and one addition.
        deviation = torch.tensor(std, device=device)
        self.scale = 1 / (255 * deviation)
        self.shift = -torch.tensor(mean, device=device) / deviation

    @property
    def batch_sampler(self) -> SimpleNamespace:
        """Lightning announces the epoch to the sampler of a loader's batch sampler, which here is the loader."""
        return SimpleNamespace(sampler=self)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next iteration is of."""
        self.epoch = epoch

    def state_dict(self) -> dict[str, int]:
        """The epoch and how many of its batches were handed out, for Lightning's checkpoints."""
        return {"epoch": self.epoch, "batches": self.batches}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Leave out the batches of that epoch that were used before."""
        self.resumed = state["epoch"], state["batches"]

    def __len__(self) -> int:
        """Batches of one epoch on one process."""
        if not self.training:
            most = -(-self.count // self.world_size)
            return -(-most // (self.batch_size // self.world_size))
        usable = self.count - self.count % self.world_size
        return -(-usable // self.batch_size)

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        """Iterate over this process's part of the epoch."""
        return self.train_epoch() if self.training else self.in_order()

    def train_epoch(self) -> Iterator[dict[str, Tensor]]:
        """One epoch of random crops and flips."""
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + (0 if self.repeats else self.epoch))
        order = torch.randperm(self.count, generator=generator)
        offset = torch.randint(2 * self.padding + 1, (2, self.count), generator=generator)
        flip = torch.randint(2, (self.count,), generator=generator, dtype=torch.bool)
        usable = self.count - self.count % self.world_size
        drawn = [values[:usable].to(self.images.device) for values in (order, *offset, flip)]
        epoch, used = self.resumed
        self.batches = used if self.epoch == epoch else 0
        for start in range(self.batches * self.batch_size, usable, self.batch_size):
            mine = slice(start + self.rank, start + self.batch_size, self.world_size)
            self.batches += 1
            yield self.batch(*(values[mine] for values in drawn))

    def in_order(self) -> Iterator[dict[str, Tensor]]:
        """Every image of this process's part, as it is."""
        mine = torch.arange(self.rank, self.count, self.world_size, device=self.images.device)
        for index in mine.tensor_split(len(self)):  # as many batches on every process: they wait for each other
            zero = torch.zeros_like(index)
            yield self.batch(index, zero, zero, zero.bool())

    def batch(self, index: Tensor, top: Tensor, left: Tensor, flip: Tensor) -> dict[str, Tensor]:
        """Cut, flip and normalise images, each at its own place: one gather of bytes, whose result is channels-last."""
        height, width = self.size
        rows = top[:, None] + torch.arange(height, device=index.device)
        across = torch.arange(width, device=index.device)
        columns = left[:, None] + torch.where(flip[:, None], across.flip(0), across)
        pixels = self.images[index[:, None, None], rows[:, :, None], columns[:, None, :]]
        image = torch.addcmul(self.shift, pixels.float(), self.scale).permute(0, 3, 1, 2)
        return {"image": image, "label": self.labels[index], "index": index}
