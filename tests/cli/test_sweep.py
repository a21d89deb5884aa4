"""`relattn sweep` and `relattn report` through the trainer itself."""

import json
from pathlib import Path

import pytest
import yaml

from relattn.cli import catalogue
from relattn.cli.main import run
from relattn.runs import run_folder


def test_the_catalogue_of_sweeps(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["sweep"]) == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in catalogue.recipes("sweep"))
    assert "StRA, Table 3a: the components" in printed


@pytest.mark.slow
def test_a_sweep_trains_goes_on_and_is_reported(cifar: Path) -> None:
    content = {
        "method": "grid",
        "command": ["relattn", "fit", "${args}"],
        "parameters": {
            "task": {"value": "classification"},
            "backbone": {"value": "resnet8"},
            "gpus": {"value": 0},
            "attention": {"values": ["none"]},
            "data": {"value": "CIFAR10"},
            "data.root": {"value": str(cifar)},
            "data.batch_size": {"value": 60},
            "trainer.max_epochs": {"value": 2},
        },
        "table": {
            "rows": "attention",
            "scores": {"Error": {"metric": "test/error", "better": "lower"}},
            "published": {"A, Table 1": {"none": {"Error": 6.4}}},
        },
    }
    Path("small.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    assert run(["sweep", "small.yaml"]) == 0
    (folder,) = Path("runs/sweeps/small").glob("small-*")
    result = json.loads((folder / "result.json").read_text())
    assert result["epochs"] == 2
    assert result["macs"] > 10**6
    assert 0 < result["seconds_per_step"] < 10
    (folder / "result.json").unlink()  # as if interrupted during its test
    assert run_folder.state_of(folder) == "interrupted"
    assert run(["sweep", "small.yaml"]) == 0
    assert "--ckpt_path" in (folder / "log.txt").read_text()
    again = json.loads((folder / "result.json").read_text())
    assert again["scores"]["test/error"] == result["scores"]["test/error"]
    assert run(["report", "runs/sweeps/small"]) == 0
    written = Path("report/small.md").read_text()
    assert f"{result['scores']['test/error']:.2f}† n=1; paper 6.4 |" in written
    assert "not comparable with published numbers" in written
