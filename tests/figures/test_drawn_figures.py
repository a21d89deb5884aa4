"""Figures show what the networks compute, and measures agree with slow formulas."""

import math
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

from relattn.attention import CBAM, RGA, NonLocal, SimplifiedNonLocal, StRA
from relattn.backbones import build
from relattn.errors import InputError
from relattn.figures.architecture import architecture_figure, parts_of
from relattn.figures.canvas import flatness, limits_of, number
from relattn.figures.files import as_image, save, scale_to
from relattn.figures.grad_cam import grad_cam, grad_cam_figure
from relattn.figures.masks import masks_figure, spatial_masks
from relattn.figures.modes import head_diversity, modes, modes_figure
from relattn.figures.names import chosen_modules, title_of
from relattn.figures.pairs import DecidedPair, hardest, pairs_figure
from relattn.figures.relations import Relations, relations, relations_figure
from relattn.figures.spread import spread
from relattn.figures.style import Style

SIZE = (32, 16)
IMAGES = torch.randn(2, 3, *SIZE, generator=torch.Generator().manual_seed(0))
PIXELS = [np.full((*SIZE, 3), 30 * (1 + index), np.uint8) for index in range(8)]


def network(attention, **arguments):
    torch.manual_seed(0)
    return build("resnet8", attention=attention, size=SIZE, num_classes=5, **{"stages": [1, 2], **arguments}).eval()


def shown(figure: Figure) -> list[np.ndarray]:
    """The maps (h, w) of a figure in the order of its axes."""
    return [np.asarray(drawn.get_array()) for drawn in drawn_maps(figure)]


def drawn_maps(figure: Figure) -> list:
    """The artists that draw maps: rectangles, or images of them; the rectangles of colour bars are left out."""
    found = [drawn for ax in figure.axes for drawn in (*ax.images, *ax.collections) if drawn.get_array() is not None]
    return [drawn for drawn in found if drawn.get_array().ndim == 2 and drawn.axes.get_xlim() == (-0.5, SIZE[1] - 0.5)]


def texts(figure: Figure) -> str:
    found = [text.get_text() for ax in figure.axes for text in (ax.title, ax.xaxis.label, ax.yaxis.label, *ax.texts)]
    return " ".join([*found, figure.get_suptitle(), figure.get_supxlabel()]).replace("\n", " ")


def slow_spread(maps: torch.Tensor) -> float:
    distances = []
    for i, first in enumerate(maps.double()):
        for j, second in enumerate(maps.double()):
            if i != j and first.any() and second.any():
                distances.append(1 - float(first @ second / (first.norm() * second.norm())))
    return float(np.mean(distances))


# --- measures ---


def test_spread_is_the_mean_cosine_distance_of_all_pairs() -> None:
    maps = torch.randn(3, 6, 10, dtype=torch.float64)
    maps[1, 2] = 0
    for found, batch in zip(spread(maps), maps, strict=True):
        assert float(found) == pytest.approx(slow_spread(batch), abs=1e-12)


def test_spread_of_maps_that_are_alike_and_of_maps_that_are_not() -> None:
    row = torch.rand(12)
    assert float(spread(torch.stack([row, 2 * row, 7 * row]))) == pytest.approx(0, abs=1e-6)
    assert float(spread(torch.eye(5))) == pytest.approx(1)
    assert math.isnan(spread(torch.zeros(4, 3)))


def test_the_weights_of_simplified_non_local_do_not_depend_on_the_target_and_those_of_others_do() -> None:
    for attention, least in ((SimplifiedNonLocal, None), (NonLocal, 1e-5), (partial(RGA, mode="spatial"), 1e-5)):
        model = network(attention)
        found = relations(model, lambda model=model: model(IMAGES)).spread()
        assert (found > least).all() if least else (found.abs() < 1e-6).all()


# --- relations ---


def test_relations_are_those_of_the_module() -> None:
    model = network(RGA)
    inputs: list[torch.Tensor] = []
    module = model.get_submodule("attention.stage1")
    module.register_forward_pre_hook(lambda _module, arguments: inputs.append(arguments[0]))
    found = relations(model, lambda: model(IMAGES), module="stage 1")
    assert (found.module, found.size) == ("attention.stage1", SIZE)
    with torch.no_grad():
        torch.testing.assert_close(found.weights, module.relations(inputs[0])["spatial"])
    assert found.place((0.5, 0.25)) == 16 * 16 + 4
    assert found.place((1.0, 1.0)) == 32 * 16 - 1


def test_connecting_weights_are_what_the_relation_convolution_adds() -> None:
    model = network(partial(RGA, embedding_ratio=4), stages=[2])
    values = relations(model, lambda: model(IMAGES)).weights
    found = relations(model, lambda: model(IMAGES), weights="connecting").weights
    row, column = model.get_submodule("attention.stage2").spatial.relate.weight[:, :, 0].detach().chunk(2, dim=1)
    for i, j in ((0, 0), (3, 90), (127, 5)):
        wanted = (row[:, j] * values[1, i, j] + column[:, j] * values[1, j, i]).norm()
        assert float(found[1, i, j]) == pytest.approx(float(wanted), rel=1e-3, abs=1e-5)


def test_weights_of_non_local_sum_to_one_also_where_they_are_subsampled() -> None:
    model = network(partial(NonLocal, subsample=2))
    found = relations(model, lambda: model(IMAGES))
    assert (found.size, found.source) == ((16, 8), (8, 4))
    torch.testing.assert_close(found.weights.sum(dim=2), torch.ones(2, 128))


def test_the_figure_of_relations_shows_the_rows_of_the_targets() -> None:
    weights = torch.rand(2, 8, 8)
    found = {"a": Relations("attention.stage1", weights, (4, 2), (4, 2)), "b": Relations("x", -weights, (4, 2), (4, 2))}
    figure = relations_figure(PIXELS[:2], found, [(0.0, 0.0), (0.9, 0.9)])
    maps = shown(figure)
    np.testing.assert_allclose(maps[0], weights[0, 0].view(4, 2))
    np.testing.assert_allclose(maps[1], weights[0, 7].view(4, 2))
    np.testing.assert_allclose(maps[3], -weights[0, 7].view(4, 2))
    assert f"{slow_spread(weights[0]) / 2 + slow_spread(weights[1]) / 2:.3f}" in texts(figure)
    numbers = figure.axes[0].texts
    assert [(number.get_text(), number.get_ha()) for number in numbers] == [("1", "left"), ("2", "right")], "inside"
    colours = {drawn.get_cmap().name for drawn in drawn_maps(figure)}
    assert {"viridis", "RdBu_r"} <= colours  # the second has values below 0


# --- masks, modes ---


@pytest.mark.parametrize("count", [1, 8])
def test_masks_are_shown_as_they_are(count: int) -> None:
    masks = {"one": {"attention.stage1": torch.rand(count, 1, 8, 4), "attention.stage2": torch.rand(count, 1, 4, 2)}}
    figure = masks_figure(PIXELS[:count], masks)
    maps = shown(figure)
    assert len(maps) >= 2 * count
    np.testing.assert_allclose(maps[0], masks["one"]["attention.stage1"][0, 0])
    np.testing.assert_allclose(maps[2 * count - 1], masks["one"]["attention.stage2"][-1, 0])
    assert "stage 1" in texts(figure)


def test_masks_are_found_in_every_stage_and_asked_for_by_name_where_there_are_none() -> None:
    for attention in (RGA, CBAM):
        model = network(attention)
        found = spatial_masks(model, lambda model=model: model(IMAGES))
        assert {name: tuple(mask.shape) for name, mask in found.items()} == {
            "attention.stage1": (2, 1, 32, 16),
            "attention.stage2": (2, 1, 16, 8),
        }
    model = network(NonLocal)
    with pytest.raises(InputError, match=r"RGA, CBAM.*NonLocal \(stage 1, stage 2\)"):
        spatial_masks(model, lambda: model(IMAGES))


def test_modes_are_those_that_stra_records() -> None:
    model = network(partial(StRA, heads=4), stages=[3])
    found = modes(model, lambda: model(IMAGES))
    assert {kind: tuple(values.shape) for kind, values in found.items()} == dict.fromkeys(
        ("local", "gates", "output"), (2, 4, 8, 4)
    )
    figure = modes_figure(PIXELS[:2], {"net": found})
    np.testing.assert_allclose(shown(figure)[3], found["local"][0, 3])
    np.testing.assert_allclose(shown(figure)[4], found["gates"][0, 0])
    diversity = head_diversity(found)
    wanted = np.mean([slow_spread(values.flatten(1)) for values in found["gates"]])
    assert diversity["gates"] == pytest.approx(wanted, abs=1e-9)
    with pytest.raises(InputError, match="equal numbers of heads: a has 4, b has 2"):
        modes_figure(PIXELS[:2], {"a": found, "b": {kind: values[:, :2] for kind, values in found.items()}})


@pytest.mark.parametrize(
    ("attention", "collect", "message"),
    [
        (CBAM, relations, r"RGA .*NonLocal.*CBAM \(stage 1, stage 2\)"),
        (None, relations, "no attention"),
        (RGA, modes, r"StRA.*RGA \(stage 1, stage 2\)"),
        (RGA, partial(relations, module="stage 7"), "'stage 7'.*: stage 1, stage 2"),
        (RGA, partial(spatial_masks, module="stage 7"), "'stage 7'.*: stage 1, stage 2"),
    ],
)
def test_what_a_figure_needs_is_named(attention, collect, message: str) -> None:
    model = network(attention)
    with pytest.raises(InputError, match=message):
        collect(model, lambda: model(IMAGES))


# --- Grad-CAM ---


def test_grad_cam_is_equations_1_and_2() -> None:
    model = network(RGA, stages=[3])
    layer = model.get_submodule("layer3") if hasattr(model, "layer3") else model.get_submodule(last_stage(model))
    found = grad_cam(lambda images: model(images)[:, 2], layer, IMAGES)
    kept: list[torch.Tensor] = []
    attention = model.get_submodule("attention.stage3")
    attention.register_forward_hook(lambda _module, _inputs, output: (output.retain_grad(), kept.append(output))[0])
    for index in range(2):  # one image at a time, by backward
        model(IMAGES[index : index + 1])[0, 2].backward()
        maps, gradient = kept[-1][0], kept[-1].grad[0]
        wanted = sum(gradient[k].mean() * maps[k] for k in range(len(maps))).clamp(min=0)
        torch.testing.assert_close(found[index], (wanted / wanted.max()).detach(), atol=1e-4, rtol=1e-3)
    assert not found.requires_grad
    figure = grad_cam_figure(PIXELS[:2], {"net": found}, {"net": ["a", "b"]})
    assert {"net", "a", "b"} <= set(texts(figure).split())


def last_stage(model) -> str:
    from relattn.backbones import stages_of

    return stages_of(model)[-1]


# --- architecture ---


@pytest.mark.parametrize(
    ("attention", "options"),
    [(RGA, {}), (None, {}), (CBAM, {"placement": "block"}), (partial(StRA, heads=4), {"stages": [3]})],
)
def test_parts_add_up_to_the_network(attention, options) -> None:
    model = network(attention, **options)
    parts = parts_of(model, SIZE)
    assert sum(part.parameters for part in parts) == sum(weight.numel() for weight in model.parameters())
    found = [part for part in parts if part.attention]
    wanted = sum(
        weight.numel()
        for module in model.modules()
        if type(module) in (RGA, CBAM, StRA)
        for weight in module.parameters()
    )
    assert sum(part.parameters for part in found) == wanted
    assert all(part.inside for part in found) == (attention is not RGA)
    plain = sum(part.macs for part in parts_of(network(None), SIZE))
    total, own = sum(part.macs for part in parts), sum(part.macs for part in found)
    assert total - own == plain or isinstance(attention, partial)  # StRA replaces convolutions
    assert [part.shape for part in parts if part.name == "stage 3"] == [(64, 8, 4)]
    figure = architecture_figure(parts, title="net", size=SIZE)
    assert "whole network" in texts(figure)


def test_multiply_accumulates_of_a_convolution_are_counted_where_they_are() -> None:
    (stage,) = (part for part in parts_of(network(None), SIZE) if part.name == "stage 3")
    expected = 8 * 4 * 64 * (32 * 9 + 64 * 9)
    shortcut = 8 * 4 * 64 * 32
    assert stage.macs in (expected, expected + shortcut)


# --- pairs ---


def test_the_hardest_pairs_are_the_furthest_on_the_wrong_side() -> None:
    distances = np.array([0.1, 0.2, 0.3, 3.0, 2.0, 1.9, 0.05])
    same = np.array([False, True, False, True, True, False, True])
    accepts, rejects = hardest(distances, same, distances < 1, 5)
    assert (accepts, rejects) == ([0, 2], [3, 4])
    assert hardest(distances, same, distances < 1, 1) == ([0], [3])
    assert hardest(distances, same, same, 5) == ([], [])


def test_pairs_are_drawn_with_their_distances_and_without_any() -> None:
    pair = DecidedPair(PIXELS[0], PIXELS[1], "lfw, pair 3", 0.5, 1.25)
    assert "0.500 < 1.250" in texts(pairs_figure([pair], [], title="t", note="n"))
    assert texts(pairs_figure([], [], title="t", note="n")).count("none") == 2


# --- files ---


@pytest.mark.slow
def test_figures_are_saved_as_png_and_pdf_the_same_each_time(tmp_path: Path) -> None:
    masks = {"one": {"attention.stage1": torch.rand(1, 1, 8, 4)}}
    files, again = (save(masks_figure(PIXELS[:1], masks), tmp_path / folder, "masks") for folder in ("new", "again"))
    assert [file.name for file in files] == ["masks.png", "masks.pdf"]
    first = [file.read_bytes() for file in files]
    assert [file.read_bytes() for file in again] == first
    figure = masks_figure(PIXELS[:1], masks)
    assert first[1].startswith(b"%PDF")
    assert min(Image.open(files[0]).size) > 300
    image = as_image(figure)
    assert image.mode == "RGB"
    drawn = np.asarray(image) < 250
    assert not drawn[:4].any()  # nothing is clipped
    assert not drawn[:, :4].any()


def test_too_many_images_are_refused() -> None:
    with pytest.raises(InputError, match="1 to 8 images, and 9"):
        masks_figure([PIXELS[0]] * 9, {"one": {"x": torch.rand(9, 1, 2, 2)}})


@pytest.mark.parametrize(
    ("value", "span", "text"), [(0.5, 1, "0.50"), (7.5, 15, "7.5"), (150, 300, "150"), (2e-5, 4e-5, "2.0e-05")]
)
def test_numbers_have_the_digits_they_need(value: float, span: float, text: str) -> None:
    assert number(value, span) == text


# --- looks ---


def test_colours_do_not_amplify_noise_and_a_flat_map_says_so() -> None:
    noise = 0.55 + 1e-5 * torch.rand(8, 4)
    for values in (noise, -noise, torch.zeros(8, 4), torch.full((8, 4), torch.nan)):
        low, high = limits_of(values)
        assert low < high
        inside = values[values.isfinite()]
        assert float(inside.max() - inside.min()) < 0.01 * (high - low) if len(inside) else True
    assert limits_of(torch.tensor([0.25, 0.75])) == (0.25, 0.75)
    assert (flatness(noise), flatness(torch.zeros(2)), flatness(noise * torch.nan)) == (
        "flat: 0.55",
        "flat: 0",
        "not finite",
    )
    masks = {"attention.stage1": torch.stack([noise, torch.rand(8, 4)])[:, None]}
    assert texts(masks_figure(PIXELS[:2], {"one": masks})).count("flat: 0.55") == 1


def test_where_nothing_speaks_for_a_class_no_veil_lies_over_the_image() -> None:
    cams = {"net": torch.stack([torch.zeros(4, 2), torch.rand(4, 2)])}
    figure = grad_cam_figure(PIXELS[:2], cams, {"net": ["a", "b"]})
    assert "a no evidence" in texts(figure)
    assert len(shown(figure)) == 1
    nowhere = grad_cam_figure(PIXELS[:1], {"net": torch.zeros(1, 4, 2)}, {"net": ["a"]})
    assert not shown(nowhere)


def test_maps_lie_over_their_image_or_stand_beside_it() -> None:
    masks = {"one": {"attention.stage1": torch.rand(1, 1, 8, 4)}}
    cams = ({"net": torch.rand(1, 4, 2)}, {"net": ["a"]})
    for over in (True, False):
        for figure in (
            masks_figure(PIXELS[:1], masks, style=Style(over=over)),
            grad_cam_figure(PIXELS[:1], *cams, style=Style(over=over)),
        ):
            pictures = [len(ax.images) for ax in figure.axes]
            assert (2 in pictures) == over  # the image, and the map that lets it through


def test_a_figure_has_the_width_font_and_columns_that_are_chosen(tmp_path: Path) -> None:
    masks = {"one": {"attention.stage1": torch.rand(4, 1, 8, 4)}}
    style = Style(width=3.25, size=6, family="serif", columns=2, bare=True)
    with style.applied():
        figure = masks_figure(PIXELS[:4], masks, style=style)
        (file,) = save(figure, tmp_path, "masks", ("png",), width=style.width)
    assert Image.open(file).width == 975  # 300 pixels to the inch
    assert texts(figure).count("image") == 2  # two blocks
    assert figure.get_suptitle() == figure.get_supxlabel() == ""
    heads = [ax.title for ax in figure.axes if ax.get_title()]
    assert {(head.get_fontsize(), head.get_fontfamily()[0]) for head in heads} == {(6, "serif")}
    drawn = np.asarray(Image.open(file).convert("L")) < 250
    assert not drawn[:3].any()
    assert not drawn[-3:].any()
    for _, found in zip(range(4), shown(figure), strict=False):
        assert any(np.allclose(found, mask[0]) for mask in masks["one"]["attention.stage1"])
    with pytest.raises(InputError, match="too narrow for the 16 pictures of a row: give at least"):
        masks_figure(PIXELS, {"one": {"x": torch.rand(8, 1, 8, 4)}}, style=Style(width=3, columns=8))


def test_a_figure_whose_text_has_its_place_is_scaled_with_it(tmp_path: Path) -> None:
    figure = architecture_figure(parts_of(network(RGA), SIZE), title="net", size=SIZE)
    (size,) = {text.get_fontsize() for ax in figure.axes for text in ax.texts if text.get_text() == "parameters"}
    scale_to(figure, figure.get_figwidth() / 2)
    assert {text.get_fontsize() for ax in figure.axes for text in ax.texts if text.get_text() == "parameters"} == {
        size / 2
    }
    (file,) = save(figure, tmp_path, "architecture", ("png",), width=figure.get_figwidth())
    assert Image.open(file).width == round(300 * figure.get_figwidth())


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"width": 0.0}, "--width is 0, expected 1.5 to 40 inches"),
        ({"size": 100}, "--font_size is 100, expected 4 to 30 points"),
        ({"columns": 0}, "--columns is 0, expected 1 to 20"),
        ({"family": "DejaVu San"}, "no font 'DejaVu San'. Closest: .*DejaVu Sans"),
    ],
)
def test_looks_that_cannot_be_are_refused(choice: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Style(**choice)


def test_a_module_is_chosen_by_name_title_or_stage() -> None:
    model = network(partial(StRA, heads=4), stages=[3])
    names = [name for name, one in model.named_modules() if isinstance(one, StRA)]
    assert chosen_modules(model, names, "stage 3", "what") == names
    assert chosen_modules(model, names, names[0], "what") == names[:1]
    rga = network(RGA)
    assert list(spatial_masks(rga, lambda: rga(IMAGES), module="stage 2")) == ["attention.stage2"]


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("attention.stage2", "stage 2"),
        ("attention.stage2_block3", "stage 2, block 3"),
        ("backbone.attention.stage1.parts.1", "stage 1, part 2"),
        ("context.attention.attention", "context"),
        ("layer4.0.conv2", "layer4.0.conv2"),
    ],
)
def test_modules_are_called_by_their_stage(name: str, title: str) -> None:
    assert title_of(name) == title
