"""`relattn fit --task T --help` lists the most frequently changed options first, then every argument."""

import re

import pytest

from relattn.cli import catalogue
from relattn.cli.lightning.recipes import imported, parameters_of, task_recipe
from relattn.cli.main import run


@pytest.mark.parametrize("task", ["classification_small", "reid", "segmentation_camvid", "face_cosface"])
def test_it_has_what_is_changed_most_and_then_every_argument(
    task: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert run(["fit", "--task", task, "--help"]) == 0
    said = capsys.readouterr().out
    assert max(map(len, said.splitlines())) <= 80
    flags = re.findall(r"^  (--[\w.]+)", said, re.MULTILINE)
    assert len(flags) == len(set(flags))
    assert flags[:4] == ["--data.root", "--data", "--backbone", "--attention"]
    assert re.fullmatch(r"--trainer.max_(epochs|steps)", flags[4])
    assert {"--data.batch_size", "--model.optimizer.lr", "--gpus", "--name"} <= {*flags[5:11]}
    config = task_recipe(task)
    kinds = {
        "model": config["model"]["class_path"],
        "data": catalogue.class_path("data", config["data"]["recipe"]),
    }
    for option, class_path in kinds.items():
        kind = imported(class_path)
        assert kind is not None
        known = {name for name in parameters_of(kind) if name not in ("self", "args", "arguments", "kwargs", "shared")}
        listed = {flag for flag in flags if flag.startswith(f"--{option}.") and flag.count(".") == 1}
        short = {"--model.backbone", "--model.attention"}
        assert {f"--{option}.{name}" for name in known} - short == listed
    optimizer = config["model"]["init_args"]["optimizer"]
    assert f"--model.optimizer.lr X   {optimizer['init_args']['lr']}\n" in said


def test_another_data_set_has_its_own_arguments(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["fit", "--task=reid", "--data", "CUHK03", "-h"]) == 0
    assert "  --data.boxes" in capsys.readouterr().out


@pytest.mark.parametrize("line", [["--help"], ["fit", "--help"]], ids=" ".join)
def test_help_fits_a_terminal_of_80_columns(
    line: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert run(line) == 0
    said = capsys.readouterr().out
    assert max(map(len, said.splitlines())) <= 80
    assert " ".join(catalogue.recipes("task")["reid"].split()) in " ".join(said.split())
