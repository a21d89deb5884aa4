"""Sums over neighbourhoods in their usual form: `F.unfold`, multiply, sum. For comparison only."""

import copy
from types import MethodType

import torch.nn.functional as F
from torch import Tensor, nn

from relattn.attention.shifts import Neighbourhood


def unfold(self: Neighbourhood, x: Tensor) -> Tensor:
    """The neighbours of every position of `(B, C, H, W)`: `(B, G, C / G, K K, H, W)`."""
    copies = F.unfold(x, self.kernel, padding=self.kernel // 2)
    return copies.unflatten(1, (self.heads, -1, self.kernel**2)).unflatten(-1, x.shape[2:])


def weighted_sum(self: Neighbourhood, values: Tensor, weights: Tensor) -> Tensor:
    """As `Neighbourhood.weighted_sum`."""
    return (unfold(self, values) * weights.to(values.dtype).unsqueeze(2)).sum(dim=3).flatten(1, 2)


def compare(self: Neighbourhood, queries: Tensor, keys: Tensor) -> Tensor:
    """As `Neighbourhood.compare`."""
    return (self.split(queries).unsqueeze(3) * unfold(self, keys)).sum(dim=2)


def unfolded(network: nn.Module) -> nn.Module:
    """A copy of a network, with the same weights, that unfolds the neighbourhoods of its local attention."""
    network = copy.deepcopy(network)
    for module in network.modules():
        if isinstance(module, Neighbourhood):
            module.weighted_sum = MethodType(weighted_sum, module)  # type: ignore[method-assign]
            module.compare = MethodType(compare, module)  # type: ignore[method-assign]
    return network


def has_neighbourhoods(network: nn.Module) -> bool:
    """Whether a network has neighbourhoods to unfold."""
    return any(isinstance(module, Neighbourhood) for module in network.modules())
