"""Networks with attention placed in them: the papers' parameter counts, placement, weights, strides and errors."""

import copy
import functools
import re

import pytest
import timm
import torch
from torch import Tensor, nn

from relattn.attention import RGA, Attention, OriginalNonLocal
from relattn.backbones import build, family, stages_of
from relattn.backbones.densenet_cifar import DenseLayer
from relattn.backbones.resnet_cifar import BasicBlock
from relattn.errors import InputError

SMALL = (64, 32)
"""Smallest size at which the fourth stage of a timm network still has more than one position."""

LAST_STRIDES = {
    "resnet18": ["layer4.0.conv1", "layer4.0.downsample.0"],
    "resnet50d": ["layer4.0.conv2", "layer4.0.downsample.0"],
    "mobilenetv2_100": ["blocks.5.0.conv_dw"],
    "regnety_002": ["s4.b1.conv2.conv", "s4.b1.downsample.conv"],
    "densenet121": ["features.transition3.pool"],
    "vgg11_bn": ["features.28"],
}
"""The layers that halve the map of the second last stage."""

SLOW_LAST_STRIDES = ("resnet50d", "regnety_002", "densenet121", "vgg11_bn")

FAMILIES = ["test_resnet", "test_efficientnet", "test_convnext", "test_byobnet"]
"""timm's small test networks, one for each way to name stages."""

LARGE_FAMILIES = ["resnet18", "densenet121", "mobilenetv2_100", "convnext_atto", "regnety_002"]

each_family = pytest.mark.parametrize(
    "name", [*FAMILIES, *(pytest.param(name, marks=pytest.mark.slow) for name in LARGE_FAMILIES)]
)


class Double(Attention):
    """Doubles its input."""

    def forward(self, x: Tensor) -> Tensor:
        return x * 2


def count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def images(batch: int = 2, size: tuple[int, int] = SMALL, channels: int = 3) -> Tensor:
    return torch.randn(batch, channels, *size, generator=torch.Generator().manual_seed(0))


def pair(name: str, *, size: tuple[int, int] = SMALL, **arguments) -> tuple[nn.Module, nn.Module]:
    """A plain network and one with attention and the same weights, in eval mode."""
    plain, attended = build(name, size=size).eval(), build(name, size=size, **arguments).eval()
    missing, unexpected = attended.load_state_dict(plain.state_dict(), strict=False)
    assert not unexpected
    assert all(key.startswith("attention.") for key in missing)
    return plain, attended


def stage_outputs(model: nn.Module, x: Tensor) -> list[Tensor]:
    """The output of every stage, including attention."""
    outputs = {}
    for name in stages_of(model):
        hook = functools.partial(lambda name, _module, _inputs, output: outputs.update({name: output}), name)
        model.get_submodule(name).register_forward_hook(hook)
    with torch.no_grad():
        model.forward_features(x)
    return [outputs[name].clone() for name in stages_of(model)]


# --- Parameter counts -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "ratio", "cifar10", "cifar100"),
    [
        ("resnet110", 4, 3_057_734, 3_063_584),
        ("densenet_bc100", 8, 817_667, 848_537),
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in (
                ("resnet110", None, 1_727_962, 1_733_812),
                ("resnet218", None, 3_477_850, 3_483_700),
                ("densenet_bc100", None, 769_162, 800_032),
                ("densenet_bc112", None, 932_986, 967_636),
                ("densenet100", None, 6_979_642, 7_084_852),
            )
        ),
    ],
)
def test_parameters_of_cifar_networks(name, ratio, cifar10, cifar100):
    attention = ratio and functools.partial(RGA, embedding_ratio=ratio, reduction_ratio=ratio)
    with torch.device("meta"):
        model = build(name, attention=attention, size=(32, 32), num_classes=10)
    assert count(model) == cifar10
    assert count(model) + 90 * (model.num_features + 1) == cifar100


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("spatial", 28_273_976),
        pytest.param(None, 25_050_176, marks=pytest.mark.slow),
        pytest.param("channel", 28_140_472, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_parameters_of_the_reid_network_are_those_of_table_3(mode, expected):
    attention = mode and functools.partial(RGA, mode=mode)
    with torch.device("meta"):
        model = build("resnet50", attention=attention, last_stride=1, size=(256, 128))
    batch_norm_neck, market_classifier = 2 * 2048, 2048 * 751
    assert count(model) + batch_norm_neck + market_classifier == expected


# --- Placement --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("resnet18", {}, {1: (64, 16, 8), 2: (128, 8, 4), 3: (256, 4, 2), 4: (512, 2, 1)}),
        ("resnet18", {"stages": [4, 2]}, {2: (128, 8, 4), 4: (512, 2, 1)}),
        ("resnet18", {"stages": [3, 4], "last_stride": 1}, {3: (256, 4, 2), 4: (512, 4, 2)}),
        ("resnet18", {"stages": [1], "last_stride": 2}, {1: (64, 16, 8)}),
        ("mobilenetv2_035", {"stages": [2, 4]}, {2: (16, 8, 4), 4: (112, 2, 1)}),
        ("resnet20", {}, {1: (16, 64, 32)}),
        ("resnet20", {"stages": [1, 2, 3]}, {1: (16, 64, 32), 2: (32, 32, 16), 3: (64, 16, 8)}),
        ("densenet_bc16", {}, {1: (24, 32, 16)}),
        ("densenet_bc16", {"stages": [2, 3]}, {2: (24, 16, 8), 3: (48, 16, 8)}),
    ],
    ids=str,
)
def test_attention_gets_the_channels_and_size_of_its_stage(name, options, expected):
    with torch.device("meta"):
        model = build(name, attention=Double, size=SMALL, **options)
    found = {key: (module.channels, *module.size) for key, module in model.attention.items()}
    assert found == {f"stage{stage}": shape for stage, shape in expected.items()}


@pytest.mark.parametrize(
    "name",
    [*FAMILIES, "resnet8", "densenet_bc16", *(pytest.param(name, marks=pytest.mark.slow) for name in LARGE_FAMILIES)],
)
def test_attention_follows_the_chosen_stage_and_no_other(name):
    chosen = 2
    plain, attended = pair(name, attention=Double, stages=[chosen])
    stages = zip(stage_outputs(plain, images()), stage_outputs(attended, images()), strict=True)
    for stage, (before, after) in enumerate(stages, start=1):
        if stage <= chosen:
            torch.testing.assert_close(after, before * 2 if stage == chosen else before)
        else:
            assert not torch.allclose(after, before)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, {(2, 2): 512, (2, 4): 512, (3, 2): 1024, (3, 4): 1024, (3, 6): 1024}),  # the paper's five blocks
        ({"stages": [4]}, {(4, 2): 2048}),
        ({"placement": "stage", "stages": [3]}, {(3,): 1024}),
    ],
    ids=str,
)
def test_the_original_non_local_blocks_follow_every_other_block_of_two_stages(options, expected):
    with torch.device("meta"):
        model = build("resnet50", attention=OriginalNonLocal, size=SMALL, **options)
    keys = {tuple(map(int, re.findall(r"\d+", key))): module for key, module in model.attention.items()}
    assert {key: module.channels for key, module in keys.items()} == expected
    assert all(module.inner == module.channels // 2 for module in model.attention.values())


def test_attention_after_a_block_sees_the_sum_with_its_shortcut():
    plain, attended = pair("test_resnet", attention=Double, stages=[2], placement="after_block")
    assert list(attended.attention) == ["stage2_block1"]
    before, after = (stage_outputs(model, images())[1] for model in (plain, attended))
    torch.testing.assert_close(after, 2 * before)
    with torch.device("meta"), pytest.raises(InputError, match="stage 1 has no residual blocks that output maps"):
        build("vgg11_bn", attention=Double, size=SMALL, placement="after_block", stages=[1])


@each_family
def test_intermediate_features_are_attended(name):
    plain, attended = pair(name, attention=Double, stages=[1])
    expected = stage_outputs(attended, images())[0]
    for model, wanted in [(attended, True), (plain, False)]:
        with torch.no_grad():
            maps = model.forward_intermediates(images(), intermediates_only=True)
        assert any(found.shape == expected.shape and torch.equal(found, expected) for found in maps) is wanted


@pytest.mark.parametrize("name", ["test_resnet", "test_efficientnet", "resnet8", "densenet_bc16"])
def test_attention_only_adds_keys(name):
    plain = list(build(name).state_dict())
    attended = list(build(name, attention=RGA, size=SMALL).state_dict())
    assert [key for key in attended if not key.startswith("attention.")] == plain
    assert any(key.startswith("attention.stage1.spatial.") for key in attended)


@each_family
def test_gradients_reach_every_attention_parameter(name):
    torch.manual_seed(0)
    model = build(name, attention=RGA, size=SMALL)
    model(images(4)).square().sum().backward()
    assert list(model.attention) == ["stage1", "stage2", "stage3", "stage4"]
    without = [key for key, value in model.attention.named_parameters() if value.grad is None or not value.grad.any()]
    assert without == []


def test_images_of_one_channel():
    model = build("resnet20", attention=RGA, size=(16, 16), in_chans=1, num_classes=10)
    assert model(images(2, (16, 16), channels=1)).shape == (2, 10)


def test_a_copy_calls_its_own_attention():
    model = build("resnet8", attention=RGA, size=(16, 16)).eval()
    x = images(2, (16, 16))
    expected = model(x)
    twin = copy.deepcopy(model)

    change(model)
    assert torch.equal(twin(x), expected)
    assert not torch.equal(model(x), expected)

    changed = model(x)
    change(twin)
    change(twin)
    assert torch.equal(model(x), changed)
    assert not torch.equal(twin(x), expected)


def change(model: nn.Module) -> None:
    """Change the attention of a network so that its output must differ."""
    with torch.no_grad():
        for mask in (model.attention.stage1.spatial, model.attention.stage1.channel):
            mask.score[1].bias += 1


# --- Compilation and export -------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet8", "resnet18"])
def test_compiled_network_equals_eager(name):
    torch.compiler.reset()
    model = build(name, attention=RGA, size=SMALL)
    eager = copy.deepcopy(model)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")

    output, expected = compiled(images(4)), eager(images(4))
    output.square().sum().backward()
    expected.square().sum().backward()

    torch.testing.assert_close(output, expected)
    for found, wanted in zip(model.attention.parameters(), eager.attention.parameters(), strict=True):
        torch.testing.assert_close(found.grad, wanted.grad, rtol=1e-3, atol=1e-4 * float(wanted.grad.abs().max()))


@pytest.mark.slow  # tests/export exports the network of each task
@pytest.mark.parametrize("name", ["resnet8", "resnet18"])
def test_exported_network_equals_eager(name):
    model = build(name, attention=RGA, size=SMALL).eval()
    shapes = {"x": {0: torch.export.Dim("batch", min=1, max=64)}}
    program = torch.export.export(model, (images(2),), dynamic_shapes=shapes)
    for batch in (2, 5):
        torch.testing.assert_close(program.module()(images(batch)), model(images(batch)))


# --- Weights from a file ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["test_resnet", "resnet8"])
def test_weights_from_a_file(name, tmp_path):
    torch.manual_seed(0)
    classes = 1000 if name == "test_resnet" else 10
    plain = build(name, num_classes=classes)
    torch.save(plain.state_dict(), tmp_path / "weights.pth")
    torch.manual_seed(1)

    model = build(
        name, attention=RGA, size=SMALL, pretrained=str(tmp_path / "weights.pth"), num_classes=classes
    ).state_dict()

    for key, value in plain.state_dict().items():
        assert torch.equal(model[key], value), key


def test_weights_of_another_classifier_are_left_out(tmp_path):
    plain = build("test_resnet", num_classes=1000)
    torch.save(plain.state_dict(), tmp_path / "weights.pth")
    model = build("test_resnet", attention=RGA, size=SMALL, pretrained=str(tmp_path / "weights.pth"), num_classes=7)
    assert model.fc.out_features == 7
    assert torch.equal(model.layer4[0].conv2.weight, plain.layer4[0].conv2.weight)


def test_both_classifiers_of_a_distilled_network_are_left_out(tmp_path):
    name = "deit_tiny_distilled_patch16_224"
    plain = build(name, num_classes=5, size=(32, 32), depth=1)
    torch.save(plain.state_dict(), tmp_path / "weights.pth")
    model = build(name, num_classes=7, size=(32, 32), depth=1, pretrained=str(tmp_path / "weights.pth"))
    assert (model.head.out_features, model.head_dist.out_features) == (7, 7)
    assert torch.equal(model.blocks[0].mlp.fc1.weight, plain.blocks[0].mlp.fc1.weight)


def test_weights_of_another_network_are_refused(tmp_path):
    torch.save(build("resnet8").state_dict(), tmp_path / "weights.pth")
    with pytest.raises(ValueError, match=r"weights.pth.* does not hold the weights of test_resnet"):
        build("test_resnet", pretrained=str(tmp_path / "weights.pth"))


# --- Last stride ------------------------------------------------------------------------------------------------------


def lift_by_hand(model: nn.Module, names: list[str]) -> None:
    for name in names:
        layer = model.get_submodule(name)
        if isinstance(layer, nn.Conv2d):
            layer.stride = (1, 1)
        else:
            model.set_submodule(name, nn.Identity())


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.slow) if name in SLOW_LAST_STRIDES else name for name in LAST_STRIDES],
)
@pytest.mark.slow
def test_last_stride_one_is_the_network_with_its_last_strides_lifted(name):
    model = build(name, last_stride=1, size=SMALL).eval()
    by_hand = timm.create_model(name, num_classes=0).eval()
    by_hand.load_state_dict(model.state_dict())
    lift_by_hand(by_hand, LAST_STRIDES[name])

    *_, previous, last = stage_outputs(model, images())

    assert last.shape[2:] == previous.shape[2:] == (4, 2)
    assert all(layer.dilation == (1, 1) for layer in model.modules() if isinstance(layer, nn.Conv2d))
    with torch.no_grad():
        assert torch.equal(model(images()), by_hand(images()))


def test_a_last_stride_that_cannot_be_lifted_is_refused():
    with pytest.raises(ValueError, match=r"last_stride=1: layer stages\.3\.downsample\.1 .* cannot keep"):
        build("convnext_atto", last_stride=1, size=SMALL)


# --- Errors -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("resnte50", {}, r"There is no backbone named 'resnte50'\. Closest: .*resnet50\b"),
        ("resnet18.nosuch_in1k", {}, "nosuch_in1k.*resnet18"),
        ("densenet_bc10", {"stages": [0, 3, 4]}, r"densenet_bc10 has stages 1 to 3, .* in \[0, 4\]"),
        ("resnet18", {"stages": [5]}, r"resnet18 has stages 1 to 4, .* in \[5\]"),
        ("resnet18", {"last_stride": 3}, "last_stride is 3, expected 1 .* or 2"),
        ("resnet18", {"stages": []}, "stages is empty"),
        ("resnet18", {"placement": "after_stage"}, "placement is 'after_stage', expected one of stage, block"),
        ("resnet20_k24", {}, "resnet20_k24: only DenseNets have a variant bc and a growth rate; use resnet20"),
        ("resnet20", {"pretrained": True}, "No pretrained weights are published for resnet20"),
        pytest.param("densenet121", {"size": (8, 8)}, "cannot take images 3x8x8", marks=pytest.mark.slow),
        (
            "test_vit",
            {"size": (72, 40), "any_size": True},
            r"test_vit cannot take .* that it accepts is 80x48: image_size",
        ),
        pytest.param("hiera_tiny_224", {}, "hiera_tiny_224 orders its tokens by windows", marks=pytest.mark.slow),
        pytest.param(
            "crossvit_tiny_240",
            {"size": (240, 240)},
            "crossvit_tiny_240 has two grids of patches",
            marks=pytest.mark.slow,
        ),
    ],
    ids=str,
)
def test_what_cannot_be_built_is_refused(name, options, message):
    with torch.device("meta"), pytest.raises(ValueError, match=message):
        build(name, attention=RGA, **options)


@pytest.mark.parametrize("name", ["test_resnet", "resnet8"])
def test_a_missing_file_of_weights_is_named(name, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.pth"):
        build(name, pretrained=str(tmp_path / "nowhere.pth"))


@pytest.mark.parametrize("name", ["resnet{}", "densenet{}", "densenet_bc{}"])
@pytest.mark.parametrize("depth", [4, 6, 27])
def test_a_wrong_depth_is_refused_and_the_suggested_depths_exist(name, depth):
    with pytest.raises(ValueError, match=r"\dn \+ \d, for example") as error:
        build(name.format(depth))
    message = str(error.value)
    assert str(depth) in message
    suggested = re.search(r"for example (\d+) or (\d+)", message).groups()
    for depth in suggested:
        with torch.device("meta"):
            build(name.format(depth))


# --- The CIFAR networks -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("resnet50", "timm"),
        ("resnet50.tv_in1k", "timm"),
        ("densenet121", "timm"),
        ("resnet20", "resnet_cifar"),
        ("resnet50_cifar", "resnet_cifar"),
        ("densenet_bc100_k24", "densenet_cifar"),
        ("densenet121_cifar", "densenet_cifar"),
    ],
)
def test_family(name, expected):
    assert family(name) == expected


def test_option_a_shortcut_subsamples_and_pads_with_zeros():
    block = BasicBlock(3, 8, stride=2).eval()
    nn.init.zeros_(block.conv2.weight)  # leaves only the shortcut
    x = images(2, (6, 4))
    output = block(x)
    for row in range(3):
        for column in range(2):
            expected = torch.cat([x[:, :, 2 * row, 2 * column], torch.zeros(2, 5)], dim=1)
            assert torch.equal(output[:, :, row, column], expected.clamp(min=0))
    assert {key.partition(".")[0] for key in block.state_dict()} == {"conv1", "bn1", "conv2", "bn2"}


def test_dense_layer_appends_its_growth():
    layer = DenseLayer(5, 3, bottleneck=True).eval()
    x = images(2, (4, 4), channels=5)
    output = layer(x)
    assert output.shape == (2, 8, 4, 4)
    assert torch.equal(output[:, :5], x)


@pytest.mark.parametrize(
    ("name", "channels"),
    [
        ("densenet40", [16 + 12 * 12, 16 + 24 * 12, 16 + 36 * 12]),
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in (
                ("densenet100", [400, 784, 1168]),
                ("densenet_bc100", [108, 150, 342]),
                ("densenet_bc112", [120, 168, 384]),
            )
        ),
        ("densenet_bc16_k24", [48, 48, 96]),
        ("densenet_bc22_k5", [(10 + 15) // 2, (12 + 15) // 2, 13 + 15]),  # transitions round down
        ("resnet20", [16, 32, 64]),
    ],
)
def test_channels_of_cifar_networks(name, channels):
    with torch.device("meta"):
        model = build(name).eval()
        outputs = stage_outputs(model, torch.empty(1, 3, 8, 8))
    assert [entry["num_chs"] for entry in model.feature_info] == channels
    assert [output.shape[1] for output in outputs] == channels
    assert [8 // output.shape[2] for output in outputs] == [entry["reduction"] for entry in model.feature_info]
    assert model.num_features == channels[-1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"attention": RGA(8, size=(4, 4))}, "expected a class of attention"),
        ({"attention": "rga_sc"}, "attention is 'rga_sc', expected a class of attention"),
        ({"size": 64}, r"build: size is 64, expected \(height, width\)"),
        ({"attention": RGA, "features_only": True}, "forward_intermediates"),
    ],
)
def test_what_is_no_class_and_no_size_is_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        build("resnet18", **{"size": (64, 64), **options})
