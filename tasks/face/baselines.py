"""Baselines of face verification: grey pixels, and a randomly initialised network."""

from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from relattn.backbones import build
from relattn.metrics.verification import pair_distances, verification
from relattn.tasks.face.data_sets import Faces

SIDE = 48
"""Height and width of the images, in pixels."""


def baselines(root: Path) -> dict[str, dict[str, float]]:
    """Ten-fold accuracies without training, in per cent: of grey pixels, and of an untrained ResNet-20.

    Each verification set under `root` has an entry. Both baselines compare vectors by their squared distance after
    normalisation to length 1, as embeddings of a trained network are compared.
    """
    torch.manual_seed(0)
    network = build("resnet20", size=(SIDE, SIDE)).eval()
    scores: dict[str, dict[str, float]] = {"grey pixels": {}, "resnet20, untrained": {}}
    data = Faces(root, image_size=(SIDE, SIDE))
    preprocessing = data.preprocessing()
    for pairs in data.read_verification_sets():
        images = np.stack([preprocessing.resized(pairs.read(index)) for index in range(len(pairs))])
        grey = np.stack([cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in images]).astype(np.float32)
        inputs = torch.from_numpy(np.stack([preprocessing.normalise(image) for image in images])).permute(0, 3, 1, 2)
        with torch.no_grad():
            features = torch.cat([network(part) for part in inputs.split(256)])
        by_name: dict[str, Tensor] = dict(zip(scores, (torch.from_numpy(grey).flatten(1), features), strict=True))
        for name, vectors in by_name.items():
            scores[name][pairs.name] = verification(pair_distances(vectors), pairs.same).accuracy
    return scores
