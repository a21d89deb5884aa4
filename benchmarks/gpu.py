"""Checks on a GPU: correctness against the CPU, compilation, DDP, RGA side by side, CIFAR-100 in full.

    python benchmarks/gpu.py --root data                 # all of it; CIFAR-100 lies in data/
    python benchmarks/gpu.py --only modules rga          # parts of it
    python benchmarks/gpu.py --quick --device cpu        # only check that it works, in a minute, without a GPU

Each part writes its results to `benchmarks/results/gpu.json`, with the device's name, as soon as it has them. A part
that has results is measured again only if it is named. Training resumes where it was stopped: `--minutes` limits each
run.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from claims import RESULTS
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from relattn import attention
from relattn.attention import RGA, StRA
from relattn.backbones import build
from relattn.costs.materialised import materialised
from relattn.costs.measure import compare, forward_backward
from relattn.costs.side_by_side import environment, seconds, take_turns

MODULES: dict[str, Callable[..., nn.Module]] = {
    "RGA-SC": RGA,
    "RGA-S": partial(RGA, mode="spatial"),
    "RGA-C": partial(RGA, mode="channel"),
    "StRA": StRA,
    "StRA, released": partial(StRA, variant="released", reduction=4),
    "SASA": attention.SASA,
    "NL": attention.NonLocal,
    "SNL": attention.SimplifiedNonLocal,
    "SE": attention.SqueezeExcitation,
    "CBAM": attention.CBAM,
    "FC": attention.FC,
}


class Autocast(nn.Module):
    """A network whose passes run in bfloat16 where autocast permits."""

    def __init__(self, network: nn.Module, device: str) -> None:
        super().__init__()
        self.network, self.device = network, device

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(self.device, torch.bfloat16):
            return self.network(x)


def relative(found: Tensor, expected: Tensor) -> float:
    """The largest difference, relative to the largest value."""
    expected = expected.double().cpu()
    return float((found.double().cpu() - expected).abs().max() / expected.abs().max())


def milliseconds(step: Callable[[], None], device: torch.device) -> float:
    """Milliseconds of a step."""
    return 1000 * seconds(step, device)


def modules(asked: argparse.Namespace) -> dict[str, Any]:
    """Each attention module on the device against the CPU in float64: outputs, gradients; in float32 and bfloat16."""
    shape = (2, 32, 8, 4) if asked.quick else (8, 256, 32, 16)
    found: dict[str, Any] = {}
    for name, make in MODULES.items():
        torch.manual_seed(0)
        module = make(shape[1], size=shape[2:])
        images = torch.randn(shape)
        results = {}
        for form in ("reference", "float32", "bfloat16"):
            one = make(shape[1], size=shape[2:])
            one.load_state_dict(module.state_dict())
            one = one.double() if form == "reference" else one.to(asked.device)
            inputs = images.to(next(one.parameters())).requires_grad_()
            network = Autocast(one, asked.device) if form == "bfloat16" else one
            outputs = network(inputs)
            outputs.double().square().mean().backward()
            results[form] = outputs.detach(), inputs.grad
        found[name] = {
            form: {
                what: relative(results[form][place], results["reference"][place])
                for place, what in enumerate(("outputs", "gradients"))
            }
            for form in ("float32", "bfloat16")
        }
    return found


def compiled(asked: argparse.Namespace) -> dict[str, Any]:
    """`torch.compile` against the eager network: the same outputs, and the time of a training pass."""
    name, batch, size = ("resnet18", 2, (64, 32)) if asked.quick else ("resnet50", 64, (256, 128))
    found: dict[str, Any] = {}
    for label, module in (("plain", None), ("RGA-SC", RGA), ("StRA", StRA)):
        torch.manual_seed(0)
        network = build(name, attention=module, size=size, last_stride=1).to(asked.device)
        network = network.to(memory_format=torch.channels_last)
        inputs = torch.randn(batch, 3, *size, device=asked.device).to(memory_format=torch.channels_last)
        fast = torch.compile(network, mode="default" if asked.quick else "reduce-overhead")
        with torch.no_grad():
            differ = relative(fast.eval()(inputs).clone(), network.eval()(inputs))
        network.train()
        fast.train()
        forms = {form: Autocast(one, asked.device) for form, one in (("eager", network), ("compiled", fast))}
        device = torch.device(asked.device)
        passes = {
            form: partial(milliseconds, partial(forward_backward, one, inputs), device) for form, one in forms.items()
        }
        sides = take_turns(passes, rounds=asked.rounds, warmup=3)
        found[label] = {
            "difference": differ,
            **{form: {"milliseconds": side.median, "times": side.values} for form, side in sides.items()},
        }
    return found


def distributed(asked: argparse.Namespace) -> dict[str, Any]:
    """A step under DDP with one process, compared with the gradients of the bare network."""
    os.environ.setdefault("MASTER_ADDR", "127.0.0.1")
    os.environ.setdefault("MASTER_PORT", "29517")
    backend = "nccl" if asked.device == "cuda" else "gloo"
    dist.init_process_group(backend, rank=0, world_size=1)
    torch.manual_seed(0)
    network = build("resnet18", attention=RGA, size=(64, 32), last_stride=1).to(asked.device)
    inputs = torch.randn(4, 3, 64, 32, device=asked.device)
    gradients = []
    for one in (network, DistributedDataParallel(network)):
        torch.manual_seed(0)
        forward_backward(one, inputs)
        gradients.append([parameter.grad.clone() for parameter in network.parameters() if parameter.grad is not None])
    dist.destroy_process_group()
    differ = max(relative(one, other) for one, other in zip(*gradients, strict=True) if other.abs().max() > 0)
    return {"backend": backend, "difference": differ}


def side_by_side(asked: argparse.Namespace) -> dict[str, Any]:
    """RGA-SC in ResNet-50 against the plain network and the materialised relation, in two precisions."""
    name, batch, size = ("resnet18", 2, (64, 32)) if asked.quick else ("resnet50", 64, (256, 128))
    found: dict[str, Any] = {}
    for precision in ("float32", "bfloat16"):
        torch.manual_seed(0)
        networks = {
            "plain": build(name, size=size, last_stride=1),
            "RGA-SC": build(name, attention=RGA, size=size, last_stride=1),
        }
        networks["RGA-SC, materialised"] = materialised(networks["RGA-SC"])
        for label, network in networks.items():
            network = network.to(asked.device, memory_format=torch.channels_last)
            networks[label] = network if precision == "float32" else Autocast(network, asked.device)
        inputs = torch.randn(batch, 3, *size, device=asked.device).to(memory_format=torch.channels_last)
        costs = compare(networks, inputs, rounds=asked.rounds, warmup=3)
        plain = costs[0]
        found[precision] = {
            cost.name: {
                "milliseconds": cost.milliseconds,
                "range": [cost.fastest, cost.slowest],
                "peak MiB": cost.peak_bytes / 2**20,
                "kept MiB": cost.kept_bytes / 2**20,
                "time beside plain": cost.milliseconds / plain.milliseconds,
                "peak beside plain": cost.peak_bytes / plain.peak_bytes,
            }
            for cost in costs
        }
    return found


def cifar(asked: argparse.Namespace) -> dict[str, Any]:
    """CIFAR-100 with ResNet-110, plain and with RGA-SC, for the paper's 164 epochs; stopped runs are resumed."""
    found: dict[str, Any] = {}
    for seed in range(asked.seeds):
        for attention_name in ("none", "rga_sc"):
            name = f"gpu-{attention_name}-s{seed}"
            folder = asked.runs / "classification" / name
            known = (folder / "checkpoints" / "last.ckpt").is_file()
            line = [sys.executable, "-m", "relattn", "fit"]
            if known:
                line += ["--ckpt_path", str(folder)]
            else:
                line += ["--task", "classification", "--backbone", "resnet110", "--attention", attention_name]
                line += ["--data", "CIFAR100", "--data.root", str(asked.root), "--trainer", "gpu_fast"]
                line += ["--runs", str(asked.runs), "--name", name, "--seed_everything", str(seed), "--gpus", "1"]
            if not (folder / "result.json").is_file():
                try:
                    subprocess.run(line, check=True, timeout=60 * asked.minutes)
                except subprocess.TimeoutExpired:
                    found[name] = {"stopped after minutes": asked.minutes}
                    continue
            result = json.loads((folder / "result.json").read_text())
            found[name] = {key: result[key] for key in ("scores", "epochs", "seconds", "parameters")}
    return found


PARTS = {"modules": modules, "compiled": compiled, "distributed": distributed, "rga": side_by_side, "cifar": cifar}


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=PARTS, help="these parts; by default those that are not there yet")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seeds", type=int, default=1, help="of CIFAR-100")
    parser.add_argument("--minutes", type=float, default=10, help="for each run of CIFAR-100")
    parser.add_argument("--root", type=Path, help="where CIFAR-100 lies; without it, CIFAR-100 is left out")
    parser.add_argument("--runs", type=Path, default=Path("runs/gpu"))
    parser.add_argument("--quick", action="store_true", help="sizes that show that it works; nothing is written")
    parser.add_argument("--out", type=Path, default=RESULTS / "gpu.json")
    asked = parser.parse_args(arguments)
    if asked.device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("no GPU is to be seen; --quick --device cpu shows that the script works")
    asked.rounds = 2 if asked.quick else asked.rounds
    written = json.loads(asked.out.read_text()) if asked.out.is_file() and not asked.quick else {}
    written["machine"] = environment(asked.device)
    for name in asked.only or [name for name in PARTS if name not in written]:
        if name == "cifar" and (asked.root is None or asked.quick):
            print("cifar: left out, --root says where CIFAR-100 lies")
            continue
        begun = time.monotonic()
        written[name] = PARTS[name](asked)
        print(f"{name} ({time.monotonic() - begun:.0f} s)\n{json.dumps(written[name], indent=1)}")
        if not asked.quick:
            asked.out.parent.mkdir(parents=True, exist_ok=True)
            asked.out.write_text(json.dumps(written, indent=2) + "\n")


if __name__ == "__main__":
    main()
