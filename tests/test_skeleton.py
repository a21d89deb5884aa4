"""Copies of networks without weights."""

import torch
from torch import nn

from relattn.skeleton import empty_image, skeleton_of


def test_a_skeleton_has_shapes_and_a_graph_and_copies_no_weight() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(6, 2))
    network[2].weight = nn.Parameter(torch.zeros(2, 6), requires_grad=False)
    skeleton = skeleton_of(network)
    assert all(tensor.is_meta for tensor in skeleton.state_dict().values())
    assert not any(tensor.is_meta for tensor in network.state_dict().values())
    trained = [name for name, weight in skeleton.named_parameters() if weight.requires_grad]
    assert trained == [name for name, weight in network.named_parameters() if weight.requires_grad]
    assert network.training
    assert not skeleton.training
    with empty_image(skeleton, (8, 8)) as image:
        output = skeleton(image)
    assert output.shape == (1, 4, 6, 2)
    assert output.requires_grad


def test_a_weight_used_twice_stays_one() -> None:
    network = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    network[1].weight = network[0].weight
    skeleton = skeleton_of(network)
    assert skeleton[1].weight is skeleton[0].weight
