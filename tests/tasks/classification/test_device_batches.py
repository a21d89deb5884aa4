"""Crops and flips on the device have the same distribution as the usual ones, image by image."""

from collections import Counter

import pytest
import torch
from torchvision.transforms.functional import crop, hflip, normalize, pad

from relattn.tasks.classification.device_batches import DeviceBatches

MEAN, STD = (0.5, 0.4, 0.3), (0.25, 0.2, 0.3)


def batches(images: torch.Tensor, **options: object) -> DeviceBatches:
    options = {"batch_size": 4, "mean": MEAN, "std": STD, **options}
    return DeviceBatches(images, torch.arange(len(images)) % 7, **options)


def pictures(count: int, size: int = 8) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(256, (count, size, size, 3), generator=generator, dtype=torch.uint8)


def usual(image: torch.Tensor) -> torch.Tensor:
    """ToTensor and Normalize of one image `(H, W, 3)`."""
    return normalize(image.permute(2, 0, 1).float() / 255, MEAN, STD)


def test_evaluation_gives_every_image_in_order_as_the_usual_transform_does() -> None:
    images = pictures(10)
    found = list(batches(images))
    assert torch.cat([batch["index"] for batch in found]).tolist() == list(range(10))
    assert torch.cat([batch["label"] for batch in found]).tolist() == [index % 7 for index in range(10)]
    expected = torch.stack([usual(image) for image in images])
    torch.testing.assert_close(torch.cat([batch["image"] for batch in found]), expected, rtol=1e-5, atol=1e-6)
    assert all(batch["image"].is_contiguous(memory_format=torch.channels_last) for batch in found)


def test_crops_and_flips_are_uniform_over_all_that_torchvision_would_cut() -> None:
    padding, size, copies = 2, 8, 25_000
    image = pictures(1, size)
    possible = {}
    padded = pad(image[0].permute(2, 0, 1), [padding] * 4)  # zeros, before normalisation
    for top in range(2 * padding + 1):
        for left in range(2 * padding + 1):
            cut = crop(padded, top, left, size, size)
            for flipped in (False, True):
                view = hflip(cut) if flipped else cut
                possible[view.numpy().tobytes()] = (top, left, flipped)
    assert len(possible) == 50
    counts: Counter[tuple[int, int, bool]] = Counter()
    scale, shift = torch.tensor(STD).view(3, 1, 1) * 255, torch.tensor(MEAN).view(3, 1, 1) * 255
    for batch in batches(image.expand(copies, -1, -1, -1), batch_size=5000, padding=padding):
        pixels = (batch["image"] * scale + shift).round().to(torch.uint8)
        counts.update(possible[view.numpy().tobytes()] for view in pixels)  # a KeyError is a crop that cannot be
    expected = copies / len(possible)
    chi_square = sum((counts[place] - expected) ** 2 / expected for place in possible.values())
    assert chi_square < 85.4  # 49 degrees of freedom, p = 0.001; the draw is seeded


def test_each_epoch_is_another_permutation_made_again_from_seed_and_epoch() -> None:
    images = pictures(11)

    def epoch(number: int, seed: int = 3) -> tuple[list[int], torch.Tensor]:
        loader = batches(images, padding=2, seed=seed)
        loader.set_epoch(number)
        found = list(loader)
        assert len(found) == len(loader) == 3
        return torch.cat([batch["index"] for batch in found]).tolist(), torch.cat([b["image"] for b in found])

    first, pixels = epoch(0)
    assert sorted(first) == list(range(11))
    again, same_pixels = epoch(0)
    assert first == again
    assert torch.equal(pixels, same_pixels)
    assert epoch(1)[0] != first
    assert epoch(0, seed=4)[0] != first


@pytest.mark.parametrize("count", [8, 11, 13])
def test_processes_share_every_batch_and_see_no_image_twice(count: int) -> None:
    images = pictures(count)
    alone = [batch["index"].tolist() for batch in batches(images, padding=1)]
    loaders = [batches(images, padding=1, rank=rank, world_size=2) for rank in (0, 1)]
    parts = [[batch["index"].tolist() for batch in loader] for loader in loaders]
    assert [len(part) for part in parts] == [len(loader) for loader in loaders]
    assert len(parts[0]) == len(parts[1])
    for whole, first, second in zip(alone, *parts, strict=False):
        assert len(first) == len(second)
        assert sorted(first + second) == sorted(whole[: 2 * len(first)])
    seen = sorted(index for part in parts for batch in part for index in batch)
    assert len(seen) == len(set(seen)) == count - count % 2

    evaluated = [batches(images, rank=rank, world_size=2) for rank in (0, 1)]
    seen = sorted(index for loader in evaluated for batch in loader for index in batch["index"].tolist())
    assert seen == list(range(count))  # evaluation omits no image
    assert all(len(list(loader)) == len(loader) for loader in evaluated)


def test_a_batch_that_does_not_divide_among_the_processes_is_refused() -> None:
    with pytest.raises(ValueError, match=r"batch_size is 5.* 2 processes"):
        batches(pictures(8), batch_size=5, world_size=2)
