"""Where training faces and packs are found: what `--data Faces` reads."""

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from relattn.errors import InputError, MissingFileError
from relattn.tasks.face.data import FacesData
from relattn.tasks.face.packs import OFFICIAL, Pack, read_pack
from relattn.tasks.face.pairs import read_pairs
from relattn.tasks.face.sources import Joined, open_source
from relattn.tasks.files import not_found

SOURCE = (
    "insightface's collection of data sets (https://github.com/deepinsight/insightface, recognition/_datasets_) has "
    "aligned training sets as train.rec with train.idx, and the packs beside them."
)


class Faces(FacesData):
    """Faces to train with, and the packs of StRA's Table 4: LFW, CPLFW, CALFW, CFP-FP and AgeDB-30."""

    def __init__(
        self,
        root: Path | str = "data",
        *,
        train: list[str] | None = None,
        packs: list[str] | None = None,
        min_images: int = 1,
        exclude: Path | str | None = None,
        **arguments: Any,
    ) -> None:
        """Define the data.

        Args:
            root: The folder that the others are in, or that holds `faces`, which they are in.
            train: Training sets: folders with a folder for each identity, or `.rec` files; by default `train`.
            packs: Names or paths of `.bin` files, or of folders with `pairs.txt`; by default those of the five that are
                there, which a warning tells if they are not all.
            min_images: Training identities with fewer images are left out.
            exclude: A text file with training identities to leave out, a line each: `identity`, or `source/identity`
                for one training set only. It is for people who are in several sets, or in the packs.
            arguments: Shared by all sets, see `FacesData`.

        Raises:
            InputError: If a number is out of range, or a list is empty.
        """
        super().__init__(root, **arguments)
        for what, value in (("train", train), ("packs", packs)):
            if value is not None and not value:
                raise InputError(f"Faces: {what} is an empty list; leave it out for the default.")
        if min_images < 1:
            raise InputError(f"Faces: min_images is {min_images}, expected at least 1.")
        self.train_names, self.pack_names, self.min_images = train, packs, min_images
        self.exclude = None if exclude is None else Path(exclude)

    def places(self, name: str) -> Iterator[Path]:
        """Where something of that name may be."""
        yield from (self.root / name, self.root / "faces" / name)
        if len(Path(name).parts) > 1:
            yield Path(name)  # relative to where the command runs

    def read_train(self) -> Joined:
        sources = []
        for name in self.train_names or ["train"]:
            for path in self.places(name):
                if path.is_dir() or path.is_file() or path.with_name(path.name + ".rec").is_file():
                    sources.append(open_source(path))
                    break
            else:
                if self.train_names is None:
                    raise not_found("A training set of faces", self.root, ["faces/train/"], SOURCE, "faces")
                looked = ", ".join(str(path) for path in self.places(name))
                raise MissingFileError(f"Faces: the training set {name!r} was not found. Looked for {looked}.")
        return Joined(sources, min_images=self.min_images, exclude=self.exclude)

    def read_packs(self) -> list[Pack]:
        if self.pack_names is not None:
            found = [self.find_pack(name) for name in self.pack_names]
            for name, pack in zip(self.pack_names, found, strict=True):
                if pack is None:
                    looked = ", ".join(f"{path}(.bin)" for path in self.places(name))
                    raise MissingFileError(f"Faces: the pack {name!r} was not found. Looked for {looked}.")
            packs = [pack for pack in found if pack is not None]
            names = [pack.name for pack in packs]
            if len(set(names)) < len(names):
                raise InputError(f"Faces: packs are called {', '.join(names)}; each name may be there once.")
            return packs
        packs = [pack for name in OFFICIAL if (pack := self.find_pack(name)) is not None]
        if not packs:
            raise not_found("A pack of faces", self.root, [f"faces/{name}.bin" for name in OFFICIAL], SOURCE, "faces")
        if missing := OFFICIAL.keys() - {pack.name for pack in packs}:
            warnings.warn(
                f"{self.root}: of the five packs, {', '.join(sorted(missing))} are missing; the score is the mean of "
                "the others.",
                stacklevel=2,
            )
        return packs

    def find_pack(self, name: str) -> Pack | None:
        """Read the pack of that name or path; None if there is none."""
        for path in self.places(name):
            file = path if path.suffix == ".bin" else path.with_name(path.name + ".bin")
            if file.is_file():
                return read_pack(file)
            if (path / "pairs.txt").is_file():
                return read_pairs(path)
        return None
