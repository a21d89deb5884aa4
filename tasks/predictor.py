"""A trained network in use: what it maps images to, and how its output is turned into an answer."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from relattn.metrics.finite import refuse_nan

Pixels = NDArray[np.uint8]

Answer = Callable[[nn.Module, list[Pixels], list[Tensor]], Any]
"""Maps the network, images `(h, w, 3)` uint8, and the network's inputs for them, `(3, H, W)`, to the answer."""


class Prediction(NamedTuple):
    """The predicted class of an image."""

    name: str
    probability: float


@dataclass(frozen=True)
class Predictor:
    """A network ready for prediction and export.

    Attributes:
        network: Maps images `(B, 3, H, W)` to what `output` describes.
        output: `name` of the output, its `layout` (`NC`, `NCHW`), and the number of `classes` or whether features are
            `normalised`.
        answer: Computes the answers for images.
        metadata: Further information for users of the network: class names, a palette, a threshold.
    """

    network: nn.Module
    output: dict[str, Any]
    answer: Answer
    metadata: dict[str, Any] = field(default_factory=dict)


def names_for(outputs: int, names: Sequence[str] | None) -> list[str] | None:
    """Return the names of the classes if there is one for each output of the network, else None."""
    return list(names) if names is not None and len(names) == outputs else None


def classifier(network: nn.Module, size: tuple[int, int], names: Sequence[str] | None) -> Predictor:
    """Build the predictor of a network that maps images to logits `(B, classes)`.

    Args:
        network: In evaluation mode.
        size: Height and width of its images in pixels.
        names: Names of the classes; class numbers are used instead unless there is a name for each output.
    """
    device = next(network.parameters()).device
    with torch.no_grad():
        outputs = network(torch.zeros(1, 3, *size, device=device))
    classes = int(outputs.shape[1])
    known = names_for(classes, names)

    def answer(network: nn.Module, _pixels: list[Pixels], views: list[Tensor]) -> list[Prediction]:
        probabilities = network(torch.stack(views)).softmax(dim=1)
        refuse_nan(probabilities)
        best = probabilities.max(dim=1)
        pairs = zip(best.indices.tolist(), best.values.tolist(), strict=True)
        return [Prediction(known[index] if known else str(index), value) for index, value in pairs]

    return Predictor(network, {"name": "logits", "layout": "NC", "classes": classes}, answer, {"classes": known})
