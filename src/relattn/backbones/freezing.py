"""Keep the early stages of a pretrained network as they are while what is new on top of them settles."""

from torch import nn

from relattn.backbones.build import stages_of


class EarlyStages:
    """Everything of a backbone that comes before its last stage; attention modules are not part of it.

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
        last = stages_of(network)[-1]
        self.modules: list[nn.Module] = []
        for name, module in network.named_modules():
            if name == last:
                break
            if not f"{last}.".startswith(f"{name}." if name else ""):  # not what the last stage is a part of
                self.modules.append(module)
        self.parameters = [parameter for module in self.modules for parameter in module.parameters(recurse=False)]

    def train(self, mode: bool) -> None:
        """Let batch norms use and update their batches' statistics, or keep to the running ones."""
        for module in self.modules:
            module.training = mode
