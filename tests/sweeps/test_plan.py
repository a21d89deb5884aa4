"""Plans of sweeps: names and keys of runs, departures from the file, runs shared by tables, subsequent tests."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml
from sweep_files import as_written, planned

from relattn.errors import InputError
from relattn.sweeps import grid, plan

FILE = {
    "method": "grid",
    "parameters": {
        "task": {"value": "t"},
        "attention": {"values": ["none", "se"]},
        "data": {"values": ["A", "B"]},
        "seed_everything": {"values": [0, 1]},
    },
    "table": {"rows": "attention", "columns": "data", "scores": {"R1": "test/rank1"}, "labels": {"se": "SE"}},
}


def written(name: str = "sweep", **changes: object) -> Path:
    path = Path(f"{name}.yaml")
    path.write_text(yaml.safe_dump({**FILE, **changes}, sort_keys=False))
    return path


def test_a_part_of_a_sweep_has_the_folders_of_all_of_it() -> None:
    whole = {run.name for run in planned(written())}
    part = {run.name for run in planned(written(), {"attention": "se", "seed_everything": 1})}
    assert len(whole) == 8
    assert part < whole
    assert all(name.startswith(("se-a-s1-", "se-b-s1-")) for name in part)


def test_what_decides_the_outcome_is_in_the_key() -> None:
    def key(**overrides: object) -> str:
        return planned(written(), {"attention": "se", "data": "A", **overrides})[0].key

    before = key()
    assert key(logger="wandb") == key(seed_everything=5) == before
    assert key(rate=3) != before
    assert key(**{"data.root": "/elsewhere"}) != before, "other files are another run"


def test_a_seed_that_is_set_counts_in_a_sweep_without_seeds() -> None:
    parameters = {name: entry for name, entry in FILE["parameters"].items() if name != "seed_everything"}
    file = written(parameters=parameters)
    first, second = (planned(file, {"seed_everything": seed})[0] for seed in (0, 1))
    assert first.folder != second.folder
    assert first.key == second.key
    assert (first.seed, second.seed) == (0, 1)


@pytest.mark.parametrize("name", ["trainer.devices", "model.compile_mode", "data.workers"])
def test_options_that_change_no_number_are_runs_of_their_own_where_a_sweep_varies_them(name: str) -> None:
    parameters = {"attention": {"values": ["none", "se"]}, name: {"values": [1, 2]}}
    file = written(parameters=parameters, table={"rows": ["attention", name], "scores": {"R1": "test/rank1"}})
    runs = plan.unique(plan.share(plan.plan(grid.load(file), Path("runs"), unmoved), Path("runs")))
    assert len(runs) == 4
    assert len({run.key for run in runs}) == 4


def unmoved(lines: Sequence[list[str]]) -> list[plan.Resolution]:
    """Resolve command lines as the suite does: only attention decides the outcome."""
    return [plan.Resolution({"attention": line[1].partition("=")[2]}) for line in lines]


@pytest.mark.parametrize("macro", ["${args}", "${args_no_hyphens}", "${args_no_equals}", "${args_json}"])
def test_seeds_of_an_own_program_are_seeds_however_it_reads_them(macro: str) -> None:
    parameters = {"rate": {"value": 1}, "seed_everything": {"values": [0, 1, 2]}}
    runs = planned(
        written(
            command=["python", "mine.py", macro], parameters=parameters, table={"rows": "rate", "scores": {"R1": "R1"}}
        )
    )
    assert len({run.key for run in runs}) == 1
    assert len({run.folder for run in runs}) == 3


def test_a_run_departs_from_its_cell_by_what_is_set() -> None:
    plain, changed = planned(written())[-1], planned(written(), {"rate": 3, "task": "u", "logger": "wandb"})[-1]
    assert plain.departures == {}
    assert changed.departures == {"rate": [None, 3], "task": ["t", "u"]}
    assert (changed.cell, changed.row, changed.column) == (plain.cell, "se", "B")
    assert changed.labels == {"row": "SE", "column": "B"}
    assert changed.key != plain.key


def test_runs_that_two_tables_share_are_run_once() -> None:
    both = [*planned(written("one")), *planned(written("two"), {"seed_everything": [1, 2]})]
    shared = plan.share(both, Path("runs/sweeps"))
    assert len({run.folder for run in shared}) == len(plan.unique(shared)) == 12
    twice = [run for run in shared if run.folder.parent.name != run.sweep]
    assert {(run.sweep, run.seed, run.folder.parent.name) for run in twice} == {("two", 1, "one")}


def test_a_run_of_another_sweep_that_exists_is_taken_over_unless_it_has_failed() -> None:
    first = planned(written("one"))[0]
    first.folder.mkdir(parents=True)
    (first.folder / "sweep.json").write_text(json.dumps(first.entry()))
    (again,) = plan.share(planned(written("two"))[:1], Path("runs/sweeps"))
    assert again.folder == first.folder
    (first.folder / "failed.json").write_text("{}")
    (again,) = plan.share(planned(written("two"))[:1], Path("runs/sweeps"))
    assert again.folder == Path("runs/sweeps/two", again.name)


def test_a_score_may_need_a_test_of_its_own_that_follows_the_run() -> None:
    scores = {"val": "test/mIoU", "train": {"metric": "test/mIoU", "test": {"data.test_split": "train"}}}
    runs = planned(written(table={**FILE["table"], "scores": scores}))  # type: ignore[dict-item]
    (test,) = runs[0].tests
    assert test.name == "test-train"
    assert test.command == ["relattn", "test", f"--ckpt_path={runs[0].folder}", "--data.test_split=train"]
    two = plan.share([*planned(written("one")), *runs], Path("runs/sweeps"))
    once = plan.unique(two)
    assert [run.tests[0].name for run in once] == ["test-train"] * 8, "whichever of the tables asks for it"
    assert once[0].tests[0].command[2] == f"--ckpt_path={once[0].folder}"


def test_every_cell_is_checked_before_the_first_starts() -> None:
    def resolve(lines: Sequence[list[str]]) -> list[plan.Resolution]:
        found = as_written(lines)
        return [
            plan.Resolution({}, problem="rate is too high") if one.options.get("attention") == "se" else one
            for one in found
        ]

    with pytest.raises(InputError, match=r"sweep\.yaml: se-A, se-B: rate is too high"):
        plan.plan(grid.load(written()), Path("runs"), resolve)


def test_a_run_whose_further_test_failed_has_failed() -> None:
    scores = {"R1": "test/rank1", "far": {"metric": "test/rank1", "test": {"data": "B"}}}
    run = planned(written(table={"rows": "attention", "columns": "data", "scores": scores}))[0]
    run.folder.mkdir(parents=True)
    (run.folder / "result.json").write_text("{}")
    assert run.state == "interrupted"
    (run.folder / "failed.json").write_text("{}")
    assert run.state == "failed"
