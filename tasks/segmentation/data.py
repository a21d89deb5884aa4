"""The base of all segmentation data sets: reading, checking, augmenting and batching."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from relattn.errors import InputError
from relattn.preprocessing import Preprocessing, Resize
from relattn.tasks.decoding import decode_wholly, read_image, size_of
from relattn.tasks.files import content_of, departures, origin
from relattn.tasks.fingerprint import fingerprint
from relattn.tasks.image_data import ImageData, ImageSet, stacked
from relattn.tasks.samplers import SampleIndex
from relattn.tasks.segmentation.augmentation import STATISTICS, Augmentation, Normalisation, Pipeline
from relattn.tasks.segmentation.checks import check_label_files, check_values, count_values
from relattn.tasks.segmentation.label_files import read_labels
from relattn.tasks.segmentation.labels import IGNORED, LabelMap, Labels
from relattn.tasks.segmentation.pairs import LabelledImage, check_pairs, different_sizes


class SegmentationImages(ImageSet):
    """Images of a split with their labels, as samples for the network.

    A sample is `image` (H, W, 3) float32, `label` (H, W) uint8 train ids, with 255 for pixels to ignore, and `index`,
    its position in the split.
    """

    def __init__(
        self,
        root: Path,
        pairs: Sequence[LabelledImage],
        preprocessing: Preprocessing,
        label_map: LabelMap,
        augmentation: Pipeline | None = None,
    ) -> None:
        """Keep the images.

        Args:
            root: The folder to which the paths are relative.
            pairs: The images with their label images.
            preprocessing: How evaluation prepares an image.
            label_map: Translates labels, and predictions back.
            augmentation: Augmentation of training images; None for images as in evaluation.
        """
        self.root, self.pairs, self.label_map = root, list(pairs), label_map
        self.preprocessing, self.augmentation = preprocessing, augmentation
        self.paths = [PurePosixPath(pair.image) for pair in pairs]

    def __len__(self) -> int:
        """Number of images."""
        return len(self.pairs)

    def image_key(self, index: int) -> Any:
        return self.root, self.pairs[index]

    def image_name(self, index: int) -> str:
        return str(self.root / self.pairs[index].image)

    def relative_path(self, index: int) -> str:
        return self.pairs[index].image

    def encoded(self, index: int) -> bytes:
        return content_of(self.root / self.pairs[index].image)

    def check_labels(self, index: int, size: tuple[int, int]) -> None:
        labels = self.pairs[index].labels
        if labels is None:
            return
        file = self.root / labels
        try:
            decode_wholly(content_of(file))
        except InputError as error:
            raise InputError(f"its labels {file}: {error}") from error
        ids = self.label_map.to_train(read_labels(file), file)
        if ids.shape != size:
            raise InputError(different_sizes(file, ids.shape, size))

    def labels(self, index: int) -> Labels | None:
        """Train ids of an image, (H, W), before any processing; None if they are not public."""
        pair = self.pairs[index]
        if pair.labels is None:
            return None
        return self.label_map.to_train(read_labels(self.root / pair.labels), self.root / pair.labels)

    def label_ids(self, predictions: Labels) -> Labels:
        """Translate predicted train ids to the ids of the set's label images."""
        return self.label_map.to_ids(predictions)

    def decode(self, index: int) -> tuple[NDArray[np.uint8], Labels]:
        """Read an image, (H, W, 3) RGB, and its train ids, (H, W), at the size used in evaluation.

        Raises:
            InputError: If one cannot be read, or their sizes differ.
        """
        pair = self.pairs[index]
        pixels, labels = read_image(self.root / pair.image), self.labels(index)
        if labels is None:
            labels = np.full(pixels.shape[:2], IGNORED, np.uint8)
        elif labels.shape != pixels.shape[:2]:
            raise InputError(different_sizes(self.root / str(pair.labels), labels.shape, pixels.shape))
        image = self.preprocessing.resized(pixels)
        if image.shape != pixels.shape:
            labels = cv2.resize(labels, image.shape[1::-1], interpolation=cv2.INTER_NEAREST_EXACT)  # type: ignore[assignment]
        return image, labels

    def __getitem__(self, request: SampleIndex) -> dict[str, Any]:
        """Read and prepare an image and its labels."""
        image, label = self.decoded(request.index)
        if self.augmentation is None:
            prepared: NDArray[Any] = self.preprocessing.normalise(image)
        else:
            prepared, label = self.augmentation(image, label, request.seed)
        return {"image": torch.from_numpy(prepared), "label": torch.from_numpy(label), "index": request.index}


class SegmentationData(ImageData):
    """Random windows of the training images, shuffled, and whole images for evaluation."""

    label_map: LabelMap
    """The classes, and their values in label images and predictions."""

    published: Mapping[str, int] = {}
    """Number of labelled images in each split of the genuine set."""

    counts_seen: NDArray[np.int64] = np.zeros(0, np.int64)
    """Pixels of each class in the label images of training that `check` has read; empty before."""

    class_weights: Sequence[float] | None = None
    """Class weights in the loss that the paper's settings use for this set."""

    @staticmethod
    def collate(samples: list[dict[str, Any]]) -> dict[str, Any]:
        """Stack samples; `image` becomes (B, 3, H, W) and stays channels-last in memory, `label` int64."""
        batch = stacked(samples)
        batch["label"] = batch["label"].long()
        return batch

    def __init__(
        self,
        root: Path | str = "data",
        *,
        crop: tuple[int, int] = (769, 769),
        batch_size: int = 8,
        augmentation: Augmentation | None = None,
        normalisation: Normalisation = "imagenet",
        image_scale: float = 1.0,
        eval_batch_size: int = 1,
        **arguments: Any,
    ) -> None:
        """Define the data.

        Args:
            root: The folder that contains the set's own folder.
            crop: Height and width of the training windows, in pixels. If a scaled image is smaller, it is padded at the
                bottom and on the right, with labels that are ignored.
            batch_size: Images per step, over all GPUs together.
            augmentation: Augmentation of training images.
            normalisation: `imagenet`, the mean and standard deviation that timm's weights expect, or `caffe`, OCNet's
                means, with pixels from 0 to 255.
            image_scale: Scale factor of all images and labels, also in evaluation, for small runs. Scores at
                scales other than 1 are not comparable with published ones.
            eval_batch_size: Images per evaluation step on each GPU; above 1 only if all images have the same size.
            arguments: Arguments shared by all image data sets, see `ImageData`.

        Raises:
            InputError: If a number is out of range.
        """
        self.expect(crop=(min(crop), 16))
        # Passed by name: jsonargparse reads this call to learn that `image_size` is not an option of these sets.
        super().__init__(root, image_size=crop, batch_size=batch_size, eval_batch_size=eval_batch_size, **arguments)
        name = type(self).__name__
        if not 0 < image_scale <= 4:
            raise InputError(f"{name}: image_scale is {image_scale}, expected above 0 and at most 4.")
        self.augmentation = augmentation or Augmentation()
        low, high = self.augmentation.scales
        if not 0 < low <= high or self.augmentation.step <= 0:
            raise InputError(
                f"{name}: scales are {low} to {high} in steps of {self.augmentation.step}, expected all above 0 and in "
                "order, as 0.5 to 2.1 in steps of 0.1 are."
            )
        if not 0 <= self.augmentation.flip <= 1:
            raise InputError(f"{name}: flip is {self.augmentation.flip}, expected a probability, from 0 to 1.")
        self.normalisation, self.image_scale = normalisation, image_scale

    def preprocessing(self) -> Preprocessing:
        """Whole images at their own size, as the paper tests them.

        Nothing is resized unless `image_scale` is set, which no recipe of the papers does, so the filter is not an
        option. Training crops are scaled by OpenCV's filter, as in OCNet's code, whose settings the paper follows.
        """
        mean, std = STATISTICS[self.normalisation]
        how: Resize = "none" if self.image_scale == 1 else "scale"
        return Preprocessing(self.image_size, how, "area_or_linear", self.image_scale, mean=tuple(mean), std=tuple(std))

    def specification(self) -> dict[str, Any]:
        label_map = self.label_map
        return {
            **super().specification(),
            "class_names": list(label_map.classes),
            "palette": label_map.palette.tolist(),
            "label_ids": label_map.ids.tolist(),
            "class_weights": None if self.class_weights is None else list(self.class_weights),
        }

    @abstractmethod
    def read_splits(self, splits: Sequence[str]) -> tuple[Path, dict[str, list[LabelledImage]]]:
        """Find the set's folder, and the images of some of `train`, `val`, `test` and `predict`, relative to it."""

    def read(self, splits: Sequence[str]) -> None:
        folder, found = self.read_splits(splits)
        sizes = self.check_images(folder, found)
        if self.eval_batch_size > 1 and len(sizes) > 1:
            named = ", ".join(f"{height} x {width}" for height, width in sorted(sizes)[:5])
            raise InputError(
                f"{type(self).__name__}: eval_batch_size is {self.eval_batch_size}, and images of different sizes "
                f"({named}) do not make a batch. Evaluate with --data.eval_batch_size 1."
            )
        self.class_names = self.label_map.classes
        self.num_classes = len(self.class_names)
        varied = Pipeline(self.image_size, self.augmentation, normalisation=self.normalisation)
        self.sets |= {
            split: SegmentationImages(
                folder, pairs, self.preprocessing(), self.label_map, varied if split == "train" else None
            )
            for split, pairs in found.items()
        }
        counts = {split: len(images) for split, images in self.sets.items()}
        published = {split: number for split, number in self.published.items() if split in counts}
        differing = departures(counts, published) if published else None
        self.origin = origin(type(self).__name__, folder, differing)

    def check_images(self, folder: Path, splits: Mapping[str, list[LabelledImage]]) -> set[tuple[int, int]]:
        """Check the files and return the sizes of the images."""
        everything = sorted({pair for pairs in splits.values() for pair in pairs}, key=lambda pair: pair.image)
        if self.check_files:
            return check_pairs(folder, everything)
        return {size_of(folder / pair.image) for pair in everything} if self.eval_batch_size > 1 else set()

    def check(self) -> None:
        names = {"train": "training", "val": "validation", "test": "test", "predict": "prediction"}
        seen: list[Any] = []
        for split, images in self.sets.items():
            if any(images.pairs == one for one in seen):
                continue
            seen.append(images.pairs)
            check_label_files(images.root, images.pairs)
            if any(pair.labels is not None for pair in images.pairs):
                counts = count_values(images.root, images.pairs, self.label_map, stop=True)
                if split == "train":
                    self.counts_seen = counts[self.label_map.ids]
                check_values(counts, self.label_map, names[split], published=bool(self.published))

    def class_shares(self) -> dict[str, float]:
        """The share of each class in the labelled training pixels; reads all label images."""
        return dict(zip(self.label_map.classes, self.class_frequencies().tolist(), strict=True))

    def class_shares_seen(self) -> dict[str, float]:
        total = max(int(self.counts_seen.sum()), 1)
        return {name: int(count) / total for name, count in zip(self.label_map.classes, self.counts_seen, strict=False)}

    def class_frequencies(self) -> NDArray[np.float64]:
        """The share of each class in the labelled training pixels, (C,); reads all label images, once."""
        counts = np.zeros(256, np.int64)
        train = self.sets["train"]
        for index in range(len(train)):
            labels = train.labels(index)
            assert labels is not None
            counts += np.bincount(labels.ravel(), minlength=256)
        found = counts[: self.num_classes]
        return found / max(int(found.sum()), 1)

    def describe(self) -> dict[str, Any]:
        images = {split: len(found) for split, found in self.sets.items()}
        lists = {split: [(pair.image, pair.labels) for pair in self.sets[split].pairs] for split in images}
        lists["labels"] = sorted({pair[::-1] for pairs in lists.values() for pair in pairs if pair[1]})
        return {
            "data": type(self).__name__,
            "images": images,
            "classes": self.num_classes,
            "image_scale": self.image_scale,
            **self.origin,
            "fingerprint": fingerprint(next(iter(self.sets.values())).root, lists),
        }
