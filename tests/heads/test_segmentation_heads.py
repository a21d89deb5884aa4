"""Segmentation heads: the sources' parameter counts, definitions, networks of any image size, export."""

import re
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from relattn.attention import FC, RGA, Attention, FixedSize, NonLocal, SqueezeExcitation
from relattn.backbones import build, dilated
from relattn.errors import InputError
from relattn.heads import ASPP, FCN, PPM, AuxiliaryHead, RelationContext, SegmentationNetwork

HEADS = {"fcn": FCN, "ppm": PPM, "aspp": ASPP}
SMALL_RGA = partial(RGA, embedding_ratio=4, reduction_ratio=4)


class Half(Attention):
    """Halves its input."""

    def forward(self, x: Tensor) -> Tensor:
        return x / 2


def images(batch: int = 2, size: tuple[int, int] = (65, 65)) -> Tensor:
    return torch.randn(batch, 3, *size, generator=torch.Generator().manual_seed(0))


def network(head: str = "fcn", *, backbone: dict | None = None, **options) -> SegmentationNetwork:
    torch.manual_seed(0)
    options = {"num_classes": 5, "width": 16, "pool": (6, 6), "crop": (65, 65), **options}
    return SegmentationNetwork(dilated("test_resnet", **(backbone or {})), head=head, **options)


def count(*modules: nn.Module) -> int:
    return sum(parameter.numel() for module in modules for parameter in module.parameters())


def millions(*modules: nn.Module) -> float:
    return round(count(*modules) / 1e6, 2)


@pytest.mark.parametrize(("head", "expected"), [("fcn", 9.45), ("ppm", 23.08), ("aspp", 15.87)])
def test_parameters_are_the_sources(head, expected) -> None:
    with torch.device("meta"):
        assert millions(HEADS[head](2048), nn.Conv2d(512, 19, 1)) == expected
        assert HEADS[head](2048)(torch.empty(2, 2048, 97, 97)).shape == (2, 512, 97, 97)


def test_context_of_rga_has_the_parameters_of_rga_and_of_a_fusion() -> None:
    with torch.device("meta"):
        context, rga = RelationContext(512, attention=RGA), RGA(512, size=(48, 48))
        assert millions(rga) == 3.5
        assert (
            sum(p.numel() for p in context.parameters()) == sum(p.numel() for p in rga.parameters()) + 1024 * 512 + 1024
        )


def test_ppm_is_its_definition() -> None:
    torch.manual_seed(0)
    module = PPM(8, width=4, bins=(1, 2, 3)).double().eval()
    x = torch.randn(2, 8, 7, 9, dtype=torch.float64)
    parts = [x]
    for cells, branch in zip((1, 2, 3), module.branches, strict=True):
        pooled = torch.empty(2, 8, cells, cells, dtype=torch.float64)
        for row in range(cells):
            for column in range(cells):
                top, bottom = row * 7 // cells, -(-(row + 1) * 7 // cells)
                left, right = column * 9 // cells, -(-(column + 1) * 9 // cells)
                pooled[:, :, row, column] = x[:, :, top:bottom, left:right].mean(dim=(2, 3))
        small = F.relu(branch[1](branch[0](pooled)))
        rows, columns = (torch.linspace(0, cells - 1, side, dtype=torch.float64) for side in (7, 9))
        weights = [(1 - (points[:, None] - torch.arange(cells)).abs()).clamp(min=0) for points in (rows, columns)]
        parts.append(torch.einsum("bcij,hi,wj->bchw", small, *weights))
    torch.testing.assert_close(module(x), module.fuse(torch.cat(parts, dim=1)), rtol=0, atol=1e-12)


def test_aspp_is_its_definition() -> None:
    torch.manual_seed(0)
    module = ASPP(3, width=4, branch=2, rates=(2, 3)).double().eval()
    x = torch.randn(2, 3, 7, 6, dtype=torch.float64)
    parts = [F.relu(module.image[1](module.image[0](x.mean((2, 3), keepdim=True)))).expand(2, 2, 7, 6)]
    for rate, branch in zip((0, 2, 3), module.branches, strict=True):
        padded, taps = F.pad(x, (rate,) * 4), [0] if rate == 0 else [0, rate, 2 * rate]
        summed = torch.zeros(2, 2, 7, 6, dtype=torch.float64)
        for i, down in enumerate(taps):
            for j, across in enumerate(taps):
                seen = padded[:, :, down : down + 7, across : across + 6]
                summed += torch.einsum("oc,bchw->bohw", branch[0].weight[:, :, i, j], seen)
        parts.append(F.relu(branch[1](summed)))
    torch.testing.assert_close(module(x), module.fuse(torch.cat(parts, dim=1)), rtol=0, atol=1e-12)


def test_deterministic_pyramid_pooling_is_the_same_function() -> None:
    module = PPM(8, width=4, bins=(1, 2, 3)).double().eval()
    x = torch.randn(2, 8, 7, 5, dtype=torch.float64, requires_grad=True)
    expected = module(x)
    (gradient,) = torch.autograd.grad(expected.square().sum(), x)
    torch.use_deterministic_algorithms(True)
    try:
        found = module(x)
        torch.testing.assert_close(found, expected)
        torch.testing.assert_close(torch.autograd.grad(found.square().sum(), x)[0], gradient)
    finally:
        torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize("head", [PPM, ASPP])
def test_one_image_cannot_train_a_norm_over_its_mean(head) -> None:
    module = head(16, width=8)
    with pytest.raises(InputError, match="this branch pools an image to 1x1, and the batch of this process is one"):
        module(torch.randn(1, 16, 9, 9))
    assert module(torch.randn(2, 16, 9, 9)).shape == module.eval()(torch.randn(2, 16, 9, 9)).shape
    assert module(torch.randn(1, 16, 9, 9)).shape == (1, 8, 9, 9)


@pytest.mark.parametrize("mode", ["pooled", "masks", "full"])
def test_context_concatenates_attention_with_the_original_and_fuses(mode) -> None:
    torch.manual_seed(0)
    context = RelationContext(8, attention=SMALL_RGA, mode=mode, pool=(3, 4), size=(9, 12)).double().eval()
    x = torch.randn(2, 8, 9, 12, dtype=torch.float64)
    if mode == "full":
        attended = context.attention(x)
    else:
        pooled = F.avg_pool2d(x, 3)  # RoIAlign by a whole factor
        made = context.attention.attention(pooled)
        change = made if mode == "pooled" else made - pooled
        attended = F.interpolate(change, size=(9, 12), mode="bilinear") + (0 if mode == "pooled" else x)
    convolution, norm = context.fuse[0], context.fuse[1]
    mixed = torch.einsum("oc,bchw->bohw", convolution.weight[:, :, 0, 0], torch.cat([attended, x], dim=1))
    expected = F.relu((mixed - norm.running_mean[:, None, None]) / (norm.running_var[:, None, None] + norm.eps).sqrt())
    torch.testing.assert_close(context(x), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("attention", "mode"),
    [
        *((SMALL_RGA, mode) for mode in ("pooled", "masks", "full")),
        (NonLocal, "full"),
        (SqueezeExcitation, "masks"),
        (partial(FC, ratio=4), "pooled"),
        (Half, "full"),
    ],
)
def test_any_attention_takes_the_place_of_rga(attention, mode) -> None:
    model = network(context=attention, context_mode=mode)
    assert isinstance(model.context, RelationContext)
    assert isinstance(model.context.attention, FixedSize) == (mode != "full")
    logits, auxiliary = model.train()(images(), training=True)
    assert logits.shape == auxiliary.shape == (2, 5, 65, 65)
    (logits.mean() + auxiliary.mean()).backward()
    missing = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    assert not missing


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("context", [None, SMALL_RGA], ids=["plain", "context"])
def test_crops_and_images_go_through_the_same_weights(head, context) -> None:
    model = network(head, context=context)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert model.eval()(images()).shape == (2, 5, 65, 65)
    assert model(images(1, (128, 256))).shape == (1, 5, 128, 256)
    assert model(images(1, (50, 71))).shape == (1, 5, 50, 71)
    assert before.keys() == model.state_dict().keys()
    dropouts = [m.p for name, m in model.named_modules() if isinstance(m, nn.Dropout2d) and "auxiliary" not in name]
    assert dropouts == [0.05 if context or head == "fcn" else 0.1]  # once, right before the classifier


def test_full_context_of_rga_takes_crops_only_and_says_so() -> None:
    model = network(context=SMALL_RGA, context_mode="full").eval()
    assert model.context.attention.size == (9, 9)
    assert model(images()).shape == (2, 5, 65, 65)
    with pytest.raises(InputError, match=r"built for inputs \(B, 16, 9, 9\)"):
        model(images(1, (128, 128)))


def test_attention_placed_in_the_backbone_is_called() -> None:
    plain, halved = network(), network(backbone={"attention": Half, "stages": [3, 4]})
    halved.load_state_dict(plain.state_dict())
    expected, found = plain.eval().stages(images()), halved.eval().stages(images())
    torch.testing.assert_close(found[0], expected[0] / 2)
    sized = network(context=SMALL_RGA, context_mode="full", backbone={"attention": SMALL_RGA, "size": (65, 65)})
    assert sized.eval()(images()).shape == (2, 5, 65, 65)


def test_forward_and_scores_agree_and_the_auxiliary_head_reads_the_third_stage() -> None:
    model = network("ppm", context=SMALL_RGA).eval()
    logits, auxiliary = model(images(), training=True)
    torch.testing.assert_close(model(images()), logits, rtol=0, atol=0)
    third = model.backbone.layer3(model.backbone.layer2(model.backbone.layer1(stem(model.backbone, images()))))
    expected = F.interpolate(model.auxiliary(third), size=(65, 65), mode="bilinear", align_corners=True)
    torch.testing.assert_close(auxiliary, expected)
    assert isinstance(model.auxiliary, AuxiliaryHead)
    assert network(auxiliary=False).eval()(images(), training=True)[1] is None


def stem(backbone: nn.Module, x: Tensor) -> Tensor:
    return backbone.maxpool(backbone.act1(backbone.bn1(backbone.conv1(x))))


def test_corners_are_aligned_or_pixels_are_areas() -> None:
    for align in (True, False):
        model = network("ppm", align_corners=align).eval()
        small = model.classifier(model.head(model.stages(images())[1]))
        expected = F.interpolate(small, size=(65, 65), mode="bilinear", align_corners=align)
        torch.testing.assert_close(model(images()), expected, rtol=0, atol=0)
        torch.testing.assert_close(model(images())[..., 0, 0], small[..., 0, 0])


@pytest.mark.parametrize("head", HEADS)
def test_channels_last_is_kept(head) -> None:
    model = network(head, context=SMALL_RGA).eval().to(memory_format=torch.channels_last)
    kept = {}
    for name in ("head", "context.attention", "context.fuse", "classifier"):
        model.get_submodule(name).register_forward_hook(
            lambda _m, _i, y, name=name: kept.update({name: y.is_contiguous(memory_format=torch.channels_last)})
        )
    logits = model(images().contiguous(memory_format=torch.channels_last))
    assert kept == dict.fromkeys(kept, True)
    assert logits.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(logits, model.to(memory_format=torch.contiguous_format)(images()), rtol=1e-4, atol=1e-4)


def test_half_precision_is_interpolated_in_single() -> None:
    model = network("aspp", context=SMALL_RGA).eval()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = model(images())
    assert logits.dtype == torch.float32
    torch.testing.assert_close(logits, model(images()), rtol=0.1, atol=0.1)


@pytest.mark.slow  # tests/export exports the network of each task
@pytest.mark.parametrize("head", HEADS)
def test_exports_with_any_batch(head) -> None:
    model = network(head, context=SMALL_RGA, backbone={"attention": SqueezeExcitation}).eval()
    batch = torch.export.Dim("batch", min=1, max=16)
    program = torch.export.export(model, (images(),), dynamic_shapes=({0: batch},), strict=False)
    for size in (1, 3):
        torch.testing.assert_close(program.module()(images(size)), model(images(size)))


@pytest.mark.slow
@pytest.mark.parametrize("head", HEADS)
def test_compiles_without_breaks(head) -> None:
    model = network(head, context=SMALL_RGA, backbone={"attention": SqueezeExcitation, "stages": [4]}).eval()
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(images()), model(images()))
    training = torch.compile(model.train().scores, fullgraph=True, backend="aot_eager")
    assert training(images())[0].shape == (2, 5, 65, 65)


@pytest.mark.parametrize("name", ["test_efficientnet", pytest.param("regnety_002", marks=pytest.mark.slow)])
def test_every_weight_of_any_backbone_is_trained(name) -> None:
    torch.manual_seed(0)
    model = SegmentationNetwork(dilated(name, first_dilation="previous"), num_classes=3, width=8)
    logits, auxiliary = model(images(), training=True)
    (logits.square().mean() + auxiliary.square().mean()).backward()
    assert [key for key, p in model.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize(("auxiliary", "read"), [(True, "[3,4]"), (False, "[4]")])
def test_weights_that_no_head_depends_on_rest(auxiliary: bool, read: str) -> None:
    options = {"num_classes": 2, "width": 8, "crop": (64, 64), "auxiliary": auxiliary}
    network = SegmentationNetwork(build("hrnet_w18_small", size=(64, 64)), **options).train()  # its stages are parallel
    logits, others = network(torch.randn(2, 3, 64, 64), training=True)
    (logits.sum() + (0 if others is None else others.sum())).backward()
    trained = {name: weight for name, weight in network.named_parameters() if weight.requires_grad}
    assert [name for name, weight in trained.items() if weight.grad is None] == []
    assert {"backbone.stage4.0.fuse_layers.3.0.0.0.weight", "classifier.weight"} <= {*trained}
    attended = build("hrnet_w18_small", attention=SqueezeExcitation, placement="stage", size=(64, 64))
    with pytest.raises(InputError, match=re.escape(f"such as --model.stages {read}, or --model.attention_at context")):
        SegmentationNetwork(attended, **options)


def test_what_cannot_be_is_an_error_that_says_so() -> None:
    with pytest.raises(InputError, match="head is 'unet', expected 'fcn', 'ppm' or 'aspp'"):
        network("unet")
    with pytest.raises(InputError, match="mode is 'half', expected 'pooled', 'masks' or 'full'"):
        network(context=RGA, context_mode="half")
    with pytest.raises(InputError, match="activation is 'gelu'"):
        FCN(4, activation="gelu")
    with pytest.raises(InputError, match=r"bins is \(\)"):
        PPM(4, bins=())
    with pytest.raises(InputError, match=r"rates is \(0,\)"):
        ASPP(4, rates=(0,))
    with pytest.raises(InputError, match=r"RGA was built for inputs \(B, 64, 8, 8\) and got \(1, 64, 16, 16\)"):
        SegmentationNetwork(build("resnet18", attention=RGA, size=(32, 32)), crop=(64, 64))
    with pytest.raises(InputError, match="Sequential cannot be used for segmentation"):
        SegmentationNetwork(nn.Sequential())


def test_a_training_step_runs_the_compiled_network() -> None:
    graphs = []

    def backend(graph: torch.fx.GraphModule, _inputs: list[torch.Tensor]) -> torch.fx.GraphModule:
        graphs.append(graph)
        return graph

    model = network().train()
    model.compile(backend=backend)
    logits, auxiliary = model(images(), training=True)
    assert graphs
    assert logits.shape == auxiliary.shape
