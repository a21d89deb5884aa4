"""Which images make which batch: P identities with K images each, or plain shuffling.

An epoch is drawn from the seed and its number alone, whole and on every process alike, and each process takes its part
of every batch. So an epoch is the same on any number of GPUs, its length is exact, and a run that is resumed goes on
with the batches it would have had, amid an epoch as well (`first_step`). Every image of an epoch carries a
seed of its own, from which its augmentation follows: images do not depend on the number of worker processes either.
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
    """Which image a data set is asked for, and the seed of its augmentation."""

    index: int
    seed: int


class BatchSampler(DistributedSampler[SampleIndex], SequentialSampler):
    """This process's images of an epoch, batch after batch; Lightning announces the epoch with `set_epoch`.

    A `DistributedSampler`, so that Lightning leaves it in its place, and in name a `SequentialSampler`, so that it does
    so with `overfit_batches` too, where every epoch is the first (`repeats`).
    """

    repeats = False
    """Whether every epoch has the batches of the first, images augmented alike."""

    def __init__(self, count: int, batch_size: int, seed: int, rank: int, world_size: int) -> None:
        """Define the sampler.

        Args:
            count: Images of the data set.
            batch_size: Images of one step, over all processes.
            seed: Seed of the epochs.
            rank: Number of this process.
            world_size: Number of processes.
        """
        data: Any = range(count)
        super().__init__(data, num_replicas=world_size, rank=rank, seed=seed)
        self.batch_size, self.per_process = batch_size, batch_size // world_size
        self.count = count
        self.first_step = 0
        """Batches that the next epoch leaves out, since they were used before the run was stopped."""

    @abstractmethod
    def steps(self) -> int:
        """Batches of an epoch."""

    @abstractmethod
    def plan(self, random: np.random.Generator) -> NDArray[np.int64]:
        """The images of an epoch, `(steps, batch_size)`."""

    def __len__(self) -> int:
        """Images of this process in an epoch."""
        return self.steps() * self.per_process

    def __iter__(self) -> Iterator[SampleIndex]:  # type: ignore[override]
        """Iterate over this process's part of every batch."""
        epoch = 0 if self.repeats else self.epoch
        plan = self.plan(np.random.default_rng((self.seed, epoch)))
        first = (self.seed * 1_000_003 + epoch) * 2**32
        first_step, self.first_step = self.first_step, 0
        for step in range(first_step, len(plan)):
            start = self.rank * self.per_process
            for place in range(start, start + self.per_process):
                yield SampleIndex(int(plan[step, place]), first + step * self.batch_size + place)


class Shuffled(BatchSampler):
    """Every image once an epoch, in random order; the last images that fill no batch are left out."""

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

    Published recipes count epochs of one of two kinds:

    `identities`: each identity once an epoch, with K images (RGA's, after open-reid): 46 batches of 16 x 4 on
    Market-1501. K different images where it has them, else with repetition. The identities that fill no batch are left
    out, other ones in each epoch.

    `images`: each identity's images are shuffled and cut into chunks of K, and nearly all chunks are used, each batch
    with P different identities: the largest possible number of batches. An identity with fewer than K images has one
    chunk, with repetition. Common code draws identities until fewer than P are left, which makes the number of batches
    an accident; here it is known, and as large as it can be.
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
            identities: Of each image of the training set.
            batch_size: Images of one step, P x K, over all processes.
            images: K.
            epoch_over: `"identities"` or `"images"`.
            seed: Seed of the epochs.
            rank: Number of this process.
            world_size: Number of processes.

        Raises:
            InputError: If the batch does not hold whole identities on each process, or there are fewer than P.
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
        """The largest number of batches with P different identities each, none with more groups than it has chunks."""
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
            # Drawn without replacement, likelier the more chunks they have (Gumbel's trick). Who has a chunk for every
            # batch that remains comes first, else the batches would not come out.
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
    """Every image in order; with several processes all get equally many, the first images being repeated.

    Buffers are broadcast at every step of a distributed run, so each process must have as many. The metric knows images
    by their index and counts them once.
    """

    def __init__(self, count: int, *, rank: int = 0, world_size: int = 1) -> None:
        """Define the sampler for `count` images."""
        data: Any = range(count)
        super().__init__(data, num_replicas=world_size, rank=rank, shuffle=False)

    def __iter__(self) -> Iterator[SampleIndex]:  # type: ignore[override]
        """Iterate over this process's images."""
        return (SampleIndex(index, 0) for index in super().__iter__())
