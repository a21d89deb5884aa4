"""Keeps the early stages of a pretrained network fixed while the new layers on top of them settle."""

from torch import nn

from relattn.attention.base import outermost
from relattn.attention.fade_in import FadeIn
from relattn.backbones.stages import modules_of


class EarlyStages:
    """All of a backbone before its last stage, with convolutions that fade out; attention, which is new, is left out.

    Attributes:
        parameters: The weights of the early stages.
    """

    def __init__(self, network: nn.Module) -> None:
        """Find the early stages.

        Args:
            network: A network from `build`.

        Raises:
            InputError: If the network does not report its stages.
        """
        new = {module for attention in outermost(network) for module in attention.modules()}
        new -= {part for module in new if isinstance(module, FadeIn) for part in module.base.modules()}
        stages = modules_of(network)[:-1]
        self.modules = [part for stage in stages for part in map(network.get_submodule, stage) if part not in new]
        # A transformer's position embedding and class token belong to none of its modules and come before all stages.
        early = [network, *self.modules]
        self.parameters = [parameter for module in early for parameter in module.parameters(recurse=False)]

    def train(self, mode: bool) -> None:
        """Let batch norms use batch statistics and update the running ones, or use the running ones unchanged."""
        for module in self.modules:
            module.training = mode
