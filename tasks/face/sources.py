"""Several training sets as one: StRA trains on CASIA-WebFace, CelebA, CACD and VGGFace together.

Identities are numbered one set after the other. A list can leave out people who are in several sets, or in the sets for
verification; identities with too few images can be left out as well.
"""

import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from relattn.errors import InputError, MissingFileError, some_of
from relattn.tasks.face.folders import IdentityFolders
from relattn.tasks.face.records import Records
from relattn.tasks.fingerprint import combined


class Source(Protocol):
    """A training set, as `IdentityFolders` and `Records` give it."""

    path: Path
    name: str
    identities: list[str]
    """Names of the identities."""
    labels: NDArray[np.int64]
    """For each image, the index of its identity in `identities`."""

    def __len__(self) -> int: ...
    def read(self, index: int) -> bytes: ...
    def where(self, index: int) -> str: ...
    def fingerprint(self) -> str: ...


def open_source(path: Path) -> IdentityFolders | Records:
    """Open a folder with one subfolder per identity, a `.rec` file, or a folder that contains `train.rec`.

    Raises:
        MissingFileError: If the path does not exist.
        InputError: If it cannot be used.
    """
    if path.suffix == ".rec" or path.with_name(path.name + ".rec").is_file():
        return Records(path)
    if (path / "train.rec").is_file():
        return Records(path / "train.rec")
    if not path.is_dir():
        raise MissingFileError(f"{path}: neither a folder with a folder for each identity nor a .rec file.")
    return IdentityFolders(path)


def read_exclusions(path: Path) -> list[str]:
    """Read the entries of a list of identities, one per line; text after `#` is a comment.

    Raises:
        MissingFileError: If there is no such file.
        InputError: If it is not a text file.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError as error:
        raise MissingFileError(f"{path}: no such file.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read as a list of identities: {error}.") from error
    return [entry for line in lines if (entry := line.partition("#")[0].strip())]


class Joined:
    """The images of several sources, labelled from 0 without gaps."""

    def __init__(self, sources: Sequence[Source], *, min_images: int = 1, exclude: Path | None = None) -> None:
        """Join the sources.

        Args:
            sources: The sources, in the order in which their identities are numbered.
            min_images: Identities with fewer images are left out.
            exclude: A list of identities to leave out, each as `source/identity`, or as `identity` for any source.

        Raises:
            InputError: If two sources have the same name, or no image is left.
        """
        names = [source.name for source in sources]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise InputError(
                f"Several training sets are called {twice[0]}: rename a folder, so that lists can tell them apart."
            )
        self.sources = list(sources)
        self.excluded = self.find_excluded(read_exclusions(exclude), exclude) if exclude else set()
        self.identities: list[str] = []
        """`source/identity` of every label."""
        origins, indices, labels = [], [], []
        for place, source in enumerate(self.sources):
            counts = np.bincount(source.labels, minlength=len(source.identities))
            excluded = np.array([(place, identity) in self.excluded for identity in range(len(counts))], dtype=bool)
            kept = (counts >= max(min_images, 1)) & ~excluded
            new = np.where(kept, np.cumsum(kept) - 1 + len(self.identities), -1)[source.labels]
            used = np.flatnonzero(new >= 0)
            origins.append(np.full(len(used), place))
            indices.append(used)
            labels.append(new[used])
            self.identities += [f"{source.name}/{source.identities[number]}" for number in np.flatnonzero(kept)]
        self.origins, self.indices = np.concatenate(origins), np.concatenate(indices)
        self.labels: NDArray[np.int64] = np.concatenate(labels)
        if not len(self.labels):
            raise InputError(
                f"No training images are left of {', '.join(names)} with min_images {min_images}"
                f"{f' and without those in {exclude}' if exclude else ''}."
            )
        self.warn_of_namesakes()

    def warn_of_namesakes(self) -> None:
        """Warn of names (not numbers) that occur in several sources: most likely these are the same people."""
        names = Counter(identity.partition("/")[2] for identity in self.identities)
        if shared := sorted(name for name, number in names.items() if number > 1 and not name.isdigit()):
            warnings.warn(
                f"Names in several training sets, {len(shared):,} of them, count as different people: "
                f"{some_of(shared)}. "
                "If they are not, list `source/identity` of all but one in a file for --data.exclude.",
                stacklevel=4,
            )

    def find_excluded(self, entries: Sequence[str], path: Path) -> set[tuple[int, int]]:
        """Find the (source, identity) pairs on a list; warn of entries that match no identity."""
        by_name: dict[str, set[tuple[int, int]]] = {}
        for place, source in enumerate(self.sources):
            for number, identity in enumerate(source.identities):
                for entry in (identity, f"{source.name}/{identity}"):
                    by_name.setdefault(entry, set()).add((place, number))
        if unknown := [entry for entry in entries if entry not in by_name]:
            warnings.warn(
                f"{path}: {len(unknown):,} of {len(entries):,} entries name no identity of the training sets: "
                f"{some_of(unknown)}.",
                stacklevel=4,
            )
        return {found for entry in entries for found in by_name.get(entry, ())}

    def __len__(self) -> int:
        """Number of images."""
        return len(self.labels)

    def read(self, index: int) -> bytes:
        """Read the encoded image `index`."""
        return self.sources[self.origins[index]].read(int(self.indices[index]))

    def where(self, index: int) -> str:
        """Display name of an image in messages."""
        return self.sources[self.origins[index]].where(int(self.indices[index]))

    def fingerprint(self) -> str:
        """Identify the images and the training identities by a digest."""
        return combined({source.name: source.fingerprint() for source in self.sources} | {"": self.identities})

    def counts(self) -> dict[str, int]:
        """Number of images used from each source."""
        return {source.name: int((self.origins == place).sum()) for place, source in enumerate(self.sources)}
