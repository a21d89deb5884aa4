"""Batches of identities: their content and number, and consistency across processes and epochs."""

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from relattn.errors import InputError
from relattn.tasks.samplers import IdentityBatches, InOrder, SampleIndex, Shuffled

SIZES = [1, 2, 3, 4, 5, 8, 9, 17, 40, 4, 4, 4]
IDENTITIES = [100 + number for number, size in enumerate(SIZES) for _ in range(size)]


def batches(sampler: IdentityBatches | Shuffled) -> list[list[SampleIndex]]:
    draws = list(sampler)
    assert len(draws) == len(sampler)
    return [draws[start : start + sampler.per_process] for start in range(0, len(draws), sampler.per_process)]


def test_an_epoch_of_identities_has_each_at_most_once_with_different_images() -> None:
    sampler = IdentityBatches(IDENTITIES, batch_size=20, images=4, epoch_over="identities")
    epoch = batches(sampler)
    assert len(epoch) == 12 // 5  # as with the authors' 767 // 16 = 47 on CUHK03
    seen = Counter(IDENTITIES[draw.index] for batch in epoch for draw in batch)
    assert set(seen.values()) == {4}
    for batch in epoch:
        for identity in {IDENTITIES[draw.index] for draw in batch}:
            indices = [draw.index for draw in batch if IDENTITIES[draw.index] == identity]
            assert len(set(indices)) == min(4, SIZES[identity - 100]) or SIZES[identity - 100] < 4
            place = [IDENTITIES[draw.index] for draw in batch].index(identity)
            assert place % 4 == 0  # the images of an identity are adjacent


def test_which_identities_are_left_out_is_random() -> None:
    sampler = IdentityBatches(IDENTITIES, batch_size=20, images=4)
    left: Counter[int] = Counter()
    for epoch in range(300):
        sampler.set_epoch(epoch)
        left.update(set(IDENTITIES) - {IDENTITIES[draw.index] for draw in sampler})
    assert sum(left.values()) == 600  # two of twelve each time
    assert min(left[identity] for identity in set(IDENTITIES)) > 20


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 30), min_size=4, max_size=25), st.integers(2, 4), st.integers(2, 4), st.integers(0, 99))
def test_chunks_make_the_most_batches_there_can_be(sizes: list[int], images: int, per_batch: int, seed: int) -> None:
    identities = [number for number, size in enumerate(sizes) for _ in range(size)]
    sampler = IdentityBatches(identities, batch_size=images * per_batch, images=images, epoch_over="images", seed=seed)
    epoch = batches(sampler)
    chunks = [max(size // images, 1) for size in sizes]
    assert len(epoch) == sampler.steps()
    more = len(epoch) + 1  # one more would need more chunks than there are
    assert sum(min(chunk, more) for chunk in chunks) < more * per_batch
    used: Counter[int] = Counter()
    for batch in epoch:
        who = Counter(identities[draw.index] for draw in batch)
        assert len(who) == per_batch
        assert set(who.values()) == {images}
        used.update(who.keys())
    assert all(used[identity] <= chunks[identity] for identity in used)
    drawn = Counter(draw.index for batch in epoch for draw in batch)
    assert all(count == 1 for index, count in drawn.items() if sizes[identities[index]] >= images)


@pytest.mark.parametrize("kind", ["identities", "images"])
def test_processes_share_the_batches_of_one(kind: str) -> None:
    options = {"batch_size": 16, "images": 4, "epoch_over": kind, "seed": 3}
    whole = IdentityBatches(IDENTITIES, **options)
    parts = [IdentityBatches(IDENTITIES, **options, rank=rank, world_size=2) for rank in (0, 1)]
    for sampler in (whole, *parts):
        sampler.set_epoch(5)
    joined = [left + right for left, right in zip(*(batches(part) for part in parts), strict=True)]
    assert joined == batches(whole)


def test_epochs_differ_and_come_again() -> None:
    sampler = IdentityBatches(IDENTITIES, batch_size=16, images=4, epoch_over="images")
    first = list(sampler)
    sampler.set_epoch(1)
    second = list(sampler)
    sampler.set_epoch(0)
    assert list(sampler) == first != second
    assert len({draw.seed for draw in first + second}) == len(first + second)


def test_seeds_of_augmentation_are_those_that_torch_takes() -> None:
    for seed in (0, 12_345, 2**32 - 1):
        sampler = Shuffled(50, batch_size=16, seed=seed)
        sampler.set_epoch(1_000)
        assert len({torch.Generator().manual_seed(draw.seed).initial_seed() for draw in sampler}) == 48


def test_shuffling_sees_every_image_once() -> None:
    sampler = Shuffled(50, batch_size=16, seed=1)
    assert [len(batch) for batch in batches(sampler)] == [16, 16, 16]
    assert len({draw.index for draw in sampler}) == 48
    halves = [Shuffled(50, batch_size=16, seed=1, rank=rank, world_size=2) for rank in (0, 1)]
    assert sorted(draw.index for half in halves for draw in half) == sorted(draw.index for draw in sampler)


def test_evaluation_gives_every_process_as_many_images() -> None:
    parts = [[draw.index for draw in InOrder(7, rank=rank, world_size=2)] for rank in (0, 1)]
    assert len(parts[0]) == len(parts[1]) == 4
    assert set(np.concatenate(parts).tolist()) == set(range(7))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 30}, "multiple of images_per_identity, 4, times the number of processes, 1"),
        ({"batch_size": 12, "world_size": 2}, "times the number of processes, 2"),
        ({"batch_size": 64}, "has 16 identities, and the training set has 12"),
    ],
)
def test_impossible_batches_are_refused(options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        IdentityBatches(IDENTITIES, images=4, **options)
    with pytest.raises(InputError, match="multiple of the 3 processes"):
        Shuffled(100, batch_size=16, world_size=3)
    with pytest.raises(InputError, match="batch_size is 16, and the training set has 10 images"):
        Shuffled(10, batch_size=16)
