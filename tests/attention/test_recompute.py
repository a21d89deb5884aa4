"""What attention recomputes in the backward pass, cheap maps or all: the same step with less memory kept."""

import copy
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn

from relattn.attention import CBAM, FC, RGA, SASA, NonLocal, StRA
from relattn.attention.base import Attention, Recompute, outermost
from relattn.backbones import build
from relattn.cli.main import run
from relattn.costs.measure import kept_memory
from relattn.runs.checkpoints import read_checkpoint

FACTORIES = {"rga": RGA, "parallel": partial(RGA, mode="parallel"), "nl": NonLocal, "stra": StRA, "sasa": SASA}
FACTORIES |= {"cbam": CBAM, "fc": FC}


def with_frozen_norms(module: Attention) -> Attention:
    """A module in training whose batch norms use their running statistics."""
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.eval()
    return module


@pytest.mark.parametrize("recompute", ["cheap", "all"])
@pytest.mark.parametrize("name", FACTORIES)
@pytest.mark.sampled(6)
def test_a_step_is_the_same_and_statistics_see_the_batch_once(name: str, recompute: Recompute) -> None:
    torch.manual_seed(0)
    kept = build("test_resnet", attention=FACTORIES[name], size=(32, 32), num_classes=5).double()
    again = copy.deepcopy(kept)
    for network, what in ((kept, "nothing"), (again, recompute)):
        for module in outermost(network):
            module.recompute = what
    images = torch.randn(4, 3, 32, 32, dtype=torch.float64)
    for network in (kept, again):
        loss = network(images).square().mean()
        terms = [term for module in outermost(network) if (term := module.regularization()) is not None]
        (loss + sum(terms, torch.zeros(()))).backward()
    for (key, one), other in zip(kept.named_parameters(), again.parameters(), strict=True):
        close = {"rtol": 0, "atol": 0} if recompute == "cheap" else {"rtol": 1e-10, "atol": 1e-12}
        torch.testing.assert_close(other.grad, one.grad, msg=key, **close)
    states = kept.state_dict(), again.state_dict()
    assert states[0].keys() == states[1].keys()
    for key, value in states[0].items():
        torch.testing.assert_close(states[1][key], value, rtol=0, atol=0, msg=key)
    assert kept_memory(again, images) < kept_memory(kept, images)


@pytest.mark.parametrize("recompute", ["cheap", "all"])
def test_synchronised_batch_norms_count_the_batch_once(recompute: Recompute) -> None:
    torch.manual_seed(0)
    module = RGA(8, size=(4, 4))
    module.recompute = recompute
    module = nn.SyncBatchNorm.convert_sync_batchnorm(module)
    module(torch.randn(2, 8, 4, 4, requires_grad=True)).square().sum().backward()
    assert {int(value) for name, value in module.state_dict().items() if name.endswith("num_batches_tracked")} == {1}
    assert all(parameter.grad is not None for parameter in module.parameters())


@pytest.mark.slow
def test_rga_keeps_little_beside_the_plain_network() -> None:
    images = torch.randn(2, 3, 128, 64)
    plain, kept = (build("resnet50", attention=attention, size=(128, 64)) for attention in (None, RGA))
    memory = {}
    for recompute in ("nothing", "cheap", "all"):
        for module in outermost(kept):
            module.recompute = recompute
        memory[recompute] = kept_memory(kept, images) / kept_memory(plain, images)
    assert memory["all"] < memory["cheap"] < 1.2 < 1.4 < memory["nothing"]


@pytest.mark.parametrize(
    "attention", [RGA, CBAM, FC, partial(NonLocal, kind="dot_product"), partial(RGA, mode="parallel")]
)
def test_gradients_of_gradients_and_a_graph_used_twice(attention: Callable[..., Attention]) -> None:
    torch.manual_seed(0)
    module = attention(16, size=(4, 2)).double()
    x = torch.randn(2, 16, 4, 2, dtype=torch.float64, requires_grad=True)
    found = {}
    for recompute in ("nothing", "cheap"):
        module.recompute = recompute
        loss = module(x).sin().sum()
        (first,) = torch.autograd.grad(loss, x, create_graph=True)
        (second,) = torch.autograd.grad(first.square().sum(), x, retain_graph=True)
        found[recompute] = first, second, *torch.autograd.grad(loss, [x, *module.parameters()])
    for one, other in zip(found["nothing"], found["cheap"], strict=True):
        torch.testing.assert_close(other, one, rtol=1e-12, atol=1e-12)


def test_norms_with_frozen_statistics_and_half_precision_are_made_as_they_were() -> None:
    torch.manual_seed(0)
    module = RGA(16, size=(8, 4))
    x = torch.randn(2, 16, 8, 4, requires_grad=True)
    module(x)  # statistics that differ from those of the batch
    with_frozen_norms(module)
    found = {}
    for recompute in ("nothing", "cheap"):
        module.recompute = recompute
        with torch.autocast("cpu", torch.bfloat16):
            loss = module(x).float().square().sum()
        found[recompute] = torch.autograd.grad(loss, [x, *module.parameters()])
    assert all(torch.equal(one, other) for one, other in zip(*found.values(), strict=True))


def test_what_is_changed_in_place_before_the_backward_pass_is_noticed() -> None:
    module, x = RGA(16, size=(8, 4)), torch.randn(2, 16, 8, 4, requires_grad=True)
    features = x * 1
    loss = module(features).sum()
    features.add_(1)
    with pytest.raises(RuntimeError, match="changed in place"):
        loss.backward()


def test_transforms_of_functions_work_in_training() -> None:
    module, x = with_frozen_norms(RGA(16, size=(8, 4)).double()), torch.randn(2, 16, 8, 4, dtype=torch.float64)
    x.requires_grad_()
    gradient = torch.func.grad(lambda x: module(x).square().sum())(x)
    torch.testing.assert_close(gradient, torch.autograd.grad(module(x).square().sum(), x)[0])


@pytest.mark.slow
def test_a_run_with_it_trains_the_same_weights(cifar: Path) -> None:
    found = []
    for name, value in (("kept", "nothing"), ("cheap", "cheap"), ("again", "all")):
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
    for weights, result in found[1:]:
        assert result["scores"] == found[0][1]["scores"]
        assert all(torch.equal(value, weights[key]) for key, value in found[0][0].items())
