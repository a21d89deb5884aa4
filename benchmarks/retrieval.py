"""Time and memory of scoring a retrieval, beside the distance products alone and beside a full argsort, in one run.

    python benchmarks/retrieval.py                    # Market-1501's size, with the argsort
    python benchmarks/retrieval.py --sizes msmt17     # MSMT17's size: half a minute on two cores

Features are synthetic: a centre for each identity and noise, so that matches rank as they do in practice. The three
take turns; what is timed is

    products     query x gallery, in the chunks that the scoring uses, and nothing else
    scoring      `relattn.metrics.retrieval`, from features to CMC, both mAPs, mINP and TPR at three FPRs
    full argsort the whole matrix, `numpy.argsort` of it, and the same scores from each query's ranking, as public
                 re-identification code does it on a CPU (without its compiled extension)

Memory is what the process's peak grows by beyond the features, each in a process of its own.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from relattn.cli.memory import keep_freed_memory
from relattn.metrics import FeatureDistances
from relattn.metrics.ranks import Labels, chunk_rows, chunks
from relattn.metrics.retrieval import retrieval

SIZES = {"cuhk03": (1_400, 5_332, 700, 2), "market1501": (3_368, 15_913, 750, 6), "msmt17": (11_659, 82_161, 3_060, 15)}
"""Queries, gallery images, identities, cameras."""


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", nargs="+", default=["market1501"], choices=SIZES)
    parser.add_argument("--dimensions", type=int, default=2048)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--no_argsort", action="store_true", help="leave out the full argsort")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--peak", choices=["products", "scoring", "argsort", "features"], help=argparse.SUPPRESS)
    return parser.parse_args()


def synthetic(size: str, dimensions: int) -> tuple[torch.Tensor, Labels, torch.Tensor, Labels]:
    """Features and labels of queries and gallery."""
    queries, images, identities, cameras = SIZES[size]
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(identities, dimensions, generator=generator)

    def draw(count: int) -> tuple[torch.Tensor, Labels]:
        who = torch.arange(count) % identities
        features = torch.randn(count, dimensions, generator=generator).mul_(5).add_(centres[who])
        return features, Labels(who, torch.randint(cameras, (count,), generator=generator))

    return *draw(queries), *draw(images)


def products(distances: FeatureDistances) -> None:
    buffer = torch.empty(chunk_rows(distances.shape), distances.shape[1])
    for start, stop in chunks(distances.shape):
        torch.mm(distances.query[start:stop], distances.gallery.T, out=buffer[: stop - start])


def full_argsort(query: torch.Tensor, whose: Labels, gallery: torch.Tensor, of: Labels) -> float:
    """The mAP by step, and the CMC, from each query's whole ranking."""
    matrix = 1 - (query @ gallery.T).numpy()
    order = np.argsort(matrix, axis=1)
    (identities, cameras), (who, where) = ([values.numpy() for values in labels] for labels in (of, whose))
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


def main() -> None:
    asked = options()
    keep_freed_memory()
    if asked.peak:
        print(peak(asked))
        return
    console, measured = Console(width=110), {}
    for size in asked.sizes:
        query, whose, gallery, of = synthetic(size, asked.dimensions)
        distances = FeatureDistances(query, gallery)
        runs = {
            "products": lambda distances=distances: products(distances),
            "scoring": lambda query=query, gallery=gallery, whose=whose, of=of: retrieval(
                FeatureDistances(query, gallery), whose, of
            ),
        }
        if not asked.no_argsort:
            runs["full argsort"] = lambda distances=distances, whose=whose, of=of: full_argsort(
                distances.query, whose, distances.gallery, of
            )
        seconds: dict[str, list[float]] = {name: [] for name in runs}
        results = {}
        for turn in range(asked.rounds + 1):
            for name, function in runs.items():
                start = time.perf_counter()
                results[name] = function()
                if turn:  # the first round warms up
                    seconds[name].append(time.perf_counter() - start)
        scores = results["scoring"]
        if "full argsort" in results and abs(results["full argsort"] - scores.mean_ap) > 1e-3:
            raise SystemExit(f"The two disagree: mAP {scores.mean_ap} and {results['full argsort']}.")
        medians = {name: statistics.median(values) for name, values in seconds.items()}
        del query, gallery, distances, runs
        memory = {name: float(measure_peak(size, asked, name.split()[-1])) for name in ("features", *medians)}
        table = Table(
            title=f"{size}: {SIZES[size][0]:,} x {SIZES[size][1]:,}, {asked.dimensions}-d, mAP {scores.mean_ap:.2f}"
        )
        for column in (
            "",
            "seconds",
            "times the products",
            "beyond the products, s",
            "memory beyond the features, MiB",
        ):
            table.add_column(column, justify="right" if column else "left")
        for name, value in medians.items():
            beyond = value - medians["products"]
            grown = memory[name] - memory["features"]
            table.add_row(name, f"{value:.2f}", f"{value / medians['products']:.2f}", f"{beyond:.2f}", f"{grown:,.0f}")
        console.print(table)
        measured[size] = {"seconds": seconds, "peak_mib": memory, "mAP": scores.mean_ap}
    if asked.json:
        machine = {"device": f"{torch.get_num_threads()} CPU threads", "torch": torch.__version__}
        asked.json.write_text(
            json.dumps({"dimensions": asked.dimensions, "machine": machine, "sizes": measured}, indent=1)
        )


def measure_peak(size: str, asked: argparse.Namespace, what: str) -> str:
    """Peak memory in MiB of a process that does one thing."""
    arguments = ["--sizes", size, "--dimensions", str(asked.dimensions), "--peak", what]
    run = subprocess.run([sys.executable, __file__, *arguments], capture_output=True, text=True, check=True)
    return run.stdout


def peak(asked: argparse.Namespace) -> float:
    query, whose, gallery, of = synthetic(asked.sizes[0], asked.dimensions)
    if asked.peak == "products":
        products(FeatureDistances(query, gallery))
    elif asked.peak == "scoring":
        retrieval(FeatureDistances(query, gallery), whose, of)
    elif asked.peak == "argsort":
        full_argsort(query, whose, gallery, of)
    status = Path("/proc/self/status").read_text()  # getrusage would give the parent's peak if that is higher
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) / 1024


if __name__ == "__main__":
    main()
