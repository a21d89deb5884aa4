"""Training step on a CPU with memory given back to the kernel at every step, and with memory kept.

    python benchmarks/allocator.py

Each round is a process of its own, since glibc's settings last as long as one; the two take turns.
"""

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

STEP = """
import json, sys, time
if sys.argv[1] == "kept":
    from relattn.cli.memory import keep_freed_memory
    assert keep_freed_memory()
import torch
from relattn.attention import RGA
from relattn.backbones import build
from relattn.benchmark.measure import forward_backward, timed
network = build("resnet50", attention=RGA if sys.argv[2] == "rga_sc" else None, size=(256, 128), last_stride=1)
network = network.to(memory_format=torch.channels_last)
inputs = torch.randn(int(sys.argv[3]), 3, 256, 128).contiguous(memory_format=torch.channels_last)
times = [timed(lambda: forward_backward(network, inputs), inputs.device) for _ in range(12)]
print(json.dumps(times[7:]))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch_size", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    times: dict[str, list[float]] = {}
    for _ in range(asked.rounds):
        for attention in ("none", "rga_sc"):
            for memory in ("returned", "kept"):
                command = [sys.executable, "-c", STEP, memory, attention, str(asked.batch_size)]
                output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
                times.setdefault(f"{attention}, {memory}", []).extend(json.loads(output.splitlines()[-1]))
    shown = Table(title=f"ResNet-50, 256x128, batch {asked.batch_size}: forward and backward, ms")
    for column in ("attention", "memory returned", "memory kept", "gain"):
        shown.add_column(column, justify="left" if column == "attention" else "right")
    for attention in ("none", "rga_sc"):
        returned, kept = (statistics.median(times[f"{attention}, {memory}"]) for memory in ("returned", "kept"))
        shown.add_row(attention, f"{returned:.0f}", f"{kept:.0f}", f"{returned / kept:.2f} x")
    Console(width=80).print(shown)
    if asked.json:
        asked.json.write_text(json.dumps(times))


if __name__ == "__main__":
    main()
