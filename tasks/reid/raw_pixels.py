"""Ranking by raw pixels: a baseline that shows how hard a re-identification set is."""

import cv2
import numpy as np
import torch
from torch import Tensor

from relattn.metrics import FeatureDistances
from relattn.metrics.ranks import Labels
from relattn.tasks.decoding import read_image
from relattn.tasks.reid.splits import PersonImage, Splits


def raw_pixels(splits: Splits, size: tuple[int, int] = (64, 32)) -> tuple[Labels, Labels, FeatureDistances]:
    """Return labels of query and gallery, and Euclidean distances of images resized to `size`, height and width."""

    def features(images: list[PersonImage]) -> Tensor:
        small = [cv2.resize(read_image(splits.root / image.path), size[::-1]) for image in images]
        return torch.from_numpy(np.stack(small)).flatten(1).float()

    query, gallery = list(splits.query), list(splits.gallery)
    labels = [
        Labels(torch.tensor([image.identity for image in images]), torch.tensor([image.camera for image in images]))
        for images in (query, gallery)
    ]
    return labels[0], labels[1], FeatureDistances(features(query), features(gallery), "euclidean")
