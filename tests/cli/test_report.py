"""`relattn report`: the content of tables, notes and pages, from run folders written by hand."""

import csv
import json
import os
import re
from html import escape
from pathlib import Path
from typing import Any

import pytest
import sweep_files
import yaml

from relattn.cli.main import run
from relattn.errors import InputError
from relattn.runs.identity import decisive
from relattn.sweeps import grid, ledger, plan, records
from relattn.sweeps.comparison import compare
from relattn.sweeps.layout import Score
from relattn.sweeps.page import family_cells
from relattn.sweeps.table import Cell, Table, fill, reading_notes
from relattn.sweeps.text import comma_separated, latex, markdown

SWEEP = {
    "name": "small",
    "method": "grid",
    "parameters": {
        "attention": {"values": ["none", "se"]},
        "data": {"values": ["A", "B"]},
        "seed_everything": {"values": [0, 1]},
    },
    "table": {
        "title": "A <small> table",
        "rows": "attention",
        "columns": "data",
        "baseline": "none",
        "scores": {"Error": {"metric": "test/error", "better": "lower"}},
        "labels": {"none": "Baseline"},
        "published": {
            "First, Table 1": {"none": {"A": {"Error": 10.0}}, "se": {"A": {"Error": 8.0}, "B": {"Error": 20.0}}},
            "Second, Table 9": {"se": {"A": {"Error": 7.5}}},
        },
    },
}


@pytest.fixture
def file() -> Path:
    path = Path("small.yaml")
    path.write_text(yaml.safe_dump(SWEEP, sort_keys=False))
    return path


def write_run(file: Path, error: float | None, overrides: dict[str, Any] | None = None, **outcome: Any) -> Path:
    """Write the folder of the run with the attention, data and seed in `overrides`; `outcome` joins its result."""
    (planned,) = sweep_files.planned(file, overrides)
    folder = planned.folder
    folder.mkdir(parents=True)
    git = {"commit": "a" * 40, "changed": False}
    (folder / "sweep.json").write_text(json.dumps({**planned.entry(), "git": git}))
    (folder / "metrics.csv").write_text("epoch,step,train/loss,val/score\n0,9,2.5,40\n1,19,1.5,60\n")
    if error is not None:
        result = {"task": "t", "genuine": True, "scores": {"test/error": error, "test/score": 100 - error}, **outcome}
        (folder / "result.json").write_text(json.dumps({"epochs": 2, "parameters": 10**6, **result}))
    return folder


def filled(file: Path) -> Table:
    """The table of a sweep file, from all runs."""
    return fill(grid.load(file), records.read([Path("runs")]))


def point(attention: str, data: str, seed: int, **more: Any) -> dict[str, Any]:
    return {"attention": attention, "data": data, "seed_everything": seed, **more}


def test_cells_have_mean_spread_difference_and_change(file: Path) -> None:
    for attention, errors in (("none", (9.0, 12.0)), ("se", (8.0, 9.0))):
        for seed, error in enumerate(errors):
            write_run(file, error, point(attention, "A", seed))
    table = filled(file)
    none, se = (table.cells[row, "A", "Error"] for row in ("none", "se"))
    assert (none.mean, se.mean, se.difference, se.change, se.paper_change) == (10.5, 8.5, 0.5, -2.0, -2.0)
    assert none.spread == pytest.approx((2 * 1.5**2) ** 0.5)  # of a sample: n - 1
    assert table.missing == [f"{row} / B: 2 of 2 runs (2 not started)" for row in ("Baseline", "se")]
    text = markdown(table)
    assert "| Baseline | 10.50 ± 2.12 n=2; paper 10.0, +0.50 | - |" in text
    assert "| se | **8.50 ± 0.71** n=2; paper 8.0, +0.50; Δ -2.00 (paper -2.00) | -; paper 20.0 |" in text
    assert "Second, Table 9: se A Error 7.5" in text


def test_generated_data_are_never_compared_with_published_numbers(file: Path) -> None:
    write_run(file, 9.0, point("none", "A", 0), genuine=False)
    table = filled(file)
    cell = table.cells["none", "A", "Error"]
    assert (cell.mean, cell.difference) == (9.0, None)
    text = markdown(table)
    assert "9.00† n=1 of 2; paper 10.0 |" in text
    assert "on generated data: not comparable" in text


def test_generated_and_genuine_runs_are_not_averaged(file: Path) -> None:
    write_run(file, 9.0, point("none", "A", 0), genuine=False)
    write_run(file, 11.0, point("none", "A", 1))
    write_run(file, 5.0, point("se", "A", 0), genuine=False)
    table = filled(file)
    assert table.cells["none", "A", "Error"].mean == 11.0
    assert table.cells["se", "A", "Error"].change is None, "one on generated data, the other not"
    assert sum(note.endswith("it was tested on generated data.") for note in table.notes) == 1


def test_a_departure_stands_beside_its_number_and_is_not_compared(file: Path) -> None:
    for seed, error in ((0, 8.0), (1, 9.0)):
        write_run(file, error, point("se", "A", seed, **{"trainer.max_epochs": 2}))
        write_run(file, error + 2, point("none", "A", seed))
    table = filled(file)
    se = table.cells["se", "A", "Error"]
    assert (se.mean, se.spread, se.departure) == (8.5, pytest.approx(0.5**0.5), "2 epochs")
    assert se.difference is se.change is None
    assert not se.best, "it had another recipe than the other row"
    assert table.cells["none", "A", "Error"].difference == 0.5
    text = markdown(table)
    assert "| se | 8.50 ± 0.71 [a] n=2; paper 8.0 |" in text
    assert "- a: departs from the table's recipe: 2 epochs." in text
    (row,) = [
        row
        for row in csv.DictReader(comma_separated(table).splitlines())
        if (row["row"], row["column"]) == ("se", "A") and row["source"] == "First, Table 1"
    ]
    assert (row["departure"], row["difference"]) == ("2 epochs", "")
    assert r"8.50$^{a}$ $\pm$ 0.71" in latex(table)


def test_every_departure_has_a_mark_of_its_own() -> None:
    score = Score("Error", "test/error")
    cells = {(str(number), "", "Error"): Cell(score, departure=f"{number} epochs") for number in range(800)}
    table = Table("t", "T", [row for row, _, _ in cells], [""], [score], cells)
    marks = [table.mark(cell) for cell in cells.values()]
    assert marks[:2] + marks[25:28] + marks[701:703] == ["a", "b", "z", "aa", "ab", "zz", "aaa"]
    assert len({*marks}) == 800
    assert table.mark(Cell(score)) == ""
    assert reading_notes(table, [])[27] == "ab: departs from the table's recipe: 27 epochs."


def test_runs_that_depart_differently_are_not_averaged(file: Path) -> None:
    departing = write_run(file, 50.0, point("se", "A", 0, **{"trainer.max_epochs": 2}))
    os.utime(departing / "result.json", (0, 0))
    newest = write_run(file, 9.0, point("se", "A", 1))
    table = filled(file)
    assert table.cells["se", "A", "Error"].values == {1: 9.0}
    note = f"se / A: {departing.name} is left out: unlike the newest run, {newest.name}, it has 2 epochs."
    assert note in table.notes


def test_runs_of_an_earlier_recipe_are_left_out_by_name(file: Path) -> None:
    place = Path("runs/sweeps/small")
    old = write_run(file, 50.0, point("se", "A", 0))
    ledger.write(place, place.name, sweep_files.planned(file, point("se", "A", 0)))
    content = {**SWEEP, "options": {"attention": {"se": {"attention": "se", "trainer.max_epochs": 60}}}}
    file.write_text(yaml.safe_dump(content, sort_keys=False))
    write_run(file, 9.0, point("se", "A", 1))
    ledger.write(place, place.name, sweep_files.planned(file, point("se", "A", 1)))
    table = filled(file)
    assert table.cells["se", "A", "Error"].values == {1: 9.0}
    assert f"{old.name} belongs to an earlier version of the sweep's recipe, and is left out." in table.notes


def test_a_run_that_two_cells_share_is_in_both(file: Path) -> None:
    content = {**SWEEP, "options": {"attention": {"se": {"attention": "none"}}}}
    file.write_text(yaml.safe_dump(content, sort_keys=False))
    write_run(file, 9.0, point("none", "A", 0))
    planned = plan.share(sweep_files.planned(file, {"data": "A", "seed_everything": 0}), Path("runs/sweeps"))
    assert len({run.folder for run in planned}) == 1 < len(planned)
    ledger.write(Path("runs/sweeps/small"), "small", planned)
    table = filled(file)
    assert [table.cells[row, "A", "Error"].values for row in ("none", "se")] == [{0: 9.0}, {0: 9.0}]


def test_classes_with_other_arguments_are_not_averaged(file: Path) -> None:
    for seed, rate in ((0, 0.1), (1, 0.001)):
        folder = write_run(file, 50.0 + seed, point("se", "A", seed, **{"model.optimizer": "torch.optim.AdamW"}))
        optimizer = {"class_path": "torch.optim.AdamW", "init_args": {"lr": rate}}
        config = {"model": {"class_path": "M", "init_args": {"optimizer": optimizer}}, "seed_everything": seed}
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
        os.utime(folder / "result.json", (seed, seed))
    table = filled(file)
    assert table.cells["se", "A", "Error"].values == {1: 51.0}
    assert any("it has optimizer.lr 0.1" in note for note in table.notes), table.notes


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        (
            {"published": {"P": {"none": {"A": {"Error": "74.3 %"}}}}},
            "P, none, A, Error is '74.3 %', expected a number",
        ),
        ({"published": {"P": {"none": 74.3}}}, "P, none is 74.3, expected keys with values"),
        ({"published": {"P": {"none": {"A": {"Eror": 7.5}}}}}, "'Eror' is not known. Closest: Error."),
        ({"given": {"raw": 4.5}}, "given, raw is 4.5, expected keys with values"),
        ({"scores": ["test/mAP"]}, "scores is"),
        (
            {"scores": {"Error": {"metric": "test/error", "better": "Lower"}}},
            "better is 'Lower', expected higher, lower or none",
        ),
        ({"scores": {"Error": {"metric": "test/error", "scale": "percent"}}}, "scale is 'percent', expected a factor"),
        ({"scores": {"Error": {"metric": "test/error", "digits": 1.5}}}, "digits is 1.5"),
        ({"scores": {"Error": {"metric": 3}}}, "metric is 3, expected the name of a score"),
        ({"scores": {"Error": {"metric": "test/error", "test": "DukeMTMC"}}}, "expected options of a test"),
        ({"columns": None}, "data has 2 values, and is neither in rows nor in columns"),
        ({"given": {"none": {"A": {"Error": 9.0}}}}, "given: 'none' is a row of runs"),
        ({"rows": 3}, "rows is 3, expected the name of a parameter"),
        ({"labels": "Baseline"}, "labels is 'Baseline', expected keys with values"),
    ],
)
def test_wrong_tables_are_refused_before_training(changes: dict[str, Any], named: str, file: Path) -> None:
    file.write_text(yaml.safe_dump({**SWEEP, "table": {**SWEEP["table"], **changes}}, sort_keys=False))
    with pytest.raises(InputError, match=re.escape(named)):
        sweep_files.planned(file)


def test_what_is_better_follows_from_the_metric_unless_it_is_stated(file: Path) -> None:
    scores = {"EER": "test/EER/lfw", "mAP": "test/mAP", "MACs": "macs", "cut": "test/threshold"}
    scores |= {"own": {"metric": "test/own", "better": "none"}, "high": {"metric": "test/loss", "better": "higher"}}
    file.write_text(yaml.safe_dump({**SWEEP, "table": {"rows": "attention", "columns": "data", "scores": scores}}))
    lower = {score.label: score.lower for score in filled(file).scores}
    assert lower == {"EER": True, "mAP": False, "MACs": True, "cut": None, "own": None, "high": False}


def test_differences_are_to_the_first_source_only(file: Path) -> None:
    published = {"First": {"none": {"A": {"Error": 10.0}}}, "Second": {"se": {"A": {"Error": 7.5}}}}
    file.write_text(yaml.safe_dump({**SWEEP, "table": {**SWEEP["table"], "published": published}}, sort_keys=False))
    write_run(file, 9.0, point("se", "A", 0))
    table = filled(file)
    cell = table.cells["se", "A", "Error"]
    assert (cell.paper, cell.difference, cell.paper_change) == (None, None, None)
    assert "Second: se A Error 7.5" in markdown(table)


def test_the_newest_run_is_the_one_that_ended_last_also_in_a_copy(file: Path) -> None:
    for day, error in ((2, 9.0), (1, 50.0)):
        overrides = point("se", "A", 0, **{"data.root": f"/place/{day}"})
        folder = write_run(file, error, overrides, ended=f"2026-11-0{day}T00:00:00+00:00")
        os.utime(folder / "result.json", (9 - day, 9 - day))  # copied in the other order
    assert filled(file).cells["se", "A", "Error"].values == {0: 9.0}


def test_a_renamed_folder_of_a_sweep_keeps_its_table(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_run(file, 9.0, point("se", "A", 0))
    ledger.write(folder.parent, "small", sweep_files.planned(file, point("se", "A", 0)))
    (folder.parent / "small.yaml").write_text(file.read_text())
    folder.parent.rename("runs/sweeps/moved")
    assert run(["report", "runs"]) == 0
    assert "A <small> table" in capsys.readouterr().out


def test_tables_of_an_earlier_report_do_not_stay(file: Path) -> None:
    write_run(file, 9.0, point("se", "A", 0))
    assert run(["report", "runs", "--table", str(file)]) == 0
    Path("report/notes.md").write_text("mine")
    Path("alone/one").mkdir(parents=True)
    Path("alone/one/result.json").write_text(json.dumps({"task": "t", "scores": {"test/mAP": 5.0}}))
    assert run(["report", "alone"]) == 0
    found = sorted(path.name for path in Path("report").iterdir())
    assert found == ["notes.md", "report.html", "runs-t.csv", "runs-t.md", "runs-t.tex"]


def test_labels_are_text_in_latex_and_markdown(file: Path) -> None:
    labels = {"none": "[ours] a<b|c", "se": "_two_ ~~gone~~ a_b"}
    file.write_text(yaml.safe_dump({**SWEEP, "table": {**SWEEP["table"], "labels": labels}}, sort_keys=False))
    table = filled(file)
    assert r"{}[ours] a\textless{}b\textbar{}c & " in latex(table)
    assert r"| \_two\_ \~\~gone\~\~ a_b |" in markdown(table)


@pytest.mark.parametrize(
    "odd",
    [
        {"columns": [{"lower": True}, {"name": "mAP"}]},
        {"git": {"commit": 5}},
        {"earlier": [{"versions": [1]}, {"git": "abc"}, {"deterministic": [1]}]},
        {"seed": [1, 2]},
    ],
)
def test_odd_entries_of_a_result_do_not_stop_a_report(odd: dict[str, Any]) -> None:
    for name in ("one", "two"):
        Path("runs", name).mkdir(parents=True)
        content = {"task": "t", "scores": {"test/mAP": 5.0}, **(odd if name == "one" else {})}
        Path("runs", name, "result.json").write_text(json.dumps(content))
    Path("runs/one/config.yaml").write_text("seed_everything: [1, 2]")
    assert run(["report", "runs"]) == 0


def test_a_metric_that_no_run_has_is_named(file: Path) -> None:
    scores = {"Error": {"metric": "test/eror", "better": "lower"}}
    file.write_text(yaml.safe_dump({**SWEEP, "table": {**SWEEP["table"], "scores": scores}}, sort_keys=False))
    write_run(file, 9.0, point("se", "A", 0))
    assert "Error: no run has test/eror. Closest: test/error, test/score." in filled(file).notes


def test_cells_of_other_files_are_not_compared(file: Path) -> None:
    write_run(file, 9.0, point("none", "A", 0), data="A", fingerprint="first")
    write_run(file, 5.0, point("se", "A", 0), data="A", fingerprint="second")
    cell = filled(file).cells["se", "A", "Error"]
    assert cell.mean == 5.0
    assert (cell.change, cell.best) == (None, False)


def test_no_threshold_is_the_best(file: Path) -> None:
    for attention, threshold in (("none", 1.2), ("se", 1.5)):
        scores = {"test/accuracy": threshold, "test/threshold": threshold, "test/unmatched": threshold}
        write_run(file, 9.0, point(attention, "A", 0), scores=scores, label=attention)
        (next(Path("runs").rglob(f"{attention}-a-*")) / "sweep.json").unlink()
    (table,) = compare(records.read([Path("runs")]).runs)
    best = {label for (_, _, label), cell in table.cells.items() if cell.best}
    assert best == {"accuracy"}


def test_later_tests_of_runs_are_named(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_run(file, 9.0, point("none", "A", 0))
    (folder / "test").mkdir()
    (folder / "test" / "result.json").write_text(json.dumps({"scores": {"test/error": 70.0}}))
    assert run(["report", "runs", "--table", str(file)]) == 0
    assert f"left out: 1 later test of these runs, as {folder / 'test'}." in capsys.readouterr().out.replace("\n", " ")


def test_a_partial_test_fills_no_cell(file: Path) -> None:
    partial = write_run(
        file, 1.0, point("se", "A", 0), partial={"test": "1 of 4 batches, --trainer.limit_test_batches"}
    )
    write_run(file, 9.0, point("se", "A", 1))
    table = filled(file)
    assert table.cells["se", "A", "Error"].values == {1: 9.0}
    assert "se / A: 1 of 2 runs (1 tested in part)" in table.missing
    assert any(f"{partial.name} was tested on a part of the test set (1 of 4 batches" in note for note in table.notes)
    assert run(["report", "runs", "--table", str(file)]) == 0
    assert "1 of 4 batches" in Path("report/report.html").read_text()


def test_a_damaged_folder_costs_only_itself(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    damaged = write_run(file, None, point("se", "A", 0))
    (damaged / "checkpoints").mkdir()
    (damaged / "checkpoints" / "last.ckpt").write_bytes(b"PK half a checkpoint")
    cut = write_run(file, 9.0, point("se", "B", 0))
    (cut / "result.json").write_text('{"scores": {')
    write_run(file, 9.0, point("se", "A", 1))
    assert run(["report", "runs", "--table", str(file)]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "last.ckpt" in printed
    assert "result.json is damaged" in printed
    page = Path("report/report.html").read_text()
    assert "No checkpoint of" in page
    assert "result.json is damaged" in page
    assert filled(file).cells["se", "A", "Error"].values == {1: 9.0}


def test_what_is_not_finished_is_listed(file: Path) -> None:
    failed = write_run(file, None, point("none", "A", 0))
    (failed / "failed.json").write_text(json.dumps({"exit": 1, "why": "exit status 1", "log": ["out of <memory>"]}))
    write_run(file, None, point("none", "A", 1))
    table = filled(file)
    assert "Baseline / A: 2 of 2 runs (1 failed, 1 interrupted)" in table.missing
    assert run(["report", "runs", "--table", str(file)]) == 0
    assert "out of &lt;memory&gt;" in Path("report/report.html").read_text()


def test_the_page_needs_nothing_else(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from PIL import Image

    for seed, torch in enumerate(("2.15.0", "2.14.0")):
        scores = {"test/error": 9.0, "test/IoU/road": 71.5}
        folder = write_run(file, 0, point("se", "A", seed), scores=scores, versions={"torch": torch}, macs=2 * 10**9)
    (folder / "pictures").mkdir()
    Image.new("RGB", (8, 8)).save(folder / "pictures" / "first.png")
    write_run(file, 12.0, point("none", "A", 0), macs=10**9)
    assert run(["report", "runs", "--table", str(file), "--out", "out"]) == 0
    page = Path("out/report.html").read_text()
    assert not re.search(r"(src|href)=\"(?!data:)", page)
    assert "url(" not in page
    assert "@import" not in page
    assert "A &lt;small&gt; table" in page
    assert "data:image/jpeg;base64," in page
    assert page.count("<svg") == 2 * 2 + 2  # two curves of two rows; parameters and MACs against error
    assert "No run has recorded seconds_per_step." in page
    assert "A · IoU" in page
    assert "71.50" in page
    assert "Runs differ in version of torch: 2.15.0 (se-a-s0-" in page
    assert "Runs differ in version of torch" in capsys.readouterr().out
    with Path("out/small.csv").open() as lines:
        rows = list(csv.DictReader(lines))
    both = [row for row in rows if (row["row"], row["column"]) == ("se", "A")]
    assert [(row["source"], row["difference"]) for row in both] == [("First, Table 1", "1"), ("Second, Table 9", "1.5")]


MADE: dict[str, Any] = {
    "data": "A",
    "fingerprint": "0123456789abcdef",
    "deterministic": False,
    "precision": "32-true",
    "device": "cpu",
    "processes": 1,
    "versions": {"torch": "2.15.0", "numpy": "2.4.6"},
    "git": {"commit": "a" * 40, "changed": False},
}
"""What a run's record says about the software it was made with."""


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"git": {"commit": "b" * 40, "changed": False}}, "commit: aaaaaaaaaa (3 runs), bbbbbbbbbb (NAME)"),
        (
            {"git": {"commit": "a" * 40, "changed": True, "diff": "abc"}},
            "commit: aaaaaaaaaa (3 runs), aaaaaaaaaa with changes abc (NAME)",
        ),
        ({"git": {"commit": None, "why": "not a checkout"}}, "commit: aaaaaaaaaa (3 runs), not a checkout (NAME)"),
        ({"fingerprint": "f" * 16}, "the files of A: 0123456789abcdef (3 runs), ffffffffffffffff (NAME)"),
        ({"deterministic": True}, "deterministic mode: off (3 runs), on (NAME)"),
        ({"deterministic": "warn"}, "deterministic mode: off (3 runs), warnings only (NAME)"),
        ({"precision": "bf16-mixed"}, "precision: 32-true (3 runs), bf16-mixed (NAME)"),
        ({"device": "<H100>"}, "device: cpu (3 runs), <H100> (NAME)"),
        ({"processes": 2}, "number of processes: 1 (3 runs), 2 (NAME)"),
        ({"versions": {"torch": "2.14.0"}}, "version of torch: 2.15.0 (3 runs), 2.14.0 (NAME)"),
        ({"earlier": [{**MADE, "device": "H100"}]}, "device: cpu (3 runs), H100, then cpu (NAME)"),
    ],
)
@pytest.mark.sampled(5)
def test_runs_that_differ_in_what_should_be_alike_are_named(
    other: dict[str, Any], said: str, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for attention, seed in (("none", 0), ("none", 1), ("se", 0)):
        write_run(file, 9.0, point(attention, "A", seed), **MADE)
    odd = write_run(file, 9.0, point("se", "A", 1), **{**MADE, **other})
    # Another data set in the same table has other files.
    write_run(file, 9.0, point("se", "B", 0), **{**MADE, "data": "B", "fingerprint": "e" * 16})
    table = filled(file)
    expected = f"Runs differ in {said.replace('NAME', odd.name)}."
    if "fingerprint" in other:  # the other seed of its cell had other files, and is not averaged with it
        expected = expected.replace("(3 runs)", "(2 runs)")
    else:
        expected = expected.replace("(3 runs)", "(4 runs)")
    assert table.differing == [expected]
    assert not any("do not say" in note for note in table.notes)
    assert f"- {escape(expected, quote=False)}\n" in markdown(table)
    assert run(["report", "runs", "--table", str(file)]) == 0
    assert f'<p class="warn">{escape(expected, quote=False)}</p>' in Path("report/report.html").read_text()
    assert "Runs differ in" in capsys.readouterr().out


def test_what_was_asked_for_is_no_difference(file: Path) -> None:
    content = yaml.safe_load(file.read_text())
    content["parameters"]["trainer.precision"] = {"values": ["32-true", "bf16-mixed"]}
    content["parameters"]["data"] = {"value": "A"}
    content["table"]["columns"] = "trainer.precision"
    content["table"].pop("published")
    file.write_text(yaml.safe_dump(content, sort_keys=False))
    for precision in ("32-true", "bf16-mixed"):
        asked = {**point("se", "A", 0), "trainer.precision": precision}
        write_run(file, 9.0, asked, **{**MADE, "precision": precision})
    assert filled(file).differing == []


def test_old_results_are_one_quiet_note(file: Path) -> None:
    old = write_run(file, 9.0, point("none", "A", 0), data="A")
    (old / "sweep.json").write_text(json.dumps({**json.loads((old / "sweep.json").read_text()), "git": None}))
    write_run(file, 9.0, point("se", "A", 1), **MADE)
    table = filled(file)
    assert table.differing == []
    note = "1 of 2 runs do not record code and data, so these could not be compared."
    assert [entry for entry in table.notes if "code" in entry] == [note]


def test_runs_of_no_table_are_compared_too(capsys: pytest.CaptureFixture[str]) -> None:
    for name, device in (("one", "cpu"), ("two", "[bold]H100")):
        Path("runs", name).mkdir(parents=True)
        Path("runs", name, "result.json").write_text(
            json.dumps({"task": "t", "scores": {"test/score": 5.0, "test/mAP": 5.0}, **MADE, "device": device})
        )
    assert run(["report", "runs"]) == 0
    assert "Runs differ in device: cpu (one), [bold]H100 (two)." in capsys.readouterr().out
    assert "Runs differ in device: cpu (one), [bold]H100 (two)." in Path("report/report.html").read_text()


def test_runs_started_by_hand_fill_a_row_if_they_are_that_row(file: Path) -> None:
    def cell(attention: str | None, data: str) -> dict[str, Any]:
        network = {"class_path": "my.ReID", "init_args": {"attention": attention and {"class_path": attention}}}
        return {"model": network, "data": {"class_path": data}, "trainer": {"max_epochs": 60}}

    def by_hand(name: str, seed: int, error: float, config: dict[str, Any]) -> None:
        folder = Path("runs", name)
        folder.mkdir(parents=True)
        (folder / "config.yaml").write_text(yaml.safe_dump({**config, "seed_everything": seed}))
        outcome = {"task": "t", "seed": seed, "genuine": True, "scores": {"test/error": error}}
        (folder / "result.json").write_text(json.dumps(outcome))

    cells = {
        (row, column): decisive(cell(attention, f"my.data.{column}"))
        for row, attention in (("none", None), ("se", "my.layers.SE"))
        for column in "AB"
    }
    by_hand("same", 3, 4.0, cell("my.layers.SE", "my.data.B"))
    by_hand("another_attention", 3, 5.0, cell("my.layers.NL", "my.data.B"))
    by_hand("shorter", 3, 6.0, {**cell(None, "my.data.B"), "trainer": {"max_epochs": 2}})
    table = fill(grid.load(file), records.read([Path("runs")]), cells)
    assert table.cells["se", "B", "Error"].values == {3: 4.0}
    assert table.cells["se", "B", "Error"].difference == 4.0 - 20.0
    assert table.cells["none", "B", "Error"].values == {3: 6.0}
    assert table.cells["none", "B", "Error"].departure == "2 epochs"
    assert table.cells["se", "A", "Error"].values == table.cells["none", "A", "Error"].values == {}
    assert [record.name for record in table.records if record.name == "another_attention"] == []


def test_plain_folders_make_a_full_comparison(capsys: pytest.CaptureFixture[str]) -> None:
    """One table per task: a row per experiment, named by its differences, seeds averaged, the best marked."""
    for task, scores in (("reid", {"rank1": 80.0, "mAP": 60.0}), ("segmentation", {"mIoU": 70.0, "IoU/road": 71.5})):
        for attention, better in (("none", 0.0), ("RGA", 2.0)):
            for seed in (0, 1):
                folder = Path("runs", task, f"{attention}-{seed}")
                folder.mkdir(parents=True)
                network = {"class_path": f"my.{task}", "init_args": {"attention": attention}}
                (folder / "config.yaml").write_text(yaml.safe_dump({"model": network, "seed_everything": seed}))
                (folder / "metrics.csv").write_text("epoch,step,train/loss,val/score\n0,9,2.5,40\n1,19,1.5,60\n")
                values = {f"test/{name}": value + better + seed for name, value in scores.items()}
                known = {"data": "A", "backbone": "b", "label": attention, "macs": 2e9, "parameters": 3e6}
                outcome = {"task": task, "seed": seed, "genuine": True, **known, "scores": values}
                (folder / "result.json").write_text(json.dumps(outcome))
    assert run(["report", "runs/reid", "runs/segmentation"]) == 0
    assert "Runs of reid" in capsys.readouterr().out
    lines = Path("report/runs-reid.md").read_text().splitlines()
    assert lines[2] == "| | mAP | rank1 | parameters, M |"
    assert "| RGA | **62.50 ± 0.71** n=2 | **82.50 ± 0.71** n=2 | 3.00 n=2 |" in lines
    page = Path("report/report.html").read_text()
    assert "Runs of segmentation" in page
    assert "IoU" in page
    assert page.count("<svg") >= 2 * (2 * 2 + 2)
    (classes,) = re.findall(r"<tr><th>road</th>(.*?)</tr>", page)
    cells = re.findall(r"<td( class=\"best\")?><b>([\d.]+)</b><small>± ([\d.]+)</small></td>", classes)
    assert cells == [("", "72.00", "0.71"), (' class="best"', "74.00", "0.71")]  # a column a method


def test_what_is_best_of_a_class_depends_on_what_is_scored() -> None:
    def best(family: str) -> list[bool]:
        return [cell["best"] for cell in family_cells(family, [[1.0, 3.0], [3.0], []], True)]

    assert best("IoU") == [False, True, False]
    assert best("EER") == [True, False, False]
    assert best("threshold") == best("std") == [False, False, False]
    for values, comparable in (([[2.0], [2.0]], True), ([[2.001], [2.002]], True), ([[1.0], [2.0]], False)):
        assert [cell["best"] for cell in family_cells("IoU", values, comparable)] == [False, False]


def test_runs_of_one_epoch_have_a_sentence_and_no_empty_charts(file: Path) -> None:
    for seed, loss in enumerate((2.5, 3.5)):
        folder = write_run(file, 9.0, point("se", "A", seed))
        (folder / "metrics.csv").write_text(f"epoch,step,train/loss,val/score\n0,9,{loss},\n")
    assert run(["report", "runs", "--table", str(file), "--out", "out"]) == 0
    page = Path("out/report.html").read_text()
    assert "<b>A · train/loss</b> after epoch 1: se 3" in page
    assert "by epoch" not in page
    assert page.count("<svg") == 1  # parameters


@pytest.mark.parametrize("name", ["report.html", "small.md", "small.csv", "small.tex"])
@pytest.mark.slow
def test_a_report_replaces_reports_and_nothing_else(file: Path, name: str) -> None:
    write_run(file, 9.0, point("se", "A", 0))
    arguments = ["report", "runs", "--table", str(file), "--out", "out"]
    Path("out").mkdir()
    Path("out", name).write_text("mine")
    with pytest.raises(InputError, match=f"out/{name} was not written by `relattn report`.*another --out"):
        run(arguments)
    assert [(path.name, path.read_text()) for path in Path("out").iterdir()] == [(name, "mine")]
    Path("out", name).unlink()
    assert run(arguments) == 0
    write_run(file, 7.0, point("se", "A", 1))
    assert run(arguments) == 0
    assert "8.00" in Path("out/small.md").read_text()


def test_nothing_to_report_is_an_error(file: Path) -> None:
    Path("empty").mkdir()
    for folder, named in (("empty", "no runs"), ("missing", "no folder")):
        with pytest.raises(ValueError, match=named):
            run(["report", folder])


def test_a_table_that_names_nothing_is_refused(file: Path) -> None:
    file.write_text(yaml.safe_dump({**SWEEP, "table": {**SWEEP["table"], "rows": "atention"}}))
    with pytest.raises(ValueError, match="atention"):
        filled(file)
