"""Random splits of a data set by shares, for data without folders for training and test."""

import warnings
from collections.abc import Collection, Hashable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np

from relattn.errors import InputError

Item = TypeVar("Item")

TEST_SHARE = 0.2
"""Share held out for the test if there is neither a folder for it nor a share given by the user."""


def check_shares(name: str, **shares: float) -> None:
    """Refuse shares that leave nothing to train with, except for `test` 1, with which data are scored alone.

    Args:
        name: Name of the data set in messages.
        shares: The shares by option name.

    Raises:
        InputError: If a share is out of range, or all shares together leave nothing.
    """
    for option, share in shares.items():
        if not (0 <= share < 1 or (option, share) == ("test", 1)):
            alone = ", or 1 to score all of them" if option == "test" else ""
            raise InputError(f"{name}: {option} is {share}, expected a share of the images, from 0 to below 1{alone}.")
    if shares.get("test") != 1 and sum(shares.values()) >= 1:
        named = " and ".join(f"{option} {share}" for option, share in shares.items())
        raise InputError(f"{name}: {named} leave no image to train with.")


def check_trainable(name: str, test: float | None) -> None:
    """Raise an InputError if all data are held out for the test, and training needs some."""
    if test == 1:
        raise InputError(
            f"{name}: --data.test 1 holds everything out, and nothing is left to train with. It is for scoring data "
            "that the network was not trained on."
        )


def say_not_scored(root: Path, left_out: int, total: int, share: float) -> None:
    """Warn that only the share held out for the test is used, where no training images were asked for."""
    if left_out:
        warnings.warn(
            f"{root}: {left_out:,} of {total:,} images are left out, because a share of {share:g} is held out for the "
            "test and the rest is for training. To use all, of data that the network was not trained on: --data.test "
            "1.",
            stacklevel=2,
        )


def shares_of(there: Collection[str], *, validation: float, test: float | None) -> dict[str, float]:
    """The shares of the training images that are held out for `test` and `val`; 0 for a split that has a folder.

    Args:
        there: The splits that have folders.
        validation: The share for validation.
        test: The share for the test; None for `TEST_SHARE`, or 0 if `val`, which can serve as test set, has a folder.
    """
    if test is None:
        test = 0.0 if "val" in there else TEST_SHARE
    return {"test": 0.0 if "test" in there else test, "val": 0.0 if "val" in there else validation}


def hold_out(
    train: Sequence[Item], groups: Sequence[Hashable], shares: Mapping[str, float], seed: int
) -> dict[str, list[Item]]:
    """Draw the splits with a share above 0 from the training images; `train` is the rest. See `split_by_shares`."""
    *parts, rest = split_by_shares(train, groups, list(shares.values()), seed)
    return {split: part for split, part in zip(shares, parts, strict=True) if shares[split]} | {"train": rest}


def stand_in_for_missing(found: dict[str, list[Item]]) -> None:
    """Add missing splits: validation serves as `test`, empty without it, and the test as `val` and `predict`."""
    found.setdefault("test", found.get("val", []))
    for split in ("val", "predict"):
        found.setdefault(split, found["test"])


def split_by_shares(
    items: Sequence[Item], groups: Sequence[Hashable], shares: Sequence[float], seed: int
) -> list[list[Item]]:
    """Draw shares of each group of items, and return the rest as well.

    Args:
        items: The items to split.
        groups: The group of each item, such as its class.
        shares: The share of each part. From every group, each part gets `round(share * number)` items, at least one if
            the share is above 0, but at least one item of each group remains unless the share is 1.
        seed: Seed of the draw.

    Returns:
        The parts, then the rest, each in the order of the items.
    """
    members: dict[Hashable, list[int]] = {}
    for index, group in enumerate(groups):
        members.setdefault(group, []).append(index)
    random = np.random.default_rng(seed)
    parts: list[list[int]] = [[] for _ in range(len(shares) + 1)]
    for indices in members.values():
        drawn = random.permutation(indices).tolist()
        for part, share in zip(parts, shares, strict=False):
            most = len(drawn) - (share < 1)
            count = min(max(round(share * len(indices)), 1) if share else 0, most)
            part += drawn[:count]
            drawn = drawn[count:]
        parts[-1] += drawn
    return [[items[index] for index in sorted(part)] for part in parts]
