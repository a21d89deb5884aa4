"""Batch samplers: P identities with K images each, or plain shuffling.

Every process draws the whole epoch from the seed and the epoch's number alone, and takes its part of every batch. So an
epoch is the same on any number of GPUs, its length is exact, and a resumed run continues with the batches it would have
had, even within an epoch (`first_step`). Every image of an epoch has its own seed, which determines its augmentation:
images do not depend on the number of worker processes either.
"""

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import DistributedSampler, SequentialSampler

from relattn.errors import InputError

EpochOver = Literal["identities", "images"]


@dataclass(frozen=True)
class SampleIndex:
    """Index of the requested image, and the seed of its augmentation."""

    index: int
    seed: int


class BatchSampler(DistributedSampler[SampleIndex], SequentialSampler):
    """This process's images of an epoch, batch by batch; Lightning announces the epoch with `set_epoch`.

    It is a `DistributedSampler` so that Lightning does not replace it. It also derives from `SequentialSampler` so that
    Lightning does not replace it under `overfit_batches` either, where every epoch repeats the first (`repeats`).
    """

    repeats = False
    """Whether every epoch repeats the batches of the first, with the same augmentation."""

    def __init__(self, count: int, batch_size: int, seed: int, rank: int, world_size: int) -> None:
        """Define the sampler.

        Args:
            count: Number of images in the data set.
            batch_size: Images per step, over all processes.
            seed: Seed from which the epochs are drawn.
            rank: Rank of this process.
            world_size: Number of processes.
        """
        data: Any = range(count)
        super().__init__(data, num_replicas=world_size, rank=rank, seed=seed)
        self.batch_size, self.per_process = batch_size, batch_size // world_size
        self.count = count
        self.first_step = 0
        """Number of batches that the next epoch skips because they were used before the run was stopped."""

    @abstractmethod
    def steps(self) -> int:
        """Number of batches in an epoch."""

    @abstractmethod
    def plan(self, random: np.random.Generator) -> NDArray[np.int64]:
        """Draw the images of an epoch, `(steps, batch_size)`."""

    def __len__(self) -> int:
        """Number of images of this process in an epoch."""
        return self.steps() * self.per_process

    def __iter__(self) -> Iterator[SampleIndex]:  # type: ignore[override]
        """Iterate over this process's part of every batch."""
        epoch = 0 if self.repeats else self.epoch
        plan = self.plan(np.random.default_rng((self.seed, epoch)))
        first = (self.seed * 1_000_003 + epoch) % 2**31 * 2**32  # below 2**63: torch takes no larger seed
        first_step, self.first_step = self.first_step, 0
        for step in range(first_step, len(plan)):
            start = self.rank * self.per_process
            for place in range(start, start + self.per_process):
                yield SampleIndex(int(plan[step, place]), first + step * self.batch_size + place)


class Shuffled(BatchSampler):
    """Every image once per epoch, in random order; the last images that do not fill a batch are left out."""

    def __init__(self, count: int, *, batch_size: int, seed: int = 0, rank: int = 0, world_size: int = 1) -> None:
        """Define the sampler.

        Raises:
            InputError: If the batch does not divide among the processes, or there are too few images.
        """
        if batch_size % world_size:
            raise InputError(f"batch_size is {batch_size}, expected a multiple of the {world_size} processes.")
        if count < batch_size:
            raise InputError(f"batch_size is {batch_size}, and the training set has {count} images.")
        super().__init__(count, batch_size, seed, rank, world_size)

    def steps(self) -> int:
        return self.count // self.batch_size

    def plan(self, random: np.random.Generator) -> NDArray[np.int64]:
        used = self.steps() * self.batch_size
        return random.permutation(self.count)[:used].reshape(-1, self.batch_size)


class IdentityBatches(BatchSampler):
    """P identities with K images each, for losses over triplets.

    Published recipes define an epoch in one of two ways:

    `identities`: each identity once per epoch, with K images (RGA's, after open-reid): 46 batches of 16 x 4 on
    Market-1501. The K images are different if the identity has that many, else drawn with repetition. The identities
    that do not fill a batch are left out, different ones in each epoch.

    `images`: each identity's images are shuffled and cut into chunks of K. Nearly all chunks are used, and each batch
    has P different identities: the number of batches is the largest possible. An identity with fewer than K images has
    one chunk, with repetition. Common code draws identities until fewer than P are left, so that its number of batches
    is random; here it is known beforehand and as large as possible.
    """

    def __init__(
        self,
        identities: Sequence[int],
        *,
        batch_size: int = 64,
        images: int = 4,
        epoch_over: EpochOver = "identities",
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        """Define the sampler.

        Args:
            identities: The identity of each image of the training set.
            batch_size: Images per step, P x K, over all processes.
            images: K, the images of each identity in a batch.
            epoch_over: `"identities"` or `"images"`.
            seed: Seed from which the epochs are drawn.
            rank: Rank of this process.
            world_size: Number of processes.

        Raises:
            InputError: If a process would not have whole identities of each batch, or there are fewer than P
                identities.
        """
        if batch_size % (images * world_size):
            raise InputError(
                f"batch_size is {batch_size}, expected a multiple of images_per_identity, {images}, times the number "
                f"of processes, {world_size}: each process has whole identities."
            )
        super().__init__(len(identities), batch_size, seed, rank, world_size)
        order = np.argsort(np.asarray(identities), kind="stable")
        _, starts = np.unique(np.asarray(identities)[order], return_index=True)
        self.groups = np.split(order, starts[1:])
        self.images, self.per_batch, self.epoch_over = images, batch_size // images, epoch_over
        if len(self.groups) < self.per_batch:
            raise InputError(
                f"A batch of {batch_size} with images_per_identity {images} has {self.per_batch} identities, and the "
                f"training set has {len(self.groups)}."
            )
        self.chunks = np.array(
            [1 if epoch_over == "identities" else max(len(group) // images, 1) for group in self.groups]
        )
        self.number = self.most_batches()

    def most_batches(self) -> int:
        """Largest number of batches of P different identities, none used more often than it has chunks."""
        possible = range(1, int(self.chunks.sum()) // self.per_batch + 1)
        return max(number for number in possible if np.minimum(self.chunks, number).sum() >= number * self.per_batch)

    def steps(self) -> int:
        return self.number

    def plan(self, random: np.random.Generator) -> NDArray[np.int64]:
        shuffled = [self.chunks_of(group, random) for group in self.groups]
        left = np.minimum(self.chunks, self.number)
        used = np.zeros_like(left)
        plan = np.empty((self.number, self.per_batch, self.images), dtype=np.int64)
        for step in range(self.number):
            # Identities are drawn without replacement, more likely the more chunks they have left (Gumbel's trick).
            # Those that need a chunk in every remaining batch come first, or else the number of batches could not be
            # reached.
            weight = np.log(np.maximum(left, 1e-30)) + random.gumbel(size=len(left))
            weight[left == 0] = -np.inf
            weight[left >= self.number - step] += 1e6
            chosen = np.argsort(-weight, kind="stable")[: self.per_batch]
            random.shuffle(chosen)
            for place, identity in enumerate(chosen):
                plan[step, place] = shuffled[identity][used[identity]]
            left[chosen] -= 1
            used[chosen] += 1
        return plan.reshape(self.number, -1)

    def chunks_of(self, group: NDArray[np.int64], random: np.random.Generator) -> NDArray[np.int64]:
        """An identity's images in chunks of K: `(chunks, K)`."""
        if len(group) < self.images:
            return random.choice(group, size=(1, self.images))
        number = 1 if self.epoch_over == "identities" else len(group) // self.images
        return random.permutation(group)[: number * self.images].reshape(number, self.images)


class InOrder(DistributedSampler[Any], SequentialSampler):
    """Every image in order; with several processes all get equally many, and the first images are repeated if needed.

    A distributed run broadcasts buffers at every step, so that all processes must have equally many. The metric
    identifies images by their index and counts them once.
    """

    def __init__(self, count: int, *, rank: int = 0, world_size: int = 1) -> None:
        """Define the sampler for `count` images."""
        data: Any = range(count)
        super().__init__(data, num_replicas=world_size, rank=rank, shuffle=False)

    def __iter__(self) -> Iterator[SampleIndex]:  # type: ignore[override]
        """Iterate over this process's images."""
        return (SampleIndex(index, 0) for index in super().__iter__())
