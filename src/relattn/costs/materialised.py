"""RGA as in the released code, with the N x N affinity and its 2N-channel stack in memory. For comparison only."""

import copy
from types import MethodType

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from relattn.attention.rga import RelationMask


def embed_relations(self: RelationMask, nodes: Tensor, weight: Tensor, size: torch.Size) -> Tensor:
    """W [R(i, :), R(:, i)] of Eq. (2), as a convolution over the materialised relations, `(B, n, N)`."""
    theta, phi = nodes.chunk(2, dim=1) if self.embedding == "asymmetric" else (nodes, nodes)
    relations = theta.mT @ phi
    stacked = torch.cat([relations.mT, relations], dim=1)  # channels of node i: R(i, :), then R(:, i)
    filters = weight.unflatten(2, (self.kernel, self.kernel))
    return F.conv2d(stacked.unflatten(2, size), filters, padding=self.kernel // 2).flatten(2)


def materialised(network: nn.Module) -> nn.Module:
    """A copy of a network, with the same weights, whose RGA modules materialise their relations."""
    network = copy.deepcopy(network)
    for module in network.modules():
        if isinstance(module, RelationMask) and module.relation:
            module.embed_relations = MethodType(embed_relations, module)  # type: ignore[method-assign]
    return network


def has_relations(network: nn.Module) -> bool:
    """Whether a network has relations to materialise."""
    return any(isinstance(module, RelationMask) and module.relation for module in network.modules())
