"""The W&B workspace: its definition, and what is reported if it cannot be created."""

import json
from pathlib import Path
from typing import Any

import pytest
from jsonargparse import Namespace
from small_runs import result
from sweep_files import planned

from relattn.cli import catalogue, dashboard
from relattn.cli.main import run
from relattn.errors import InputError
from relattn.runs import wandb_logging
from relattn.runs.wandb_logging import COSTS
from relattn.sweeps import grid
from relattn.sweeps.layout import label_of, layout_of, scores_of

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
    with pytest.raises(InputError, match=r"pip install '\.\[dashboard\]'"):
        run(["dashboard"])


def test_a_dry_run_shows_what_would_be_made(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["dashboard", "--dry_run", "rga_table1"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["name"], shown["group"]) == ("relattn rga_table1", "rga_table1")
    first, second, *_ = shown["sections"]
    assert [panel["title"] for panel in first["panels"]] == ["R1", "mAP", "val/score"]
    assert second["name"] == "Training"
    assert shown["group_by"] == ["column", "row", "identity", "fingerprint"]


FILES = sorted((catalogue.conf() / "sweep").glob("*.yaml"))


def read_back(made: Any) -> tuple[dict[str, list[str]], list[str], str]:
    """What W&B would receive: the kinds of panels by section, the grouping of runs, and the filter."""
    specification = made._to_model().spec.section
    sections = specification.panel_bank_config.sections
    kinds = {section.name: [panel.view_type for panel in section.panels] for section in sections}
    runs = specification.run_sets[0].model_dump(by_alias=True)
    return kinds, [key["name"] for key in runs["grouping"]], json.dumps(runs["filters"])


@pytest.fixture
def workspaces(monkeypatch: pytest.MonkeyPatch) -> Any:
    """W&B's package with an account; nothing is sent."""
    found = pytest.importorskip("wandb_workspaces.workspaces")
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setattr(found.Workspace, "url", "https://wandb.ai/us/suite")
    return found


def test_the_workspace_of_a_project_has_every_panel(
    workspaces: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    saved: list[Any] = []
    monkeypatch.setattr(workspaces.Workspace, "save", lambda made: saved.append(made))
    assert run(["dashboard", "--entity", "us", "--project", "suite"]) == 0
    assert capsys.readouterr().out == "workspace: https://wandb.ai/us/suite\n"
    kinds, grouping, _ = read_back(saved[0])
    assert kinds["All tasks"] == ["Bar Chart", "Run History Line Plot"]
    assert kinds["Cost"] == ["Scatter Plot"] * 3
    assert kinds["Pictures"] == ["Media Browser"] * 2, "pictures and figures"
    assert list(kinds) == [section.name for section in SECTIONS]
    assert grouping == [f"run.value.{name}" for name in dashboard.EXPERIMENT]


def test_the_workspace_of_each_sweep_is_built_and_read_back(workspaces: Any) -> None:
    for file in FILES:
        sweep = grid.load(file)
        made = dashboard.workspace("us", "suite", file.stem, dashboard.of_sweep(sweep))
        kinds, grouping, filters = read_back(workspaces.Workspace._from_model(made._to_model()))
        layout = layout_of(sweep)
        bars = [score for score in scores_of(layout) if score.metric is not None and score.test is None]
        assert kinds[layout["title"]] == [*["Bar Chart"] * len(bars), "Run History Line Plot"], file.stem
        assert grouping == ["run.value.column", "run.value.row", "run.value.identity", "run.value.fingerprint"]
        assert sweep.name in filters


@pytest.mark.parametrize("file", FILES, ids=[file.stem for file in FILES])
def test_cells_of_a_table_have_names_tags_and_groups_of_their_own(file: Path) -> None:
    """Seeds of one cell, and only these, share a dashboard group and tags."""
    cells = layout_of(grid.load(file))
    groups: dict[tuple[str, str], set[Any]] = {}
    names, plan = [], planned(file, {"seed_everything": [0, 1]})
    for one in plan:
        known = {name: str(one.options.get(name, "")) for name in ("task", "data", "backbone")}
        facts = {**known, "label": one.options["attention"], "identity": one.cell, "row": one.row, "column": one.column}
        logger = Namespace(name=None, tags=None, group=None, job_type=None, id=None)
        wandb_logging.name_run(logger, one.folder, facts, "fit")
        names.append(logger.name)
        entry = tuple(facts[name] for name in ("column", "row"))
        groups.setdefault((one.row, one.column), set()).add((entry, tuple(logger.tags)))
    assert len(set(names)) == len(names) == len(plan)
    assert all(len(found) == 1 for found in groups.values()), "seeds of one cell are alike"
    assert len(set.union(*groups.values())) == len(groups), "distinct cells differ"
    rows, columns = ({str(one) for one in group} for group in zip(*groups, strict=True))
    assert len({label_of(cells, row) for row in rows}) == len(rows), "rows have headings of their own"
    assert len({label_of(cells, column) for column in columns}) == len(columns)


@pytest.mark.parametrize(
    "task",
    ["classification", "reid", *(pytest.param(name, marks=pytest.mark.slow) for name in ("segmentation", "face"))],
)
@pytest.mark.slow
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
