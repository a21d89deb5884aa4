"""The data set of `--data Faces`: training faces, and sets of pairs to verify."""

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from relattn.errors import InputError, MissingFileError
from relattn.tasks.face.data import FaceData
from relattn.tasks.face.pairs import read_pairs
from relattn.tasks.face.sources import Joined, open_source
from relattn.tasks.face.verification_sets import OFFICIAL, VerificationSet, read_bin
from relattn.tasks.files import not_found

SOURCE = (
    "insightface's collection of data sets (https://github.com/deepinsight/insightface, recognition/_datasets_) has "
    "aligned training sets as train.rec with train.idx, and the verification sets beside them."
)


class Faces(FaceData):
    """Training faces, and the verification sets of StRA's Table 4: LFW, CPLFW, CALFW, CFP-FP and AgeDB-30."""

    def __init__(
        self,
        root: Path | str = "data",
        *,
        train: list[str] | None = None,
        verification_sets: list[str] | None = None,
        min_images: int = 1,
        exclude: Path | str | None = None,
        **arguments: Any,
    ) -> None:
        """Define the data.

        Args:
            root: The folder that contains the sets, or that contains them in a folder `faces`.
            train: Training sets: folders with a folder for each identity, or `.rec` files; by default `train`.
            verification_sets: Names or paths of `.bin` files, or of folders with `pairs.txt`; by default those of the
                five official sets that exist; a warning names the missing ones.
            min_images: Training identities with fewer images are left out.
            exclude: A text file that lists training identities to leave out, one per line: `identity`, or
                `source/identity` for one training set only. Use it for people who are in several training sets or in
                the verification sets.
            arguments: Arguments shared by all face data sets, see `FaceData`.

        Raises:
            InputError: If a number is out of range, or a list is empty.
        """
        super().__init__(root, **arguments)
        for what, value in (("train", train), ("verification_sets", verification_sets)):
            if value is not None and not value:
                raise InputError(f"Faces: {what} is an empty list; leave it out for the default.")
        if min_images < 1:
            raise InputError(f"Faces: min_images is {min_images}, expected at least 1.")
        self.train_names, self.verification_names, self.min_images = train, verification_sets, min_images
        self.exclude = None if exclude is None else Path(exclude)

    def candidates(self, name: str) -> Iterator[Path]:
        """The paths that a set of that name may have."""
        yield from (self.root / name, self.root / "faces" / name)
        if len(Path(name).parts) > 1:
            yield Path(name)  # relative to where the command runs

    def read_train(self) -> Joined:
        sources = []
        for name in self.train_names or ["train"]:
            for path in self.candidates(name):
                if path.is_dir() or path.is_file() or path.with_name(path.name + ".rec").is_file():
                    sources.append(open_source(path))
                    break
            else:
                if self.train_names is None:
                    raise not_found("A training set of faces", self.root, ["faces/train/"], SOURCE, "faces")
                looked = ", ".join(str(path) for path in self.candidates(name))
                raise MissingFileError(f"Faces: the training set {name!r} was not found. Looked for {looked}.")
        return Joined(sources, min_images=self.min_images, exclude=self.exclude)

    def read_verification_sets(self) -> list[VerificationSet]:
        if self.verification_names is not None:
            pairs = [self.find_verification_set(name, required=True) for name in self.verification_names]
            sets = [one for one in pairs if one is not None]
            names = [one.name for one in sets]
            if len(set(names)) < len(names):
                raise InputError(f"Faces: verification_sets are {', '.join(names)}; each name may appear once.")
            return sets
        sets = [one for name in OFFICIAL if (one := self.find_verification_set(name)) is not None]
        if not sets:
            tree = [f"faces/{name}.bin" for name in OFFICIAL]
            raise not_found("A verification set of faces", self.root, tree, SOURCE, "faces")
        if missing := OFFICIAL.keys() - {one.name for one in sets}:
            warnings.warn(
                f"{self.root}: of the five verification sets, {', '.join(sorted(missing))} are missing; the score is "
                "the mean of the others.",
                stacklevel=2,
            )
        return sets

    def find_verification_set(self, name: str, *, required: bool = False) -> VerificationSet | None:
        """Read the verification set of that name or path; None if it does not exist.

        Raises:
            MissingFileError: If it does not exist and is required.
        """
        for path in self.candidates(name):
            file = path if path.suffix == ".bin" else path.with_name(path.name + ".bin")
            if file.is_file():
                return read_bin(file)
            if (path / "pairs.txt").is_file():
                return read_pairs(path)
        if required:
            looked = ", ".join(f"{path}(.bin)" for path in self.candidates(name))
            raise MissingFileError(f"Faces: the verification set {name!r} was not found. Looked for {looked}.")
        return None
