"""Attention on a grid of fixed size, for inputs of any size, against samples taken one at a time."""

import copy
import math
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from contract import assert_near, check_contract, images, prepare
from torch import Tensor

from relattn.attention import FC, RGA, FixedSize, NonLocal
from relattn.errors import InputError
from relattn.figures import capture

GRID = (4, 3)
SIZES = [(8, 6), (7, 5), (5, 9), (4, 3), (3, 2), (13, 3), (1, 1)]
INNER = partial(RGA, embedding_ratio=2, reduction_ratio=2)
each_size = pytest.mark.parametrize("size", SIZES, ids=str)


def build(**options) -> FixedSize:
    return FixedSize(6, **{"grid": GRID, "attention": INNER, **options})


def at(image: Tensor, y: float, x: float) -> Tensor:
    """The values `(C,)` of `(C, H, W)` at a point between pixel centres, which lie at whole numbers; edges go on."""
    height, width = image.shape[1:]
    y, x = min(max(y, 0.0), height - 1.0), min(max(x, 0.0), width - 1.0)
    top, left = min(int(y), max(height - 2, 0)), min(int(x), max(width - 2, 0))
    bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
    down, across = y - top, x - left
    upper = image[:, top, left] * (1 - across) + image[:, top, right] * across
    lower = image[:, bottom, left] * (1 - across) + image[:, bottom, right] * across
    return upper * (1 - down) + lower * down


def pool(x: Tensor, grid: tuple[int, int]) -> Tensor:
    """RoIAlign of whole maps: the mean of evenly spread samples of every cell."""
    cell = [side / cells for side, cells in zip(x.shape[2:], grid, strict=True)]
    count = [math.ceil(side) for side in cell]
    return torch.stack(
        [
            torch.stack(
                [
                    torch.stack(
                        [
                            sum(
                                at(
                                    image,
                                    (row + (i + 0.5) / count[0]) * cell[0] - 0.5,
                                    (column + (j + 0.5) / count[1]) * cell[1] - 0.5,
                                )
                                for i in range(count[0])
                                for j in range(count[1])
                            )
                            / (count[0] * count[1])
                            for column in range(grid[1])
                        ],
                        dim=1,
                    )
                    for row in range(grid[0])
                ],
                dim=1,
            )
            for image in x
        ]
    )


def resize(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear values of `(B, C, h, w)` at the centres of the pixels of a map of another size."""
    scale = [cells / side for side, cells in zip(size, x.shape[2:], strict=True)]
    rows = [
        torch.stack(
            [
                torch.stack([at(image, (i + 0.5) * scale[0] - 0.5, (j + 0.5) * scale[1] - 0.5) for image in x])
                for j in range(size[1])
            ],
            dim=2,
        )
        for i in range(size[0])
    ]
    return torch.stack(rows, dim=2)


@each_size
@pytest.mark.parametrize(("restore", "training"), [("modulation", True), ("features", False)])
def test_any_size_equals_samples_taken_one_at_a_time(size, restore, training):
    module = prepare(partial(build, restore=restore), training=training)
    slow = copy.deepcopy(module)
    x, slow_x = images(size=size).requires_grad_(), images(size=size).requires_grad_()

    output = module(x)
    pooled = pool(slow_x, GRID)
    attended = slow.attention(pooled)
    expected = slow_x + resize(attended - pooled, size) if restore == "modulation" else resize(attended, size)

    assert_near(output, expected)
    direction = torch.randn_like(expected)
    for loss in ((output * direction).sum(), (expected * direction).sum()):
        loss.backward()
    assert_near(x.grad, slow_x.grad, what="gradient of the input")
    for (name, parameter), other in zip(module.named_parameters(), slow.parameters(), strict=True):
        assert_near(parameter.grad, other.grad, 1e-9, what=f"gradient of {name}")


def test_pooling_to_the_size_of_the_input_changes_nothing():
    module = build().double()
    torch.testing.assert_close(module.pool(images()), images(), rtol=0, atol=1e-15)
    assert_near(module(images()), module.attention(images()))


def test_pooling_by_a_whole_factor_is_the_mean():
    x = images(size=(12, 9))
    assert_near(build().pool(x), F.avg_pool2d(x, 3))


@each_size
def test_what_changes_nothing_on_the_grid_changes_nothing(size):
    x = images(size=size).float()
    torch.testing.assert_close(build(attention=NonLocal)(x), x, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("size", "restore"), [((9, 7), "modulation"), ((2, 5), "features"), (GRID, "modulation")], ids=str
)
def test_contract(size, restore):
    check_contract(partial(build, restore=restore), images(size=size))


def test_one_module_takes_one_size_after_the_other_and_any_batch():
    module = build().eval()
    for batch, size in [(2, (8, 6)), (1, (16, 31)), (5, (2, 2))]:
        x = images(batch, size=size).float()
        both = module(x)
        assert both.shape == x.shape
        assert_near(module(x[:1]), both[:1], 1e-5)


def test_the_wrapped_module_records_and_has_the_loss_term():
    module = build(attention=partial(FC, mode="spatial", ratio=2)).eval()
    with torch.no_grad(), capture(module) as maps:
        module(images(size=(9, 9)).float())
    assert maps["attention"]["spatial"].shape == (3, 1, *GRID)
    assert module.regularization() is None
    module.attention.regularization = lambda: torch.tensor(2.0)
    assert module.regularization() == 2


def test_what_cannot_be_is_an_error_that_says_so():
    with pytest.raises(InputError, match=r"grid is \(0, 3\)"):
        build(grid=(0, 3))
    with pytest.raises(InputError, match=r"grid is 4, expected \(height, width\)"):
        build(grid=4)
    with pytest.raises(InputError, match="restore is 'mask', expected one of modulation, features"):
        build(restore="mask")
