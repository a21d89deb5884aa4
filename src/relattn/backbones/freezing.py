"""Keeps the early stages of a pretrained network fixed while the new layers on top of them settle."""

from torch import nn

from relattn.backbones.stages import modules_of


class EarlyStages:
    """All of a backbone before its last stage; attention after stages is not part of it.

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
        self.modules = [network.get_submodule(name) for stage in modules_of(network)[:-1] for name in stage]
        # A transformer's position embedding and class token belong to none of its modules and come before all stages.
        early = [network, *self.modules]
        self.parameters = [parameter for module in early for parameter in module.parameters(recurse=False)]

    def train(self, mode: bool) -> None:
        """Let batch norms use batch statistics and update the running ones, or use the running ones unchanged."""
        for module in self.modules:
            module.training = mode
