"""Sweep files are W&B's: parsed as such, expanded in W&B's order."""

import itertools
import sys
from pathlib import Path

import pytest
import yaml

from relattn.cli.main import run
from relattn.cli.sweep import point_of
from relattn.errors import InputError
from relattn.sweeps import grid, wandb_agent
from relattn.sweeps.run_process import with_variables

FILE = {
    "method": "grid",
    "parameters": {"b": {"values": [1, 2]}, "c": {"value": True}, "a": {"values": ["x", "y", "z"]}},
}


def written(folder: Path, **changes: object) -> Path:
    path = folder / "sweep.yaml"
    path.write_text(yaml.safe_dump({**FILE, **changes}))
    return path


def test_the_order_is_that_of_wandb(tmp_path: Path) -> None:
    # W&B sorts parameters by name and takes the product of their values, the last running fastest.
    points = grid.load(written(tmp_path)).grid()
    assert [(point["a"], point["b"]) for point in points] == list(itertools.product("xyz", (1, 2)))
    assert all(point["c"] is True for point in points)


def test_commands_have_wandbs_macros(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOMEWHERE", "there")
    macros = ["${env}", "${interpreter}", "${program}", "${args}", "${args_no_hyphens}", "${envvar:SOMEWHERE}", "plain"]
    sweep = grid.load(written(tmp_path, program="train.py", command=macros))
    command = sweep.command({"a": "x", "flag": True, "stages": [3, 4], "nothing": None})
    assert command[:3] == ["/usr/bin/env", sys.executable, "train.py"]
    assert command[3:7] == ["--a=x", "--flag=True", "--stages=[3, 4]", "--nothing=null"]
    assert command[7] == "a=x"
    assert command[-2:] == ["${envvar:SOMEWHERE}", "plain"], "its value is in no file"
    assert with_variables(command)[-2:] == ["there", "plain"]
    without = grid.load(written(tmp_path))
    assert without.command({"a": 1}) == ["relattn", "fit", "--a=1"]


def test_values_can_stand_for_options_and_names_come_before_what_belongs_to_them(tmp_path: Path) -> None:
    options = {"a": {"x": {"m.deep": 1, "attention": "nl"}}}
    sweep = grid.load(written(tmp_path, options=options))
    assert list(sweep.options_of({"a": "x", "b": 2}).items()) == [("attention", "nl"), ("b", 2), ("m.deep", 1)]
    assert sweep.options_of({"a": "y", "b": 2}) == {"a": "y", "b": 2}


def test_overrides_win_everywhere_and_lists_are_values(tmp_path: Path) -> None:
    options = {"a": {"x": {"attention": "nl"}}}
    overrides = grid.parse_overrides(["b=[7, 8]", "attention=se", "data.root=/somewhere", "rate=1e-3", "d=[1, 2]"])
    sweep = grid.load(written(tmp_path, options=options), overrides)
    points = sweep.grid()
    assert [(point["b"], point["d"]) for point in points] == [(7, 1), (7, 2), (8, 1), (8, 2)] * 3
    assert {sweep.options_of(point)["attention"] for point in points} == {"se"}
    command = sweep.command(sweep.options_of(points[0]))
    assert command[2:] == ["--attention=se", "--b=7", "--c=True", "--d=1", "--rate=1e-3", "--data.root=/somewhere"]


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"method": "all"}, "expected one of grid, random, bayes"),
        ({"parameters": {"a": {"min": 0, "max": 1}}}, "Parameter a"),
        ({"parameters": {"a": {"values": []}}}, "not empty"),
        ({"tabel": {}}, "table"),
        ({"options": {"d": {}}}, "not a parameter"),
        ({"options": {"a": {"w": {}}}}, "not one of its values"),
        ({"name": "../../elsewhere"}, "name of a folder"),
        ({"options": {"a": {"x": "rga_sc"}}}, "options, a, x is 'rga_sc', expected keys with values"),
        ({"options": {"a": "x"}}, "options, a is 'x', expected keys with values"),
        ({"options": ["a"]}, "expected keys with values"),
        ({"parameters": {1: {"values": [2]}}}, "parameters has 1, expected the name of an option"),
        ({"command": "relattn fit ${args}"}, "expected a list of its words"),
    ],
)
def test_wrong_files_are_refused(changes: dict, named: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=named):
        grid.load(written(tmp_path, **changes))


def test_empty_options_stand_for_nothing(tmp_path: Path) -> None:
    for options in (None, {"a": None}):
        sweep = grid.load(written(tmp_path, options=options))
        assert "a" in sweep.options_of(sweep.grid()[0])


def test_unknown_macros_and_overrides_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="args"):
        grid.load(written(tmp_path, command=["${arg}"])).command({})
    with pytest.raises(InputError, match="key=value"):
        grid.parse_overrides(["a"])
    with pytest.raises(InputError, match="names the folders of its runs itself"):
        grid.load(written(tmp_path), {"name": "mine"})
    options = {"a": {"x": {"p": 1}, "y": {"p": 2}, "z": {"p": 3}}}
    with pytest.raises(InputError, match="does not say what that is"):
        grid.load(written(tmp_path, options=options), {"a": "w"})


def test_wandb_is_given_a_file_that_it_knows(tmp_path: Path) -> None:
    path = written(tmp_path, options={"a": {"x": {"p": 1}}}, table={"rows": "a", "scores": {"s": "test/score"}})
    content = wandb_agent.registered(grid.load(path, {"b": 1}), ["--set", "b=1"])
    assert set(content) <= grid.WANDB_KEYS
    assert content["parameters"]["b"] == {"value": 1}
    assert content["command"][-4:] == ["--set", "b=1", "--run", "${args}"]


def test_a_wandb_sweep_offline_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    with pytest.raises(InputError, match="wandb sync"):
        wandb_agent.check_online()


def test_what_wandb_draws_may_be_anything(tmp_path: Path) -> None:
    drawn = {"rate": {"min": 0.1, "max": 0.5}, "a": {"values": ["x", "y"]}}
    path = written(tmp_path, method="bayes", parameters=drawn, metric={"name": "val/score", "goal": "maximize"})
    sweep = grid.load(path)
    content = wandb_agent.registered(sweep, [])
    assert (content["method"], content["metric"]["name"]) == ("bayes", "val/score")
    assert content["parameters"] == drawn
    assert point_of(sweep, ["--rate=0.25", "--a=y"]) == {"rate": 0.25, "a": "y"}
    with pytest.raises(InputError, match="a is 'z'"):
        point_of(sweep, ["--rate=0.25", "--a=z"])
    with pytest.raises(InputError, match="method bayes needs W&B: --launcher wandb"):
        run(["sweep", str(path)])
