"""From a checkpoint to a network that is ready for use, of every task: `load`, which is `relattn.load`."""

import json
import math
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import yaml
from torch import Tensor, nn

from relattn import __version__
from relattn.errors import InputError
from relattn.export.preparation import resize
from relattn.inference.loading import load as load_task
from relattn.inference.loading import read
from relattn.inference.pictures import data_of
from relattn.inference.trained import Embedder, Image, Pixels, Prediction, Trained, pixels_of
from relattn.tasks.base import Data
from relattn.tasks.classification import Classification
from relattn.tasks.classification.cifar import CIFAR
from relattn.tasks.embedding_task import EmbeddingTask
from relattn.tasks.face import Face
from relattn.tasks.face.data import CENTRE, RANGE
from relattn.tasks.files import digest
from relattn.tasks.reid import ReID
from relattn.tasks.reid.augmentation import MEAN, STD
from relattn.tasks.segmentation import Segmentation
from relattn.tasks.segmentation.augmentation import STATISTICS, Pipeline
from relattn.tasks.segmentation.data import StreetsData
from relattn.tasks.unpickle import unpickle


def load(checkpoint: Path | str) -> Trained:
    """Make a checkpoint's network ready for use.

    Args:
        checkpoint: A file that `relattn fit` or `relattn convert` wrote; nothing in it is run.

    Raises:
        MissingFileError: If there is no such file.
        InputError: If it is no checkpoint of the suite's, or one of a task or data that are not known here.
    """
    path = Path(checkpoint)
    task, config = load_task(path), yaml.safe_load(read(path)["config"])
    if isinstance(task, EmbeddingTask):
        trained = embedding(task, path)
    elif isinstance(task, Classification):
        trained = classification(task, path)
    elif isinstance(task, Segmentation):
        trained = segmentation(task, path)
    else:
        raise InputError(f"{path} is of {type(task).__name__}, whose images and answers are not known here.")
    trained.network.eval()
    trained.metadata = {
        "relattn": __version__,
        "task": type(task).__name__.lower(),
        "backbone": task.backbone,
        "attention": config["model"]["init_args"].get("attention"),
        "checkpoint": {"file": path.name, "sha256": digest(path)},
        **trained.metadata,
        "scores": scores_beside(path),
    }
    return trained


def scores_beside(checkpoint: Path) -> dict[str, float]:
    """What the run scored, from the `result.json` of its folder; empty without one."""
    for folder in (checkpoint.parent, checkpoint.parent.parent):
        if (folder / "result.json").is_file():
            found: dict[str, float] = json.loads((folder / "result.json").read_text()).get("scores", {})
            return found
    return {}


def data_of_run(checkpoint: Path) -> Data:
    """The data that a network was trained on, of which no file is read: they know how images are prepared.

    Raises:
        InputError: If they cannot be built.
    """
    try:
        return data_of(checkpoint)
    except Exception as error:  # jsonargparse's, or whatever the class raises
        raise InputError(
            f"{checkpoint}: its data cannot be built, and they are needed to know how images are prepared: {error}"
        ) from error


def described(size: tuple[int, ...], values: dict[str, Any], output: dict[str, Any]) -> dict[str, Any]:
    """The metadata of what goes in and what comes out."""
    about = {"name": "image", "layout": "NCHW", "dtype": "float32", "size": list(size)}
    return {"input": about, "preprocessing": {"colour": "RGB", **values}, "output": output}


def floats(values: Any) -> list[float]:
    """Numbers of three channels as JSON has them."""
    return [float(value) for value in values]


def classification(task: Classification, checkpoint: Path) -> Trained:
    """A network that classifies; images of another size than the network's are stretched to it."""
    data = data_of_run(checkpoint)
    if not hasattr(data, "mean") or not hasattr(data, "std"):
        raise InputError(f"{type(data).__name__} has no mean and std, which say how images are normalised.")
    size, classes = tuple(task.shapes["image_size"]), task.shapes["class_names"] or class_names(data)
    values = {
        **{"resize": "stretch", "size": list(size), "interpolation": "area_or_linear"},
        **{"range": [0, 1], "mean": floats(data.mean), "std": floats(data.std)},
    }
    deviation = torch.tensor(data.std)
    scale, shift = 1 / (255 * deviation), -torch.tensor(data.mean) / deviation

    def transform(image: Image) -> Tensor:
        pixels = torch.from_numpy(resize(pixels_of(image), values))
        return torch.addcmul(shift, pixels.float(), scale).permute(2, 0, 1).contiguous()

    def answer(network: nn.Module, _pixels: list[Pixels], views: list[Tensor]) -> list[Prediction]:
        best = network(torch.stack(views)).softmax(dim=1).max(dim=1)
        found = zip(best.indices.tolist(), best.values.tolist(), strict=True)
        return [Prediction(classes[index] if classes else str(index), value) for index, value in found]

    output = {"name": "logits", "layout": "NC", "classes": task.shapes["num_classes"]}
    assert task.network is not None
    return Trained(task.network, transform, {**described(size, values, output), "classes": classes}, answer)


def class_names(data: Data) -> list[str] | None:
    """Names of the classes, from the file of the data set that has them; None if it is not there."""
    if not isinstance(data, CIFAR):
        return getattr(data, "class_names", None)
    file, key = data.meta
    try:
        return [str(name) for name in unpickle(data.find() / file)[key]]
    except (InputError, KeyError, TypeError):
        return None


def segmentation(task: Segmentation, checkpoint: Path) -> Trained:
    """A network that classifies every pixel; a picture's map comes at the picture's own size."""
    data = data_of_run(checkpoint)
    if not isinstance(data, StreetsData) or not hasattr(data, "label_map"):
        raise InputError(f"{type(data).__name__} has no label_map, which names classes and gives them colours.")
    size, scale = tuple(task.shapes["image_size"]), data.image_scale
    mean, std = STATISTICS[data.normalisation]
    values = {
        **{"resize": "none" if scale == 1 else "scale", "scale": scale, "interpolation": "area_or_linear"},
        **{"range": [0, 1], "mean": floats(mean), "std": floats(std)},
    }
    pipeline = Pipeline(size, normalisation=data.normalisation, scale=scale)

    def transform(image: Image) -> Tensor:
        pixels = pixels_of(image)
        resized = pipeline.resize(pixels, np.zeros(pixels.shape[:2], np.uint8))
        return torch.from_numpy(pipeline(*resized, 0)[0]).permute(2, 0, 1).contiguous()

    def answer(_network: nn.Module, pixels: list[Pixels], views: list[Tensor]) -> list[Pixels]:
        maps = [task.segment(view[None])[0].to(torch.uint8).cpu().numpy() for view in views]
        pairs = zip(maps, (image.shape[1::-1] for image in pixels), strict=True)
        return [
            found if found.shape[::-1] == shape else cv2.resize(found, shape, interpolation=cv2.INTER_NEAREST_EXACT)
            for found, shape in pairs
        ]

    output = {"name": "logits", "layout": "NCHW", "classes": task.shapes["num_classes"]}
    labels = {
        "classes": data.label_map.classes,
        "palette": data.label_map.palette.tolist(),
        "inference": str(task.inference),
    }
    assert task.network is not None
    return Trained(task.network, transform, {**described(size, values, output), **labels}, answer)


def embedding(task: EmbeddingTask, checkpoint: Path) -> Trained:
    """A network whose features are compared."""
    assert task.network is not None
    size = tuple(task.shapes["image_size"])
    about = task.provenance(checkpoint)
    values: dict[str, Any]
    if isinstance(task, Face):
        values = {"resize": "cover", "interpolation": "area_or_linear", "range": [0, 255]}
        values |= {"mean": [CENTRE] * 3, "std": [RANGE] * 3}
        threshold = float(task.threshold)  # type: ignore[arg-type]
        compared = {"distance": "squared_euclidean", "threshold": None if math.isnan(threshold) else threshold}
        norm, flip, normalised = nn.Identity(), str(task.flip), True
    elif isinstance(task, ReID):
        values = {"resize": "stretch", "interpolation": "linear", "range": [0, 1], "mean": floats(MEAN)}
        values |= {"std": floats(STD)}
        compared = {"distance": about["distance"]}
        after = about["feature"] == "after_norm"
        norm = getattr(task.head, "norm", nn.Identity()) if after else nn.Identity()
        flip, normalised = "sum" if task.flip_test else "none", about["distance"] == "cosine"
    else:
        raise InputError(f"{checkpoint} is of {type(task).__name__}, whose features are not known here.")
    values["size"] = list(size)
    prepare = task.preparation()

    def transform(image: Image) -> Tensor:
        return torch.from_numpy(prepare(pixels_of(image))).permute(2, 0, 1).contiguous()

    def answer(network: nn.Module, _pixels: list[Pixels], views: list[Tensor]) -> Tensor:
        features: Tensor = network(torch.stack(views))
        return features

    network = Embedder(task.network, norm=norm, flip=flip, normalised=normalised)
    output = {"name": "feature", "layout": "NC", "normalised": normalised}
    metadata = {**described(size, values, output), "feature": about["feature"], "flip": flip, **compared}
    return Trained(network, transform, metadata, answer)
