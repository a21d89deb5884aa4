"""Every sweep file: its numbers are the papers', its options are valid, and its networks can be built."""

import json
from typing import Any

import pytest
from paper_tables import TABLES, numbers

from relattn.cli import catalogue
from relattn.cli.lightning.recipes import attention_config, read_command_line
from relattn.sweeps import grid
from relattn.sweeps.table import fill

FILES = sorted((catalogue.conf() / "sweep").glob("*.yaml"))
NAMES = [path.stem for path in FILES]


@pytest.mark.parametrize(("name", "source"), list(TABLES), ids=" ".join)
def test_numbers_are_those_of_the_paper(name: str, source: str) -> None:
    table = fill(grid.load(catalogue.conf() / "sweep" / f"{name}.yaml"), [])
    found = []
    for row in table.rows:
        cells = [table.cells[row, column, score.label] for column in table.columns for score in table.scores]
        values = [cell.published[source] for cell in cells if source in cell.published]
        found += [values] if values else []
    assert found == numbers(TABLES[name, source])


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_every_number_is_tested_and_stands_in_a_cell(path: Any) -> None:
    sweep = grid.load(path)
    table = fill(sweep, [])
    assert sweep.name == path.stem
    assert path.read_text().startswith("# "), "the catalogue shows the first comment line"
    assert {source for name, source in TABLES if name == path.stem} == set(table.sources)
    for source, rows in table.layout.get("published", {}).items():
        inside = sum(source in cell.published for cell in table.cells.values())
        assert inside == sum(1 if not isinstance(v, dict) else len(v) for row in rows.values() for v in row.values())
    if table.baseline is not None:
        assert table.baseline in table.rows
    labels = {str(key) for key in table.layout.get("labels", {})}
    assert labels <= {*table.rows, *table.columns}
    assert all(table.label(row) for row in table.rows)


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_runs_name_what_there_is(path: Any) -> None:
    plan = grid.load(path).plan(catalogue.conf())
    assert len({planned.name for planned in plan}) == len({planned.fingerprint for planned in plan}) == len(plan)
    for planned in plan:
        options = planned.options
        assert options["task"] in catalogue.recipes("task")
        assert options["attention"] in {"none", *catalogue.recipes("attention")}
        assert options.get("data", "CIFAR100") in catalogue.data_sets()
        assert planned.command[:2] == ["relattn", "fit"]


def network_options(path: Any) -> set[tuple[str, ...]]:
    """What decides the networks of a sweep."""
    plan = grid.load(path, {"model.pretrained": False, grid.SEED: 0}).plan()
    kept = ("task", "attention", "backbone", "model.", "data")
    options = [{k: v for k, v in planned.options.items() if k.startswith(kept)} for planned in plan]
    return {tuple(f"--{name}={grid.text(value)}" for name, value in each.items()) for each in options}


@pytest.mark.slow
@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_every_network_can_be_built(path: Any) -> None:
    import torch
    from jsonargparse import ActionConfigFile, ArgumentParser

    from relattn.tasks.base import Data, Task

    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--config", action=ActionConfigFile)
    parser.add_argument("--seed_everything", type=int)
    parser.add_argument("--trainer", type=dict)
    parser.add_subclass_arguments(Task, "model")
    parser.add_subclass_arguments(Data, "data")
    for options in sorted(network_options(path)):
        arguments, _ = flags.expand(list(options))
        config = parser.parse_args(arguments)
        asked = json.loads(flags.attention(dict(o.split("=", 1) for o in options)["--attention"], None)) or {}
        chosen = parser.instantiate(config)
        known = {"num_classes": 19, "image_size": (32, 32), "classes": [str(number) for number in range(19)]}
        for name, value in known.items():  # what is known once the files are read
            if not hasattr(chosen.data, name):
                setattr(chosen.data, name, value)
        with torch.device("meta"):
            network = chosen.model.build_network(chosen.data)
        kinds = {type(module).__name__ for module in network.modules()}
        if asked:
            assert asked["class_path"].rpartition(".")[2] in kinds | {"Timm", "Chain"}, options
