"""Whole images, windows, scales and mirrored images, against each other and against loops."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from relattn.errors import InputError
from relattn.tasks.segmentation.inference import Inference, places


def images(size: tuple[int, int] = (20, 31), batch: int = 2) -> Tensor:
    return torch.randn(batch, 3, *size, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def network(kernel: int = 1) -> nn.Module:
    """A convolution that sees one pixel, or its neighbours as well."""
    torch.manual_seed(0)
    return nn.Conv2d(3, 4, kernel, padding=kernel // 2).double()


def symmetric() -> nn.Module:
    """A network whose output for a mirrored image is the mirrored output."""
    module = network(5)
    module.weight.data = (module.weight + module.weight.flip(3)).detach()
    return module


class Marker:
    """Returns different logits on every call: the number of the call, at all pixels."""

    def __init__(self) -> None:
        self.sizes: list[tuple[int, ...]] = []

    def __call__(self, x: Tensor) -> Tensor:
        self.sizes.append(tuple(x.shape[2:]))
        return torch.full((len(x), 2, *x.shape[2:]), float(len(self.sizes)))


@pytest.mark.parametrize(
    ("inference", "text"),
    [
        (Inference(), "whole"),
        (Inference(flip=True), "whole + flip"),
        (Inference(crop=(769, 769)), "slide 769/513"),
        (Inference(crop=(512, 1024), stride=(256, 512)), "slide 512x1024/256x512"),
        (Inference(scales=(0.75, 1, 1.25), flip=True), "ms 0.75,1.0,1.25 + flip"),
        (Inference(crop=(769, 769), scales=(0.5, 2.0), average="logits"), "slide 769/513 ms 0.5,2.0 (logits)"),
        (Inference(average="logits"), "whole"),
    ],
)
def test_says_what_it_is(inference, text) -> None:
    assert str(inference) == text


def test_windows_cover_the_image_and_stay_in_it() -> None:
    assert places(1024, 769, 513) == ([0, 255], 769)
    assert places(2048, 769, 513) == ([0, 513, 1026, 1279], 769)
    assert places(10, 10, 7) == ([0], 10)
    assert places(6, 10, 7) == ([0], 6)
    for length in range(1, 40):
        for crop in range(1, 12):
            for stride in range(1, crop + 1):
                starts, side = places(length, crop, stride)
                seen = [place for start in starts for place in range(start, start + side)]
                assert set(seen) == set(range(length))
                assert starts == sorted(set(starts))


def test_whole_images_are_the_network_itself() -> None:
    expected = network(3)(images())
    torch.testing.assert_close(Inference(average="logits").scores(network(3), images()), expected, rtol=0, atol=0)
    torch.testing.assert_close(Inference().scores(network(3), images()), expected.softmax(1), rtol=0, atol=0)


@pytest.mark.parametrize("average", ["softmax", "logits"])
@pytest.mark.parametrize("crop", [(20, 31), (40, 50)])
def test_one_window_over_the_image_is_the_whole_image(crop, average) -> None:
    whole, slide = Inference(average=average), Inference(crop=crop, average=average)
    torch.testing.assert_close(slide.scores(network(3), images()), whole.scores(network(3), images()), rtol=0, atol=0)


@pytest.mark.parametrize("stride", [None, (3, 5), (7, 9)])
def test_windows_change_nothing_for_a_network_that_sees_one_pixel(stride) -> None:
    slide = Inference(crop=(7, 9), stride=stride)
    torch.testing.assert_close(slide.scores(network(), images()), network()(images()).softmax(1), rtol=0, atol=1e-14)


def test_windows_are_averaged_where_they_overlap() -> None:
    marker = Marker()
    scores = Inference(crop=(4, 4), stride=(3, 3), average="logits").scores(marker, torch.zeros(1, 3, 4, 9))
    assert marker.sizes == [(4, 4)] * 3
    row = torch.tensor([1, 1, 1, 1.5, 2, 2.5, 2.5, 3, 3])  # windows at 0, 3 and 5
    torch.testing.assert_close(scores, row.expand(1, 2, 4, 9))


@pytest.mark.parametrize("average", ["softmax", "logits"])
@pytest.mark.parametrize("crop", [None, (20, 20)])
def test_mirrors_change_nothing_for_a_symmetric_network(crop, average) -> None:
    size = (20, 32)  # windows of 20 with stride 12 lie symmetrically
    one, both = (
        Inference(crop=crop, stride=crop and (12, 12), flip=flip, average=average).scores(symmetric(), images(size))
        for flip in (False, True)
    )
    torch.testing.assert_close(both, one, rtol=0, atol=1e-12)


def test_views_are_averaged_at_the_size_of_the_image() -> None:
    model, total = network(3), torch.zeros(2, 4, 20, 31, dtype=torch.float64)
    for size in ((10, 16), (20, 31), (30, 46)):
        resized = images() if size == (20, 31) else F.interpolate(images(), size=size, mode="bilinear")
        for flip in (False, True):
            view = model(resized.flip(3) if flip else resized).softmax(1)
            view = F.interpolate(view, size=(20, 31), mode="bilinear")
            total += view.flip(3) if flip else view
    found = Inference(scales=(0.5, 1.0, 1.5), flip=True).scores(model, images())
    torch.testing.assert_close(found, total / 6, rtol=0, atol=1e-12)
    torch.testing.assert_close(found.sum(1), torch.ones(2, 20, 31, dtype=torch.float64))


def test_scales_reach_the_network_and_windows_are_no_larger_than_images() -> None:
    marker = Marker()
    Inference(crop=(8, 8), stride=(8, 8), scales=(0.5, 1.0)).scores(marker, torch.zeros(1, 3, 12, 16))
    assert marker.sizes == [(6, 8)] + [(8, 8)] * 4


def test_smaller_views_are_padded_for_a_network_that_takes_the_crop_alone() -> None:
    def fixed(x: torch.Tensor) -> torch.Tensor:
        if x.shape[2:] != (8, 8):
            raise InputError("it has weights for 8x8")
        return network(3)(x)

    small = images((6, 7))
    found = Inference(crop=(8, 8), average="logits").scores(fixed, small)
    torch.testing.assert_close(found, network(3)(F.pad(small, (0, 1, 0, 2)))[..., :6, :7])
    with pytest.raises(InputError, match="8x8"):
        Inference().scores(fixed, small)


def test_nothing_given_is_changed_and_no_graph_is_kept() -> None:
    x = images().requires_grad_()
    before = x.detach().clone()
    for inference in (
        Inference(average="logits", flip=True),
        Inference(crop=(7, 9), scales=(1.0, 1.0), average="logits"),
    ):
        assert not inference.scores(lambda view: view, x).requires_grad
        torch.testing.assert_close(x.detach(), before, rtol=0, atol=0)


def test_half_precision_is_averaged_in_single() -> None:
    scores = Inference(crop=(8, 8), flip=True).scores(network().bfloat16(), images().bfloat16())
    assert scores.dtype == torch.float32
    torch.testing.assert_close(scores.sum(1), torch.ones(2, 20, 31))


def test_what_cannot_be_is_an_error_that_says_so() -> None:
    with pytest.raises(InputError, match=r"stride is \(9, 5\), expected 1 to \(8, 8\): windows would leave gaps"):
        Inference(crop=(8, 8), stride=(9, 5))
    with pytest.raises(InputError, match="windows need both"):
        Inference(stride=(9, 5))
    with pytest.raises(InputError, match=r"crop is \(0, 4\)"):
        Inference(crop=(0, 4))
    with pytest.raises(InputError, match=r"scales is \(\)"):
        Inference(scales=())
    with pytest.raises(InputError, match="average is 'max'"):
        Inference(average="max")
