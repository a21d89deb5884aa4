"""Figures of trained networks of any task, and a callback that draws them during training."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn

from relattn.backbones import MapView, padded
from relattn.backbones.placement import last_map
from relattn.errors import InputError, suggest
from relattn.figures.names import display_name, modules_of, title_of
from relattn.figures.style import Style
from relattn.inference.figure_images import FigureImages, images_of_data
from relattn.tasks.base import Task
from relattn.tasks.data import Data
from relattn.tasks.figure import FigureOptions, MeasuredFigure, evenly_spread
from relattn.tasks.run_outputs import rehearses

GENERAL = ("architecture", "grad-cam", "masks", "modes", "relations")
"""Figures for networks of any task; `Task.figures` has those for a single task."""


def draw(name: str, tasks: Mapping[str, Task], images: FigureImages | None, **options: Any) -> MeasuredFigure:
    """Draw a figure of networks of any task.

    Args:
        name: One of `GENERAL`.
        tasks: Trained networks in evaluation mode, by their titles; `architecture` draws the first.
        images: The images; `architecture` needs none.
        options: `style`; `module` for all but `architecture`; `targets` and `weights` for `relations`.

    Raises:
        InputError: If the figure does not exist, or a network lacks what it shows.
    """
    if name not in GENERAL:
        raise InputError(f"There is no figure {name!r}. {suggest(name, GENERAL)}")
    if name == "architecture":
        return architecture(tasks)
    assert images is not None
    pixels, module = images.pixels, options.get("module")
    style: Style = options.get("style") or Style()
    if name == "grad-cam":
        return class_evidence(tasks, images, module=module, style=style)
    if name == "masks":
        from relattn.figures.masks import masks_figure, spatial_masks

        masks = of_each_network(tasks, images, spatial_masks, module=module)
        return MeasuredFigure(masks_figure(pixels, masks, style=style))
    if name == "modes":
        from relattn.figures.modes import head_diversity, modes, modes_figure

        maps = of_each_network(tasks, images, modes, module=module)
        measures = {
            f"{title}, head diversity of {kind}": value
            for title, recorded in maps.items()
            for kind, value in head_diversity(recorded).items()
        }
        return MeasuredFigure(modes_figure(pixels, maps, style=style), measures)
    from relattn.figures.relations import TARGETS, relations, relations_figure

    weights = options.get("weights", "relations")
    by_title = of_each_network(tasks, images, relations, module=module, weights=weights)
    measures = {f"{title}, dependence on the target": float(one.spread().nanmean()) for title, one in by_title.items()}
    kind = "Connecting weights" if weights == "connecting" else "Relations"
    targets = options.get("targets") or TARGETS
    return MeasuredFigure(
        relations_figure(pixels, by_title, targets, title=f"{kind} of all positions to a target", style=style), measures
    )


def draw_any(
    name: str, tasks: Mapping[str, Task], data: Data | None, images: FigureImages | None, options: FigureOptions
) -> MeasuredFigure:
    """Draw a figure for any task, or one that belongs to the first network's task; arguments as in `draw`.

    Raises:
        InputError: If the task has no such figure.
    """
    task = next(iter(tasks.values()))
    if name in GENERAL:
        with options.style.applied():
            return draw(name, tasks, images, style=options.style, **options.choices)
    own = task.figures()
    if name not in own:
        raise InputError(f"There is no figure {name!r} of the task {task.name}. {suggest(name, [*GENERAL, *own])}")
    assert data is not None
    with options.style.applied():
        return own[name](task, data, options)


def of_each_network(tasks: Mapping[str, Task], images: FigureImages, collect: Any, **options: Any) -> dict[str, Any]:
    """The maps that `collect` records of each network while it processes the images, by the networks' titles."""
    collected = {}
    for title, task in tasks.items():
        network = network_of(task)
        batch = images.images.to(task.device)

        def forward(network: nn.Module = network, batch: Tensor = batch) -> Any:
            return network(batch)

        try:
            collected[title] = collect(network, forward, **options)
        except InputError as error:
            raise InputError(f"{title}: {error}") from error
    return collected


def network_of(task: Task) -> nn.Module:
    """The network of a task, which must be built."""
    assert task.network is not None
    return task.network


def class_evidence(
    tasks: Mapping[str, Task], images: FigureImages, *, module: str | None = None, style: Style | None = None
) -> MeasuredFigure:
    """Grad-CAM of the last map that the output depends on, or of the map of a stage or module."""
    from relattn.figures.grad_cam import grad_cam, grad_cam_figure

    cams, classes = {}, {}
    for title, task in tasks.items():
        batch = images.images.to(task.device)
        names: list[str] = []

        def score(batch: Tensor, task: Task = task, names: list[str] = names) -> Tensor:
            scores, names[:] = task.class_scores(batch)
            return scores

        step = getattr(task.network, "step", 1)  # a segmentation network pads images to multiples of this
        try:
            layer, view = explained(network_of(task), padded((batch.shape[2], batch.shape[3]), step), module)
            cams[title] = grad_cam(score, layer, batch, view)
        except InputError as error:
            raise InputError(f"{title}: {error}") from error
        classes[title] = names
    return MeasuredFigure(grad_cam_figure(images.pixels, cams, classes, style=style))


def explained(network: nn.Module, size: tuple[int, int], module: str | None) -> tuple[nn.Module, MapView | None]:
    """The part of a network whose output Grad-CAM explains, and how to view that output as a map.

    Args:
        network: The network.
        size: Height and width of the images that its backbone sees, in pixels.
        module: A stage such as `stage 3`, of which the end is used, including attention; the name or title of an
            attention module, or the name of any module; None for the last stage.

    Raises:
        InputError: If the module does not exist.
    """
    backbone: Any = getattr(network, "backbone", network)
    stage = re.fullmatch(r"stage (\d+)", module or "")
    if module is None or stage:
        end = last_map(backbone, size, stage=int(stage[1]) if stage else None)
        return backbone.get_submodule(end.module), end.view
    attention = [one for name, one in modules_of(network).items() if module in (name, title_of(name))]
    named = [one for name, one in network.named_modules() if module == name]
    if not attention and not named:
        titles = ", ".join(repr(title_of(name)) for name in modules_of(network)) or "none"
        raise InputError(
            f"--module is {module!r}, expected a stage such as 'stage 3', attention ({titles}), or a module's name."
        )
    return (attention or named)[-1], None


def architecture(tasks: Mapping[str, Task]) -> MeasuredFigure:
    """The parts of the first network, with their costs."""
    from relattn.figures.architecture import architecture_figure, parts_of

    title, task = next(iter(tasks.items()))
    size = tuple(task.specification["image_size"])
    parts = parts_of(network_of(task), (size[0], size[1]))
    attention = [part for part in parts if part.attention]
    measures = {
        "parameters": sum(part.parameters for part in parts),
        "parameters of attention": sum(part.parameters for part in attention),
        "MACs": sum(part.macs for part in parts),
        "MACs of attention": sum(part.macs for part in attention),
    }
    return MeasuredFigure(architecture_figure(parts, title=title, size=(size[0], size[1])), measures)


@contextmanager
def evaluating(task: Task) -> Iterator[None]:
    """Put a network into evaluation mode in this context and restore each part's mode after it; without compiling."""
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

    They are saved as `<run>/figures/<figure>-<epoch>.png` and sent to every logger that accepts images, such as W&B's.
    On the command line, `--figures masks,relations`.
    """

    def __init__(self, figures: Sequence[str], *, every: int = 1, images: int = 4) -> None:
        """Define the callback.

        Args:
            figures: Names of `GENERAL`, or of figures of the task.
            every: Number of epochs between drawings.
            images: Number of images in each figure, 1 to 8.

        Raises:
            InputError: If a number is out of range.
        """
        if every < 1 or not 1 <= images <= 8:
            raise InputError(
                f"FiguresDuringTraining: every is {every} and images {images}, expected 1 or more, 1 to 8."
            )
        self.figures, self.every, self.count = list(figures), every, images
        self.images: FigureImages | None = None

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw once without saving, so that every process reports before training what does not apply to a network.

        A figure that a later callback also draws is left to that one: a resumed run keeps the callback of its
        configuration, and `--figures` adds another.
        """
        position = trainer.callbacks.index(self)  # type: ignore[attr-defined]
        for later in trainer.callbacks[position + 1 :]:  # type: ignore[attr-defined]
            if isinstance(later, FiguresDuringTraining):
                self.figures = [name for name in self.figures if name not in later.figures]
        self.draw_all(trainer, pl_module)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw, save and log."""
        epoch = trainer.current_epoch + 1
        if not trainer.is_global_zero or rehearses(trainer) or (epoch % self.every and epoch != trainer.max_epochs):
            return
        from relattn.figures.files import as_image, save

        folder = Path(trainer.default_root_dir) / "figures"
        for name, drawn in self.draw_all(trainer, pl_module).items():
            save(drawn.figure, folder, f"{name}-{epoch:03d}", ("png",))
            for logger in trainer.loggers:
                if hasattr(logger, "log_image"):
                    image, caption = as_image(drawn.figure), f"epoch {epoch}"
                    logger.log_image(f"figures/{name}", [image], step=trainer.global_step, caption=[caption])
            if name == "architecture":
                continue  # the numbers in it do not change
            for logger in trainer.loggers:
                values = {key.rpartition(", ")[2].replace(" ", "_"): value for key, value in drawn.measures.items()}
                logger.log_metrics({f"figures/{key}": value for key, value in values.items()}, trainer.global_step)

    def draw_all(self, trainer: Trainer, task: LightningModule) -> dict[str, MeasuredFigure]:
        """Draw every figure."""
        assert isinstance(task, Task)
        data: Data = trainer.datamodule  # type: ignore[attr-defined]
        indices = evenly_spread(data.count("val"), self.count)
        if self.images is None and any(name in GENERAL for name in self.figures):
            self.images = images_of_data(data, "val", indices)
        kinds = sorted({display_name(module) for module in task.attentions})
        title = " + ".join([task.backbone, *kinds])
        options = FigureOptions("val", indices, self.count)
        with evaluating(task):
            return {name: draw_any(name, {title: task}, data, self.images, options) for name in self.figures}
