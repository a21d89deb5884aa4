"""Training on several data sets at once, with their people kept apart."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from relattn.errors import InputError
from relattn.tasks.reid.data import ReIDData
from relattn.tasks.reid.splits import PersonImage, Splits

ROOT = "data"
"""The default `root` of data sets."""


class Joint(ReIDData):
    """The training images of several sets as one, and the queries and the gallery of the first set.

    On the command line, write `--data Market1501+DukeMTMC`; test on the other sets with `--test_data`.
    """

    def __init__(self, joined: Sequence[ReIDData], **arguments: Any) -> None:
        """Define the data.

        Args:
            joined: The sets, of which only the paths of their images are used; those without a `root` of their own use
                that of the joint set.
            arguments: Arguments shared by all re-identification data sets, see `ReIDData`; they apply to the images of
                all sets.

        Raises:
            InputError: If there are fewer than two sets.
        """
        super().__init__(**arguments)
        if len(joined) < 2:
            raise InputError(f"Joint: joined has {len(joined)} sets, expected at least two.")
        self.joined = list(joined)
        for data in self.joined:
            if data.root == Path(ROOT):  # no other place was given
                data.root = self.root

    @property
    def feature(self) -> Any:  # type: ignore[override]
        """The feature of the first set, which is the one scored."""
        return self.joined[0].feature

    @property
    def single_shot(self) -> bool:  # type: ignore[override]
        """As for the first set."""
        return self.joined[0].single_shot

    def prepare_data(self) -> None:
        """Unpack sets that are still packed, in one process."""
        for data in self.joined:
            data.prepare_data()

    def read_splits(self, *, training: bool) -> Splits:
        parts = [data.read_splits(training=training) for data in (self.joined if training else self.joined[:1])]
        self.parts = parts
        root = Path(os.path.commonpath([part.root.absolute() for part in parts]))
        train: list[PersonImage] = []
        names: dict[int, str] = {}
        identities = cameras = 0
        for data, part in zip(self.joined, parts, strict=False):
            place = os.path.relpath(part.root.absolute(), root)
            numbers = {number: identities + index for index, number in enumerate(distinct(part))}
            train += [moved(image, place, numbers, cameras) for image in part.train]
            for number, new in numbers.items():
                names[new] = f"{type(data).__name__}/{part.identity_names.get(number, number)}"
            identities += len(numbers)
            cameras += 1 + max(image.camera for image in (*part.train, *part.query, *part.gallery))
        first = parts[0]
        place = os.path.relpath(first.root.absolute(), root)
        numbers = {number: index for index, number in enumerate(distinct(first))}
        query, gallery = ([moved(image, place, numbers, 0) for image in part] for part in (first.query, first.gallery))
        return Splits(
            root,
            train,
            query,
            gallery,
            identity_names=names,
            camera_names=first.camera_names,
        )

    def origin_of(self, found: Splits, *, training: bool) -> dict[str, bool]:
        each = [data.origin_of(part, training=training) for data, part in zip(self.joined, self.parts, strict=False)]
        names = {name for one in each for name in one}
        return {name: all(one.get(name, True) for one in each) for name in sorted(names, reverse=True)}

    def variant(self) -> dict[str, Any]:
        return {**self.joined[0].variant(), "joined": [type(data).__name__ for data in self.joined]}


def distinct(splits: Splits) -> list[int]:
    """The identities of a set, including those of its test set, sorted."""
    return sorted({image.identity for part in (splits.train, splits.query, splits.gallery) for image in part})


def moved(image: PersonImage, place: str, numbers: dict[int, int], cameras: int) -> PersonImage:
    """An image with its path in the common folder and the numbers of its identity and camera among all sets."""
    return PersonImage(f"{place}/{image.path}", numbers[image.identity], image.camera + cameras)
