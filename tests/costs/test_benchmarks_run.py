"""Every script of benchmarks/ runs, writes both sides, and compares two equivalent ways. Times are not tested."""

import importlib
import json
import logging
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import pytest
import torch
from torch import nn

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
SCRIPTS = sorted(
    file.stem
    for file in BENCHMARKS.glob("*.py")
    if file.stem not in ("claims", "evidence", "families", "gpu", "paper_tables", "run_all")
)

# By script: options that make it even quicker, the names of its sides, and the tolerance for claims of a gain.
QUICK: dict[str, tuple[list[str], set[str], float]] = {
    "rga": ([], {"rga_sc", "rga_sc, materialised", "resnet18 + rga_sc", "resnet18 + rga_sc, materialised"}, 1e-3),
    "stra": ([], {"stra", "stra, unfolded", "sasa", "sasa, unfolded"}, 1e-4),
    "attention_steps": (["--attention", "se", "stra"], {"resnet18", "resnet18 + se", "resnet18 + stra"}, 0),
    "retrieval": ([], {"scoring", "full argsort", "products"}, 1e-6),
    "verification": ([], {"all at once", "loops"}, 1e-9),
    "cifar_loop": ([], {"relattn under the Lightning trainer", "torchvision DataLoader, plain loop"}, 1e-5),
    "lightning_overhead": ([], {"Lightning trainer", "bare loop"}, 0),
    "data_pipelines": (
        ["--workers", "0", "1", "--rounds", "1"],
        {"0 workers", "1 worker", "cache", "linear resize", "reading and decoding alone"},
        0,
    ),
    "generated_data": (["--rounds", "1"], {"drawing and writing", "encoding and writing alone"}, 0),
    "start_up": ([], {"relattn --help", "relattn fit --help", "python -c pass"}, 0),
    "allocator": ([], {"memory kept", "memory returned"}, 0),
    "segmentation_memory": ([], {"pooled", "plain", "full", "full, materialised"}, 1e-4),
}
EACH_TIME = ("retrieval", "stra", "verification")  # each of the others takes seconds
UNCOMPARED = ("attention_steps", "start_up", "allocator")  # sides that do not compute the same


@pytest.fixture(autouse=True)
def as_it_was(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Scripts import each other as modules; process-wide settings that they make are undone."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    logger, threads = logging.getLogger("lightning.pytorch"), cv2.getNumThreads()
    level = logger.level
    yield
    logger.setLevel(level)
    cv2.setNumThreads(threads)
    for name in ("claims", "run_all", *SCRIPTS):
        sys.modules.pop(name, None)


def load(name: str) -> ModuleType:
    return importlib.import_module(name)


def written(script: str, out: Path, *more: str) -> dict[str, Any]:
    load(script).main(["--quick", "--rounds", "2", "--out", str(out), *more])
    return json.loads(out.read_text())


@pytest.mark.slow
def test_what_a_gpu_is_asked_for_works_on_a_cpu(capsys: pytest.CaptureFixture[str]) -> None:
    gpu = load("gpu")
    gpu.main(["--quick", "--device", "cpu", "--only", *gpu.PARTS])
    printed = capsys.readouterr().out
    assert "cifar: left out" in printed
    for part in ("modules", "compiled", "distributed", "rga"):
        assert f"\n{part} (" in f"\n{printed}"


def test_every_script_is_run_and_tested() -> None:
    assert sorted(load("run_all").SCRIPTS) == SCRIPTS == sorted(QUICK)


@pytest.mark.parametrize(
    "script", [name if name in EACH_TIME else pytest.param(name, marks=pytest.mark.slow) for name in sorted(QUICK)]
)
def test_a_script_writes_both_sides_and_their_ratio(
    script: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more, names, tolerance = QUICK[script]
    content = written(script, tmp_path / "deep" / "claims.json", *more)
    assert content["benchmark"] == script
    assert content["options"]["quick"] is True
    assert {"device", "processor", "threads", "torch", "date"} <= content["machine"].keys()
    assert names <= {claim[side]["name"] for claim in content["claims"] for side in ("ours", "other")}
    for claim in content["claims"]:
        ours, other = (claim[side] for side in ("ours", "other"))
        assert ours["median"] == statistics.median(ours["values"]), claim["claim"]
        assert ours["median"] > 0, claim["claim"]
        assert claim["ratio"] in (
            pytest.approx(ours["median"] / other["median"]),
            pytest.approx(other["median"] / ours["median"]),
        )
    differences = [claim["difference"] for claim in content["claims"] if claim["difference"] is not None]
    assert bool(differences) == (script not in UNCOMPARED)
    assert all(0 <= found <= tolerance for found in differences)
    assert f"{script}: {content['claims'][0]['claim']}" in " ".join(capsys.readouterr().out.split())


def test_a_slow_form_that_computes_something_else_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from relattn.costs import unfolded

    def wrong(network: nn.Module) -> nn.Module:
        other = type(network)(64, size=(8, 4))
        with torch.no_grad():
            for parameter in other.parameters():
                parameter.add_(1)
        return other

    monkeypatch.setattr(unfolded, "unfolded", wrong)
    content = written("stra", tmp_path / "stra.json")
    assert all(claim["difference"] > 0.01 for claim in content["claims"])


@pytest.mark.slow
def test_loops_that_score_differently_are_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = load("verification")
    right = script.loops
    monkeypatch.setattr(script, "loops", lambda distances, same: right(distances + 0.2, same))
    (claim,) = written("verification", tmp_path / "verification.json")["claims"]
    assert claim["difference"] > 0.1


def test_memory_of_a_retrieval_is_that_of_a_process(capsys: pytest.CaptureFixture[str]) -> None:
    load("retrieval").main(["--peak", "scoring", "--size", "quick", "--dimensions", "32"])
    assert float(capsys.readouterr().out) > 50  # MiB


def test_quick_numbers_are_not_written_over_measured_ones(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(load("claims"), "RESULTS", tmp_path)
    load("stra").main(["--quick", "--rounds", "1"])
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_networks_in_processes_of_their_own_take_turns(tmp_path: Path) -> None:
    from relattn.cli.costs import measure

    arguments = "--backbone resnet20 --attention none rga_sc --batch_size 2 --rounds 2 --warmup 1 --apart 2"
    plain, ours, slow = measure(arguments.split())
    assert [cost.name for cost in (plain, ours, slow)] == [
        "resnet20",
        "resnet20 + rga_sc",
        f"{ours.name}, materialised",
    ]
    assert all(len(cost.times) == 4 for cost in (plain, ours, slow))
    assert slow.difference is not None
    assert slow.difference < 1e-3
    assert ours.peak_bytes < slow.peak_bytes


# --- All of them ------------------------------------------------------------------------------------------------------

GOOD = """
import json, sys
from pathlib import Path
claim = {"claim": "it is faster", "reading": "2.00 x faster", "difference": 0.0}
Path(sys.argv[2]).write_text(json.dumps({"claims": [claim], "machine": {"device": "a machine"}}))
"""


@pytest.fixture
def few(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    run_all = load("run_all")
    (tmp_path / "good.py").write_text(GOOD)
    (tmp_path / "bad.py").write_text("raise SystemExit(3)")
    monkeypatch.setattr(run_all, "HERE", tmp_path)
    monkeypatch.setattr(run_all, "SCRIPTS", ("bad", "good"))
    (tmp_path / "results").mkdir()
    return run_all


def test_a_failing_script_stops_no_other_and_is_told(few: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert few.main([]) == 1
    shown = capsys.readouterr().out
    assert "failed with status 3" in shown
    assert "it is faster" in shown
    assert "2.00 x faster" in shown
    assert "1 of 2 benchmarks" in shown
    assert few.main(["--only", "good"]) == 0


def test_what_the_time_does_not_suffice_for_is_told(few: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert few.main(["--minutes", "0"]) == 1
    assert "not run" in capsys.readouterr().out
