"""Warnings before the first step: masks that start as noise in a short training."""

import warnings
from types import SimpleNamespace
from typing import Any

import pytest
from torch import nn

from relattn.attention import CBAM, RGA
from relattn.attention.mask_init import MaskInit
from relattn.runs.preflight import SHORT, check_masks


def said(
    attention: nn.Module, *, pretrained: bool | str = True, steps: float = 260, ckpt_path: str | None = None
) -> str:
    """The warnings of a run with this many steps for a network with that attention."""
    trainer: Any = SimpleNamespace(estimated_stepping_batches=steps, max_epochs=-1, ckpt_path=ckpt_path)
    task: Any = SimpleNamespace(modules=attention.modules, pretrained=pretrained)
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        check_masks(trainer, task)
    return "".join(str(one.message) for one in found)


def rga(mask_init: MaskInit = "released") -> RGA:
    return RGA(8, size=(4, 2), mask_init=mask_init)


def test_noise_over_trained_features_in_a_short_run_is_warned_of() -> None:
    assert "--attention rga_sc_open" in said(nn.Sequential(nn.ReLU(), rga()))


@pytest.mark.parametrize(
    ("attention", "options"),
    [
        (rga("open"), {}),
        (rga("half"), {}),
        (CBAM(8), {}),
        (rga(), {"pretrained": False}),
        (rga(), {"pretrained": "runs/reid/mine"}),
        (rga(), {"steps": SHORT}),
        (rga(), {"steps": float("inf")}),
        (rga(), {"ckpt_path": "last.ckpt"}),
    ],
)
def test_nothing_else_is(attention: nn.Module, options: dict[str, Any]) -> None:
    assert said(attention, **options) == ""
