"""What every task shares: a network with attention in it, an optimizer with a schedule, and data that it fits.

The network is built when the data are known (`configure_model`), so that classes and image sizes are stated once.
"""

from abc import abstractmethod
from typing import Any, Literal

import torch
from lightning.pytorch import LightningDataModule, LightningModule
from lightning.pytorch.cli import OptimizerCallable
from torch import Tensor, nn

from relattn.attention.base import Placement, outermost
from relattn.backbones import AttentionFactory, build
from relattn.errors import InputError
from relattn.tasks.schedules import Constant, Schedule

CompileMode = Literal["default", "reduce-overhead", "max-autotune"]


class Data(LightningDataModule):
    """A data set with its loaders; `setup` must leave `num_classes` and `image_size` known."""

    num_classes: int
    """Classes (or identities) of the training set."""

    image_size: tuple[int, int]
    """Height and width of the images that the network sees, in pixels."""

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """What a run's record says of its data: name, images of each split, whether they are genuine, fingerprint."""


class Task(LightningModule):
    """A network, how it is trained, and how it is scored.

    A subclass names its `headline` metric, builds its network in `build_network`, and has the steps. Each stage logs
    `<stage>/score`, the headline, higher is better, so that tasks stand side by side.
    """

    headline: str

    progress: tuple[str, ...] = ("loss", "error")
    """What the line at the end of an epoch shows."""

    protocol: str = ""
    """How scores are computed, where that is a choice; printed with them."""

    shapes_of: tuple[str, ...] = ("num_classes", "image_size")
    """What `build_network` reads of the data."""

    def __init__(
        self,
        backbone: str,
        *,
        attention: AttentionFactory | None = None,
        stages: list[int] | None = None,
        placement: Placement | None = None,
        pretrained: bool | str = False,
        optimizer: OptimizerCallable = torch.optim.SGD,
        schedule: Schedule | None = None,
        channels_last: bool = True,
        compile_mode: CompileMode | None = None,
        recompute_attention: bool = False,
    ) -> None:
        """Define the task; arguments shared by all tasks.

        Args:
            backbone: A timm network, or one of the papers' networks for small images (`relattn list backbones`).
            attention: The attention module to place in it; None for the plain network.
            stages: Stages, from 1, that have attention; by default the papers' choice for the backbone.
            placement: Whether attention comes after each stage, at the end of each block or in place of each block's
                spatial convolution; by default where the module belongs.
            pretrained: True for timm's weights of the backbone, or the path of a file of weights.
            optimizer: Called with the parameters.
            schedule: The learning rate over the run; by default constant.
            channels_last: Whether the network keeps its maps in channels-last order, usually the faster one.
            compile_mode: Mode of `torch.compile`, or None; `"reduce-overhead"` records CUDA graphs, for small layers.
            recompute_attention: Whether attention is computed again in the backward pass, which takes time and spares
                the memory of its maps; without effect under `compile_mode`, which makes that choice itself.
        """
        super().__init__()
        self.backbone, self.attention, self.stages, self.pretrained = backbone, attention, stages, pretrained
        self.placement, self.recompute_attention = placement, recompute_attention
        self.optimizer, self.schedule = optimizer, schedule or Constant()
        self.channels_last, self.compile_mode = channels_last, compile_mode
        self.network: nn.Module | None = None

    @abstractmethod
    def build_network(self, data: Data) -> nn.Module:
        """Build the network for the data."""

    def build_backbone(self, data: Data, **arguments: Any) -> nn.Module:
        """Build the backbone with its attention; `arguments` as in `relattn.backbones.build`."""
        return build(
            self.backbone,
            attention=self.attention,
            stages=self.stages,
            placement=self.placement,
            size=data.image_size,
            pretrained=self.pretrained,
            **arguments,
        )

    def configure_model(self) -> None:
        """Build the network, once; Lightning calls this when the data are set up and before weights are restored."""
        if self.network is not None:
            return
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        if not isinstance(data, Data) or not hasattr(data, "num_classes") or not hasattr(data, "image_size"):
            raise InputError(f"{type(self).__name__} needs a Data with num_classes and image_size, not {data!r}.")
        self.assemble(data)
        if self.compile_mode is not None:
            # The last batch of an epoch is smaller: a graph of its own is faster than one for every size.
            self.network.compile(mode=None if self.compile_mode == "default" else self.compile_mode, dynamic=False)

    def assemble(self, data: Data) -> None:
        """Build the network for the data, or for what a checkpoint kept of them (`shapes_of`)."""
        self.network = self.build_network(data)
        self.shapes = {name: getattr(data, name) for name in self.shapes_of}
        if self.channels_last:
            self.network.to(memory_format=torch.channels_last)
        self.attentions = outermost(self.network)
        for attention in self.attentions:
            attention.recompute = self.recompute_attention and self.compile_mode is None

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep what the network was built for, so that it can be built again without the data."""
        checkpoint["shapes"] = self.shapes

    def configure_optimizers(self) -> dict[str, Any]:
        """The optimizer over all parameters that are trained, its schedule stepped at every step."""
        optimizer = self.optimizer(parameter for parameter in self.parameters() if parameter.requires_grad)
        total = self.trainer.estimated_stepping_batches
        if total == float("inf"):
            raise InputError("The schedule needs to know how long the run is: give --trainer.max_epochs or max_steps.")
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: self.schedule.factor(step, int(total)))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step", "name": "lr"}}

    def regularization(self) -> Tensor | float:
        """The sum of the loss terms that the attention modules have of their own; 0 if they have none."""
        return sum((term for module in self.attentions if (term := module.regularization()) is not None), 0.0)

    def describe(self) -> dict[str, Any]:
        """What a run's record says of its network."""
        parameters = sum(parameter.numel() for parameter in self.parameters())
        protocol = {"protocol": self.protocol} if self.protocol else {}
        return {"backbone": self.backbone, "parameters": parameters, **protocol}
