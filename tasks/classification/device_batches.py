"""Batches of a whole data set that is kept on the training device.

CIFAR takes 150 MB as uint8. It is moved to the device once, where each batch is cropped, flipped and normalised in a
few operations, without worker processes, copies from the host, or waiting for the device.
"""

from collections.abc import Iterator, Sequence
from types import SimpleNamespace

import torch
import torch.nn.functional as F
from torch import Tensor

from relattn.errors import InputError


class DeviceBatches:
    """Yields `{"image": (B, 3, H, W) float32, "label": (B,) int64, "index": (B,) int64}`, images channels-last.

    For training, an epoch is a permutation. Each image is padded with zeros (black), cropped to its size at a random
    position and flipped with probability 1/2: the same distribution as `RandomCrop(size, padding)` and
    `RandomHorizontalFlip` applied image by image. All random numbers of an epoch are drawn at its start, on the CPU,
    from the seed and the epoch alone: they are the same on every device, and any batch of any epoch can be reproduced.

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
            batch_size: Images per step, over all processes together.
            mean: Mean of each channel, in [0, 1].
            std: Standard deviation of each channel, in [0, 1].
            padding: Pixels of padding on each side for training; None for evaluation, which is in order and unchanged.
            seed: Seed from which the epochs are drawn.
            rank: Rank of this process.
            world_size: Number of processes.
            device: Device that holds the data.
            repeats: Whether every training epoch repeats the first, as for `overfit_batches`.

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
        """Batches handed out in this epoch, including those before an interruption."""
        self.resumed = (-1, 0)
        """The epoch in which the run was stopped, and the number of its batches already used."""
        self.rank, self.world_size, self.repeats = rank, world_size, repeats
        self.images = F.pad(images, (0, 0, *(2 * (self.padding,)), *(2 * (self.padding,)))).to(device)
        self.labels = labels.to(device)
        # (x / 255 - mean) / std as one multiplication and one addition.
        deviation = torch.tensor(std, device=device)
        self.scale = 1 / (255 * deviation)
        self.shift = -torch.tensor(mean, device=device) / deviation

    @property
    def batch_sampler(self) -> SimpleNamespace:
        """Lightning announces the epoch to the sampler of a loader's batch sampler; here it is this object itself."""
        return SimpleNamespace(sampler=self)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch of the next iteration."""
        self.epoch = epoch

    def state_dict(self) -> dict[str, int]:
        """The epoch and the number of its batches handed out, for Lightning's checkpoints."""
        return {"epoch": self.epoch, "batches": self.batches}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Skip the batches of that epoch that were already used."""
        self.resumed = state["epoch"], state["batches"]

    def __len__(self) -> int:
        """Number of batches of one epoch on one process."""
        if not self.training:
            most = -(-self.count // self.world_size)
            return -(-most // (self.batch_size // self.world_size))
        usable = self.count - self.count % self.world_size
        return -(-usable // self.batch_size)

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        """Iterate over this process's part of the epoch."""
        return self.train_epoch() if self.training else self.in_order()

    def train_epoch(self) -> Iterator[dict[str, Tensor]]:
        """Yield one epoch of random crops and flips."""
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
        """Yield every image of this process's part, unchanged."""
        mine = torch.arange(self.rank, self.count, self.world_size, device=self.images.device)
        for index in mine.tensor_split(len(self)):  # equally many batches on every process, as they wait for each other
            zero = torch.zeros_like(index)
            yield self.batch(index, zero, zero, zero.bool())

    def batch(self, index: Tensor, top: Tensor, left: Tensor, flip: Tensor) -> dict[str, Tensor]:
        """Crop, flip and normalise images, each at its own offset, by one gather of bytes with channels-last result."""
        height, width = self.size
        rows = top[:, None] + torch.arange(height, device=index.device)
        across = torch.arange(width, device=index.device)
        columns = left[:, None] + torch.where(flip[:, None], across.flip(0), across)
        pixels = self.images[index[:, None, None], rows[:, :, None], columns[:, None, :]]
        image = torch.addcmul(self.shift, pixels.float(), self.scale).permute(0, 3, 1, 2)
        return {"image": image, "label": self.labels[index], "index": index}
