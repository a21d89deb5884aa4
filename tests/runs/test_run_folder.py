"""Run folders: their state, who works on them, and that a run which fails before its start leaves nothing."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from relattn.errors import InputError
from relattn.runs import run_folder
from relattn.runs.progress import progress, read_metrics
from relattn.runs.run_folder import RUN_VARIABLE, RunClaim, state_of


def claimed(parent: Path, name: str, *, exact: bool, monkeypatch: pytest.MonkeyPatch) -> RunClaim:
    """A new folder, claimed as another program would claim it."""
    monkeypatch.setenv(RUN_VARIABLE, "")
    claim = RunClaim()
    claim.new(parent, name, exact=exact)
    return claim


def test_a_run_has_one_state(tmp_path: Path) -> None:
    assert [state_of(tmp_path / "none"), state_of(tmp_path)] == ["waiting", "waiting"]
    (tmp_path / "config.yaml").touch()
    assert state_of(tmp_path) == "interrupted"
    descriptor = run_folder.lock(tmp_path)
    assert descriptor is not None
    assert run_folder.lock(tmp_path) is None
    (tmp_path / "failed.json").write_text("{}")
    assert state_of(tmp_path) == "running", "it failed before, and is tried again"
    os.close(descriptor)
    assert state_of(tmp_path) == "failed"
    for content in ('{"scores": {', "[]", "\0"):
        (tmp_path / "result.json").write_text(content)
        assert state_of(tmp_path) == "failed", "a result that is cut is none"
    (tmp_path / "result.json").write_text("{}")
    assert state_of(tmp_path) == "finished"


def test_folders_are_numbered_unless_their_name_is_the_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    claims = [claimed(tmp_path / "runs", "run", exact=False, monkeypatch=monkeypatch) for _ in range(3)]
    assert [claim.folder.name for claim in claims] == ["run", "run-2", "run-3"]
    taken = r"run exists\. Choose another --name\.$"
    with pytest.raises(InputError, match=taken):
        claimed(tmp_path / "runs", "run", exact=True, monkeypatch=monkeypatch)
    (tmp_path / "runs" / "run" / "checkpoints").mkdir()
    (tmp_path / "runs" / "run" / "checkpoints" / "last.ckpt").touch()
    with pytest.raises(InputError, match=r"leave --name out: --ckpt_path .*/run\.$"):
        claimed(tmp_path / "runs", "run", exact=True, monkeypatch=monkeypatch)
    monkeypatch.setenv(RUN_VARIABLE, str(claims[1].folder))
    assert RunClaim().new(tmp_path, "other", exact=True) == claims[1].folder, "processes of one run share its folder"
    with pytest.raises(InputError, match=r"cannot be made: Not a directory\. Choose --runs"):
        claimed(tmp_path / "runs" / "run" / "checkpoints" / "last.ckpt", "a", exact=False, monkeypatch=monkeypatch)


def test_one_process_works_on_a_run_and_another_one_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = claimed(tmp_path, "run", exact=True, monkeypatch=monkeypatch)
    assert os.environ[RUN_VARIABLE] == str(first.folder)
    before = [*tmp_path.rglob("*")]
    monkeypatch.setenv(RUN_VARIABLE, "")
    for _ in range(2):
        with pytest.raises(InputError, match=r"Another process is working on .*/run: wait for it, or stop it\."):
            RunClaim().existing(tmp_path / "run")
    assert [*tmp_path.rglob("*")] == before, "a lock is no file"
    first.started = True
    first.release()
    assert RunClaim().existing(tmp_path / "run") == tmp_path / "run"


def test_a_lock_ends_with_the_last_process_that_has_it(tmp_path: Path) -> None:
    descriptor = run_folder.lock(tmp_path)
    assert descriptor is not None
    program = [sys.executable, "-c", "input()"]
    child = subprocess.Popen(program, stdin=subprocess.PIPE, pass_fds=(descriptor,))
    os.close(descriptor)
    assert run_folder.is_locked(tmp_path), "a run outlives the sweep that started it"
    child.kill()
    child.wait()
    assert not run_folder.is_locked(tmp_path)


def test_a_run_that_does_not_start_leaves_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "runs" / "other").mkdir(parents=True)
    claim = claimed(tmp_path / "runs" / "reid", "new/deep", exact=True, monkeypatch=monkeypatch)
    assert (tmp_path / "runs" / "reid" / "new" / "deep").is_dir()
    claim.release()
    assert [path.name for path in tmp_path.rglob("*")] == ["runs", "other"]
    assert os.environ[RUN_VARIABLE] == ""
    for started, file in ((True, None), (False, "log.txt")):  # something else may have written there
        claim = claimed(tmp_path / "runs", f"kept-{started}", exact=True, monkeypatch=monkeypatch)
        claim.started = started
        if file is not None:
            (claim.folder / file).touch()
        claim.release()
        assert claim.folder.is_dir()


def test_runs_are_found_once_and_tests_in_them_are_none(tmp_path: Path) -> None:
    for place in ("a/x", "a/x/test", "b/y"):
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "config.yaml").touch()
        (tmp_path / place / "run.json").touch()
    (tmp_path / "link").symlink_to(tmp_path / "b")
    found = run_folder.run_folders([tmp_path / "a", tmp_path / "b", tmp_path / "link", tmp_path / "a" / "x"])
    assert [path.relative_to(tmp_path) for path in found] == [Path("a/x"), Path("b/y")]


def test_a_file_of_a_common_name_hides_no_runs_below_it(tmp_path: Path) -> None:
    for file in ("config.yaml", "a/config.yaml", "a/run.json", "a/test/config.yaml", "b/config.yaml"):
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).touch()
    found = [path.relative_to(tmp_path) for path in run_folder.run_folders([tmp_path])]
    assert found == [Path(), Path("a"), Path("b")]


def test_progress_is_read_from_metrics_that_are_being_written(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text("epoch,step,train/loss,val/score\n0,9,2,1.5\n1,19,1,2.5\n2,29,0.5,3.")
    (tmp_path / "config.yaml").write_text("trainer:\n  max_epochs: 8\n")
    assert [row.get("val/score") for row in read_metrics(tmp_path)] == [1.5, 2.5, 3.0]
    found = progress(tmp_path)
    assert (found.state, found.epoch, found.epochs, found.score, found.fraction) == ("interrupted", 3, 8, 3.0, 3 / 8)
    (tmp_path / "config.yaml").write_text("trainer:\n  max_epochs: null\n  max_steps: 60\n")
    assert (progress(tmp_path).epochs, progress(tmp_path).fraction) == (None, 0.5)
    scores = {"val/score": 3.0, "test/score": 2.0}
    (tmp_path / "result.json").write_text(json.dumps({"scores": scores, "epochs": 7}))
    found = progress(tmp_path)
    assert (found.state, found.epoch, found.score, found.fraction) == ("finished", 7, 2.0, 1.0)
