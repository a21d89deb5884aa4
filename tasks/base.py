"""The contract of a task: a network with attention in it, how it is trained, and how it is scored and used.

The network is built once the data are known (`configure_model`), so that classes and image sizes are stated only once.
Code that serves all tasks (runs, prediction, figures, export, reports, dashboards) calls the methods of `Task`, whose
defaults suffice for an image classifier.
"""

import re
import warnings
from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.cli import OptimizerCallable
from torch import Tensor, nn
from torchmetrics import MeanMetric, Metric

from relattn.attention.base import Placement, Recompute, outermost
from relattn.backbones import AttentionFactory, EarlyStages, build
from relattn.errors import InputError
from relattn.tasks.clipping import clip, scales_itself
from relattn.tasks.data import Data
from relattn.tasks.figure import TaskFigure
from relattn.tasks.plan import move_schedule, options_of, planned_steps, steps_done
from relattn.tasks.predictions import ClassPredictions
from relattn.tasks.predictor import Predictor, classifier, names_for
from relattn.tasks.run_outputs import rehearses
from relattn.tasks.schedules import Constant, Schedule
from relattn.tasks.score import Score, name_in_set
from relattn.tasks.transfer import TrainedState, fill_unused, start_from, trained_state
from relattn.tasks.weights_alone import complete

CompileMode = Literal["default", "reduce-overhead", "max-autotune"]

Stage = Literal["val", "test"]


class Task(LightningModule):
    """A network, how it is trained, and how it is scored.

    A subclass builds its network in `build_network`, computes its loss in `training_step`, and either names a metric
    for each stage in `build_metric` and updates it in `evaluate`, or implements Lightning's own hooks. Each stage logs
    its headline metric as `<stage>/score`, higher is better, so that tasks can be shown side by side.
    """

    name: ClassVar[str]
    """Name of the task, of its folder of runs and of its column in reports. Subclasses of a task inherit its name. By
    default the class's name in lower case, words joined by underscores."""

    headline: ClassVar[str] = "accuracy"
    """Name of the metric that is also logged as `score`."""

    metrics_of_training: ClassVar[tuple[str, ...]] = ("loss", "error")
    """Names of the values that `training_step` logs as `train/<name>`."""

    protocol: str = ""
    """How scores are computed, for tasks with several protocols; printed with the scores."""

    data_type: ClassVar[type] = Data
    """The data sets that the task can be trained on."""

    def __init_subclass__(cls, **arguments: Any) -> None:
        """Set the default name of a class that derives directly from `Task`."""
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
        """Define the task by the arguments that all tasks share.

        Args:
            backbone: A timm network, or one of the papers' networks for small images (`relattn list backbones`).
            attention: The attention module to place in it; None for the plain network.
            stages: Stages, from 1, that have attention; by default the papers' choice for the backbone.
            placement: Whether attention comes after each stage, at the end of each block, after it (`after_block`) or
                in place of its spatial convolution; by default where the module belongs.
            pretrained: True for timm's weights of the backbone, the path of a weights file, such as torchvision's, or a
                checkpoint of this suite, from which the backbone, attention and all other matching weights are taken.
            frozen_epochs: Number of first epochs during which all backbone stages but the last keep their weights and
                statistics, and on one device have no backward pass.
            optimizer: Optimizer class, called with the parameters.
            schedule: Learning-rate schedule; by default constant.
            channels_last: Whether the network keeps its feature maps in channels-last order, which is usually faster.
            compile_mode: Mode of `torch.compile`, or None; `"reduce-overhead"` records CUDA graphs, for small layers.
            recompute_attention: What attention recomputes in the backward pass to save memory: `"cheap"` recomputes
                only what costs hardly any time, `"all"` takes longer, and `"nothing"` keeps everything. Without effect
                under `compile_mode`, where the compiler makes that choice.
            backbone_options: Arguments for timm's constructor of the backbone, such as `{patch_size: 4}` for a vision
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
        self.optimizer_options: list[dict[str, Any]] = []
        """Options of each parameter group; none if a task of one's own configures its optimizers itself."""
        self.chosen_lr: float | None = None
        """The learning rate that was set by `lr`, in place of the optimizer's."""
        self.channels_last, self.compile_mode = channels_last, compile_mode
        self.network: nn.Module | None = None
        self.specification: dict[str, Any] = {}
        """Specification of the data that the network was built for, see `Data.specification`."""
        self.trained_for: dict[str, Any] | None = None
        """Specification from the checkpoint of a network that is scored or used; its data may have another one."""
        self.beginning = ""
        """A sentence on which weights of the `pretrained` checkpoint were taken."""
        self.extra_set = ""
        """Name of an additional test set while it is scored; its scores are logged as `test/<metric>/<name>`."""
        self.data_of_metrics: Data | None = None
        self.run_config = ""
        """The run's configuration as YAML, if the command line trains the network."""

    def __getstate__(self) -> dict[str, Any]:
        """Leave the data out of copies, as weight averaging makes them: data hold the trainer and all its files."""
        return {**super().__getstate__(), "data_of_metrics": None}

    # --- The network --------------------------------------------------------------------------------------------------

    @abstractmethod
    def build_network(self, specification: dict[str, Any]) -> nn.Module:
        """Build the network.

        Args:
            specification: Specification of the data, see `Data.specification`: `num_classes`, `image_size`,
                `class_names`, and the entries that the task's own data sets add.
        """

    def build_backbone(self, specification: dict[str, Any], **arguments: Any) -> nn.Module:
        """Build the backbone with its attention; `arguments` are passed to `relattn.backbones.build`."""
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

        Lightning calls this after the data are set up and before weights are restored. Without a trainer, as in
        `load_from_checkpoint`, there are no data: the network is built when the checkpoint is read.
        """
        if self._trainer is None:
            return
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        if not isinstance(data, Data):
            raise InputError(
                f"{type(self).__name__} needs a subclass of relattn.tasks.data.Data, and not {type(data).__name__}."
            )
        if self.network is None:
            self.assemble(self.trained_for or specification_of(data))
            assert self.network is not None
            if self.compile_mode is not None:
                # The last batch of an epoch may be smaller: a static graph of its own is faster than one dynamic graph.
                self.network.compile(mode=None if self.compile_mode == "default" else self.compile_mode, dynamic=False)
        if data is not self.data_of_metrics:
            self.check_data(data)
            self.build_metrics(data)
            self.data_of_metrics = data

    def check_data(self, data: Data) -> None:
        """Refuse data that the network cannot be scored on: by default, data with other classes.

        Raises:
            InputError: If the numbers or the names of the classes differ.
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
        """Build the network for the specification of a data set, which is stored in checkpoints."""
        self.specification = specification
        trained = trained_state(Path(self.pretrained).expanduser()) if isinstance(self.pretrained, str) else None
        self.network = self.build_network(specification) if trained is None else self.begun_with(trained, specification)
        if self.channels_last:
            self.network.to(memory_format=torch.channels_last)
        self.attentions = outermost(self.network)
        for attention in self.attentions:
            attention.recompute = self.recompute_attention if self.compile_mode is None else "nothing"

    def begun_with(self, trained: TrainedState, specification: dict[str, Any]) -> nn.Module:
        """Build the network and load those weights of a network trained by the suite that fit it.

        Raises:
            InputError: If the weights belong to another backbone.
        """
        source, self.pretrained = self.pretrained, False
        self.network = self.build_network(specification)
        self.pretrained = source
        names = specification.get("class_names")
        same = names is None or trained.class_names is None or list(names) == trained.class_names
        try:
            self.beginning = start_from(
                self, trained, trunk=self.trunk(), classifiers=self.classifiers(), same_classes=same
            )
        except InputError as error:
            raise InputError(f"pretrained={source!r} does not fit {self.backbone}. {error}") from error
        return self.network

    def classifiers(self) -> list[str]:
        """Names of the modules whose outputs are the classes; their weights do not fit another data set."""
        network: Any = self.network
        if not hasattr(network, "get_classifier"):
            return []
        last = network.get_classifier()
        return [f"network.{name}" for name, module in network.named_modules() if module is last]

    def training_only(self) -> list[str]:
        """Names of modules that only training needs: checkpoints to be scored or used may lack them or have others."""
        return ["loss"]

    def trunk(self) -> nn.Module:
        """The backbone, whose early stages `frozen_epochs` freezes."""
        assert self.network is not None
        return self.network

    def build_metrics(self, data: Data) -> None:
        """Build the metrics of training and of each evaluation stage."""
        self.training_metrics = nn.ModuleDict({name: MeanMetric() for name in self.metrics_of_training})
        self.metrics = nn.ModuleDict()
        for stage in ("val", "test"):
            if (metric := self.build_metric(data)) is not None:
                self.metrics[stage] = metric

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Store the specification in the checkpoint, so that the network can be rebuilt without the data."""
        checkpoint["specification"] = self.specification
        complete(checkpoint, self, self.run_config)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Unless the network is being trained, keep the modules that only training uses as they are."""
        if self._trainer is None and self.network is None:
            self.assemble(checkpoint["specification"])
        if self._trainer is None or not self.trainer.training:
            fill_unused(self, checkpoint["state_dict"], self.training_only())

    # --- Training -----------------------------------------------------------------------------------------------------

    def configure_optimizers(self) -> Any:
        """Build the optimizer over all trainable parameters, and its schedule, which advances at every step."""
        optimizer = self.optimizer(parameter for parameter in self.parameters() if parameter.requires_grad)
        if self.chosen_lr is not None:
            for group in optimizer.param_groups:
                group["lr"] = self.chosen_lr
        self.optimizer_options = [options_of(group) for group in optimizer.param_groups]
        self.plan_steps()
        if (adaptation := self.schedule.adaptation(self.planned_steps)) and self.trainer.is_global_zero:
            warnings.warn(adaptation, stacklevel=1)
        schedule = self.schedule
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: schedule.factor(step, self.planned_steps))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step", "name": "lr"}}

    def plan_steps(self) -> None:
        """Find out how many steps the run has.

        Raises:
            InputError: If the run is unlimited, or its length is unknown.
        """
        total = planned_steps(self.trainer)
        if not 0 <= total < float("inf"):
            limit = "max_steps" if self.trainer.num_training_batches == float("inf") else "max_epochs or max_steps"
            raise InputError(f"The schedule needs to know how many steps the run has: give --trainer.{limit}.")
        self.planned_steps = int(total)

    @property
    def lr(self) -> float:
        """The learning rate of all parameters, which the schedule multiplies; Lightning's `LearningRateFinder` sets it.

        Raises:
            AttributeError: If it was not set, and the optimizer is not configured yet or by the task itself.
        """
        if self.chosen_lr is None and not self.optimizer_options:
            raise AttributeError("lr")
        return float(self.optimizer_options[0]["lr"]) if self.chosen_lr is None else self.chosen_lr

    @lr.setter
    def lr(self, rate: float) -> None:
        self.chosen_lr = rate
        for options in self.optimizer_options:
            options["lr"] = rate

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip the gradients, including those of fused optimizers in mixed precision, which Lightning refuses."""
        precision: Any = self.trainer.precision_plugin
        if gradient_clip_val and scales_itself(precision, optimizer):
            clip(precision, optimizer, gradient_clip_val, gradient_clip_algorithm)
        else:
            super().configure_gradient_clipping(optimizer, gradient_clip_val, gradient_clip_algorithm)

    def apply_plan(self) -> None:
        """Set the configured options of the optimizers and move their schedules to the run's position.

        A checkpoint restores the options and step count of the run as it was planned before; one of Lightning's tuners
        leaves those of its trial. Optimizers that a task of one's own configures itself stay as they are.
        """
        if not self.optimizer_options:
            return
        position = steps_done(self.trainer)
        for config in self.trainer.lr_scheduler_configs:
            move_schedule(config.scheduler, position, self.optimizer_options)

    def on_train_start(self) -> None:
        """Apply the plan."""
        self.apply_plan()

    def on_train_epoch_start(self) -> None:
        """Freeze or thaw the early stages."""
        self.thaw()
        if self.frozen_epochs:
            early, frozen = EarlyStages(self.trunk()), self.current_epoch < self.frozen_epochs
            early.train(not frozen)
            self.frozen = [parameter for parameter in early.parameters if frozen and parameter.requires_grad]
            for parameter in self.frozen:  # distributed runs expect a gradient of each
                parameter.requires_grad_(self.trainer.world_size > 1)

    def on_train_end(self) -> None:
        """Thaw the early stages, so that the next optimizer, for example after a tuner's trial, has all weights."""
        self.thaw()

    def thaw(self) -> None:
        """Train again what was frozen."""
        for parameter in self.frozen:
            parameter.requires_grad_()
        self.frozen = []

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Exclude frozen weights from the step."""
        for parameter in self.frozen:
            parameter.grad = None

    def regularization(self) -> Tensor | float:
        """The sum of the loss terms that the attention modules have of their own; 0 if they have none."""
        return sum((term for module in self.attentions if (term := module.regularization()) is not None), 0.0)

    def log_training(self, values: Mapping[str, Tensor], count: int | Tensor) -> None:
        """Log `train/<name>`, the mean over the images of the epoch and all processes.

        Args:
            values: For each name in `metrics_of_training`, its scalar value on this batch.
            count: Number of images (or pixels) that the values are averaged over.
        """
        # Lightning's mean over processes truncates their mean batch size to an integer; these metrics count every
        # image.
        for name, value in values.items():
            self.training_metrics[name].update(value.detach(), count)  # type: ignore[operator]
            self.log(f"train/{name}", self.training_metrics[name], on_step=False, on_epoch=True)  # type: ignore[arg-type]

    # --- Evaluation ---------------------------------------------------------------------------------------------------

    def build_metric(self, data: Data) -> Metric | None:
        """Build the metric of a stage, whose `compute` returns scores by name; None for tasks that log themselves."""
        return None

    def logged_names(self) -> set[str] | None:
        """Names of all metrics that training logs, once the network is built.

        Returns:
            The names; None if the metric has no `score_names`, or for a task outside the suite, which may log more.
        """
        metric: Any = dict(self.metrics).get("val")
        names = getattr(metric, "score_names", None)
        if names is None or not type(self).__module__.startswith("relattn."):
            return None
        return {f"train/{name}" for name in self.training_metrics} | {f"val/{name}" for name in (*names, "score")}

    def evaluate(self, batch: dict[str, Any], stage: Stage) -> None:
        """Update `self.metrics[stage]` with a batch."""
        raise NotImplementedError(
            f"{type(self).__name__} has a metric and no evaluate(batch, stage), which updates self.metrics[stage]."
        )

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Evaluate a validation batch."""
        self.evaluate(batch, "val")

    def test_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Evaluate a test batch."""
        self.evaluate(batch, "test")

    def on_validation_epoch_end(self) -> None:
        """Log the validation scores."""
        self.log_scores("val")

    def on_test_epoch_end(self) -> None:
        """Log the test scores."""
        self.log_scores("test")

    def log_scores(self, stage: Stage) -> None:
        """Compute the metric of a stage, log its scores and `<stage>/score`, and reset it."""
        if stage not in self.metrics:
            return
        metric: Any = self.metrics[stage]
        trainer: Any = self.trainer
        rehearsal = rehearses(trainer) and getattr(metric, "needs_all_images", False)
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
        """Hook between computing and resetting a metric, for example to draw pictures or keep a threshold."""

    @classmethod
    def scores(cls) -> tuple[Score, ...]:
        """The metrics that get a column in reports or a chart, the headline first."""
        return (Score("accuracy"), Score("error", lower_is_better=True), Score("loss", lower_is_better=True))

    def describe(self) -> dict[str, Any]:
        """Describe the network for the run's record."""
        parameters = sum(parameter.numel() for parameter in self.parameters())
        protocol = {"protocol": self.protocol} if self.protocol else {}
        columns = [{"name": score.name, "lower": score.lower_is_better} for score in self.scores()]
        known = {"backbone": self.backbone, "parameters": parameters, "headline": self.headline}
        return {**known, "columns": columns, **protocol}

    # --- Use ----------------------------------------------------------------------------------------------------------

    def predictor(self) -> Predictor:
        """Return the network for use and export; by default a classifier, which predicts a class for each image."""
        assert self.network is not None
        return classifier(self.network, self.specification["image_size"], self.specification.get("class_names"))

    def class_scores(self, images: Tensor) -> tuple[Tensor, list[str]]:
        """Return the scores `(B,)` of the most likely classes of images `(B, 3, H, W)`, and their display names."""
        logits = self(images)
        best = logits.argmax(dim=1)
        names = names_for(logits.shape[1], self.specification.get("class_names"))
        labels = [names[index] if names else f"class {index}" for index in best.tolist()]
        return logits.gather(1, best[:, None]).squeeze(1), labels

    @classmethod
    def figures(cls) -> Mapping[str, TaskFigure]:
        """Figures that only this task has, by their names on the command line."""
        return {}

    def on_predict_start(self) -> None:
        """Start collecting the predictions of all images."""
        self.predictions = ClassPredictions(self.specification.get("class_names"))

    def predict_step(self, batch: dict[str, Any], batch_idx: int) -> Any:
        """Return the probabilities `(B, classes)`, and keep the most likely class for `predictions.csv`."""
        probabilities: Tensor = self(batch["image"]).float().softmax(dim=1)
        self.predictions.add(batch, probabilities)
        return probabilities

    def on_predict_end(self) -> None:
        """Write `predictions.csv` for the images of all processes, in the order of the data set."""
        self.predictions.write(self.trainer)


def specification_of(data: Data) -> dict[str, Any]:
    """Return the specification of the data that a network is built for.

    Raises:
        InputError: If `num_classes` or `image_size` is not known after `setup`.
    """
    if not hasattr(data, "num_classes") or not hasattr(data, "image_size"):
        raise InputError(
            f"{type(data).__name__} has no num_classes or image_size after setup, which a network is built for: the "
            "training images say how many classes there are."
        )
    return data.specification()
