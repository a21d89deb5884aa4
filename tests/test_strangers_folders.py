"""Run folders from elsewhere: nothing outside them is read or written, and one bad folder affects only itself."""

import csv
import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from relattn.cli.main import run
from relattn.publish import publish_text
from relattn.sweeps import records

RED = (255, 0, 0)


def run_folder(name: str, **more: Any) -> Path:
    """The folder of a finished run."""
    folder = Path("runs", name)
    folder.mkdir(parents=True)
    result = {"task": "t", "data": "D", "scores": {"test/score": 50.0, "test/error": 5.0}, "versions": {"torch": "2"}}
    (folder / "result.json").write_text(json.dumps({**result, **more}))
    return folder


def report() -> str:
    """The report's page."""
    assert run(["report", "runs"]) == 0
    return Path("report/report.html").read_text()


def test_links_out_of_a_folder_and_pipes_are_not_read(capsys: pytest.CaptureFixture[str]) -> None:
    Image.new("RGB", (8, 8), RED).save("private.png")
    Path("private.json").write_text(json.dumps({"task": "t", "scores": {"test/score": 77.77}}))
    good, bad, odd, linked = (run_folder(name) for name in ("good", "bad", "odd", "linked"))
    for folder in (good, bad):
        (folder / "pictures").mkdir()
    Image.new("RGB", (8, 8), "blue").save(good / "pictures" / "mine.png")
    (good / "pictures" / "again.png").symlink_to("mine.png")  # a link that stays inside
    (bad / "pictures" / "x.png").symlink_to(Path("private.png").absolute())
    os.mkfifo(bad / "pictures" / "y.png")
    (linked / "pictures").symlink_to("/")
    (odd / "result.json").unlink()
    (odd / "result.json").symlink_to(Path("private.json").absolute())
    (odd / "config.yaml").symlink_to("config.yaml")
    for name in ("metrics.csv", "sweep.json", "failed.json", "log.txt"):
        os.mkfifo(odd / name)
    page, said = report(), capsys.readouterr().out
    assert page.count("data:image/jpeg") == 1
    assert "77.77" not in page + said
    assert "bad: 2 of its pictures are not files of this folder" in said
    assert "linked: 1 of its pictures are not files of this folder" in said
    assert "odd: sweep.json is damaged, or is not a file of this folder. result.json is damaged" in said


BOMB = "a: &a {x: 1, y: 2, z: 3}\n" + "".join(
    f"{new}: &{new} {{x: *{old}, y: *{old}, z: *{old}}}\n"
    for old, new in zip("abcdefghijklmno", "bcdefghijklmnop", strict=True)
)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("result.json", "{"),
        ("result.json", "[" * 100_000),
        ("result.json", json.dumps({"scores": {"test/score": "high", "test/error": 10**400, "test/x": [1]}})),
        ("result.json", json.dumps({"scores": [], "versions": 3, "git": [], "seed": [1], "data": {}, "seconds": "x"})),
        (
            "result.json",
            json.dumps({"earlier": 3, "columns": [3], "overrides": "a", "partial": 1, "deterministic": {}}),
        ),
        ("result.json", json.dumps({"task": "../../outside", "scores": {"test/score": 1.0}})),
        ("result.json", '{"scores": {"test/score": NaN, "test/error": Infinity}}'),
        ("config.yaml", BOMB),
        ("config.yaml", "model: " + "[" * 5000),
        ("config.yaml", "model: {class_path: [1]}\ndata: 3\ntrainer: {callbacks: 7}"),
        ("config.yaml", "!!python/object/apply:os.mkdir [pwned]"),
        ("metrics.csv", "epoch," + "x" * 200_000),
        ("metrics.csv", "epoch,val/score\n0,inf\n1e400,nan\n,\n"),
        ("sweep.json", json.dumps({"sweep": ["x"], "seed": {}, "row": [], "options": 3, "departures": [], "git": "x"})),
        ("sweep.json", json.dumps({"sweep": "mine", "row": "a", "column": "b", "cell": "c"})),
        ("failed.json", json.dumps({"log": 3, "why": [1]})),
    ],
)
@pytest.mark.sampled(5)
def test_a_bad_folder_costs_only_itself(name: str, content: str) -> None:
    run_folder("good")
    bad = run_folder("bad")
    (bad / name).write_text(content)
    if name == "failed.json":
        (bad / "result.json").unlink()
    if name == "sweep.json":
        sweep = {"method": "grid", "parameters": {"seed": {"values": list(range(9))}}, "table": {"rows": 3}}
        Path("runs/mine.yaml").write_text(yaml.safe_dump(sweep))
    before = sorted(Path().rglob("*"))
    page = report()
    assert "good" in page
    assert "50.00" in page
    made = set(Path().rglob("*")) - set(before)
    assert all(path.is_relative_to("report") for path in made)


def test_a_sweep_of_somebody_else_s_names_nothing_that_is_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("hostile_module.py").write_text("open('pwned', 'w')\n")
    monkeypatch.syspath_prepend(".")
    folder = run_folder("bad")
    (folder / "config.yaml").write_text("model: {class_path: a.B}\n")
    (folder / "sweep.json").write_text(json.dumps({"sweep": "mine"}))
    values = [f"v{number}" for number in range(60)]
    parameters = {"model": {"value": "hostile_module.X"}, "attention": {"values": ["none", "se"]}}
    table = {"rows": "attention", "scores": {"x": {"metric": "test/score"}}}
    Path("runs/mine.yaml").write_text(yaml.safe_dump({"method": "grid", "parameters": parameters, "table": table}))
    assert "50.00" in report()
    assert not Path("pwned").exists()
    many = {name: {"values": values} for name in "abcdefgh"}  # 60**8 combinations
    Path("runs/mine.yaml").write_text(yaml.safe_dump({"method": "grid", "parameters": many, "table": {"rows": "a"}}))
    assert "50.00" in report()


def test_text_of_a_run_steers_neither_terminals_nor_tables(capsys: pytest.CaptureFixture[str]) -> None:
    escape, hidden = "\x1b]0;owned\x07\x1b[2J", "![x](http://tracker/x.png)|<script>x</script>"
    for place, text in enumerate((f"a{escape}", f"={hidden}")):
        run_folder(f"run{place}{text.replace('/', ' ')}", label=text, attention=text, device=text)
    Path(os.fsdecode(b"runs/\xff\xfe")).mkdir()
    Path(os.fsdecode(b"runs/\xff\xfe/result.json")).write_text("{")
    page, said = report(), capsys.readouterr().out
    written = {path.suffix: path.read_text() for path in Path("report").iterdir()}
    for text in (page, said, *written.values()):
        assert "\x1b" not in text
        assert "\x07" not in text
    assert "<script>x" not in page + written[".md"]
    assert r"!\[x\](http" in written[".md"]
    assert written[".md"].count("\n| ") == 3, "no cell begins a line or a column"
    rows = list(csv.reader(written[".csv"].splitlines()))
    assert not any(cell.startswith(("=", "@", "+")) for row in rows for cell in row)


def test_a_plan_reaches_no_runs_outside_the_folder_of_all_runs() -> None:
    outside = Path("private").absolute()
    outside.mkdir()
    (outside / "result.json").write_text(json.dumps({"scores": {"test/score": 77.77}}))
    sweep = Path("theirs/runs/sweeps/x")
    sweep.mkdir(parents=True)
    where = {"row": "a", "column": "b", "cell": "c", "departures": {}}
    plan = {"cells": [], "runs": {"one": {"folder": str(outside), **where}}}
    (sweep / "plan.json").write_text(json.dumps(plan))
    from relattn.sweeps import ledger

    (sweep / "plan.json").rename(sweep / ledger.FILE)
    assert records.read([sweep]).runs == []


def test_leftovers_are_removed_and_nothing_that_is_somebody_s() -> None:
    Path("mine").mkdir()
    Path("mine/last.ckpt").write_text("kept")
    Path(".last.ckpt.aaaaaaaa.tmp").symlink_to("mine")
    Path(".last.ckpt.backup.tmp").write_text("kept")
    for name, inside in (("bbbbbbbb", "notes.txt"), ("cccccccc", "last.ckpt")):
        Path(f".last.ckpt.{name}.tmp").mkdir()
        Path(f".last.ckpt.{name}.tmp/{inside}").write_text("x")
    Path(".last.ckpt.dddddddd.tmp").write_text("half")
    for path in Path().glob(".last*"):
        os.utime(path, (0, 0), follow_symlinks=False)
    publish_text("last.ckpt", "new")
    assert Path("mine/last.ckpt").read_text() == Path(".last.ckpt.backup.tmp").read_text() == "kept"
    left = {path.name for path in Path().glob(".last*")}
    assert left == {f".last.ckpt.{name}.tmp" for name in ("aaaaaaaa", "backup", "bbbbbbbb")}
