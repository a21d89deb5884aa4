"""Two implementations of the same task, measured in turns: medians and spreads, their ratio, and the environment."""

import platform
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import torch

from relattn.cores import available_cores

LIBRARIES = ("relattn", "torch", "torchvision", "lightning", "timm", "numpy", "opencv-python-headless")
"""Packages that a measurement may depend on; their versions are recorded with it."""


@dataclass(frozen=True)
class Side:
    """One of two implementations, as measured.

    Attributes:
        name: Its name.
        values: One value per round, in order.
    """

    name: str
    values: tuple[float, ...]

    @property
    def median(self) -> float:
        """The median of the values, which represents the side."""
        return statistics.median(self.values)

    @property
    def lowest(self) -> float:
        """The smallest value of a round."""
        return min(self.values)

    @property
    def highest(self) -> float:
        """The largest value of a round."""
        return max(self.values)

    def as_json(self) -> dict[str, Any]:
        """The values with the statistics computed from them."""
        spread = {"median": self.median, "lowest": self.lowest, "highest": self.highest}
        return {"name": self.name, **spread, "values": list(self.values)}


@dataclass(frozen=True)
class Claim:
    """A claim about one implementation relative to another.

    Attributes:
        what: The claim's name.
        ours: The suite's implementation.
        other: The implementation that it is compared with.
        unit: Unit of both sides; for rates (`images / s`) higher is better, for everything else lower.
        kind: `gain`: ours does the same, and the ratio says how much better. `cost`: ours does more, and the ratio says
            at what cost.
        sizes: Sizes at which it was measured.
        difference: If both sides compute the same: the largest difference between their results, relative to the
            largest result.
    """

    what: str
    ours: Side
    other: Side
    unit: str
    kind: Literal["gain", "cost"] = "gain"
    sizes: Mapping[str, Any] = field(default_factory=dict)
    difference: float | None = None

    @property
    def ratio(self) -> float:
        """How many times better ours is; for a cost, how many times more it takes than the other side."""
        rate = self.unit.endswith("/ s")
        upside_down = rate == (self.kind == "gain")
        above, below = (self.ours, self.other) if upside_down else (self.other, self.ours)
        return above.median / below.median

    @property
    def reading(self) -> str:
        """The ratio in words."""
        if self.kind == "cost":
            return f"{100 * (self.ratio - 1):+.1f} %" if self.ratio < 1.1 else f"costs {self.ratio:.2f} x"
        better, worse = ("faster", "slower") if self.unit.endswith("s") else ("less", "more")
        return f"{self.ratio:.2f} x {better}" if self.ratio >= 1 else f"{1 / self.ratio:.2f} x {worse}"

    def as_json(self) -> dict[str, Any]:
        """The claim as plain values."""
        return {
            "claim": self.what,
            "kind": self.kind,
            "unit": self.unit,
            "ratio": self.ratio,
            "reading": self.reading,
            "ours": self.ours.as_json(),
            "other": self.other.as_json(),
            "sizes": dict(self.sizes),
            "difference": self.difference,
        }


def take_turns(sides: Mapping[str, Callable[[], float]], *, rounds: int, warmup: int = 0) -> dict[str, Side]:
    """Measure each side once per round, so that changes in the machine's load affect all sides.

    Args:
        sides: Functions that measure a side once, by name; each returns a time, a rate or a size.
        rounds: Number of rounds that count.
        warmup: Number of rounds before them.

    Returns:
        Each side by its name, with one value per round.
    """
    values: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(warmup + rounds):
        for name, measure in sides.items():
            value = measure()
            if turn >= warmup:
                values[name].append(value)
    return {name: Side(name, tuple(found)) for name, found in values.items()}


def synchronize(device: torch.device) -> None:
    """Wait until a GPU has finished its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds(step: Callable[[], Any], device: torch.device | None = None) -> float:
    """Seconds of one step, including the asynchronous work of the device."""
    if device is not None:
        synchronize(device)
    start = time.perf_counter()
    step()
    if device is not None:
        synchronize(device)
    return time.perf_counter() - start


def environment(device: torch.device | str = "cpu") -> dict[str, Any]:
    """The machine, software and time of a measurement."""
    chosen = torch.device(device)
    versions = {}
    for library in LIBRARIES:
        try:
            versions[library] = metadata.version(library)
        except metadata.PackageNotFoundError:
            continue
    threads = f"{torch.get_num_threads()} CPU threads"
    return {
        "device": torch.cuda.get_device_name(chosen) if chosen.type == "cuda" else threads,
        "processor": processor(),
        "cores": available_cores(),
        "threads": torch.get_num_threads(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        **versions,
        "date": datetime.now().astimezone().isoformat(timespec="seconds"),
    }


def processor() -> str:
    """The processor's name."""
    information = Path("/proc/cpuinfo")
    if information.is_file():
        for line in information.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def difference(ours: torch.Tensor, other: torch.Tensor) -> float:
    """The largest difference between two results, relative to the largest magnitude of the second."""
    scale = other.detach().abs().max().item()
    return (ours.detach() - other.detach()).abs().max().item() / (scale or 1.0)
