"""Squeeze-and-excitation, CBAM and fully connected attention against their equations, and the papers' parameters."""

import itertools
from functools import partial

import pytest
import torch
from contract import assert_near, check_against, check_contract, convolve, images, normalise, prepare, recorded
from torch import Tensor

from relattn.attention import CBAM, FC, RGA, NonLocal, SqueezeExcitation, StageSqueezeExcitation
from relattn.errors import InputError

SIZE = (4, 3)
CBAM_FORMS = [{"mode": mode} for mode in ("channel_spatial", "spatial_channel", "spatial", "channel")]
FC_FORMS = [
    *({"mode": mode} for mode in ("spatial", "channel", "spatial_channel", "channel_spatial")),
    *({"mode": "parallel", "fusion": fusion} for fusion in ("average", "product")),
]
MODULES = [
    partial(SqueezeExcitation, 6, reduction=2),
    *(partial(CBAM, 6, reduction=2, kernel=3, **form) for form in CBAM_FORMS),
    *(partial(FC, 6, size=SIZE, ratio=2, **form) for form in FC_FORMS),
]


def name_of(build: partial) -> str:
    return "-".join([build.func.__name__, *(str(value) for value in build.keywords.values() if isinstance(value, str))])


def sigmoid(x: Tensor) -> Tensor:
    return 1 / (1 + torch.exp(-x))


def rectify(x: Tensor) -> Tensor:
    return torch.where(x > 0, x, torch.zeros_like(x))


def pooled(x: Tensor, form: str) -> Tensor:
    """Mean or maximum of every channel over positions, one position after the other: `(B, C)`."""
    every = x.flatten(2).unbind(dim=2)
    found = every[0]
    for position in every[1:]:
        found = found + position if form == "mean" else torch.where(position > found, position, found)
    return found / len(every) if form == "mean" else found


def squeeze_excitation(module: SqueezeExcitation, x: Tensor) -> Tensor:
    """Eqs. (2) to (4) of Hu et al."""
    hidden = rectify(torch.einsum("hc,bc->bh", module.reduce.weight, pooled(x, "mean")))
    gate = sigmoid(torch.einsum("ch,bh->bc", module.expand.weight, hidden))
    return torch.einsum("bc,bchw->bchw", gate, x)


def cbam_channel(module: CBAM, x: Tensor) -> Tensor:
    """Eq. (2) of Woo et al."""
    first, second = module.channel.layers[0].weight, module.channel.layers[2].weight
    return sigmoid(sum(rectify(pooled(x, form) @ first.T) @ second.T for form in ("mean", "max")))[:, :, None, None]


def cbam_spatial(module: CBAM, x: Tensor) -> Tensor:
    """Eq. (3) of Woo et al., its convolution as a sum over shifted maps."""
    weight, (height, width) = module.spatial.score.weight[0], x.shape[2:]
    reach = weight.shape[1] // 2
    channels = x.unbind(dim=1)
    largest = channels[0]
    for channel in channels[1:]:
        largest = torch.where(channel > largest, channel, largest)
    maps = torch.stack([sum(channels) / len(channels), largest], dim=1)
    padded = torch.nn.functional.pad(maps, [reach] * 4)
    scores = sum(
        weight[m, i, j] * padded[:, m, i : i + height, j : j + width]
        for m, i, j in itertools.product(range(2), range(2 * reach + 1), range(2 * reach + 1))
    )
    return sigmoid(normalise(scores.unsqueeze(1), module.spatial.norm))


def fc_spatial(module: FC, x: Tensor) -> Tensor:
    """FC-S."""
    embed, first, second = module.spatial.embed, module.spatial.layers[0], module.spatial.layers[2]
    nodes = rectify(normalise(convolve(x, embed[0].weight), embed[1])).flatten(2)
    values = sum(nodes.unbind(dim=1)) / nodes.shape[1]
    hidden = rectify(values @ first.weight.T + first.bias)
    return sigmoid(hidden @ second.weight.T + second.bias).reshape(len(x), 1, *x.shape[2:])


def fc_channel(module: FC, x: Tensor) -> Tensor:
    """FC-C."""
    embed, score = module.channel.embed, module.channel.score
    values = pooled(rectify(normalise(convolve(x, embed[0].weight), embed[1])), "mean")
    return sigmoid(values @ score.weight.T + score.bias)[:, :, None, None]


MASKS = {CBAM: {"channel": cbam_channel, "spatial": cbam_spatial}, FC: {"channel": fc_channel, "spatial": fc_spatial}}


def masks_of(module: CBAM | FC, x: Tensor) -> dict[str, Tensor]:
    """Every mask of the module, in the order in which they are applied."""
    masks = {}
    modulated = x
    for name in ("spatial", "channel") if module.mode == "parallel" else module.mode.split("_"):
        masks[name] = MASKS[type(module)][name](module, modulated)
        modulated = modulated if module.mode == "parallel" else modulated * masks[name]
    return masks


def reference(module: SqueezeExcitation | CBAM | FC, x: Tensor) -> Tensor:
    if isinstance(module, SqueezeExcitation):
        return squeeze_excitation(module, x)
    masks = masks_of(module, x)
    if module.mode == "parallel" and module.fusion == "average":
        return x * masks["spatial"] / 2 + x * masks["channel"] / 2
    for mask in masks.values():
        x = x * mask
    return x


each_module = pytest.mark.parametrize("build", MODULES, ids=name_of)


@each_module
def test_output_and_gradients_equal_the_equations(build):
    check_against(build, reference)


@each_module
def test_contract(build):
    check_contract(build)


@each_module
def test_masks_are_recorded(build):
    module = prepare(build)
    found = recorded(module, images())
    if isinstance(module, SqueezeExcitation):
        assert_near(found["channel"] * images(), squeeze_excitation(module, images()))
        return
    expected = masks_of(module, images())
    assert found.keys() == expected.keys()
    for name in found:
        assert_near(found[name], expected[name], what=name)


def test_where_they_belong():
    assert SqueezeExcitation.placement == "block"
    assert CBAM.placement == FC.placement == "stage"


STAGES = [(256, (64, 32), 3), (512, (32, 16), 4), (1024, (16, 8), 6), (2048, (16, 8), 3)]
"""Channels, size and blocks of the four stages of a ResNet-50 for images of 256x128 whose last stage has stride 1."""

BASELINE = 23_508_032 + 2 * 2048 + 2048 * 751
"""Its trunk, the batch norm before the classifier, and a classifier of Market-1501's 751 identities."""


@pytest.mark.parametrize(
    ("build", "published"),
    [
        (None, 25.1),
        (partial(FC, mode="spatial"), 26.9),
        (NonLocal, 30.6),
        (partial(RGA, mode="spatial"), 28.3),
        (partial(CBAM, mode="channel"), 26.4),
        (partial(FC, mode="channel"), 26.4),
        (SqueezeExcitation, 27.6),
        (StageSqueezeExcitation, 25.7),  # what the supplement's wording comes to, which the table does not have
        (partial(RGA, mode="channel"), 28.1),
    ],
)
def test_a_re_identification_network_has_the_parameters_of_table_3(build, published):
    total = BASELINE
    for channels, size, blocks in STAGES if build else []:
        with torch.device("meta"):
            module = build(channels, size=size)
        count = sum(parameter.numel() for parameter in module.parameters())
        total += count * (blocks if module.placement == "block" else 1)
    assert round(total / 1e6, 1) == published


def test_spatial_cbam_has_the_original_weights_and_not_those_of_table_3():
    assert sum(parameter.numel() for parameter in CBAM(2048, mode="spatial").parameters()) == 2 * 7 * 7 + 2


@each_module
def test_narrow_widths_are_at_least_one(build):
    module = build.func(
        2, **{**build.keywords, **{key: 100 for key in ("ratio", "reduction") if key in build.keywords}}
    )
    assert module(images(channels=2).float()).isfinite().all()
    assert min(parameter.numel() for parameter in module.parameters()) >= 1


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (partial(SqueezeExcitation, 8, reduction=0), "reduction is 0"),
        (partial(CBAM, 8, reduction=0), "reduction is 0"),
        (partial(CBAM, 8, kernel=4), "kernel is 4, expected an odd number"),
        (partial(CBAM, 8, mode="both"), "mode is 'both', expected one of channel_spatial"),
        (partial(FC, 8), r"pass size=\(height, width\), for example FC\(8, size="),
        (partial(FC, 8, size=(2, 2), mode="both"), "mode is 'both'"),
        (partial(FC, 8, size=(2, 2), fusion="sum"), "fusion is 'sum'"),
        (partial(FC, 8, size=(2, 2), ratio=0), "ratio is 0"),
        (partial(FC, 8, size=(2, 2), ratio=1.5), "ratio is 1.5, expected a whole number"),
        (partial(FC, 8, size=(2, 2), mode="spatial", fusion="product"), "fusion is 'product', but has no effect"),
        (partial(FC, 0, size=(2, 2)), "channels is 0"),
        (partial(FC, True, size=(2, 2)), "channels is True"),
    ],
)
def test_what_cannot_be_is_an_error_that_says_so(build, message):
    with pytest.raises(InputError, match=message):
        build()


def test_another_size_than_the_module_was_built_for_is_an_error():
    with pytest.raises(InputError, match=r"inputs \(B, 6, 2, 3\) and got \(3, 6, 4, 3\)"):
        FC(6, size=(2, 3))(images().float())
    assert FC(6, mode="channel")(images().float()).shape == (3, 6, 4, 3)
