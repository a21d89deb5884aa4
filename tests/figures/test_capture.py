"""Maps are recorded inside a capture, and only there."""

import pytest
import torch

from relattn.attention import RGA
from relattn.backbones import build
from relattn.figures import capture


def test_capture_records_the_masks_of_every_module() -> None:
    model = build("test_resnet", attention=RGA, stages=[2, 4], size=(64, 32)).eval()
    with torch.no_grad(), capture(model) as maps:
        model(torch.randn(2, 3, 64, 32))
    assert set(maps) == {"attention.stage2", "attention.stage4"}
    assert maps["attention.stage2"]["spatial"].shape == (2, 1, 8, 4)
    assert maps["attention.stage2"]["channel"].shape == (2, 48, 1, 1)
    assert all(0 < float(mask.min()) <= float(mask.max()) < 1 for found in maps.values() for mask in found.values())


def test_masks_are_what_modulates_the_features() -> None:
    attention, x = RGA(8, size=(4, 4)).eval(), torch.randn(3, 8, 4, 4)
    with torch.no_grad(), capture(attention) as maps:
        y = attention(x)
    torch.testing.assert_close(y, x * maps[""]["spatial"] * maps[""]["channel"])


def test_nothing_is_kept_outside_or_after_an_error() -> None:
    attention, x = RGA(8, size=(4, 4)), torch.randn(3, 8, 4, 4)
    with pytest.raises(RuntimeError, match="on purpose"), capture(attention):
        raise RuntimeError("on purpose")
    attention(x)
    assert attention.recorder is None


def test_captured_maps_do_not_hold_the_graph() -> None:
    attention = RGA(8, size=(4, 4))
    with capture(attention) as maps:
        attention(torch.randn(3, 8, 4, 4, requires_grad=True)).sum().backward()
    assert not any(mask.requires_grad for mask in maps[""].values())


def test_a_capture_within_another_leaves_the_other_on() -> None:
    module = RGA(8, size=(4, 4))
    images = torch.randn(1, 8, 4, 4)
    with capture(module) as outer:
        with capture(module) as inner:
            module(images)
        assert inner[""]
        assert not outer[""]
        module(images)
    assert outer[""].keys() == inner[""].keys()
