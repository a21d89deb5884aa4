"""Dilated networks: their strides and dilations, weights, attention in them, and networks that cannot be dilated."""

import copy
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from relattn.attention import RGA, Attention, FadeIn, StRA
from relattn.backbones import build, dilated, stages_of
from relattn.errors import InputError


class Double(Attention):
    """Doubles its input."""

    def forward(self, x: Tensor) -> Tensor:
        return x * 2


def spatial(model: nn.Module, layer: str) -> list[tuple[int, int, int]]:
    """Stride, dilation and padding of the spatial convolutions of a stage, in order; all of them square."""
    found = []
    for module in model.get_submodule(layer).modules():
        if isinstance(module, nn.Conv2d) and module.kernel_size != (1, 1):
            for pair in (module.stride, module.dilation, module.padding):
                assert pair[0] == pair[1]
            found.append((module.stride[0], module.dilation[0], module.padding[0]))
    return found


def images(size: tuple[int, int] = (64, 48), batch: int = 1) -> Tensor:
    return torch.randn(batch, 3, *size, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("name", "third", "last", "first", "begins"),
    [
        ("resnet50", 6, 3, "previous", (1, 2)),
        pytest.param("resnet101", 23, 3, "full", (2, 4), marks=pytest.mark.slow),
    ],
)
def test_bottlenecks_of_the_last_two_stages_have_dilations_2_and_4(name, third, last, first, begins) -> None:
    with torch.device("meta"):
        model = dilated(name, first_dilation=first)
    assert spatial(model, "layer2")[0] == (2, 1, 1)
    assert spatial(model, "layer3") == [(1, begins[0], begins[0])] + [(1, 2, 2)] * (third - 1)
    assert spatial(model, "layer4") == [(1, begins[1], begins[1])] + [(1, 4, 4)] * (last - 1)
    strides = [m.stride for m in model.modules() if isinstance(m, nn.Conv2d) and m.stride != (1, 1)]
    assert len(strides) == 3  # the stem, and conv2 and the shortcut of the second stage


def test_basic_blocks_are_dilated_as_well() -> None:
    with torch.device("meta"):
        eighth, sixteenth = dilated("resnet18"), dilated("resnet18", output_stride=16)
        assert spatial(dilated("resnet18", first_dilation="previous"), "layer4") == [(1, 2, 2)] + [(1, 4, 4)] * 3
    assert spatial(eighth, "layer3") == [(1, 2, 2)] * 4
    assert spatial(eighth, "layer4") == [(1, 4, 4)] * 4
    assert spatial(sixteenth, "layer4") == [(1, 2, 2)] * 4
    assert spatial(sixteenth, "layer3")[0] == (2, 1, 1)


@pytest.mark.parametrize(
    ("name", "first"),
    [
        ("test_resnet", "previous"),
        ("test_resnet", "full"),
        ("test_efficientnet", "previous"),
        *(
            pytest.param(name, first, marks=pytest.mark.slow)
            for name in ("resnet18", "resnet50d", "mobilenetv2_100", "tf_efficientnet_b0", "regnety_002")
            for first in ("previous", "full")
        ),
    ],
)
def test_features_are_8_times_smaller_and_weights_keep_their_names(name, first) -> None:
    with torch.device("meta"):
        model, plain = dilated(name, first_dilation=first).eval(), build(name)
        features = model.forward_intermediates(torch.empty(1, 3, 64, 48), intermediates_only=True)
    assert {k: v.shape for k, v in model.state_dict().items()} == {k: v.shape for k, v in plain.state_dict().items()}
    assert [tuple(x.shape[2:]) for x in features[-2:]] == [(8, 6)] * 2


def test_previous_dilation_is_the_plain_network_at_more_positions_and_full_is_another_network() -> None:
    plain = build("resnet18").eval()
    for module in plain.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1)  # the last norms of blocks are initialised to 0
    for first, same in (("previous", True), ("full", False)):
        model = dilated("resnet18", first_dilation=first).eval()
        model.load_state_dict(plain.state_dict())
        with torch.no_grad():
            dense, sparse = model.forward_features(images((64, 64))), plain.forward_features(images((64, 64)))
        assert torch.allclose(dense[..., ::4, ::4], sparse, rtol=1e-4, atol=1e-4) == same


def test_output_stride_32_is_the_plain_network() -> None:
    with torch.device("meta"):
        assert spatial(dilated("resnet18", output_stride=32), "layer4") == [(2, 1, 1)] + [(1, 1, 1)] * 3
        features = dilated("vgg11_bn", output_stride=32).eval().forward_features(torch.empty(1, 3, 64, 48))
    assert features.shape == (1, 512, 2, 1)


def test_attention_is_placed_at_the_dilated_size() -> None:
    with torch.device("meta"):
        model = dilated("resnet18", attention=RGA, stages=[3, 4], size=(64, 48)).eval()
    assert [attention.size for attention in model.attention.values()] == [(8, 6), (8, 6)]
    assert spatial(model, "layer4") == [(1, 4, 4)] * 4
    doubled, plain = dilated("resnet10t", attention=Double, stages=[4]).eval(), dilated("resnet10t").eval()
    doubled.load_state_dict(plain.state_dict())
    with torch.no_grad():
        found, expected = (m.forward_intermediates(images(), intermediates_only=True)[-1] for m in (doubled, plain))
    torch.testing.assert_close(found, 2 * expected)


def test_attention_in_place_of_convolutions_leaves_the_others_dilated() -> None:
    model = dilated("resnet18", attention=Double, placement="convolution", stages=[4], size=(64, 48)).eval()
    assert spatial(model, "layer4") == [(1, 4, 4)] * 2
    assert model.forward_features(images()).shape == (1, 512, 8, 6)


@pytest.mark.parametrize("attention", [partial(StRA, heads=8), partial(FadeIn, attention=partial(StRA, heads=8))])
def test_attention_may_take_the_place_of_every_convolution_that_had_a_stride(attention) -> None:
    with torch.device("meta"):
        model = dilated("resnet26", output_stride=16, attention=attention, stages=[4], size=(64, 48)).eval()
        assert model.forward_features(torch.empty(1, 3, 64, 48)).shape == (1, 2048, 4, 3)


def test_the_convolution_that_attention_fades_in_beside_is_dilated() -> None:
    attention = partial(FadeIn, attention=partial(StRA, heads=8))
    faded = dilated("test_efficientnet", output_stride=16, attention=attention, stages=[4], size=(64, 48)).eval()
    plain = dilated("test_efficientnet", output_stride=16).eval()
    modules = faded.named_modules()
    weights = {f"{name}.base.": f"{name}." for name, module in modules if isinstance(module, FadeIn)}
    assert weights
    state = faded.state_dict()
    for inner, outer in weights.items():
        state |= {name.replace(inner, outer): value for name, value in state.items() if name.startswith(inner)}
    plain.load_state_dict({name: value for name, value in state.items() if name in plain.state_dict()})
    torch.testing.assert_close(faded.forward_features(images()), plain.forward_features(images()), rtol=0, atol=0)


def test_the_stem_of_faces_is_not_dilated() -> None:
    with torch.device("meta"):
        model = dilated("resnet18", stem="face", size=(112, 112))
    assert (model.conv1.stride, model.conv1.dilation) == ((1, 1), (1, 1))
    assert spatial(model, "layer4") == [(1, 4, 4)] * 4


def test_building_leaves_the_random_state_and_weights_alone() -> None:
    torch.manual_seed(0)
    model = dilated("resnet10t", first_dilation="full")
    torch.manual_seed(0)
    for mine, other in zip(model.parameters(), build("resnet10t", output_stride=8).parameters(), strict=True):
        torch.testing.assert_close(mine, other, rtol=0, atol=0)
    assert copy.deepcopy(model)(images()).shape == (1, 512)


@pytest.mark.parametrize("name", ["densenet121", "vgg11_bn", "resnet20", "test_vit"])
@pytest.mark.slow
def test_what_cannot_be_dilated_keeps_its_strides_and_says_so(name) -> None:
    with torch.device("meta"), pytest.warns(UserWarning, match=f"{name} cannot be built at output stride 8"):
        model = dilated(name, size=(64, 64)).eval()
    assert stages_of(model) == stages_of(build(name, size=(64, 64)))


def test_other_errors_say_what_to_do() -> None:
    with pytest.raises(InputError, match="output_stride is 4, expected 8, 16 or 32"):
        dilated("resnet18", output_stride=4)
    with pytest.raises(InputError, match="first_dilation is 'half'"):
        dilated("resnet18", first_dilation="half")
    with pytest.raises(InputError, match="first_dilation='full' has nothing to change"):
        dilated("resnetblur50")
    with pytest.raises(InputError, match="There is no backbone named 'resnt18'"):
        dilated("resnt18")
