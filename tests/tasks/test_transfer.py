"""Starting from a network that the suite trained: what is taken, and what is named."""

import pytest
import torch
from torch import nn

from relattn.attention import RGA
from relattn.backbones import build
from relattn.tasks.transfer import TrainedState, start_from


class Holder(nn.Module):
    """A task's network, by its name."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network


@pytest.mark.parametrize("attention", [None, RGA])
def test_positions_are_fitted_to_another_image_size(attention: type[RGA] | None) -> None:
    small = Holder(build("test_vit", attention=attention, size=(64, 64), num_classes=3))
    large = Holder(build("test_vit", size=(96, 96), num_classes=3))
    with torch.no_grad():
        small.network.pos_embed[:, 1:] = 7.0
    trained = TrainedState(dict(small.state_dict()), None)
    said = start_from(large, trained, trunk=large.network, classifiers=["network.head"], same_classes=True)
    assert said.endswith("new: nothing")
    assert large.network.pos_embed.shape != small.network.pos_embed.shape
    torch.testing.assert_close(large.network.pos_embed[:, 1:], torch.full_like(large.network.pos_embed[:, 1:], 7.0))
    assert torch.equal(large.network.pos_embed[:, :1], small.network.pos_embed[:, :1])


def test_a_tensor_of_the_network_itself_is_named() -> None:
    small, other = (Holder(build("test_vit", size=(64, 64), num_classes=3)) for _ in range(2))
    state = {name: value for name, value in small.state_dict().items() if "pos_embed" not in name}
    said = start_from(
        other, TrainedState(state, None), trunk=other.network, classifiers=["network.head"], same_classes=True
    )
    assert said.endswith("new: network.pos_embed")
