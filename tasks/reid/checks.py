"""Checks of a re-identification set before a long run starts: its splits, its counts and its files."""

import warnings
from collections import Counter
from collections.abc import Sequence

import torch

from relattn.errors import InputError, some_of
from relattn.metrics.ranks import Labels, SameCamera
from relattn.metrics.retrieval import explain_unmatched
from relattn.tasks.files import check_files
from relattn.tasks.reid.splits import PersonImage, Splits


def check_splits(splits: Splits, name: str, *, training: bool = True, shared_numbering: bool = True) -> None:
    """Refuse empty splits, and warn of people who are in both training and test.

    Args:
        splits: The data set.
        name: Its name in messages.
        training: Whether training images are needed.
        shared_numbering: Whether a number means the same person in training and in test. It does not if each list
            counts from 0 (MSMT17); then equal numbers mean nothing.

    Raises:
        InputError: If there are no training images although they are needed, no queries, or no gallery images.
    """
    for split, images in (("train", splits.train), ("query", splits.query), ("gallery", splits.gallery)):
        if not images and (training or split != "train"):
            raise InputError(
                f"{name}: there is no {split} image in {splits.root}, expected at least one. Unpack the archive again, "
                "or correct the lists."
            )
    if not shared_numbering:
        return
    test = {image.identity for images in (splits.query, splits.gallery) for image in images}
    if both := sorted(test & {image.identity for image in splits.train}):
        named = [splits.identity_names.get(number, str(number)) for number in both]
        warnings.warn(
            f"{name} in {splits.root}: {len(both):,} identities are in training and in test ({some_of(named)}). Scores "
            "on people whom the network was trained on say little about others.",
            stacklevel=2,
        )


def check_images(splits: Splits) -> None:
    """Check the first and the last bytes of every image, without decoding any.

    Raises:
        InputError: If files are missing, empty, cut off, or not images; the message names some of them.
    """
    paths = sorted({image.path for images in (splits.train, splits.query, splits.gallery) for image in images})
    check_files(splits.root, paths)


def unmatched_queries(
    images: Sequence[PersonImage], files: Sequence[int], queries: int, same_camera: SameCamera
) -> list[int]:
    """The queries that have no match in the gallery.

    Args:
        images: Queries, then the gallery.
        files: A number for each image, equal for the same file; an image does not match itself.
        queries: The number of queries, which are the first images.
        same_camera: As in `relattn.metrics.retrieval`.
    """
    by_identity: dict[int, list[tuple[int, int]]] = {}
    for image, file in zip(images[queries:], files[queries:], strict=True):
        by_identity.setdefault(image.identity, []).append((image.camera, file))
    return [
        number
        for number, (image, own) in enumerate(zip(images[:queries], files, strict=False))
        if not any(
            file != own and (same_camera == "match" or camera != image.camera)
            for camera, file in by_identity.get(image.identity, ())
        )
    ]


def explained(images: Sequence[PersonImage], queries: int, unmatched: Sequence[int], same_camera: SameCamera) -> str:
    """State in a sentence how many queries have no match, and why."""
    parts = (
        Labels(*(torch.tensor([image[field] for image in part]) for field in (1, 2)))
        for part in (images[:queries], images[queries:])
    )
    query, gallery = parts
    return explain_unmatched(torch.tensor(unmatched), query, gallery, same_camera)


def warn_of_labels(
    train: Sequence[PersonImage],
    images: Sequence[PersonImage],
    files: Sequence[int],
    queries: int,
    *,
    shuffled: bool,
    metric_loss: bool = True,
    same_camera: SameCamera = "junk",
) -> None:
    """Warn of problems that the labels reveal before training.

    Args:
        train: The training images; empty if only scores are needed.
        images: Queries, then the gallery.
        files: As in `unmatched_queries`.
        queries: The number of queries.
        shuffled: Whether batches are shuffled images rather than identities with several images each.
        metric_loss: Whether a loss compares images of one identity.
        same_camera: As in `relattn.metrics.retrieval`.
    """
    alone = [number for number, count in Counter(image.identity for image in train).items() if count == 1]
    if shuffled and metric_loss and alone:
        warnings.warn(
            f"{len(alone):,} training identities have one image, which never has a positive in a batch.", stacklevel=3
        )
    if shuffled and metric_loss and train:
        warnings.warn(
            "Batches are shuffled (images_per_identity null): few anchors of the triplet loss have a positive.",
            stacklevel=3,
        )
    if same_camera == "junk" and len({image.camera for image in images}) == 1:
        warnings.warn(
            "All images of the test are of one camera, and those of the query's own camera are junk: only "
            "--model.same_camera match can score them.",
            stacklevel=3,
        )
    elif unmatched := unmatched_queries(images, files, queries, same_camera):
        warnings.warn(explained(images, queries, unmatched, same_camera), stacklevel=3)
