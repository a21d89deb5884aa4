"""Random splits of a data set by shares, for data without folders for training and test."""

from collections.abc import Hashable, Sequence
from typing import TypeVar

import numpy as np

from relattn.errors import InputError

Item = TypeVar("Item")


def check_shares(name: str, **shares: float) -> None:
    """Refuse shares that leave nothing to train with.

    Args:
        name: Name of the data set in messages.
        shares: The shares by option name.

    Raises:
        InputError: If a share is out of range, or all shares together leave nothing.
    """
    for option, share in shares.items():
        if not 0 <= share < 1:
            raise InputError(f"{name}: {option} is {share}, expected a share of the images, from 0 to below 1.")
    if sum(shares.values()) >= 1:
        named = " and ".join(f"{option} {share}" for option, share in shares.items())
        raise InputError(f"{name}: {named} leave no image to train with.")


def split_by_shares(
    items: Sequence[Item], groups: Sequence[Hashable], shares: Sequence[float], seed: int
) -> list[list[Item]]:
    """Draw shares of each group of items, and return the rest as well.

    Args:
        items: The items to split.
        groups: The group of each item, such as its class.
        shares: The share of each part. From every group, each part gets `round(share * number)` items, at least one if
            the share is above 0, but at least one item of each group remains.
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
            count = min(max(round(share * len(indices)), 1) if share else 0, len(drawn) - 1)
            part += drawn[:count]
            drawn = drawn[count:]
        parts[-1] += drawn
    return [[items[index] for index in sorted(part)] for part in parts]
