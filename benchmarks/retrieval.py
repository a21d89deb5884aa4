"""Time and memory of scoring a retrieval, compared with a full argsort, torchreid's compiled code and products alone.

    python benchmarks/retrieval.py                   # Market-1501's size
    python benchmarks/retrieval.py --size msmt17     # MSMT17's: many minutes with the argsort
    python benchmarks/retrieval.py --size million --dimensions 512   # 1,000 queries; scoring and products only

Features are synthetic: a centre for each identity plus noise, so that matches rank as they do in practice. These take
turns:

    scoring      `relattn.metrics.retrieval`, from features to CMC, both mAPs, mINP and TPR at three FPRs
    full argsort the whole matrix, its `numpy.argsort`, and mAP and CMC from each query's ranking, as in public
                 re-identification code on a CPU
    torchreid    the whole matrix and torchreid's compiled `evaluate_cy`, if torchreid is installed
    products     query x gallery, in the same chunks as the scoring, and nothing else

Memory is the growth of the process's peak beyond the features; each measurement is a process of its own.
"""

import argparse
import importlib
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from claims import parser, report

from relattn.cli.memory import keep_freed_memory
from relattn.costs.side_by_side import Claim, Side, seconds, take_turns
from relattn.metrics import FeatureDistances
from relattn.metrics.ranks import Labels, chunk_rows, chunks
from relattn.metrics.retrieval import retrieval

SIZES = {
    "quick": (60, 300, 20, 4),
    "cuhk03": (1_400, 5_332, 700, 2),
    "market1501": (3_368, 15_913, 750, 6),
    "msmt17": (11_659, 82_161, 3_060, 15),
    "million": (1_000, 1_000_000, 100_000, 50),
}
"""Numbers of queries, gallery images, identities and cameras."""

Features = tuple[torch.Tensor, Labels, torch.Tensor, Labels]


def synthetic(size: str, dimensions: int) -> Features:
    """Make features and labels of queries and gallery."""
    queries, images, identities, cameras = SIZES[size]
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(identities, dimensions, generator=generator)

    def draw(count: int) -> tuple[torch.Tensor, Labels]:
        who = torch.arange(count) % identities
        features = torch.randn(count, dimensions, generator=generator).mul_(5).add_(centres[who])
        return features, Labels(who, torch.randint(cameras, (count,), generator=generator))

    return *draw(queries), *draw(images)


def scoring(query: torch.Tensor, whose: Labels, gallery: torch.Tensor, of: Labels) -> float:
    """Compute all scores, and return the mAP."""
    return retrieval(FeatureDistances(query, gallery), whose, of).mean_ap


def products(query: torch.Tensor, whose: Labels, gallery: torch.Tensor, of: Labels) -> None:
    """Compute the products of normalised features, chunk by chunk."""
    distances = FeatureDistances(query, gallery)
    buffer = torch.empty(chunk_rows(distances.shape), distances.shape[1])
    for start, stop in chunks(distances.shape):
        torch.mm(distances.query[start:stop], distances.gallery.T, out=buffer[: stop - start])


def matrix(query: torch.Tensor, gallery: torch.Tensor) -> np.ndarray:
    """Compute all cosine distances."""
    distances = FeatureDistances(query, gallery)
    return 1 - (distances.query @ distances.gallery.T).numpy()


def full_argsort(query: torch.Tensor, whose: Labels, gallery: torch.Tensor, of: Labels) -> float:
    """Compute the mAP by step, and the CMC, from each query's whole ranking."""
    order = np.argsort(matrix(query, gallery), axis=1)
    (identities, cameras), (who, where) = ([values.numpy() for values in labels[:2]] for labels in (of, whose))
    precisions, curve = [], np.zeros(50)
    for row, ranking in enumerate(order):
        same = identities[ranking] == who[row]
        kept = same[~(same & (cameras[ranking] == where[row]))]
        if not kept.any():
            continue
        hits = kept.cumsum()
        curve += np.minimum(hits[:50], 1)
        precisions.append(float((hits / np.arange(1, len(hits) + 1) * kept).sum() / kept.sum()))
    return 100 * float(np.mean(precisions))


def torchreid() -> Callable[..., float] | None:
    """Return torchreid's compiled scoring; None if torchreid is not installed or its extension not compiled."""
    for module in ("torchreid.reid.metrics.rank_cylib.rank_cy", "torchreid.metrics.rank_cylib.rank_cy"):
        try:
            return partial(compiled, importlib.import_module(module).evaluate_cy)
        except ImportError:
            continue
    return None


def compiled(
    evaluate: Callable[..., Any], query: torch.Tensor, whose: Labels, gallery: torch.Tensor, of: Labels
) -> float:
    """Compute the mAP with torchreid's extension, from the whole matrix of distances."""
    (who, where), (identities, cameras) = ([values.numpy() for values in labels] for labels in (whose, of))
    _, mean_ap = evaluate(matrix(query, gallery), who, identities, where, cameras, 50)
    return 100 * float(mean_ap)


def all_ways() -> dict[str, Callable[..., float | None]]:
    """The available ways to compare, ours first."""
    other = torchreid()
    extension = {} if other is None else {"torchreid": other}
    return {"scoring": scoring, "full argsort": full_argsort, **extension, "products": products}


def peak(what: str, size: str, dimensions: int) -> float:
    """Peak memory in MiB of a process that does only one of these."""
    command = [sys.executable, __file__, "--peak", what, "--size", size, "--dimensions", str(dimensions)]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(run.stdout)


def print_peak(asked: argparse.Namespace) -> None:
    features = synthetic(asked.size, asked.dimensions)
    ways = all_ways()
    if asked.peak in ways:
        ways[asked.peak](*features)
    status = Path("/proc/self/status").read_text()  # getrusage would return the parent's peak if that is higher
    print(int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) / 1024)


def main(arguments: list[str] | None = None) -> None:
    options = parser(__doc__, rounds=3)
    options.add_argument("--size", default="market1501", choices=SIZES)
    options.add_argument("--dimensions", type=int, default=2048)
    options.add_argument("--no_argsort", action="store_true", help="leave out the full argsort")
    options.add_argument("--peak", help=argparse.SUPPRESS)
    asked = options.parse_args(arguments)
    keep_freed_memory()
    if asked.peak:
        print_peak(asked)
        return
    if asked.quick:
        asked.size, asked.dimensions = "quick", 32
    features = synthetic(asked.size, asked.dimensions)
    ways = all_ways()
    if asked.no_argsort:
        del ways["full argsort"]
    notes = []
    if "torchreid" not in ways:
        notes.append("torchreid's compiled extension is not installed: skipped")
    scores: dict[str, float | None] = {}

    def measure(name: str) -> float:
        return seconds(lambda: scores.update({name: ways[name](*features)}))

    sides = take_turns({name: lambda name=name: measure(name) for name in ways}, rounds=asked.rounds, warmup=1)
    queries, images, identities, _ = SIZES[asked.size]
    sizes = {"queries": queries, "gallery": images, "identities": identities, "dimensions": asked.dimensions}
    sizes["mAP"] = scores["scoring"]
    grown = {}
    if not asked.quick:
        floor = peak("features", asked.size, asked.dimensions)
        grown = {name: peak(name, asked.size, asked.dimensions) - floor for name in ways if name != "products"}
    claims = []
    for other in ways:
        if other == "scoring":
            continue
        kind = "cost" if other == "products" else "gain"
        differ = None if kind == "cost" else abs(scores[other] - scores["scoring"]) / 100
        shared = {"kind": kind, "sizes": sizes, "difference": differ}
        claims.append(Claim(f"{asked.size}: time", sides["scoring"], sides[other], "s", **shared))
        if kind == "gain":  # beyond the distances, which both sides need
            one, two = (
                Side(name, tuple(a - b for a, b in zip(sides[name].values, sides["products"].values, strict=True)))
                for name in ("scoring", other)
            )
            if min(one.median, two.median) > 0:
                claims.append(Claim(f"{asked.size}: time beyond the products", one, two, "s", **shared))
            else:
                notes.append(f"{other}: time beyond the products is lost in the products' own spread")
        if kind == "gain" and grown:
            one, two = (Side(name, (grown[name],)) for name in ("scoring", other))
            claims.append(Claim(f"{asked.size}: memory beyond the features", one, two, "MiB", **shared))
    report("retrieval", asked, claims, notes=notes)


if __name__ == "__main__":
    main()
