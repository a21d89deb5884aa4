"""Where attention goes: after stages, at the ends of blocks, in place of convolutions."""

import pickle
from functools import partial

import pytest
import torch
from timm.utils.model import reparameterize_model
from torch import Tensor, nn

from relattn.attention import RGA, FadeIn
from relattn.attention.base import Attention
from relattn.backbones import build
from relattn.errors import InputError


class Scale(Attention):
    """A module that reveals its position: it scales its input."""

    placement = "block"

    def __init__(self, channels: int, *, size: tuple[int, int] | None = None) -> None:
        super().__init__(channels, size=size)
        self.factor = nn.Parameter(torch.ones(1))
        self.seen: list[tuple[int, ...]] = []

    def forward(self, x: Tensor) -> Tensor:
        assert tuple(x.shape[1:]) == (self.channels, *self.size)
        self.seen.append(tuple(x.shape))
        return x * self.factor


class Instead(Scale):
    placement = "convolution"


MOBILE = ["blocks.5.0.conv_dw", "blocks.5.1.conv_dw", "blocks.5.2.conv_dw", "blocks.6.0.conv_dw"]


def placed(network: nn.Module) -> dict[str, Scale]:
    return {name: module for name, module in network.named_modules() if isinstance(module, Scale)}


@pytest.mark.parametrize(
    ("name", "blocks"),
    [
        ("resnet18", 8),
        ("resnet20_cifar", 9),
        ("test_efficientnet", 4),
        pytest.param("resnet50", 16, marks=pytest.mark.slow),
        pytest.param("mobilenetv2_100", 17, marks=pytest.mark.slow),
    ],
)
def test_every_block_has_one(name: str, blocks: int) -> None:
    stages = [1, 2, 3] if name == "resnet20_cifar" else None
    with torch.device("meta"):
        network = build(name, attention=Scale, size=(64, 64), stages=stages).eval()
        found = placed(network)
        assert len(found) == blocks
        network(torch.empty(2, 3, 64, 64))
    assert all(len(module.seen) == 1 for module in found.values())


def test_a_block_s_branch_is_what_is_attended() -> None:
    network = build("resnet18", attention=Scale, size=(64, 32), stages=[2]).eval()
    block, attention = network.layer2[1], network.attention["stage2_block2"]
    x = torch.randn(1, 128, 8, 4).relu()
    with torch.no_grad():
        attention.factor.fill_(0.5)
        y = block.bn2(block.conv2(block.act1(block.bn1(block.conv1(x)))))  # the hook halves what bn2 gives
        torch.testing.assert_close(block(x), (y + x).relu())
        attention.factor.zero_()
        torch.testing.assert_close(block(x), x)


@pytest.mark.parametrize(
    ("name", "options", "where"),
    [
        ("resnet50", {"last_stride": 1}, [f"layer4.{block}.conv2" for block in range(3)]),
        ("resnet18", {"stages": [2]}, ["layer2.0.conv2", "layer2.1.conv2"]),
        pytest.param("mobilenetv2_140", {"last_stride": 1}, MOBILE, marks=pytest.mark.slow),
        ("resnet20", {"stages": [3]}, [f"layer3.{block}.conv2" for block in range(3)]),
    ],
)  # fmt: skip
def test_convolutions_are_replaced_in_the_last_stage(name: str, options: dict, where: list[str]) -> None:
    with torch.device("meta"):
        network = build(name, attention=Instead, size=(64, 32), **options)
    assert list(placed(network)) == where


def test_what_takes_the_place_of_convolutions_is_trained() -> None:
    network = build("test_resnet", attention=Instead, size=(64, 32))
    assert list(placed(network)) == ["layer4.0.conv2"]
    network(torch.randn(2, 3, 64, 32)).sum().backward()
    assert all(module.factor.grad is not None for module in placed(network).values())


def test_a_strided_convolution_is_replaced_with_pooling_behind() -> None:
    with torch.device("meta"):
        plain, network = (build("resnet50", attention=factory, size=(64, 32)) for factory in (None, Instead))
        assert isinstance(network.layer4[0].conv2, nn.Sequential)
        assert network.layer4[0].conv2[0].size == (4, 2)
        x = torch.empty(1, 3, 64, 32)
        assert network.forward_features(x).shape == plain.forward_features(x).shape


def test_the_placement_can_be_chosen() -> None:
    with torch.device("meta"):
        network = build("resnet18", attention=Scale, placement="stage", stages=[1, 3], size=(64, 32))
        assert list(network.attention) == ["stage1", "stage3"]
        network = build("resnet18", attention=RGA, placement="block", stages=[4], size=(64, 32))
        assert list(network.attention) == ["stage4_block1", "stage4_block2"]
        network = build("resnet18", attention=RGA, placement="convolution", size=(64, 32))
        assert isinstance(network.layer4[1].conv2, RGA)


def test_weights_of_what_stays_keep_their_names() -> None:
    with torch.device("meta"):
        plain = build("resnet50", size=(64, 32)).state_dict()
        replaced = build("resnet50", attention=Instead, size=(64, 32)).state_dict()
        blocks = build("resnet50", attention=Scale, size=(64, 32)).state_dict()
    assert plain.keys() - replaced.keys() == {f"layer4.{block}.conv2.weight" for block in range(3)}
    assert plain.keys() - blocks.keys() == set()


@pytest.mark.parametrize(
    ("name", "factory", "message"),
    [
        ("densenet_bc22", Scale, "do not end in a normalisation"),
        ("densenet_bc22", Instead, "no block with a spatial convolution that keeps its channels"),
        ("inception_v4", Instead, r"changes the map from \(17, 17\) to \(8, 8\) by its padding"),
        ("inception_v4", partial(FadeIn, attention=Instead), r"changes the map from \(17, 17\) to \(8, 8\) by its"),
    ],
    ids=str,
)
def test_what_has_no_place_is_refused(name: str, factory: type, message: str) -> None:
    size = (299, 299) if name == "inception_v4" else (32, 32)
    with torch.device("meta"), pytest.raises(InputError, match=message):
        build(name, attention=factory, size=size)


def test_a_module_reads_its_placement_at_the_channels_of_a_channels_last_network() -> None:
    seen: list[int] = []

    def factory(channels: int, *, size: tuple[int, int]) -> Attention:
        seen.append(channels)
        return Scale(channels, size=size)

    with torch.device("meta"):
        build("swin_tiny_patch4_window7_224", attention=factory, placement="stage", size=(224, 224))
    assert seen == [768, 96, 192, 384, 768]


@pytest.mark.parametrize("placement", ["stage", "block", "after_block"])
@pytest.mark.parametrize("name", ["resnet18", "mobilenetv3_small_050", "regnety_002"])
def test_attention_acts_under_gradient_checkpointing(name: str, placement: str) -> None:
    torch.manual_seed(0)
    network = build(name, attention=Scale, placement=placement, size=(64, 64), num_classes=3).eval()
    for module in placed(network).values():
        nn.init.constant_(module.factor, 1.5)
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        expected = network(images)
        network.set_grad_checkpointing(True)
        torch.testing.assert_close(network(images), expected)
    network.train()(images).sum().backward()
    assert all(module.factor.grad is not None for module in placed(network).values())


@pytest.mark.parametrize("name", ["repvgg_a0", "mobileone_s0"])
def test_attention_stays_when_a_network_is_reparametrised(name: str) -> None:
    torch.manual_seed(0)
    network = build(name, attention=Scale, placement="block", size=(64, 64), num_classes=3).eval()
    for module in placed(network).values():
        nn.init.constant_(module.factor, 0.5)
    images = torch.randn(1, 3, 64, 64)
    joined = reparameterize_model(network)
    with torch.no_grad():
        expected, found = network(images), joined(images)
    assert [len(module.seen) for module in placed(joined).values()] == [1] * len(placed(network))
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max()))


def test_a_reparametrisation_that_would_remove_attention_is_refused() -> None:
    network = build("repghostnet_050", attention=Scale, placement="block", size=(64, 64), num_classes=3)
    with pytest.raises(InputError, match='placement="after_block"'):
        reparameterize_model(pickle.loads(pickle.dumps(network)))
