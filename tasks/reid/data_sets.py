"""The data sets for `--data`, each a thin wrapper around its reader."""

from pathlib import Path
from typing import Any, Literal

from relattn.errors import InputError
from relattn.tasks.reid.cuhk03 import read_cuhk03
from relattn.tasks.reid.data import ReIDData
from relattn.tasks.reid.folders import FOLDER_PER_IDENTITY, read_people
from relattn.tasks.reid.manifest import read_manifest
from relattn.tasks.reid.market1501 import read_duke, read_market1501
from relattn.tasks.reid.msmt17 import read_msmt17
from relattn.tasks.reid.splits import Splits


class Market1501(ReIDData):
    """Market-1501: 12,936 training images of 751 people, 3,368 queries, 15,913 gallery images, 6 cameras."""

    def read_splits(self, *, training: bool) -> Splits:
        return read_market1501(self.root, training=training)


class DukeMTMC(ReIDData):
    """DukeMTMC-reID: 16,522 training images of 702 people, 2,228 queries, 17,661 gallery images, 8 cameras."""

    def read_splits(self, *, training: bool) -> Splits:
        return read_duke(self.root, training=training)


class CUHK03(ReIDData):
    """CUHK03, labeled or detected boxes: the new protocol (767 / 700 people) or the classic one (20 splits)."""

    feature = "before_norm"

    def __init__(
        self,
        root: Path | str = "data",
        *,
        boxes: Literal["labeled", "detected"] = "labeled",
        protocol: Literal["new", "classic"] = "new",
        split: int = 0,
        **arguments: Any,
    ) -> None:
        """Define the data.

        Args:
            root: The folder that contains the set's own folder: `cuhk03_release`, or CUHK03-NP's image folders.
            boxes: Whether the boxes were drawn by hand (`labeled`) or found by a detector (`detected`).
            protocol: `new` (Zhong et al., CVPR 2017) or `classic` (Li et al., CVPR 2014). The new protocol scores as on
                Market-1501. The classic one also reports `rank1_single_shot` and the like, the mean over ten draws of
                one gallery image per person.
            split: Split of the classic protocol, 0 to 19.
            arguments: Arguments shared by all re-identification data sets, see `ReIDData`.
        """
        super().__init__(root, **arguments)
        self.boxes, self.protocol, self.split = boxes, protocol, split
        self.single_shot = protocol == "classic"

    def prepare_data(self) -> None:
        """Unpack the images of `cuhk-03.mat`, if that is still to be done, in one process."""
        self.read_splits(training=False)

    def read_splits(self, *, training: bool) -> Splits:
        return read_cuhk03(self.root, self.boxes, self.protocol, self.split, training=training)

    def variant(self) -> dict[str, Any]:
        classic = {"split": self.split} if self.protocol == "classic" else {}
        return {"boxes": self.boxes, "protocol": self.protocol, **classic}


class MSMT17(ReIDData):
    """MSMT17, V1 or V2: 30,248 training images (32,621 with its val list), 11,659 queries, 82,161 gallery images."""

    feature = "before_norm"

    def __init__(
        self,
        root: Path | str = "data",
        *,
        version: Literal[1, 2] | None = None,
        train_on_val: bool = False,
        **arguments: Any,
    ) -> None:
        """Define the data.

        Args:
            root: The folder that contains `MSMT17_V1` or `MSMT17_V2`.
            version: Which version to use; None takes the one that exists.
            train_on_val: Whether to train on `list_val.txt` as well. Papers that state 32,621 training images may or
                may not do so: fast-reid and torchreid do not, TransReID does; RGA does not say.
            arguments: Arguments shared by all re-identification data sets, see `ReIDData`.
        """
        super().__init__(root, **arguments)
        self.version, self.train_on_val = version, train_on_val

    def read_splits(self, *, training: bool) -> Splits:
        return read_msmt17(self.root, self.version, self.train_on_val, training=training)

    def variant(self) -> dict[str, Any]:
        return {"train_on_val": self.train_on_val}


class Manifest(ReIDData):
    """Your own people: a CSV with path, identity, camera and split (train, query or gallery) of each image."""

    def __init__(self, manifest: Path | str, *, root: Path | str | None = None, **arguments: Any) -> None:
        """Define the data.

        Args:
            manifest: The CSV file.
            root: The folder to which its paths are relative; by default the file's own.
            arguments: Arguments shared by all re-identification data sets, see `ReIDData`.
        """
        super().__init__(Path(manifest).parent if root is None else root, **arguments)
        self.manifest = Path(manifest)

    def read_splits(self, *, training: bool) -> Splits:
        return read_manifest(self.manifest, self.root, training=training)


class PeopleFolders(ReIDData):
    """Your own people in folders: one for each identity, or file names that state identity and camera by a pattern."""

    def __init__(
        self,
        root: Path | str,
        *,
        pattern: str = FOLDER_PER_IDENTITY,
        test: float = 0.5,
        **arguments: Any,
    ) -> None:
        """Define the data.

        Args:
            root: The folder of the images, with folders `train`, `query` and `gallery`, or `train` and `test`, if the
                split is known.
            pattern: A regular expression with the groups `identity` and, if names contain cameras, `camera`. It is
                searched for in an image's path relative to `root` or to the folder of its split; by default the first
                folder is the identity. Without cameras give `--model.same_camera match`.
            test: If there are no folders of splits, the share of the identities held out for the test, each with one
                query per camera, if another camera has a match; `split_seed` decides this choice too. With 1, all are
                scored, and none can be trained on.
            arguments: Arguments shared by all re-identification data sets, see `ReIDData`.

        Raises:
            InputError: If a number is out of range.
        """
        super().__init__(root, **arguments)
        if not 0 < test <= 1:
            raise InputError(
                f"PeopleFolders: test is {test}, expected a share of the identities, above 0 and at most 1, which "
                "scores all of them."
            )
        self.pattern, self.test = pattern, test

    def read_splits(self, *, training: bool) -> Splits:
        shares: dict[str, Any] = {"test": self.test, "split_seed": self.split_seed}
        return read_people(self.root, self.pattern, **shares, training=training, new=self.is_new())
