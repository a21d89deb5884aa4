"""Figures of trained networks, whatever their task; and a callback that draws them while a network is trained."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn

from relattn.backbones import stages_of
from relattn.errors import InputError, suggest
from relattn.figures.names import kind_of
from relattn.inference.pictures import Pictures, evenly, from_data
from relattn.tasks.base import Data, Task

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL import Image

FIGURES = ("architecture", "grad-cam", "masks", "modes", "relations", "segmentation")
"""What can be drawn of images and networks alone."""


@dataclass(frozen=True)
class Drawn:
    """A figure with what was measured for it."""

    figure: "Figure | Image.Image"
    measures: Mapping[str, float] = field(default_factory=dict)


def draw(name: str, tasks: Mapping[str, Task], data: Data, pictures: Pictures, **options: Any) -> Drawn:
    """Draw a figure.

    Args:
        name: One of `FIGURES`.
        tasks: Trained networks in evaluation mode, by their titles; `architecture` and `segmentation` draw the first.
        data: The data set, which need not be set up.
        pictures: The images.
        options: `module` of `relations` and `modes`; `targets` and `weights` of `relations`.

    Raises:
        InputError: If there is no such figure, or a network lacks what it shows.
    """
    if name not in FIGURES:
        raise InputError(f"There is no figure {name!r}. {suggest(name, FIGURES)}")
    pixels, module = pictures.pixels, options.get("module")
    if name == "architecture":
        return architecture(tasks)
    if name == "segmentation":
        return segmentation(next(iter(tasks.values())), data, pictures)
    if name == "grad-cam":
        return class_evidence(tasks, pictures)
    if name == "masks":
        from relattn.figures.masks import masks_figure, spatial_masks

        return Drawn(masks_figure(pixels, each(tasks, pictures, spatial_masks)))
    if name == "modes":
        from relattn.figures.modes import head_diversity, modes, modes_figure

        maps = each(tasks, pictures, modes, module=module)
        measures = {
            f"{title}, head diversity of {kind}": value
            for title, found in maps.items()
            for kind, value in head_diversity(found).items()
        }
        return Drawn(modes_figure(pixels, maps), measures)
    from relattn.figures.relations import TARGETS, relations, relations_figure

    found = each(tasks, pictures, relations, module=module, weights=options.get("weights", "relations"))
    measures = {f"{title}, dependence on the target": float(one.spread().nanmean()) for title, one in found.items()}
    title = "Connecting weights" if options.get("weights") == "connecting" else "Relations"
    targets = options.get("targets") or TARGETS
    return Drawn(relations_figure(pixels, found, targets, title=f"{title} of all positions to a target"), measures)


def each(tasks: Mapping[str, Task], pictures: Pictures, collect: Any, **options: Any) -> dict[str, Any]:
    """What a function collects from each network while it sees the images."""
    found = {}
    for title, task in tasks.items():
        network = network_of(task)
        images = pictures.images.to(task.device)

        def forward(network: nn.Module = network, images: Tensor = images) -> Any:
            return network(images)

        try:
            found[title] = collect(network, forward, **options)
        except InputError as error:
            raise InputError(f"{title}: {error}") from error
    return found


def network_of(task: Task) -> nn.Module:
    """The network of a task that is built."""
    assert task.network is not None
    return task.network


def class_scores(task: Task, images: Tensor) -> tuple[Tensor, list[str]]:
    """The score of the most likely class of each image (B,), and what that class is.

    For people and faces it is an identity of the training set, without the margin of training; in segmentation the
    class of most pixels, its score the mean over them.
    """
    from relattn.tasks.face import Face
    from relattn.tasks.reid import ReID
    from relattn.tasks.segmentation import Segmentation

    network = network_of(task)
    if isinstance(task, Segmentation):
        logits = task(images)
        predicted = logits.argmax(dim=1).flatten(1)
        best = predicted.mode(dim=1).values
        chosen = (predicted == best[:, None]).to(logits.dtype)
        scores = logits.flatten(2).gather(1, best[:, None, None].expand(-1, 1, chosen.shape[1])).squeeze(1)
        names = task.shapes["classes"]
        return (scores * chosen).sum(dim=1) / chosen.sum(dim=1), [str(names[index]) for index in best.tolist()]
    if isinstance(task, ReID):
        logits = task.head(network(images))[1]
    elif isinstance(task, Face):
        logits = task.head(network(images))
    else:
        logits = task(images)
    best = logits.argmax(dim=1)
    what = "identity" if isinstance(task, ReID | Face) else "class"
    names = task.shapes.get("class_names")
    found = [names[index] if names else f"{what} {index}" for index in best.tolist()]
    return logits.gather(1, best[:, None]).squeeze(1), found


def class_evidence(tasks: Mapping[str, Task], pictures: Pictures) -> Drawn:
    """Grad-CAM at the end of the last stage."""
    from relattn.figures.grad_cam import grad_cam, grad_cam_figure

    cams, classes = {}, {}
    for title, task in tasks.items():
        backbone: Any = getattr(task.network, "backbone", task.network)
        images = pictures.images.to(task.device)
        names: list[str] = []

        def score(images: Tensor, task: Task = task, names: list[str] = names) -> Tensor:
            scores, found = class_scores(task, images)
            names[:] = found
            return scores

        cams[title] = grad_cam(score, backbone.get_submodule(stages_of(backbone)[-1]), images)
        classes[title] = names
    return Drawn(grad_cam_figure(pictures.pixels, cams, classes))


def architecture(tasks: Mapping[str, Task]) -> Drawn:
    """The parts of the first network, with their costs."""
    from relattn.figures.architecture import architecture_figure, parts_of

    title, task = next(iter(tasks.items()))
    size = tuple(task.shapes["image_size"])
    parts = parts_of(network_of(task), (size[0], size[1]))
    attention = [part for part in parts if part.attention]
    measures = {
        "parameters": sum(part.parameters for part in parts),
        "parameters of attention": sum(part.parameters for part in attention),
        "MACs": sum(part.macs for part in parts),
        "MACs of attention": sum(part.macs for part in attention),
    }
    return Drawn(architecture_figure(parts, title=title, size=(size[0], size[1])), measures)


def segmentation(task: Task, data: Data, pictures: Pictures) -> Drawn:
    """Each image with its truth, prediction and errors, one below the other."""
    from PIL import Image

    from relattn.figures.segmentation import segmentation as panel
    from relattn.tasks.segmentation import Segmentation
    from relattn.tasks.segmentation.data import StreetsData

    if not isinstance(task, Segmentation) or not isinstance(data, StreetsData):
        raise InputError(f"segmentation draws networks of the task segmentation, and this is {type(task).__name__}.")
    with torch.no_grad():
        predicted = task.segment(pictures.images.to(task.device)).cpu().numpy()
    palette, names = data.label_map.palette, data.label_map.classes
    rows = zip(pictures.pixels, pictures.truths, predicted, strict=True)
    panels = [panel(pixels, truth, classes, palette, names) for pixels, truth, classes in rows]
    sheet = Image.new("RGB", (max(one.width for one in panels), sum(one.height for one in panels)), "white")
    top = 0
    for one in panels:
        sheet.paste(one, (0, top))
        top += one.height
    return Drawn(sheet)


@contextmanager
def evaluating(task: Task) -> Iterator[None]:
    """Put a network into evaluation mode while the context lasts, each part back into its own; nothing is compiled."""
    modes = {module: module.training for module in task.modules()}
    task.eval()
    try:
        with torch.compiler.set_stance("force_eager"):
            yield
    finally:
        for module, training in modes.items():
            module.training = training


class FiguresDuringTraining(Callback):
    """Draws figures of the same images of the validation set every few epochs, and at the end.

    They are saved as `<run>/figures/<figure>-<epoch>.png` and go to every logger that takes images, such as W&B's.
    On the command line, `--figures masks,relations`.
    """

    def __init__(self, figures: Sequence[str], *, every: int = 1, images: int = 4) -> None:
        """Define the callback.

        Args:
            figures: Names of `FIGURES`.
            every: Epochs from one drawing to the next.
            images: Images of each figure, 1 to 8.

        Raises:
            InputError: If there is no such figure, or a number is out of range.
        """
        for name in figures:
            if name not in FIGURES:
                raise InputError(f"--figures: there is no figure {name!r}. {suggest(name, FIGURES)}")
        if every < 1 or not 1 <= images <= 8:
            raise InputError(
                f"FiguresDuringTraining: every is {every} and images {images}, expected 1 or more, 1 to 8."
            )
        self.figures, self.every, self.images = list(figures), every, images
        self.pictures: Pictures | None = None

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw once and throw it away: what does not apply to a network is said before it is trained, by every process.

        A figure that a later callback draws as well is left to that one: a run that goes on keeps the callback of its
        configuration, and `--figures` adds another.
        """
        position = trainer.callbacks.index(self)  # type: ignore[attr-defined]
        for later in trainer.callbacks[position + 1 :]:  # type: ignore[attr-defined]
            if isinstance(later, FiguresDuringTraining):
                self.figures = [name for name in self.figures if name not in later.figures]
        self.drawings(trainer, pl_module)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw, save and log."""
        epoch = trainer.current_epoch + 1
        if not trainer.is_global_zero or (epoch % self.every and epoch != trainer.max_epochs):
            return
        from relattn.figures.canvas import as_image, save

        folder = Path(trainer.default_root_dir) / "figures"
        for name, drawn in self.drawings(trainer, pl_module).items():
            save(drawn.figure, folder, f"{name}-{epoch:03d}", ("png",))
            for logger in trainer.loggers:
                if hasattr(logger, "log_image"):
                    image, caption = as_image(drawn.figure), f"epoch {epoch}"
                    logger.log_image(f"figures/{name}", [image], step=trainer.global_step, caption=[caption])
            if name == "architecture":
                continue  # its numbers do not change
            for logger in trainer.loggers:
                values = {what.rpartition(", ")[2].replace(" ", "_"): value for what, value in drawn.measures.items()}
                logger.log_metrics({f"figures/{what}": value for what, value in values.items()}, trainer.global_step)

    def drawings(self, trainer: Trainer, task: LightningModule) -> dict[str, Drawn]:
        """Draw every figure."""
        assert isinstance(task, Task)
        data: Data = trainer.datamodule  # type: ignore[attr-defined]
        if self.pictures is None:
            self.pictures = from_data(data, evenly(data, self.images, "val"), "val")
        kinds = sorted({kind_of(module) for module in task.attentions})
        title = " + ".join([task.backbone, *kinds])
        with evaluating(task):
            return {name: draw(name, {title: task}, data, self.pictures) for name in self.figures}
