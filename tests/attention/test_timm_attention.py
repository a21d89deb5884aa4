"""timm's attentions, every one by its name, under the contract of the suite."""

import inspect
import re
from collections.abc import Callable
from functools import partial

import jsonargparse
import pytest
import torch
from contract import assert_near, images, prepare
from timm.layers import create_attn
from timm.layers.create_attn import get_attn

from relattn.attention import Attention, Timm
from relattn.attention.timm_attention import BLOCK, CONVOLUTION
from relattn.errors import InputError

SIZE = (8, 4)
ARGUMENTS = {
    "halo": {"block_size": 4},
    "bat": {"block_size": 4, "drop_rate": 0.0},
    "lcbam": {"rd_ratio": 0.5},  # one hidden value would be off for most inputs
    "ge": {"use_mlp": False},  # timm 1.0.31 cannot build the default
}
each_name = pytest.mark.parametrize("name", [*BLOCK, *CONVOLUTION])


def build(name: str) -> partial[Timm]:
    return partial(Timm, 16, size=SIZE, name=name, **ARGUMENTS.get(name, {}))


def test_every_name_of_timm_is_known():
    known = set(re.findall(r"attn_type == '(\w+)'", inspect.getsource(get_attn)))
    assert known == {*BLOCK, *CONVOLUTION}


@each_name
def test_output_is_that_of_timm_in_the_contract(name):
    x = images(2, 16, SIZE)
    sized = {"feat_size": SIZE} if name == "bottleneck" else {}
    theirs = create_attn(name, 16, **sized, **ARGUMENTS.get(name, {})).double().eval()
    module = prepare(build(name))
    shapes = {key: value.shape for key, value in theirs.state_dict().items()}
    theirs.load_state_dict({key: value.reshape(shapes[key]) for key, value in module.module.state_dict().items()})
    assert_near(module(x), theirs(x))
    assert module.placement == Timm.placement_of(name) == ("convolution" if name in CONVOLUTION else "block")


@each_name
def test_gradients_of_one_image_are_those_of_its_copy_in_a_batch(name):
    module = prepare(build(name))
    one = images(1, 16, SIZE).requires_grad_()
    both = one.detach().repeat(2, 1, 1, 1).requires_grad_()
    weight = torch.randn_like(one)
    for x in (one, both):
        (module(x) * weight).sum().backward()
    assert_near(both.grad[:1], one.grad)


def test_efficient_channel_attention_equals_its_equation():
    module = prepare(build("eca"))
    x = images(2, 16, SIZE)
    weight = module.module.conv.weight.flatten()
    means = x.mean(dim=(2, 3))
    reach = len(weight) // 2
    scores = torch.zeros_like(means)
    for channel in range(16):
        for offset, value in enumerate(weight):
            if 0 <= (neighbour := channel + offset - reach) < 16:
                scores[:, channel] += value * means[:, neighbour]
    assert_near(module(x), x * torch.sigmoid(scores)[:, :, None, None])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "ecaa"}, "timm has no attention 'ecaa'. Closest: .*eca"),
        ({"name": "se", "rd_ration": 0.5}, "timm's se takes no argument 'rd_ration'. Closest: rd_ratio"),
        ({"name": "nl", "use_scal": False}, "takes no argument 'use_scal'. Closest: use_scale"),
        ({"name": "sk", "stride": 2}, "takes no argument 'stride'"),
        ({"name": "bottleneck"}, r"pass size=\(height, width\)"),
        ({"name": "lambda", "r": None}, r"pass size=\(height, width\)"),
        ({"name": "halo", "channels": 20}, "num_heads=8, which do not divide 20 channels: .* among 1, 2, 4, 5, 10"),
        ({"name": "halo", "size": (7, 7)}, "blocks of 8x8, into which 7x7 cannot be cut: choose a block_size"),
        ({"name": "sk", "channels": 15}, "timm cannot build 'sk' for 15 channels"),
    ],
    ids=str,
)
def test_what_cannot_be_is_an_error_that_says_so(arguments, message):
    with pytest.raises(InputError, match=message):
        Timm(**{"channels": 16, **arguments})


def test_another_size_is_an_error_where_the_size_matters():
    with pytest.raises(InputError, match=r"built for size=\(8, 4\) and got 4x3"):
        build("bottleneck")()(images(1, 16).float())
    with pytest.raises(InputError, match="into which 4x3 cannot be cut"):
        Timm(16, name="bat")(images(1, 16).float())
    assert build("se")()(images(1, 16).float()).shape == (1, 16, 4, 3)


def test_arguments_of_timm_come_from_yaml_as_dict_kwargs():
    parser = jsonargparse.ArgumentParser()
    parser.add_argument("--attention", type=Callable[..., Attention])
    content = {"class_path": "relattn.attention.Timm", "init_args": {"name": "se"}, "dict_kwargs": {"rd_ratio": 0.5}}
    module = parser.instantiate(parser.parse_object({"attention": content})).attention(64, size=SIZE)
    assert module.module.fc1.out_channels == 32
