"""Sweeps run, skip, resume and fail; whatever happens to them, nothing that has finished is lost."""

import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest
import yaml

from relattn.cli import catalogue
from relattn.cli.lightning.commands import RUN_VARIABLE
from relattn.cli.main import run
from relattn.runs import run_folder
from relattn.runs.progress import progress, read_metrics
from relattn.sweeps import grid
from relattn.sweeps.live import duration
from relattn.sweeps.run_process import command_of

FAKE = Path(__file__).with_name("fake_program.py")
PLACE = Path("runs/sweeps/fake")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A sweep of a program that pretends to train."""
    content = {
        "name": "fake",
        "method": "grid",
        "command": ["${interpreter}", str(FAKE), "${args}"],
        "parameters": {"attention": {"values": ["none", "se", "nl"]}, "seed_everything": {"values": [0, 1]}},
        "table": {
            "title": "Fake",
            "rows": "attention",
            "baseline": "none",
            "scores": {"R1": "test/rank1"},
            "published": {"A, Table 1": {"none": {"R1": 90.0}, "se": {"R1": 91.5}}},
        },
    }
    path = tmp_path / "fake.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


def starts() -> dict[str, int]:
    return {path.parent.name: len(path.read_text().splitlines()) for path in PLACE.glob("*/starts.txt")}


def statuses(file: Path) -> list[str]:
    return [run_folder.status(PLACE / planned.name) for planned in grid.load(file).plan(catalogue.conf())]


def sweep_process(file: Path, **environment: str) -> subprocess.Popen:
    def heed_interrupts() -> None:  # which a shell lets its background processes, and so what they start, ignore
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    return subprocess.Popen(
        [sys.executable, "-m", "relattn", "sweep", str(file)],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        preexec_fn=heed_interrupts,
    )


def wait_until(condition, seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it takes too long"
        time.sleep(0.02)


def test_the_variable_of_run_folders_is_the_trainers() -> None:
    assert run_folder.RUN_VARIABLE == RUN_VARIABLE


def test_a_sweep_runs_everything_once(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["sweep", str(file), "--jobs", "3"]) == 0
    assert statuses(file) == ["finished"] * 6
    first = starts()
    assert set(first.values()) == {1}
    printed = capsys.readouterr().out
    assert "6 of 6 runs finished" in printed
    assert "paper 91.5" in printed
    assert run(["sweep", str(file)]) == 0
    assert starts() == first
    described = json.loads((next(PLACE.glob("se-s1-*")) / "sweep.json").read_text())
    assert described["parameters"] == {"attention": "se", "seed_everything": 1}
    assert "$ " in (next(PLACE.glob("se-s1-*")) / "log.txt").read_text()


def test_a_failure_is_told_and_tried_again(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FAKE_FAILS", "se")
    assert run(["sweep", str(file), "--jobs", "2"]) == 1
    assert sorted(statuses(file)) == ["failed"] * 2 + ["finished"] * 4
    record = run_folder.read_json(next(PLACE.glob("se-s0-*")) / "failed.json")
    assert record is not None
    assert (record["exit"], record["log"][-1]) == (1, "this network explodes")
    assert "this network explodes" in capsys.readouterr().out
    monkeypatch.delenv("FAKE_FAILS")
    assert run(["sweep", str(file), "--jobs", "2"]) == 0
    assert sorted(starts().values()) == [1, 1, 1, 1, 2, 2]


def test_a_program_that_is_not_there_fails(file: Path) -> None:
    file.write_text(file.read_text().replace("${interpreter}", "/there/is/no/such"))
    assert run(["sweep", str(file), "--set", "attention=se", "--set", "seed_everything=0"]) == 1


def test_a_killed_sweep_goes_on_to_the_same_table(file: Path, tmp_path: Path) -> None:
    assert run(["sweep", str(file), "--runs", "undisturbed"]) == 0
    hold = tmp_path / "hold"
    process = sweep_process(file, FAKE_HOLD=str(hold))
    wait_until(lambda: statuses(file).count("finished") >= 2)
    hold.touch()
    wait_until(lambda: "running" in statuses(file) and len(starts()) > statuses(file).count("finished"))
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = {path.parent.name: path.read_bytes() for path in PLACE.glob("*/result.json")}
    assert 2 <= len(before) < 6
    assert "running" in statuses(file), "its process goes on, and holds its folder"
    second = sweep_process(file)
    time.sleep(0.5)
    hold.unlink()
    assert second.wait(30) == 0
    assert statuses(file) == ["finished"] * 6
    assert set(starts().values()) == {1}, "what was running was waited for, and nothing was run twice"
    for name, content in before.items():
        assert (PLACE / name / "result.json").read_bytes() == content
    for place, output in (("undisturbed/fake", "one"), (str(PLACE), "two")):
        assert run(["report", place, "--output", output]) == 0
    assert Path("one/fake.csv").read_text() == Path("two/fake.csv").read_text()


def test_an_interrupted_sweep_stops_its_runs(file: Path, tmp_path: Path) -> None:
    hold = tmp_path / "hold"
    hold.touch()
    process = sweep_process(file, FAKE_HOLD=str(hold))
    wait_until(lambda: bool(starts()) and "running" in statuses(file))
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 130
    assert b"the same command goes on" in output
    assert statuses(file)[0] == "interrupted"
    hold.unlink()
    assert run(["sweep", str(file), "--jobs", "3"]) == 0


def test_a_dry_run_lists_and_starts_nothing(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["sweep", str(file), "--dry-run", "--set", "attention=se"]) == 0
    printed = capsys.readouterr().out
    assert "--attention=se --seed_everything=1" in printed
    assert "2 runs" in printed
    assert not PLACE.exists()


def test_an_agent_of_wandb_starts_the_run_of_its_values(file: Path) -> None:
    arguments = ["sweep", str(file), "--run", "--attention=nl", "--seed_everything=1"]
    assert run(arguments) == run(arguments) == 0
    assert list(starts().values()) == [1]
    with pytest.raises(ValueError, match="attention is 'nn'"):
        run(["sweep", str(file), "--run", "--attention=nn", "--seed_everything=1"])


def test_an_interrupted_run_goes_on_from_a_whole_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(yaml.safe_dump({"method": "grid", "parameters": {"task": {"value": "reid"}}}))
    (planned,) = grid.load(path).plan()
    folder = tmp_path / planned.name
    (folder / "checkpoints").mkdir(parents=True)
    last = folder / "checkpoints" / "last.ckpt"
    last.write_bytes(b"PK half a checkpoint")
    assert command_of(planned, folder)[3:] == ["fit", "--task=reid"]
    with zipfile.ZipFile(last, "w") as archive:
        archive.writestr("data", "whole")
    assert command_of(planned, folder)[3:] == ["fit", "--task=reid", f"--ckpt_path={last}"]
    assert run_folder.status(folder) == "interrupted"
    (folder / "result.json").write_text('{"scores": {')
    assert run_folder.status(folder) == "interrupted", "a result that is cut is none"


def test_metrics_of_a_run_that_went_on_are_one_curve(tmp_path: Path) -> None:
    (tmp_path / "metrics-1.csv").write_text("epoch,step,val/score\n0,9,1.0\n1,19,2.0\n2,29,3.0\n")
    (tmp_path / "metrics.csv").write_text("epoch,step,val/score\n2,29,4.0\n3,39,")
    (tmp_path / "config.yaml").write_text("trainer:\n  max_epochs: 8\n")
    assert [row.get("val/score") for row in read_metrics(tmp_path)] == [1.0, 2.0, 4.0, None]
    assert progress(tmp_path).epochs == 8


def test_wrong_requests_are_refused(file: Path) -> None:
    for arguments, named in (
        (["nothing_like_it"], "There is no sweep"),
        (["missing.yaml"], "no such sweep file"),
        ([str(file), "--jobs", "0"], "--jobs"),
    ):
        with pytest.raises(ValueError, match=named):
            run(["sweep", *arguments])


def test_durations_are_for_people() -> None:
    assert [duration(seconds) for seconds in (None, 45, 720, 11100)] == ["", "45 s", "12 min", "3 h 05"]


@pytest.mark.slow
def test_a_sweep_through_ray(file: Path) -> None:
    pytest.importorskip("ray")
    assert run(["sweep", str(file), "--launcher", "ray"]) == 0
    assert statuses(file) == ["finished"] * 6
