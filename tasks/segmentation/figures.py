"""The figure specific to segmentation: images with their truth, prediction and errors."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from relattn.errors import InputError
from relattn.figures.segmentation import Segmented
from relattn.figures.segmentation import segmentation as draw
from relattn.tasks.data import Data
from relattn.tasks.decoding import Pixels, read_image
from relattn.tasks.figure import FigureOptions, MeasuredFigure, TaskFigure, evenly_spread, honours
from relattn.tasks.segmentation.labels import Labels

if TYPE_CHECKING:
    from relattn.tasks.base import Task


@honours("images", "columns", "font", "font_size", "bare")
def segmentation(task: "Task", data: Data, options: FigureOptions) -> MeasuredFigure:
    """Image, truth, prediction, errors; segmentation."""
    segment: Any = getattr(task, "segment", None)
    if segment is None:
        raise InputError(f"segmentation draws segmentation networks, and this one belongs to the task {task.name}.")
    palette, names = np.array(task.specification["palette"], np.uint8), task.specification["class_names"]
    samples = []
    with torch.no_grad():
        for image, truth in images_with_truth(data, options):
            prepared = torch.from_numpy(data.preprocessing().normalise(image)).permute(2, 0, 1)[None]
            classes = segment(prepared.to(task.device))[0].cpu().numpy()
            samples.append(Segmented(image, classes, truth))
    return MeasuredFigure(draw(samples, palette, names, title="Segmentation", style=options.style))


def images_with_truth(data: Data, options: FigureOptions) -> Iterator[tuple[Pixels, Labels | None]]:
    """Images `(H, W, 3)` at the size used in evaluation, and their train ids `(H, W)` if they are known."""
    if options.files is not None:
        for file in options.files:
            yield data.preprocessing().resized(read_image(file)), None
        return
    images = data.samples(options.split)
    indices = options.indices if options.indices is not None else evenly_spread(len(images), options.count)
    data.check_indices(options.split, indices)
    for index in indices:
        yield images.decode(index)


FIGURES: Mapping[str, TaskFigure] = {"segmentation": segmentation}
