"""Training steps on a CPU: freed memory kept by the process, compared with memory returned to the kernel every step.

    python benchmarks/allocator.py

The suite tells glibc to keep freed memory (`relattn.cli.memory`). Each round runs in its own process, since glibc's
settings last for the life of a process; the two settings take turns.
"""

import json
import statistics
import subprocess
import sys

from claims import parser, report

from relattn.costs.side_by_side import Claim, Side, take_turns

STEP = """
import json, sys
from relattn.cli.memory import keep_freed_memory
kept, attention, backbone, batch, height, width, warmup, steps = sys.argv[1:]
if kept == "kept" and not keep_freed_memory():
    raise SystemExit("There is no glibc to tell.")
import torch
from relattn.attention import RGA
from relattn.backbones import build
from relattn.costs.measure import forward_backward
from relattn.costs.side_by_side import seconds
size = (int(height), int(width))
network = build(backbone, attention=RGA if attention == "rga_sc" else None, size=size, last_stride=1)
network = network.to(memory_format=torch.channels_last)
inputs = torch.randn(int(batch), 3, *size).contiguous(memory_format=torch.channels_last)
times = [1000 * seconds(lambda: forward_backward(network, inputs)) for _ in range(int(warmup) + int(steps))]
print(json.dumps(times[int(warmup):]))
"""


def main(arguments: list[str] | None = None) -> None:
    options = parser(__doc__, rounds=2)
    options.add_argument("--batch_size", type=int, default=8)
    options.add_argument("--attention", nargs="+", choices=["none", "rga_sc"], default=["rga_sc"])
    asked = options.parse_args(arguments)
    size, warmup, steps = ((64, 32), 1, 1) if asked.quick else ((256, 128), 3, 3)
    backbone, batch = ("resnet18", 2) if asked.quick else ("resnet50", asked.batch_size)

    def step(attention: str, memory: str) -> float:
        """Median milliseconds of a step, in a new process."""
        told = [memory, attention, backbone, str(batch), *map(str, size), str(warmup), str(steps)]
        run = subprocess.run([sys.executable, "-c", STEP, *told], check=True, capture_output=True, text=True)
        return statistics.median(json.loads(run.stdout.splitlines()[-1]))

    chosen = ("none",) if asked.quick else tuple(asked.attention)
    pairs = [(attention, memory) for attention in chosen for memory in ("kept", "returned")]
    sides = take_turns({pair: lambda pair=pair: step(*pair) for pair in pairs}, rounds=asked.rounds)
    named = {pair: Side(f"memory {pair[1]}", side.values) for pair, side in sides.items()}
    sizes = {"batch": batch, "image": f"{size[0]}x{size[1]}"}
    claims = [
        Claim(
            backbone if attention == "none" else f"{backbone} + {attention}",
            named[attention, "kept"],
            named[attention, "returned"],
            "ms",
            sizes=sizes,
        )
        for attention in chosen
    ]
    report("allocator", asked, claims)


if __name__ == "__main__":
    main()
