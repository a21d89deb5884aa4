"""Your own faces: a folder for each person, with a list of pairs to verify or with randomly drawn pairs.

`pairs.txt` beside the people's folders has LFW's format (`relattn.tasks.face.pairs`), which here also admits file names
of images. People in the list are not trained on. Without a list, people are drawn for the test, and from their images
as many pairs of one person as of two people, in ten folds. The list is then written there, so that every run has the
same pairs.
"""

import itertools
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from relattn.errors import InputError, MissingFileError
from relattn.publish import publish_text
from relattn.tasks.face.data import FaceData
from relattn.tasks.face.folders import LISTS, IdentityFolders
from relattn.tasks.face.pairs import people_of, read_pairs
from relattn.tasks.face.sources import Joined
from relattn.tasks.face.verification_sets import VerificationSet
from relattn.tasks.image_folders import check_split_folders
from relattn.tasks.shares import check_trainable

PAIRS = LISTS[0]
FOLDS = 10
PAIRS_OF_A_FOLD = 300
"""Number of pairs of one person per fold, and of pairs of two people, as in LFW."""
IMAGES_OF_A_PERSON = 24
"""Maximum number of images per person from which pairs are drawn: otherwise people with many would dominate."""

Pair = tuple[str, str, str, str]
"""Twice: a person and the path of an image in the person's folder."""


class FaceFolders(FaceData):
    """Your own faces: a folder for each person, with pairs.txt or with pairs drawn at random and saved there."""

    def __init__(
        self,
        root: Path | str,
        *,
        pairs: Path | None = None,
        test: float = 0.3,
        split_seed: int = 0,
        min_images: int = 1,
        **arguments: Any,
    ) -> None:
        """Define the data.

        Args:
            root: The folder that contains a folder for each person, or `train` and `test` with such folders.
            pairs: The list of pairs; by default `pairs.txt` in `root`, or in its `test`. It is written if it does not
                exist.
            test: The share of the people from whom pairs are drawn if there is neither a list nor `test`;
                1 for all of them, to verify people that the network was not trained on.
            split_seed: Seed of the choice of people and pairs. It is independent of the run's seed, so that all runs
                have the same pairs.
            min_images: Training identities with fewer images are left out.
            arguments: Arguments shared by all face data sets, see `FaceData`.

        Raises:
            InputError: If a number is out of range.
        """
        super().__init__(root, **arguments)
        self.expect(split_seed=(split_seed, 0), min_images=(min_images, 1))
        if not 0 < test <= 1:
            raise InputError(
                f"FaceFolders: test is {test}, expected a share of the people, above 0 and at most 1, which "
                "verifies all of them."
            )
        self.pairs, self.test, self.split_seed, self.min_images = pairs, test, split_seed, min_images

    def read(self, splits: Sequence[str]) -> None:
        if "train" in splits:
            check_trainable("FaceFolders", self.test)
        check_split_folders(self.root, ("train", "test"), "FaceFolders")
        listed = self.list_of_pairs()
        if self.test == 1 and listed.is_file():
            warnings.warn(
                f"{listed} lists the pairs to verify, so --data.test 1 changes nothing: remove it, and pairs of all "
                "people are drawn.",
                stacklevel=2,
            )
        super().read(splits)

    def folders(self) -> tuple[Path, Path]:
        """The folders of the people to train on and of those to verify; the same folder if they are not separated."""
        parts = self.root / "train", self.root / "test"
        if all(part.is_dir() for part in parts):
            return parts
        if not self.root.is_dir():
            raise MissingFileError(f"FaceFolders: there is no folder {self.root}. Name it with --data.root.")
        only_test = parts[1].is_dir() and not parts[0].is_dir() and (parts[1] / PAIRS).is_file()
        return (self.root, parts[1]) if only_test else (self.root, self.root)

    def list_of_pairs(self) -> Path:
        """The path where the list of pairs is, or will be written."""
        return self.folders()[1] / PAIRS if self.pairs is None else Path(self.pairs)

    def read_verification_sets(self) -> list[VerificationSet]:
        train, test = self.folders()
        listed = self.list_of_pairs()
        if not listed.is_file():
            people = IdentityFolders(test)
            by_person = images_of(people)
            chosen = by_person if train != test else share_of(by_person, self.test, self.split_seed, self.root)
            folds = draw_pairs(chosen, self.split_seed, self.root)
            publish_text(listed, as_list(folds))
            warnings.warn(
                f"{sum(map(len, folds)):,} pairs of {len(chosen):,} people were drawn and written to {listed}: the "
                "people in it are verified, and not trained on.",
                stacklevel=2,
            )
        return [read_pairs(test, listed, self.root.name)]

    def read_train(self) -> Joined:
        train, test = self.folders()
        if train == self.root and test != train:
            raise MissingFileError(
                f"FaceFolders: {self.root} has test and no train. Put the folders of the people to train with into "
                f"{self.root / 'train'}."
            )
        listed = self.list_of_pairs()
        verified = people_of(listed) if train == test and listed.is_file() else set()
        people = IdentityFolders(train, without=verified)
        if not people.files:
            raise InputError(
                f"FaceFolders: all people in {train} are in {listed}, and nobody is left to train with. Put those to "
                "train with in a folder train and the others with the list in a folder test, or shorten the list."
            )
        return Joined([people], min_images=self.min_images)


def images_of(people: IdentityFolders) -> dict[str, list[str]]:
    """List the images of each person, relative to the person's folder."""
    found: dict[str, list[str]] = {name: [] for name in people.identities}
    for label, file in zip(people.labels.tolist(), people.files, strict=True):
        found[people.identities[label]].append(file.partition("/")[2])
    return found


def share_of(people: dict[str, list[str]], share: float, seed: int, root: Path) -> dict[str, list[str]]:
    """Draw a share of the people from those with two images or more.

    Raises:
        InputError: If too few have two images, or nobody is left for training.
    """
    eligible = sorted(name for name, images in people.items() if len(images) > 1)
    count = max(round(share * len(people)), 2)
    if share == 1:
        return people
    if len(eligible) < count or len(people) - count < 2:
        raise InputError(
            f"FaceFolders: --data.test {share} of {len(people)} people in {root} are {count} to verify, and "
            f"{len(eligible)} have two images or more. Add people, or change the share; two must be left to train "
            "with. For features of images of anybody, use relattn embed --images."
        )
    chosen = np.random.default_rng(seed).permutation(eligible)[:count].tolist()
    return {name: people[name] for name in sorted(chosen)}


def draw_pairs(people: dict[str, list[str]], seed: int, root: Path) -> list[list[Pair]]:
    """Draw as many pairs of one person as of two people, in ten folds, none of them twice.

    Raises:
        InputError: If there are fewer than ten of either kind.
    """
    random = np.random.default_rng((seed, 1))
    same: list[Pair] = []
    for name, images in people.items():
        drawn = sorted(random.permutation(images)[:IMAGES_OF_A_PERSON].tolist())
        same += [(name, first, name, second) for first, second in itertools.combinations(drawn, 2)]
    sizes = [len(images) for images in people.values()]
    different = (sum(sizes) ** 2 - sum(size**2 for size in sizes)) // 2
    each = min(PAIRS_OF_A_FOLD, len(same) // FOLDS, different // FOLDS)
    if not each:
        raise InputError(
            f"FaceFolders: the {len(people)} people to verify in {root} make {len(same)} pairs of one person and "
            f"{different} of two, and ten of each are needed. Add images or people, raise --data.test, or write "
            f"{root / PAIRS} yourself."
        )
    chosen = [same[index] for index in random.permutation(len(same))[: FOLDS * each]]
    everything = [(name, image) for name in people for image in people[name]]
    others: dict[Pair, None] = {}  # keys in the order drawn
    while len(others) < FOLDS * each:
        one, other = sorted(random.choice(len(everything), 2, replace=False).tolist())
        if everything[one][0] != everything[other][0]:
            others[*everything[one], *everything[other]] = None
    of_two = list(others)
    return [[*chosen[start : start + each], *of_two[start : start + each]] for start in range(0, FOLDS * each, each)]


def as_list(folds: Sequence[Sequence[Pair]]) -> str:
    """Format a list of pairs as text."""
    lines = [f"{len(folds)}\t{len(folds[0]) // 2}"]
    for name, image, other, image_of_other in itertools.chain(*folds):
        lines.append(
            "\t".join([name, image, image_of_other] if name == other else [name, image, other, image_of_other])
        )
    return "\n".join(lines) + "\n"
