"""Stand-alone self-attention against its formula, position by position."""

import copy
from functools import partial

import pytest
import torch
from contract import assert_near, check_against, check_contract, convolve, images, prepare, recorded
from torch import Tensor

from relattn.attention import SASA
from relattn.costs.measure import kept_memory
from relattn.costs.unfolded import unfolded

CHANNELS, SIZE = 8, (4, 3)

each_kernel = pytest.mark.parametrize("kernel", [3, 5, 7])


def make(kernel: int = 3) -> SASA:
    return SASA(CHANNELS, heads=2, kernel=kernel)


def features() -> Tensor:
    return images(2, CHANNELS, SIZE)


def reference(module: SASA, x: Tensor) -> Tensor:
    kernel, heads = module.neighbourhood.kernel, module.heads
    radius = kernel // 2
    queries, keys, values = (
        part.unflatten(1, (heads, -1)) for part in convolve(x, module.embed.weight).chunk(3, dim=1)
    )
    outputs = []
    for head in range(heads):
        for y in range(x.shape[2]):
            for column in range(x.shape[3]):
                query, logits, around = queries[:, head, :, y, column], [], []
                for row_offset in range(-radius, radius + 1):
                    for column_offset in range(-radius, radius + 1):
                        at = (y + row_offset, column + column_offset)
                        inside = 0 <= at[0] < x.shape[2] and 0 <= at[1] < x.shape[3]
                        relative = torch.cat(
                            [module.rows[head, row_offset + radius], module.columns[head, column_offset + radius]]
                        )
                        key = keys[:, head, :, *at] if inside else torch.zeros_like(query)
                        logits.append((query * (key + relative)).sum(dim=1))
                        around.append(values[:, head, :, *at] if inside else torch.zeros_like(query))
                weights = torch.stack(logits, dim=1).softmax(dim=1)
                outputs.append((weights[:, :, None] * torch.stack(around, dim=1)).sum(dim=1))
    found = torch.stack(outputs, dim=1).unflatten(1, (heads, *x.shape[2:]))  # (B, G, H, W, C / G)
    return found.permute(0, 1, 4, 2, 3).flatten(1, 2)


@each_kernel
def test_output_and_gradients_equal_the_reference(kernel):
    check_against(partial(make, kernel), reference, features())


@each_kernel
def test_contract(kernel):
    check_contract(partial(make, kernel), features())


def test_recorded_affinity():
    maps = recorded(make(), features().float())
    assert maps.keys() == {"affinity"}
    assert maps["affinity"].shape == (2, 2, 9, *SIZE)
    assert_near(maps["affinity"].sum(dim=2), torch.ones(2, 2, *SIZE), 1e-5)


def test_parameters_are_those_of_the_paper():
    """With attention for every 3x3 convolution, a ResNet-50 has 18.0 million parameters (NeurIPS 2019, Table 1)."""
    layers = {64: 3, 128: 4, 256: 6, 512: 3}
    plain = 25_557_032 - sum(9 * channels**2 * count for channels, count in layers.items())
    ours = sum(
        count * sum(parameter.numel() for parameter in SASA(channels).parameters())
        for channels, count in layers.items()
    )
    assert round((plain + ours) / 1e6, 1) == 18.0
    assert sum(parameter.numel() for parameter in SASA(512).parameters()) == 3 * 512**2 + 7 * 512


def test_little_is_kept_for_the_backward_pass():
    module, x = SASA(64), torch.randn(2, 64, 16, 8).requires_grad_()
    assert 10 * kept_memory(module, x) < kept_memory(unfolded(module), x)


def test_the_unfolded_form_has_the_same_outputs():
    module = prepare(make)
    assert_near(unfolded(module)(features()), module(features()))


@pytest.mark.slow
def test_compiled_equals_eager():
    torch.compiler.reset()
    module = prepare(make, training=True)
    eager = copy.deepcopy(module)
    compiled = torch.compile(module, fullgraph=True, backend="aot_eager")
    x, eager_x = features().requires_grad_(), features().requires_grad_()
    output, expected = compiled(x), eager(eager_x)
    assert_near(output, expected)
    output.square().sum().backward()
    expected.square().sum().backward()
    assert_near(x.grad, eager_x.grad)
    for parameter, other in zip(module.parameters(), eager.parameters(), strict=True):
        assert_near(parameter.grad, other.grad)


@pytest.mark.slow  # tests/export traces each attention
def test_exported_with_any_batch_size_equals_eager():
    module = prepare(make)
    shapes = {"x": {0: torch.export.Dim("batch", min=1, max=64)}}
    program = torch.export.export(module, (features(),), dynamic_shapes=shapes)
    x = images(5, CHANNELS, SIZE)
    assert_near(program.module()(x), module(x))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"heads": 3}, "SASA: heads is 3, which does not divide the 8 channels"),
        ({"heads": 8}, "8 channels and 8 heads give 1 channels per head.*even"),
        ({"heads": 2, "kernel": 6}, "kernel is 6, expected an odd number"),
    ],
    ids=str,
)
def test_wrong_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        SASA(CHANNELS, **arguments)


def test_wrong_inputs_are_refused():
    with pytest.raises(ValueError, match=r"built for inputs \(B, 8, H, W\) and got \(2, 6, 4, 3\)"):
        make()(torch.zeros(2, 6, 4, 3))
