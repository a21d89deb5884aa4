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
        names = [name for name, _ in network.named_modules()]
        # A stage is known by the module at its end, so the last stage is what follows the end of the one before.
        end = stages_of(network)[-2]
        until = max(place for place, name in enumerate(names) if f"{name}.".startswith(f"{end}."))
        early = [name for name in names[: until + 1] if not f"{end}.".startswith(f"{name}.") or name == end]
        self.modules = [network.get_submodule(name) for name in early if name]
        self.parameters = [parameter for module in self.modules for parameter in module.parameters(recurse=False)]

    def train(self, mode: bool) -> None:
        """Let batch norms use and update their batches' statistics, or keep to the running ones."""
        for module in self.modules:
            module.training = mode
