"""Every sweep file: its numbers are the papers', its options are valid, and its networks can be built."""

from pathlib import Path
from typing import Any

import pytest
from paper_tables import TABLES, numbers

from relattn.cli import catalogue
from relattn.cli.lightning.recipes import recipe_file
from relattn.cli.main import run as main
from relattn.sweeps import grid, plan
from relattn.sweeps.layout import layout_of
from relattn.sweeps.records import Records
from relattn.sweeps.table import fill

FILES = sorted((catalogue.conf() / "sweep").glob("*.yaml"))
NAMES = [path.stem for path in FILES]
NOTHING = Records([], {})


@pytest.mark.parametrize(("name", "source"), list(TABLES), ids=" ".join)
def test_numbers_are_those_of_the_paper(name: str, source: str) -> None:
    table = fill(grid.load(catalogue.conf() / "sweep" / f"{name}.yaml"), NOTHING)
    found = []
    for row in table.rows:
        cells = [table.cells[row, column, score.label] for column in table.columns for score in table.scores]
        values = [cell.published[source] for cell in cells if source in cell.published]
        found += [values] if values else []
    assert found == numbers(TABLES[name, source])


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_every_number_is_tested_and_stands_in_a_cell(path: Any) -> None:
    sweep = grid.load(path)
    table = fill(sweep, NOTHING)
    assert sweep.name == path.stem
    assert path.read_text().startswith("# "), "the catalogue shows the first comment line"
    assert {source for name, source in TABLES if name == path.stem} == set(table.sources)
    layout = layout_of(sweep)
    for source, rows in layout.get("published", {}).items():
        inside = sum(source in cell.published for cell in table.cells.values())
        assert inside == sum(1 if not isinstance(v, dict) else len(v) for row in rows.values() for v in row.values())
    if table.baseline is not None:
        assert table.baseline in table.rows
    labels = {str(key) for key in layout.get("labels", {})}
    assert labels <= {*table.rows, *table.columns}
    assert all(table.label(row) for row in table.rows)


def planned(path: Path, points: int | None = None, *, resolve: plan.Resolve | None = None) -> list[plan.Planned]:
    """The runs of a sweep file, or the first of them; nothing is checked unless `resolve` does so."""
    sweep = grid.load(path)
    unchecked: plan.Resolve = lambda lines: [plan.Resolution({"command": list(line)}) for line in lines]  # noqa: E731
    return plan.plan_points(sweep, sweep.grid()[:points], Path("runs"), resolve or unchecked)


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_runs_name_what_there_is(path: Path) -> None:
    runs = planned(path)
    assert len({run.name for run in runs}) == len({tuple(run.command) for run in runs}) == len(runs)
    for run in runs:
        assert run.command[:2] in (["relattn", "fit"], ["relattn", "parameters"])
        assert run.options["attention"] in {"none", *catalogue.recipes("attention")}
        if run.command[1] == "fit":
            assert recipe_file("task", run.options["task"]).is_file()
            assert run.options.get("data", "CIFAR100") in catalogue.recipes("data")


@pytest.mark.slow
def test_the_first_run_of_a_file_of_each_task_starts() -> None:
    """Parse and check the command line, and build its task, data and network without computation."""
    chosen = ("rga_table1", "rga_arxiv_table6", "rga_arxiv_table7", "stra_table4")
    files = [path for path in FILES if path.stem in chosen]
    from relattn.cli.lightning.commands import quieten
    from relattn.cli.lightning.resolve import resolve

    quieten()
    lines = {path.stem: planned(path, 1)[0].command[1:] for path in files}
    found = dict(zip(lines, resolve(list(lines.values()), with_data=False), strict=True))
    assert {name: resolution.problem for name, resolution in found.items() if resolution.problem} == {}
    assert len(lines) == 4
    assert all("model.backbone" in resolution.options for resolution in found.values())


def test_a_table_of_parameters_computes_its_first_run(capsys: pytest.CaptureFixture[str]) -> None:
    (run,) = planned(catalogue.conf() / "sweep" / "rga_table3.yaml", 1)
    assert main(run.command[1:]) == 0
    assert "25.0" in capsys.readouterr().out or "25.1" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_every_run_of_a_file_starts(path: Path) -> None:
    from relattn.cli.lightning.resolve import resolve

    runs = planned(path, resolve=lambda lines: resolve(lines, with_data=False))
    assert len(runs) == len(grid.load(path).grid())
    cells = {(run.row, run.column): run.cell for run in runs}
    assert len(set(cells.values())) == len(cells), "each cell has an identity of its own, by which W&B groups"
    assert not any(run.departures for run in runs)


@pytest.mark.slow
def test_runs_that_are_scored_in_part_are_other_runs() -> None:
    from relattn.cli.lightning.resolve import resolve

    line = ["fit", "--task", "classification", "--data", "CIFAR100"]
    parts = ([], ["--trainer.limit_test_batches=2"], ["--data.seed=3"], ["--trainer.limit_val_batches=2"])
    found = resolve([[*line, *part] for part in parts], with_data=False)
    assert not any(one.problem for one in found), found
    assert all(one.options == found[0].options for one in found)
    assert len({str(one.circumstances) for one in found}) == len(parts)
