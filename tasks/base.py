"""The contract of a task: a network with attention in it, how it is trained, and how it is scored and used.

The network is built when the data are known (`configure_model`), so that classes and image sizes are stated once.
Whoever serves all tasks (runs, prediction, figures, export, reports, dashboards) asks the methods of `Task`, whose
defaults suffice for a classifier of images.
"""

import math
import re
import warnings
from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.cli import OptimizerCallable
from lightning.pytorch.plugins.precision import MixedPrecision, Precision
from lightning.pytorch.utilities import GradClipAlgorithmType
from torch import Tensor, nn
from torchmetrics import MeanMetric, Metric

from relattn.attention.base import Placement, Recompute, outermost
from relattn.backbones import AttentionFactory, EarlyStages, build
from relattn.errors import InputError
from relattn.tasks.data import Data
from relattn.tasks.figure import TaskFigure
from relattn.tasks.predictions import ClassPredictions
from relattn.tasks.predictor import Predictor, classifier, names_for
from relattn.tasks.schedules import Constant, Schedule
from relattn.tasks.score import Score
from relattn.tasks.transfer import TrainedState, fill_unused, start_from, trained_state

CompileMode = Literal["default", "reduce-overhead", "max-autotune"]

Stage = Literal["val", "test"]


class Task(LightningModule):
    """A network, how it is trained, and how it is scored.

    A subclass builds its network in `build_network`, computes its loss in `training_step`, and either names a metric
    for each stage in `build_metric` and updates it in `evaluate`, or has Lightning's own hooks. Each stage logs
    `<stage>/score`, the headline, higher is better, so that tasks stand side by side.
    """

    name: ClassVar[str]
    """Name of the task, of its folder of runs and of its column in reports; subclasses of a task have that task's. By
    default the class's name in lower case, words joined by underscores."""

    headline: ClassVar[str] = "accuracy"
    """The metric that `score` repeats."""

    metrics_of_training: ClassVar[tuple[str, ...]] = ("loss", "error")
    """What `training_step` logs as `train/<name>`."""

    protocol: str = ""
    """How scores are computed, where that is a choice; printed with them."""

    data_type: ClassVar[type] = Data
    """The data sets that the task can be trained on."""

    def __init_subclass__(cls, **arguments: Any) -> None:
        """Give a task that derives from `Task` itself a name."""
        super().__init_subclass__(**arguments)
        if not hasattr(cls, "name"):
            cls.name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", cls.__name__).lower()

    def __init__(
        self,
        backbone: str,
        *,
        attention: AttentionFactory | None = None,
        stages: list[int] | None = None,
        placement: Placement | None = None,
        pretrained: bool | str = False,
        frozen_epochs: int = 0,
        optimizer: OptimizerCallable = torch.optim.SGD,
        schedule: Schedule | None = None,
        channels_last: bool = True,
        compile_mode: CompileMode | None = None,
        recompute_attention: Recompute = "cheap",
        backbone_options: dict[str, Any] | None = None,
    ) -> None:
        """Define the task; arguments shared by all tasks.

        Args:
            backbone: A timm network, or one of the papers' networks for small images (`relattn list backbones`).
            attention: The attention module to place in it; None for the plain network.
            stages: Stages, from 1, that have attention; by default the papers' choice for the backbone.
            placement: Whether attention comes after each stage, at the end of each block, after it (`after_block`) or
                in place of its spatial convolution; by default where the module belongs.
            pretrained: True for timm's weights of the backbone; the path of a file of weights, as torchvision has; or
                a checkpoint of the suite's, whose backbone, attention and whatever else fits are taken.
            frozen_epochs: First epochs in which all stages of the backbone but the last keep their weights and
                statistics.
            optimizer: Called with the parameters.
            schedule: The learning rate over the run; by default constant.
            channels_last: Whether the network keeps its maps in channels-last order, usually the faster one.
            compile_mode: Mode of `torch.compile`, or None; `"reduce-overhead"` records CUDA graphs, for small layers.
            recompute_attention: What attention computes again in the backward pass, to spare the memory of its maps:
                what is `"cheap"`, hardly measurable in time; `"all"`, which takes more; or `"nothing"`. Without effect
                under `compile_mode`, which makes that choice itself.
            backbone_options: Arguments that timm creates the backbone with, such as `{patch_size: 4}` of a vision
                transformer or `{drop_path_rate: 0.1}`.

        Raises:
            InputError: If a number is out of range.
        """
        super().__init__()
        if frozen_epochs < 0:
            raise InputError(f"{type(self).__name__}: frozen_epochs is {frozen_epochs}, expected 0 or more.")
        self.backbone, self.attention, self.stages, self.pretrained = backbone, attention, stages, pretrained
        self.frozen_epochs = frozen_epochs
        self.frozen: list[nn.Parameter] = []
        self.placement, self.recompute_attention = placement, recompute_attention
        self.backbone_options = backbone_options or {}
        self.optimizer, self.schedule = optimizer, schedule or Constant()
        self.channels_last, self.compile_mode = channels_last, compile_mode
        self.network: nn.Module | None = None
        self.specification: dict[str, Any] = {}
        """What the network was built for: `Data.specification`."""
        self.trained_for: dict[str, Any] | None = None
        """The specification in the checkpoint of a network that is scored or used, which its data need not have."""
        self.beginning = ""
        """What was taken of the checkpoint that the network began with."""
        self.extra_set = ""
        """Name of the test set that is scored beside the run's own; its scores are `test/<metric>/<name>`."""
        self.data_of_metrics: Data | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Leave the data out of copies, which averages of weights are: they hold the trainer and all its files."""
        return {**super().__getstate__(), "data_of_metrics": None}

    # --- The network --------------------------------------------------------------------------------------------------

    @abstractmethod
    def build_network(self, specification: dict[str, Any]) -> nn.Module:
        """Build the network.

        Args:
            specification: Of the data, see `Data.specification`: `num_classes`, `image_size`, `class_names`, and what
                the task's own data sets add.
        """

    def build_backbone(self, specification: dict[str, Any], **arguments: Any) -> nn.Module:
        """Build the backbone with its attention; `arguments` as in `relattn.backbones.build`."""
        return build(
            self.backbone,
            attention=self.attention,
            stages=self.stages,
            placement=self.placement,
            size=specification["image_size"],
            pretrained=self.pretrained,
            **{**self.backbone_options, **arguments},
        )

    def configure_model(self) -> None:
        """Build the network, once, and the metrics for the data.

        Lightning calls this when the data are set up and before weights are restored.
        """
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        if not isinstance(data, Data):
            raise InputError(
                f"{type(self).__name__} needs a subclass of relattn.tasks.data.Data, and not {type(data).__name__}."
            )
        if self.network is None:
            self.assemble(self.trained_for or specification_of(data))
            assert self.network is not None
            if self.compile_mode is not None:
                # The last batch of an epoch is smaller: a graph of its own is faster than one for every size.
                self.network.compile(mode=None if self.compile_mode == "default" else self.compile_mode, dynamic=False)
        if data is not self.data_of_metrics:
            self.check_data(data)
            self.build_metrics(data)
            self.data_of_metrics = data

    def check_data(self, data: Data) -> None:
        """Refuse data that the network cannot be scored on: by default, those of other classes.

        Raises:
            InputError: If numbers or names of classes differ.
        """
        if not hasattr(data, "num_classes"):  # images without labels, for predictions
            return
        classes, names = self.specification["num_classes"], self.specification.get("class_names")
        own = None if data.class_names is None else list(map(str, data.class_names))
        if data.num_classes != classes:
            raise InputError(
                f"{type(data).__name__} has {data.num_classes} classes, and the network was trained for {classes}: "
                "expected data of the same classes."
            )
        if own is not None and names is not None and own != list(names):
            first = next(place for place, pair in enumerate(zip(own, names, strict=True)) if pair[0] != pair[1])
            raise InputError(
                f"Class {first} of {type(data).__name__} is {own[first]!r}, and the network was trained for "
                f"{names[first]!r}: expected data of the same classes in the same order."
            )

    def assemble(self, specification: dict[str, Any]) -> None:
        """Build the network for the specification of a data set, which a checkpoint keeps."""
        self.specification = specification
        trained = trained_state(Path(self.pretrained).expanduser()) if isinstance(self.pretrained, str) else None
        self.network = self.build_network(specification) if trained is None else self.begun_with(trained, specification)
        if self.channels_last:
            self.network.to(memory_format=torch.channels_last)
        self.attentions = outermost(self.network)
        for attention in self.attentions:
            attention.recompute = self.recompute_attention if self.compile_mode is None else "nothing"

    def begun_with(self, trained: TrainedState, specification: dict[str, Any]) -> nn.Module:
        """The network with the weights of one that the suite has trained, as far as they fit.

        Raises:
            InputError: If they are of another backbone.
        """
        source, self.pretrained = self.pretrained, False
        self.network = self.build_network(specification)
        self.pretrained = source
        names = specification.get("class_names")
        same = names is None or trained.class_names is None or list(names) == trained.class_names
        try:
            self.beginning = start_from(self, trained, classifiers=self.classifiers(), same_classes=same)
        except InputError as error:
            raise InputError(f"pretrained={source!r} does not fit {self.backbone}. {error}") from error
        return self.network

    def classifiers(self) -> list[str]:
        """Names of the modules whose outputs are the classes: those of another data set do not fit."""
        network: Any = self.network
        if not hasattr(network, "get_classifier"):
            return []
        last = network.get_classifier()
        return [f"network.{name}" for name, module in network.named_modules() if module is last]

    def training_only(self) -> list[str]:
        """Names of modules that scoring and use do without, so that checkpoints may lack them or have others."""
        return ["loss"]

    def trunk(self) -> nn.Module:
        """The backbone, whose early stages `frozen_epochs` freezes."""
        assert self.network is not None
        return self.network

    def build_metrics(self, data: Data) -> None:
        """Build the metrics of training and of each stage."""
        self.training_metrics = nn.ModuleDict({name: MeanMetric() for name in self.metrics_of_training})
        self.metrics = nn.ModuleDict()
        for stage in ("val", "test"):
            if (metric := self.build_metric(data)) is not None:
                self.metrics[stage] = metric

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep what the network was built for, so that it can be built again without the data."""
        checkpoint["specification"] = self.specification

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Where a network is scored or used, leave alone what only training uses."""
        if not self.trainer.training:
            fill_unused(self, checkpoint["state_dict"], self.training_only())

    # --- Training -----------------------------------------------------------------------------------------------------

    def configure_optimizers(self) -> Any:
        """The optimizer over all parameters that are trained, its schedule stepped at every step."""
        optimizer = self.optimizer(parameter for parameter in self.parameters() if parameter.requires_grad)
        self.optimizer_options = [without_parameters(group) for group in optimizer.param_groups]
        self.plan_steps()
        if (adaptation := self.schedule.adaptation(self.planned_steps)) and self.trainer.is_global_zero:
            warnings.warn(adaptation, stacklevel=1)
        schedule = self.schedule
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: schedule.factor(step, self.planned_steps))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step", "name": "lr"}}

    def plan_steps(self) -> None:
        """Ask the trainer how many steps the run has.

        Raises:
            InputError: If it has no end.
        """
        total = self.trainer.estimated_stepping_batches
        if total == float("inf"):
            raise InputError("The schedule needs to know how long the run is: give --trainer.max_epochs or max_steps.")
        self.planned_steps = int(total)

    @property
    def lr(self) -> float:
        """The learning rate that the schedule multiplies; Lightning's `LearningRateFinder` sets it."""
        return float(self.optimizer_options[0]["lr"])

    @lr.setter
    def lr(self, rate: float) -> None:
        for options in self.optimizer_options:
            options["lr"] = rate

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip the gradients, those of fused optimizers in mixed precision too, which Lightning refuses.

        Such an optimizer divides gradients by the scale of the loss by itself, unless that is done before. With
        bfloat16 there is no scale.
        """
        precision = self.trainer.precision_plugin
        fused = getattr(optimizer, "_step_supports_amp_scaling", False)
        if not (gradient_clip_val and fused and isinstance(precision, MixedPrecision)):
            super().configure_gradient_clipping(optimizer, gradient_clip_val, gradient_clip_algorithm)
            return
        if precision.scaler is not None:
            precision.scaler.unscale_(optimizer)
        algorithm = GradClipAlgorithmType(gradient_clip_algorithm or GradClipAlgorithmType.NORM)
        Precision.clip_gradients(precision, optimizer, gradient_clip_val, algorithm)

    def apply_plan(self) -> None:
        """Give an optimizer the options that are configured, and its schedule the part that is done.

        What a checkpoint restores are the options and the number of steps of the run as it was planned before; what a
        tuner of Lightning's leaves are those of its trial.
        """
        trainer: Any = self.trainer
        position = self.steps_done()
        configs = trainer.lr_scheduler_configs
        for optimizer, config in zip(trainer.optimizers, configs, strict=False):
            scheduler = config.scheduler
            if not isinstance(scheduler, torch.optim.lr_scheduler.LambdaLR):
                continue
            for group, options in zip(optimizer.param_groups, self.optimizer_options, strict=True):
                group.update(options, initial_lr=options["lr"])
            scheduler.base_lrs = [options["lr"] for options in self.optimizer_options]
            scheduler.last_epoch = position
            rates = [
                rate * factor(position) for rate, factor in zip(scheduler.base_lrs, scheduler.lr_lambdas, strict=True)
            ]
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate
            scheduler._last_lr = rates

    def steps_done(self) -> int:
        """The steps that would have led to this part of the run as it is now planned.

        These are the steps that were made if nothing of the plan has changed.
        """
        trainer: Any = self.trainer
        per_epoch = math.ceil(trainer.num_training_batches / trainer.accumulate_grad_batches)
        in_epochs = trainer.max_epochs is not None and trainer.max_epochs > 0
        if not in_epochs or (trainer.max_steps > 0 and trainer.max_steps <= trainer.max_epochs * per_epoch):
            return int(trainer.global_step)
        # Between two epochs the loop still counts the batches of the last one, which may have been more or fewer.
        loop = trainer.fit_loop
        batches = loop.epoch_loop.batch_progress.current.ready if loop.restarted_mid_epoch else 0
        return int(trainer.current_epoch * per_epoch + batches // trainer.accumulate_grad_batches)

    def on_train_epoch_start(self) -> None:
        """Freeze or thaw the early stages."""
        self.frozen = []
        if self.frozen_epochs:
            early, frozen = EarlyStages(self.trunk()), self.current_epoch < self.frozen_epochs
            early.train(not frozen)
            self.frozen = early.parameters if frozen else []

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Leave frozen weights out of the step; they have gradients, since a distributed run expects one of each."""
        for parameter in self.frozen:
            parameter.grad = None

    def regularization(self) -> Tensor | float:
        """The sum of the loss terms that the attention modules have of their own; 0 if they have none."""
        return sum((term for module in self.attentions if (term := module.regularization()) is not None), 0.0)

    def log_training(self, values: Mapping[str, Tensor], count: int | Tensor) -> None:
        """Log `train/<name>`, the mean over the images of the epoch and all processes.

        Args:
            values: A scalar each, of this batch, for names in `metrics_of_training`.
            count: Images (or pixels) that they are means of.
        """
        # Lightning's own mean over processes truncates their mean batch size to an integer; these count every image.
        for name, value in values.items():
            self.training_metrics[name].update(value.detach(), count)  # type: ignore[operator]
            self.log(f"train/{name}", self.training_metrics[name], on_step=False, on_epoch=True)  # type: ignore[arg-type]

    # --- Evaluation ---------------------------------------------------------------------------------------------------

    def build_metric(self, data: Data) -> Metric | None:
        """A metric of a stage, whose `compute` gives the scores by their names; None for a task that logs by itself."""
        return None

    def logged_names(self) -> set[str] | None:
        """Names of all metrics that training logs, once the network is built.

        Returns:
            None for a task outside the suite, whose own code may log more, or metrics that have no `score_names`.
        """
        metric: Any = dict(self.metrics).get("val")
        names = getattr(metric, "score_names", None)
        if names is None or not type(self).__module__.startswith("relattn."):
            return None
        return {f"train/{name}" for name in self.training_metrics} | {f"val/{name}" for name in (*names, "score")}

    def evaluate(self, batch: dict[str, Any], stage: Stage) -> None:
        """Update `self.metrics[stage]` by a batch."""
        raise NotImplementedError(
            f"{type(self).__name__} has a metric and no evaluate(batch, stage), which updates self.metrics[stage]."
        )

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Evaluate a batch of validation."""
        self.evaluate(batch, "val")

    def test_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Evaluate a batch of the test."""
        self.evaluate(batch, "test")

    def on_validation_epoch_end(self) -> None:
        """Log the scores of validation."""
        self.log_scores("val")

    def on_test_epoch_end(self) -> None:
        """Log the scores of the test."""
        self.log_scores("test")

    def log_scores(self, stage: Stage) -> None:
        """Compute the metric of a stage, log its scores and `<stage>/score`, and reset it."""
        if stage not in self.metrics:
            return
        metric: Any = self.metrics[stage]
        trainer: Any = self.trainer
        rehearsal = trainer.fast_dev_run and getattr(metric, "needs_all_images", False)
        if not trainer.sanity_checking and not rehearsal:
            scores = metric.compute()
            self.after_scoring(metric, stage, scores)
            if self.extra_set:
                scores = {name_in_set(name, self.extra_set): value for name, value in scores.items()}
            else:
                scores["score"] = scores[self.headline]
            # Every process has the same scores, since metrics gather before they compute.
            self.log_dict({f"{stage}/{name}": value.float() for name, value in scores.items() if not value.isnan()})
        metric.reset()

    def after_scoring(self, metric: Any, stage: Stage, scores: dict[str, Tensor]) -> None:
        """What a task does with a metric that is computed, before it is reset: draw pictures, keep a threshold."""

    @classmethod
    def scores(cls) -> tuple[Score, ...]:
        """The metrics that are worth a column or a chart, the headline first."""
        return (Score("accuracy"), Score("error", lower_is_better=True), Score("loss", lower_is_better=True))

    def describe(self) -> dict[str, Any]:
        """The entry of a run's record on its network."""
        parameters = sum(parameter.numel() for parameter in self.parameters())
        protocol = {"protocol": self.protocol} if self.protocol else {}
        columns = [{"name": score.name, "lower": score.lower_is_better} for score in self.scores()]
        known = {"backbone": self.backbone, "parameters": parameters, "headline": self.headline}
        return {**known, "columns": columns, **protocol}

    # --- Use ----------------------------------------------------------------------------------------------------------

    def predictor(self) -> Predictor:
        """The network as it is used and exported; by default a classifier, which predicts a class for each image."""
        assert self.network is not None
        return classifier(self.network, self.specification["image_size"], self.specification.get("class_names"))

    def class_scores(self, images: Tensor) -> tuple[Tensor, list[str]]:
        """The scores `(B,)` of the most likely classes of images `(B, 3, H, W)`, and the classes' display names."""
        logits = self(images)
        best = logits.argmax(dim=1)
        names = names_for(logits.shape[1], self.specification.get("class_names"))
        labels = [names[index] if names else f"class {index}" for index in best.tolist()]
        return logits.gather(1, best[:, None]).squeeze(1), labels

    @classmethod
    def figures(cls) -> Mapping[str, TaskFigure]:
        """Figures that belong to this task alone, by their names on the command line."""
        return {}

    def on_predict_start(self) -> None:
        """Begin the predictions of all images."""
        self.predictions = ClassPredictions(self.specification.get("class_names"))

    def predict_step(self, batch: dict[str, Any], batch_idx: int) -> Any:
        """Return the probabilities `(B, classes)`, and keep the most likely class for `predictions.csv`."""
        probabilities: Tensor = self(batch["image"]).float().softmax(dim=1)
        self.predictions.add(batch, probabilities)
        return probabilities

    def on_predict_end(self) -> None:
        """Write `predictions.csv` of the images of all processes, in the order of the data set."""
        self.predictions.write(self.trainer)


def without_parameters(group: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a group of an optimizer's parameters."""
    return {name: value for name, value in group.items() if name not in ("params", "param_names")}


def specification_of(data: Data) -> dict[str, Any]:
    """The specification of data that a network is built for.

    Raises:
        InputError: If `setup` has not left what it needs.
    """
    if not hasattr(data, "num_classes") or not hasattr(data, "image_size"):
        raise InputError(
            f"{type(data).__name__} has no num_classes or image_size after setup, which a network is built for: the "
            "training images say how many classes there are."
        )
    return data.specification()


def name_in_set(name: str, extra_set: str) -> str:
    """The name of a score in a test set beside the run's own: `mAP/<set>`, or `accuracy/<set>.lfw` of a family."""
    family, slash, member = name.partition("/")
    return f"{family}/{extra_set}.{member}" if slash else f"{name}/{extra_set}"
