"""The workspace on W&B: its definition, and what is said where it cannot be made."""

import json
from pathlib import Path
from typing import Any

import pytest
from small_runs import result

from relattn.cli import dashboard
from relattn.cli.main import run
from relattn.errors import InputError
from relattn.runs.wandb_logging import COSTS

SECTIONS = dashboard.sections_of(dashboard.tasks_of_recipes())


def test_without_an_account_it_says_how(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setattr(Path, "home", Path.cwd)
    with pytest.raises(InputError, match=r"(?s)wandb login.*relattn dashboard --project mine.*--dry_run"):
        run(["dashboard", "--project", "mine"])


def test_offline_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    with pytest.raises(InputError, match="WANDB_MODE is offline"):
        run(["dashboard"])


def test_without_the_package_it_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setattr(dashboard, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="pip install wandb-workspaces"):
        run(["dashboard"])


def test_a_dry_run_shows_what_would_be_made(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["dashboard", "--dry_run", "--group", "rga_table1"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["name"], shown["group"]) == ("relattn rga_table1", "rga_table1")
    assert [section["name"] for section in shown["sections"]][:2] == ["All tasks", "Training"]


def test_the_workspace_has_every_panel(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    workspaces = pytest.importorskip("wandb_workspaces.workspaces")
    saved: list[Any] = []
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setattr(workspaces.Workspace, "save", lambda made: saved.append(made))
    monkeypatch.setattr(workspaces.Workspace, "url", "https://wandb.ai/us/suite")
    assert run(["dashboard", "--entity", "us", "--project", "suite", "--group", "rga_table1"]) == 0
    assert capsys.readouterr().out == "workspace: https://wandb.ai/us/suite\n"
    (made,) = saved
    sections = made._to_model().spec.section.panel_bank_config.sections
    kinds = {section.name: [panel.view_type for panel in section.panels] for section in sections}
    assert kinds["All tasks"] == ["Bar Chart", "Run History Line Plot"]
    assert kinds["Cost"] == ["Scatter Plot"] * 3
    assert kinds["Pictures"] == ["Media Browser"]
    assert list(kinds) == [section.name for section in SECTIONS]
    runs = made._to_model().spec.section.run_sets[0].model_dump(by_alias=True)
    assert [key["name"] for key in runs["grouping"]] == ["run.value.task", "run.value.backbone", "run.value.attention"]
    assert "rga_table1" in json.dumps(runs["filters"])


@pytest.mark.parametrize("task", ["classification", "reid", "segmentation", "face"])
def test_metrics_are_those_that_a_run_logs(task: str, request: pytest.FixtureRequest) -> None:
    run_folder = request.getfixturevalue(f"{task}_run")
    logged = result(run_folder)["scores"].keys() | (run_folder / "metrics.csv").read_text().splitlines()[0].split(",")
    left_out = {"accuracy/cplfw", "accuracy/calfw", "accuracy/agedb_30"}  # by the small run
    (section,) = (section for section in SECTIONS if section.name == task)
    metrics = {metric.partition("/")[2] for panel in section.panels for metric in panel.metrics}
    assert {f"test/{metric}" for metric in metrics - left_out} <= logged
    (all_tasks, training, cost) = SECTIONS[:3]
    assert {metric for panel in all_tasks.panels for metric in panel.metrics} <= logged | {"val/score"}
    assert {metric for panel in cost.panels for metric in panel.metrics} <= {*COSTS, "test/score"}
    of_training = {metric for panel in training.panels for metric in panel.metrics}
    assert {name for name in logged if name.startswith("train/")} <= of_training
    assert {"train/loss", "lr"} <= of_training & logged
