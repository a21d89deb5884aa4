"""Initial mask values: what they are, that masks learn from the first steps on, and the released code's default."""

from functools import partial

import pytest
import torch
from contract import check_contract, recorded
from torch import nn

from relattn.attention import CBAM, FC, RGA
from relattn.attention.mask_init import STARTS
from relattn.errors import InputError

SIZE, CHANNELS = (8, 4), 16
MODULES = [
    *(partial(RGA, mode=mode) for mode in ("spatial", "channel", "spatial_channel", "parallel")),
    *(partial(FC, mode=mode) for mode in ("spatial", "channel", "spatial_channel", "parallel")),
    *(partial(CBAM, mode=mode, reduction=2) for mode in ("spatial", "channel", "channel_spatial")),
]
CASES = [
    (build, start)
    for build in MODULES
    for start in STARTS
    if build.func is not CBAM or build.keywords["mode"] == "spatial" or STARTS[start][1] == 0
]


def name_of(case: partial | str) -> str:
    return case if isinstance(case, str) else f"{case.func.__name__}-{case.keywords['mode']}"


each_module = pytest.mark.parametrize("build", MODULES, ids=name_of)
each_start = pytest.mark.parametrize(("build", "start"), CASES, ids=name_of)


def features(batch: int = 8) -> torch.Tensor:
    return torch.randn(batch, CHANNELS, *SIZE, generator=torch.Generator().manual_seed(1))


def make(build: partial, **options) -> nn.Module:
    torch.manual_seed(0)
    return build(CHANNELS, size=SIZE, **options)


@each_start
@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
def test_masks_begin_where_the_start_says(build, start, training):
    scale, bias = STARTS[start]
    value = torch.sigmoid(torch.tensor(bias))
    for mask in recorded(make(build, mask_init=start).train(training), features()).values():
        assert (mask - value).abs().max() <= (1e-6 if scale == 0 else 0.2)
        assert mask.mean() == pytest.approx(float(value), abs=1e-6 if scale == 0 else 0.02)


@each_module
def test_as_released_is_the_default_and_draws_what_every_start_draws(build):
    default, released = make(build), make(build, mask_init="released")
    for norm in (module for module in default.modules() if isinstance(module, nn.BatchNorm2d)):
        assert torch.all(norm.weight == 1)
        assert not norm.bias.any()
    state = default.state_dict()
    assert all(torch.equal(value, state[key]) for key, value in released.state_dict().items())
    changed = {key for key, value in make(build, mask_init="half").state_dict().items() if not value.equal(state[key])}
    last = ("score.1.weight", "score.weight", "score.bias", "layers.2.weight", "layers.2.bias", "norm.weight")
    assert changed
    assert all(key.endswith(last) for key in changed)


def test_released_masks_of_rga_are_noise_and_logits_have_unit_variance():
    masks = recorded(make(partial(RGA, mode="spatial")).train(), features(64))
    logits = torch.logit(masks["spatial"])
    assert float(logits.std()) == pytest.approx(1, abs=0.05)
    assert 0.15 < float(masks["spatial"].std()) < 0.25


@each_start
def test_every_weight_has_a_gradient_after_the_first_step(build, start):
    module = make(build, mask_init=start).train()
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    direction = torch.randn(8, CHANNELS, *SIZE)
    first = {}
    for step in range(2):
        optimizer.zero_grad()
        (module(features()) * direction).sum().backward()
        found = {name: bool(parameter.grad.any()) for name, parameter in module.named_parameters()}
        first = first or found
        if step == 0:
            optimizer.step()
    assert any(first.values())
    assert all(found.values()), [name for name, reached in found.items() if not reached]


def mean_masks(start: str, seed: int) -> tuple[float, float]:
    """RGA-S after 150 steps of a task that needs it: the means of the masks inside and outside of the marked rows.

    Three rows of every map show its class and are marked in two noisy channels; the other five show another class.
    """
    torch.manual_seed(seed)
    attention = RGA(CHANNELS, size=SIZE, mode="spatial", embedding_ratio=2, reduction_ratio=2, mask_init=start)
    head = [nn.Conv2d(CHANNELS, 32, 1), nn.BatchNorm2d(32), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    network = nn.Sequential(attention, *head, nn.Linear(32, 8))
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    looks = torch.randn(8, CHANNELS, 1, 1)
    for _ in range(150):
        label, other, top = torch.randint(8, (32,)), torch.randint(8, (32,)), torch.randint(6, (32, 1))
        rows = torch.arange(SIZE[0])
        marked = ((rows >= top) & (rows < top + 3)).float()[:, None, :, None].expand(-1, -1, -1, SIZE[1])
        x = marked * looks[label] + (1 - marked) * looks[other]
        x[:, :2] = marked
        x += 0.5 * torch.randn_like(x)
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(x), label).backward()
        optimizer.step()
    with torch.no_grad():
        mask = attention.mask("spatial", x)
    return float(mask[marked == 1].mean()), float(mask[marked == 0].mean())


@pytest.mark.slow
def test_masks_of_one_half_learn_where_attention_is_needed_and_open_ones_hardly_do():
    inside, outside = mean_masks("half", seed=0)
    assert inside - outside > 0.4  # 0.6 to 0.8 over four seeds
    inside, outside = mean_masks("open", seed=0)
    assert inside - outside < 0.2  # 0.0 to 0.06


@each_start
def test_contract(build, start):
    check_contract(partial(build, CHANNELS, size=SIZE, mask_init=start), features(2).double())


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (partial(RGA, mask_init="closed"), "RGA: mask_init is 'closed', expected one of released, half"),
        (partial(FC, mask_init="Half"), "FC: mask_init is 'Half', expected one of released, half"),
        (partial(CBAM, mask_init=0.5), "CBAM: mask_init is 0.5, expected one of released, half"),
        (partial(CBAM, mask_init="open"), "mask_init is 'open', which needs a bias .* expected 'released' or 'half'"),
    ],
)
def test_what_cannot_be_is_refused_when_built(build, message):
    with pytest.raises(InputError, match=message):
        build(CHANNELS, size=SIZE)
