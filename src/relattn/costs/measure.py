"""Parameters, multiply-accumulates, time and memory of networks, side by side in one run."""

import json
import statistics
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import accumulate
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from relattn.costs.side_by_side import seconds, take_turns


@dataclass
class Cost:
    """The cost of one forward and backward pass of a network.

    Attributes:
        name: Name of the network.
        parameters: Number of weights.
        macs: Multiply-accumulates of a forward pass of one image (matrix products and convolutions).
        times: Milliseconds of forward and backward over the whole batch, one per round.
        peak_bytes: The most memory that the pass held in addition to what was held before it.
        kept_bytes: Memory that the forward pass stores for the backward pass, without weights and inputs.
        difference: For a slow form: the largest difference between its output and that of the network that it copies,
            relative to the largest output; None for others.
    """

    name: str
    parameters: int
    macs: int
    times: tuple[float, ...]
    peak_bytes: int
    kept_bytes: int
    difference: float | None = None

    @property
    def milliseconds(self) -> float:
        """Median time per round."""
        return statistics.median(self.times)

    @property
    def fastest(self) -> float:
        """Time of the fastest round, in milliseconds."""
        return min(self.times)

    @property
    def slowest(self) -> float:
        """Time of the slowest round, in milliseconds."""
        return max(self.times)


def forward_backward(network: nn.Module, inputs: Tensor) -> None:
    """One training pass, without an optimizer."""
    network.zero_grad(set_to_none=True)
    inputs.grad = None
    outputs = network(inputs)
    outputs.float().square().mean().backward()


def count_macs(network: nn.Module, inputs: Tensor) -> int:
    """Multiply-accumulates of a forward pass, per image."""
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        network(inputs.detach())
    return int(counter.get_total_flops() // 2 // len(inputs))


def peak_memory(step: Callable[[], None], device: torch.device) -> int:
    """The most bytes that a step holds in addition to what was held before it, according to the allocator."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        step()
        return torch.cuda.max_memory_allocated(device) - before
    return max(held_over_time(step))


def held_over_time(step: Callable[[], None]) -> list[int]:
    """Bytes that a step holds on a CPU in addition to what was held before it, after each allocation and release."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        step()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        profiler.export_chrome_trace(str(path))
        events = json.loads(path.read_text())["traceEvents"]
    changes = sorted((event["ts"], event["args"]["Bytes"]) for event in events if event.get("name") == "[memory]")
    return [0, *accumulate(change for _, change in changes)]


def kept_memory(network: nn.Module, inputs: Tensor) -> int:
    """Bytes that a forward pass stores for the backward pass, without weights, inputs and outputs."""
    outputs: list[Tensor] = []
    if inputs.device.type == "cuda":
        before = torch.cuda.memory_allocated(inputs.device)
        outputs.append(network(inputs))
        held = torch.cuda.memory_allocated(inputs.device) - before
    else:
        held = held_over_time(lambda: outputs.append(network(inputs)))[-1]
    return held - outputs[0].untyped_storage().nbytes()


def compare(networks: dict[str, nn.Module], inputs: Tensor, *, rounds: int, warmup: int) -> list[Cost]:
    """Measure networks on the same inputs, taking turns.

    Args:
        networks: Networks to measure, by name, on the device of the inputs and in training mode.
        inputs: `(B, C, H, W)`; if it requires a gradient, the passes compute it.
        rounds: Number of timed passes of each network.
        warmup: Number of untimed passes of each network before them.

    Returns:
        The cost of each network, in the order of `networks`.
    """
    device = inputs.device
    steps = {name: lambda network=network: forward_backward(network, inputs) for name, network in networks.items()}
    sides = {name: lambda step=step: 1000 * seconds(step, device) for name, step in steps.items()}
    measured = take_turns(sides, rounds=rounds, warmup=warmup)
    for network in networks.values():  # gradients are part of what a step allocates
        network.zero_grad(set_to_none=True)
    inputs.grad = None
    return [
        Cost(
            name=name,
            parameters=sum(parameter.numel() for parameter in network.parameters()),
            macs=count_macs(network, inputs),
            times=measured[name].values,
            peak_bytes=peak_memory(steps[name], device),
            kept_bytes=kept_memory(network, inputs),
        )
        for name, network in networks.items()
    ]


def as_json(costs: list[Cost]) -> list[dict[str, object]]:
    """The costs as plain values."""
    return [
        {**asdict(cost), "milliseconds": cost.milliseconds, "fastest": cost.fastest, "slowest": cost.slowest}
        for cost in costs
    ]
