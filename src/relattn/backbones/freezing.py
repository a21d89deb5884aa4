"""Keep the early stages of a pretrained network as they are while what is new on top of them settles."""

from torch import nn

from relattn.backbones.stages import modules_of


class EarlyStages:
    """Everything of a backbone that comes before its last stage; attention after stages is not part of it.

    Attributes:
        parameters: Their weights.
    """

    def __init__(self, network: nn.Module) -> None:
        """Find them.

        Args:
            network: From `build`.

        Raises:
            InputError: If the network does not report its stages.
        """
        self.modules = [network.get_submodule(name) for stage in modules_of(network)[:-1] for name in stage]
        # A transformer's positions and class token belong to no module of it, and come before all stages.
        early = [network, *self.modules]
        self.parameters = [parameter for module in early for parameter in module.parameters(recurse=False)]

    def train(self, mode: bool) -> None:
        """Let batch norms use and update their batches' statistics, or keep to the running ones."""
        for module in self.modules:
            module.training = mode
