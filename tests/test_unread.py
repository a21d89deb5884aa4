"""Weights that an output does not depend on are found and not trained."""

import torch
from torch import Tensor, nn

from relattn.unread import rest_unread, unread


class Branches(nn.Module):
    """A stem, and two branches of which `features` has one and `both` has two."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.left, self.right = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 2, 1), nn.Conv2d(4, 2, 1)
        self.left.bias.requires_grad_(False)

    def features(self, images: Tensor) -> Tensor:
        return self.left(self.stem(images))

    def both(self, images: Tensor) -> Tensor:
        stem = self.stem(images)
        return self.left(stem) + self.right(stem)


def test_the_weights_that_each_output_does_not_depend_on() -> None:
    network, images = Branches(), torch.randn(1, 3, 2, 2)
    assert unread(network, [network.features(images)]) == {"right.weight", "right.bias"}
    assert unread(network, [network.features(images), network.both(images)]) == set()
    assert unread(network, [network.stem(images)]) == {"left.weight", "right.weight", "right.bias"}


def test_they_are_not_trained() -> None:
    network = Branches()
    rest_unread(network, "features", (2, 2))
    trained = [name for name, weight in network.named_parameters() if weight.requires_grad]
    assert trained == ["stem.weight", "stem.bias", "left.weight"]
    assert network.stem.weight.device.type == "cpu"
    network.features(torch.randn(1, 3, 2, 2)).sum().backward()
    assert all(network.get_parameter(name).grad is not None for name in trained)
