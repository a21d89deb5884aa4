"""Folders of runs are taken by one run each, and left as they were by a run that does not start."""

from pathlib import Path

import pytest

from relattn.errors import InputError
from relattn.runs.run_folder import RunClaim, state_of


def test_folders_are_numbered_unless_they_are_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    claims = []

    def claim(*, exact: bool) -> str:
        monkeypatch.setenv("RELATTN_RUN", "")
        claims.append(RunClaim())
        return claims[-1].new(tmp_path, "run", exact=exact).name

    assert [claim(exact=False) for _ in range(3)] == ["run", "run-2", "run-3"]
    assert state_of(tmp_path / "run") == "running"
    with pytest.raises(InputError, match=r"run exists\. Choose another --name\.$"):
        claim(exact=True)
    (tmp_path / "run" / "checkpoints").mkdir()
    (tmp_path / "run" / "checkpoints" / "last.ckpt").touch()
    with pytest.raises(InputError, match=r"It can be gone on with: --ckpt_path .*run\."):
        claim(exact=True)
    monkeypatch.setenv("RELATTN_RUN", "")
    first = RunClaim()
    folder = first.new(tmp_path, "other", exact=True)
    assert RunClaim().new(tmp_path, "another", exact=True) == folder, "the processes of one run share its folder"
    monkeypatch.setenv("RELATTN_RUN", "")
    with pytest.raises(InputError, match="Another process works on"):
        RunClaim().existing(folder)


def test_a_run_that_does_not_start_leaves_nothing(tmp_path: Path) -> None:
    claim = RunClaim()
    folder = claim.new(tmp_path / "runs" / "reid", "one", exact=True)
    assert folder.is_dir()
    claim.release()
    assert list(tmp_path.iterdir()) == []
    claim = RunClaim()
    folder = claim.new(tmp_path / "runs" / "reid", "one", exact=True)
    claim.started = True
    claim.release()
    assert folder.is_dir()
    assert state_of(folder) == "waiting"
