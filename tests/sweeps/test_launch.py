"""Sweeps run, skip, resume and fail; whatever happens, no finished result is lost."""

import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from sweep_files import planned

from relattn.cli.main import run
from relattn.cli.sweep import point_of
from relattn.errors import InputError
from relattn.runs import run_folder
from relattn.sweeps import grid
from relattn.sweeps.live import duration
from relattn.sweeps.local import Local
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


def folder_of(name: str) -> Path:
    (folder,) = PLACE.glob(f"{name}-*")
    return folder


def states() -> list[str]:
    """The states of the runs that have a folder, by name in order."""
    return [run_folder.state_of(folder) for folder in sorted(PLACE.glob("*-s*"))]


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


def test_a_sweep_runs_everything_once(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["sweep", str(file), "--jobs", "3"]) == 0
    assert states() == ["finished"] * 6
    first = starts()
    assert set(first.values()) == {1}
    printed = capsys.readouterr().out
    assert "6 of 6 runs finished" in printed
    assert "paper 91.5" in printed
    assert run(["sweep", str(file)]) == 0
    assert starts() == first
    described = json.loads((folder_of("se-s1") / "sweep.json").read_text())
    assert described["parameters"] == {"attention": "se", "seed_everything": 1}
    assert "$ " in (folder_of("se-s1") / "log.txt").read_text()


def test_a_failure_is_told_and_tried_again(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FAKE_FAILS", "se")
    assert run(["sweep", str(file), "--jobs", "2"]) == 1
    assert sorted(states()) == ["failed"] * 2 + ["finished"] * 4
    record = run_folder.read_json(folder_of("se-s0") / "failed.json")
    assert record is not None
    assert (record["exit"], record["log"][-1]) == (1, "this network explodes")
    assert "this network explodes" in capsys.readouterr().out
    monkeypatch.delenv("FAKE_FAILS")
    assert run(["sweep", str(file), "--jobs", "2"]) == 0
    assert sorted(starts().values()) == [1, 1, 1, 1, 2, 2]


def test_a_program_that_is_not_there_fails(file: Path) -> None:
    file.write_text(file.read_text().replace("${interpreter}", "/there/is/no/such"))
    assert run(["sweep", str(file), "--set", "attention=se", "--set", "seed_everything=0"]) == 1


@pytest.mark.slow
def test_a_killed_sweep_goes_on_to_the_same_table(file: Path, tmp_path: Path) -> None:
    assert run(["sweep", str(file), "--runs", "undisturbed"]) == 0
    hold = tmp_path / "hold"
    process = sweep_process(file, FAKE_HOLD=str(hold))
    wait_until(lambda: states().count("finished") >= 2)
    hold.touch()
    wait_until(lambda: "running" in states() and len(starts()) > states().count("finished"))
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = {path.parent.name: path.read_bytes() for path in PLACE.glob("*/result.json")}
    assert 2 <= len(before) < 6
    assert "running" in states(), "its process goes on, and holds its folder"
    second = sweep_process(file)
    time.sleep(0.5)
    hold.unlink()
    assert second.wait(30) == 0
    assert states() == ["finished"] * 6
    assert set(starts().values()) == {1}, "what was running was waited for, and nothing was run twice"
    for name, content in before.items():
        assert (PLACE / name / "result.json").read_bytes() == content
    for place, output in (("undisturbed/fake", "one"), (str(PLACE), "two")):
        assert run(["report", place, "--out", output]) == 0
    assert Path("one/fake.csv").read_text() == Path("two/fake.csv").read_text()


@pytest.mark.slow
def test_an_interrupted_sweep_stops_its_runs(file: Path, tmp_path: Path) -> None:
    hold = tmp_path / "hold"
    hold.touch()
    process = sweep_process(file, FAKE_HOLD=str(hold))
    wait_until(lambda: bool(starts()) and "running" in states())
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 130
    assert b"the same command resumes it" in output
    assert states()[0] == "interrupted"
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


def test_an_agent_takes_the_values_of_a_grid_that_set_adds(file: Path) -> None:
    sweep = grid.load(file, grid.parse_overrides(["rate=[0.1, 0.01]"]))
    given = ["--attention=nl", "--seed_everything=1", "--rate=0.01"]
    assert point_of(sweep, given)["rate"] == 0.01
    with pytest.raises(InputError, match=r"--run: rate is '0\.5'"):
        point_of(sweep, [*given[:2], "--rate=0.5"])


def test_an_interrupted_run_goes_on_from_a_whole_checkpoint(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    (folder / "checkpoints").mkdir(parents=True)
    last, previous = folder / "checkpoints" / "last.ckpt", folder / "checkpoints" / "previous.ckpt"
    last.write_bytes(b"PK half a checkpoint")
    fit = ["relattn", "fit", "--task=reid"]
    assert command_of(fit, folder)[3:] == ["relattn", "fit", "--task=reid"]
    with zipfile.ZipFile(previous, "w") as archive:
        archive.writestr("data", "whole")
    assert command_of(fit, folder)[4:] == ["fit", "--task=reid", f"--ckpt_path={previous}"]
    previous.rename(last)
    assert command_of(fit, folder)[4:] == ["fit", "--task=reid", f"--ckpt_path={last}"]
    assert command_of(["relattn", "test", "--a"], folder)[4:] == ["test", "--a"]
    assert command_of(["other", "--a"], folder) == ["other", "--a"]
    assert run_folder.state_of(folder) == "interrupted"
    (folder / "result.json").write_text('{"scores": {')
    assert run_folder.state_of(folder) == "interrupted", "a result that is cut is none"


def test_two_sweeps_are_one_plan(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = file.with_name("other.yaml")
    other.write_text(file.read_text().replace("name: fake", "name: other"))
    both = ["sweep", str(file), str(other), "--set", "seed_everything=0"]
    assert run([*both, "--dry_run"]) == 0
    assert "6 runs, 3 of them distinct" in capsys.readouterr().out
    assert run([*both, "--jobs", "3"]) == 0
    assert len(list(Path("runs/sweeps").glob("*/*/result.json"))) == 3
    assert capsys.readouterr().out.count("paper 91.5") == 2, "both tables are filled"
    assert written_report("other") == written_report("fake")


def written_report(name: str) -> str:
    """The CSV table of a sweep, from its own folder alone."""
    assert run(["report", f"runs/sweeps/{name}", "--out", name]) == 0
    return (Path(name) / f"{name}.csv").read_text()


def test_a_test_that_follows_a_run_is_started_by_the_sweep(file: Path) -> None:
    content = yaml.safe_load(file.read_text())
    content["table"]["scores"]["R1, train"] = {"metric": "test/rank1", "test": {"data.test_split": "train"}}
    file.write_text(yaml.safe_dump(content, sort_keys=False))
    (run_of_se,) = planned(file, {"attention": "se", "seed_everything": 0})
    test = replace(run_of_se.tests[0], command=[sys.executable, str(FAKE), "--split=train"])
    Local().launch([replace(run_of_se, tests=(test,))], lambda seen: None)
    folder = run_of_se.folder
    assert run_folder.has_result(folder / "test-train")
    assert (folder / "test-train" / "starts.txt").is_file()
    assert replace(run_of_se, tests=(test,)).state == "finished"
    (folder / "test-train" / "result.json").unlink()
    assert run_of_se.state == "interrupted", "the table needs its test too"


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
    assert states() == ["finished"] * 6
