"""`relattn demo`: the matrix of all tasks with its row of baselines and its report."""

import json
from pathlib import Path

import pytest
import yaml

from relattn.cli import catalogue, demo_matrix
from relattn.cli.demo import find_demos
from relattn.cli.main import run
from relattn.sweeps import grid, page, text
from relattn.sweeps.records import Records
from relattn.sweeps.table import fill

FILE = catalogue.conf() / "demo" / "cross_task.yaml"
DEMOS = find_demos()


def test_the_matrix_has_every_demo_and_its_recipe() -> None:
    sweep = grid.load(FILE)
    assert sorted(sweep.parameters["task"]) == sorted(DEMOS)
    assert sweep.name == demo_matrix.NAME
    assert sweep.name not in catalogue.recipes("sweep"), "a report takes the table beside the runs"
    points = sweep.grid()
    assert len(points) == 12
    for point in points:
        recipe = (catalogue.conf() / "task" / f"{sweep.options_of(point)['task']}.yaml").resolve()
        assert recipe == (catalogue.conf() / "demo" / f"{point['task']}.yaml").resolve()
        assert recipe.is_file()


def test_baselines_are_a_row_of_the_table() -> None:
    scores = {task: {"score": 10.0 + number} for number, task in enumerate(grid.load(FILE).parameters["task"])}
    file = Path("cross_task.yaml")
    file.write_text(demo_matrix.with_given(FILE, {"best trivial baseline": scores}))
    assert file.read_text().splitlines()[0] == FILE.read_text().splitlines()[0]
    table = fill(grid.load(file), Records([], {}))
    assert table.rows == ["best trivial baseline", "none", "rga_sc", "stra_fade_in"]
    assert grid.load(file).grid() == grid.load(FILE).grid()
    written = text.markdown(table)
    assert "| best trivial baseline | 10.00 | 11.00 | 12.00 | 13.00 |" in written
    assert "12.00" in page.render([table], [])
    assert len(table.missing) == 12, "the row that is given lacks no runs"


@pytest.mark.parametrize(("task", "scores", "headline"), [
    ("classification", {"error, %": 78.3}, 21.7),
    ("reid", {"mAP": 4.6, "R-1": 6.0}, 4.6),
    ("segmentation", {"mIoU": 1.9, "pixel accuracy": 36.0}, 1.9),
    ("face", {"LFW": 70.0, "mean": 60.0}, 60.0),
])  # fmt: skip
def test_the_headline_of_a_baseline_is_that_of_its_task(task: str, scores: dict[str, float], headline: float) -> None:
    assert DEMOS[task]().headline(scores) == pytest.approx(headline)


def test_the_best_baseline_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    reid = DEMOS["reid"]
    monkeypatch.setattr(reid, "generate", lambda self, root: made.append(root))
    monkeypatch.setattr(reid, "baselines", lambda self, root: {"a": {"mAP": 2.0}, "b": {"mAP": 3.0}})
    assert demo_matrix.prepare(reid, Path("data")) == 3.0
    assert made == [Path("data")]


@pytest.mark.slow
def test_the_demo_fills_the_matrix_and_names_the_report(capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["demo"]) == 0
    printed = capfd.readouterr().out
    assert "12 of 12 runs finished" in printed
    assert "report: runs/demo/report/report.html" in printed
    assert Path("runs/demo/report/report.html").stat().st_size > 50_000
    given = yaml.safe_load(Path("runs/demo/cross_task_demo/cross_task_demo.yaml").read_text())["table"]["given"]
    found = {
        path.parent.name: json.loads(path.read_text())
        for path in Path("runs/demo/cross_task_demo").glob("*/result.json")
    }
    assert len(found) == 12
    for name, result in found.items():
        baseline = given["best trivial baseline"][result["task"]]["score"]
        assert result["scores"]["test/score"] > baseline + 3, (name, baseline)
