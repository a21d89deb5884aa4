"""Attention that is computed again in the backward pass: the same step, with less kept."""

import copy
import json
from functools import partial
from pathlib import Path

import pytest
import torch

from relattn.attention import RGA, SASA, NonLocal, StRA
from relattn.attention.base import outermost
from relattn.backbones import build
from relattn.cli.main import run
from relattn.costs.measure import kept_memory
from relattn.runs.checkpoints import read_checkpoint

FACTORIES = {"rga": RGA, "parallel": partial(RGA, mode="parallel"), "nl": NonLocal, "stra": StRA, "sasa": SASA}


@pytest.mark.parametrize("name", FACTORIES)
def test_a_step_is_the_same_and_statistics_see_the_batch_once(name: str) -> None:
    torch.manual_seed(0)
    kept = build("test_resnet", attention=FACTORIES[name], size=(32, 32), num_classes=5).double()
    again = copy.deepcopy(kept)
    modules = outermost(again)
    for module in modules:
        module.recompute = True
    images = torch.randn(4, 3, 32, 32, dtype=torch.float64)
    for network in (kept, again):
        loss = network(images).square().mean()
        terms = [term for module in outermost(network) if (term := module.regularization()) is not None]
        (loss + sum(terms, torch.zeros(()))).backward()
    for (key, one), other in zip(kept.named_parameters(), again.parameters(), strict=True):
        torch.testing.assert_close(other.grad, one.grad, rtol=1e-10, atol=1e-12, msg=key)
    states = kept.state_dict(), again.state_dict()
    assert states[0].keys() == states[1].keys()
    for key, value in states[0].items():
        torch.testing.assert_close(states[1][key], value, rtol=0, atol=0, msg=key)
    assert kept_memory(again, images) < kept_memory(kept, images)


def test_rga_keeps_little_beside_the_plain_network() -> None:
    images = torch.randn(2, 3, 64, 64)
    plain, kept = (build("resnet26", attention=attention, size=(64, 64)) for attention in (None, RGA))
    own = kept_memory(kept, images)
    for module in outermost(kept):
        module.recompute = True
    assert kept_memory(kept, images) < 1.15 * kept_memory(plain, images) < own


@pytest.mark.slow
def test_a_run_with_it_trains_the_same_weights(cifar: Path) -> None:
    found = []
    for name, value in (("kept", "false"), ("again", "true")):
        options = ["--task", "classification", "--backbone", "resnet8", "--data", "CIFAR10", "--data.root", str(cifar)]
        options += ["--attention", "rga_sc", "--gpus", "0", "--trainer.max_epochs", "1", "--trainer", "deterministic"]
        assert run(["fit", *options, "--model.recompute_attention", value, "--name", name]) == 0
        folder = Path("runs/classification") / name
        found.append(
            (
                read_checkpoint(folder / "checkpoints/last.ckpt")["state_dict"],
                json.loads((folder / "result.json").read_text()),
            )
        )
    assert found[0][1]["scores"] == found[1][1]["scores"]
    assert all(torch.equal(value, found[1][0][key]) for key, value in found[0][0].items())
