"""Whole runs through the command line, on generated data."""

import csv
import json
import re
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml

from relattn.cli.main import main, run
from relattn.synthetic.objects.layouts import OBJECTS

TINY = [
    "--task",
    "classification",
    "--backbone",
    "resnet8",
    "--gpus",
    "0",
    "--trainer.max_epochs",
    "2",
    "--data.batch_size",
    "60",
]


def fit(root: Path, *arguments: str, data: str = "CIFAR10") -> Path:
    """Train; return the folder of the newest run."""
    before = set(Path("runs").glob("*/*"))
    assert run(["fit", *TINY, "--data", data, "--data.root", str(root), *arguments]) == 0
    (folder,) = set(Path("runs").glob("*/*")) - before
    return folder


def result(folder: Path) -> dict:
    return json.loads((folder / "result.json").read_text())


def rows(file: Path) -> list[dict[str, str]]:
    with file.open() as lines:
        return list(csv.DictReader(lines))


@pytest.mark.parametrize("attention", ["none", "rga_sc"])
def test_a_run_owns_a_folder_that_holds_everything(attention: str, cifar: Path) -> None:
    folder = fit(cifar, "--attention", attention)
    assert folder == Path(f"runs/classification/cifar10-resnet8-{attention}-s0")
    found = result(folder)
    assert (found["task"], found["backbone"], found["attention"]) == ("classification", "resnet8", attention)
    assert (found["epochs"], found["steps"], found["data"], found["genuine"]) == (2, 8, "CIFAR10", False)
    assert found["weights"] == "random"
    scores = found["scores"]
    assert scores["test/score"] == scores["test/accuracy"] == pytest.approx(100 - scores["test/error"], abs=1e-3)
    assert scores["val/error"] == scores["test/error"]  # without held-out images the curves are the test set's
    logged = rows(folder / "metrics.csv")
    assert [row["val/error"] for row in logged if row["val/error"]] != []
    assert len([row for row in logged if row["train/loss"]]) == 2
    kept = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["shapes"]
    assert (kept["num_classes"], kept["class_names"]) == (10, list(OBJECTS))


def test_a_saved_configuration_reproduces_its_run_alone(cifar: Path) -> None:
    first = fit(cifar, "--attention", "rga_sc", "--trainer", "deterministic", data="CIFAR100")
    assert run(["fit", "--config", str(first / "config.yaml")]) == 0
    second = Path(f"{first}-2")
    weights = [
        torch.load(folder / "checkpoints/last.ckpt", weights_only=True)["state_dict"] for folder in (first, second)
    ]
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())
    assert result(first)["scores"] == result(second)["scores"]


def test_evaluation_and_prediction_of_a_checkpoint(cifar: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = fit(cifar, data="CIFAR100")
    checkpoint = str(folder / "checkpoints" / "last.ckpt")
    for command in ("test", "validate", "predict"):
        assert run([command, "--ckpt_path", checkpoint]) == 0
    tested, validated = result(folder / "test"), result(folder / "validate")
    assert tested["scores"]["test/error"] == result(folder)["scores"]["test/error"]
    assert validated["scores"]["val/error"] == tested["scores"]["test/error"]
    predictions = rows(folder / "predict" / "predictions.csv")
    assert [int(row["index"]) for row in predictions] == list(range(101))
    wrong = sum(row["predicted"] != row["label"] for row in predictions)
    assert 100 * wrong / 101 == pytest.approx(tested["scores"]["test/error"], abs=1e-3)
    assert f"run: {folder}/predict" in capsys.readouterr().out
    assert rows(folder / "metrics.csv"), "the run's own metrics are left alone"


def test_a_run_goes_on_from_its_checkpoint_in_its_folder(cifar: Path) -> None:
    folder = fit(cifar)
    checkpoint = str(folder / "checkpoints" / "last.ckpt")
    assert run(["fit", "--ckpt_path", checkpoint, "--trainer.max_epochs", "3"]) == 0
    assert list(Path("runs/classification").iterdir()) == [folder]
    assert result(folder)["epochs"] == 3
    assert result(folder)["weights"] == checkpoint
    assert yaml.safe_load((folder / "config.yaml").read_text())["ckpt_path"] is None, "it starts anew when it is used"
    assert len([row for row in rows(folder / "metrics-1.csv") if row["train/loss"]]) == 2
    assert len([row for row in rows(folder / "metrics.csv") if row["train/loss"]]) == 1


@pytest.mark.parametrize(
    ("options", "named"),
    [(["--name", "other"], "keeps its folder"), (["--backbone", "resnet14"], "has backbone resnet8")],
)
def test_a_run_does_not_go_on_as_another(options: list[str], named: str, cifar: Path) -> None:
    folder = fit(cifar, "--trainer.max_epochs", "1")
    with pytest.raises(ValueError, match=named):
        run(["fit", "--ckpt_path", str(folder / "checkpoints" / "last.ckpt"), *options])
    assert rows(folder / "metrics.csv"), "nothing is lost"


def test_evaluation_needs_a_trained_network(cifar: Path) -> None:
    with pytest.raises(ValueError, match="needs a trained network: --ckpt_path"):
        run(["test", *TINY, "--data.root", str(cifar)])


def test_explicit_options_win_over_recipes(cifar: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--model.optimizer.lr", "0.025", "--task", "classification", "--attention", "rga_sc"]
    options = ["--model.attention.init_args.embedding_ratio=2", "--print_config"]
    with pytest.raises(SystemExit) as stopped:
        run(["fit", *arguments, "--data.root", str(cifar), *options])
    assert stopped.value.code == 0
    config = yaml.safe_load(capsys.readouterr().out)
    model = config["model"]["init_args"]
    assert model["optimizer"]["init_args"]["lr"] == 0.025
    assert model["optimizer"]["init_args"]["momentum"] == 0.9
    assert model["attention"]["init_args"]["embedding_ratio"] == 2
    assert model["attention"]["init_args"]["reduction_ratio"] == 4
    assert config["data"]["class_path"] == "relattn.tasks.classification.CIFAR100"


def test_a_timm_backbone_is_trained_as_well(cifar: Path) -> None:
    folder = fit(
        cifar,
        *["--backbone", "resnet10t", "--attention", "rga_s", "--model.stages", "[1]", "--trainer.max_epochs", "1"],
    )
    assert result(folder)["backbone"] == "resnet10t"


def test_held_out_images_are_what_validation_scores(cifar: Path) -> None:
    found = result(fit(cifar, "--data.validation", "50"))
    assert found["images"] == {"train": 150, "val": 50, "test": 50}


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--data.root", "nowhere"], "relattn data make cifar100 --root nowhere"),
        (["--backbone", "resnt20"], "Closest: resnet20"),
        (["--backbone", "resnet21"], "6n \\+ 2"),
        (["--attention", "rga_cs", "--model.stages", "[4]"], "stages 1 to 3"),
        (["--backbone", "vit_tiny_patch16_224", "--attention", "rga_s"], "cannot take images 3x32x32"),
        (["--data.batch_size", "0"], "batch_size is 0"),
        (["--model.pretrained", "nowhere.safetensors"], "no such file of weights"),
        (["--model.attention.init_args.embedding_ratio", "0"], "embedding_ratio is 0"),
    ],
)
def test_what_is_wrong_is_said_without_a_traceback(
    arguments: list[str], named: str, cifar: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    given = ["fit", "--task", "classification", "--attention", "rga_sc", "--data.root", str(cifar), "--gpus", "0"]
    monkeypatch.setattr(sys, "argv", ["relattn", *given, *arguments])
    assert main() == 2
    message = capsys.readouterr().err
    assert "relattn: error:" in message
    assert "Traceback" not in message
    assert re.search(named, message), message
    assert not list(Path().glob("runs/*/*")), "the name of the run is free again"


def test_a_wandb_run_offline_holds_config_and_history(cifar: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WANDB_MODE")
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setattr(Path, "home", Path.cwd)  # no account
    folder = fit(cifar, "--logger", "wandb", "--trainer.logger.init_args.group", "table7")
    (offline,) = folder.rglob("offline-run-*")
    (record,) = offline.glob("*.wandb")
    for _ in range(60):  # another process writes it
        if b"val/error" in (content := record.read_bytes()):
            break
        time.sleep(0.5)
    for part in (
        b"relattn.tasks.classification.Classification",
        b"val/error",
        b"table7",
        b"resnet8",
        b"cifar10-resnet8-none-s0",
    ):
        assert part in content
    assert rows(folder / "metrics.csv"), "the table is written all the same"


@pytest.mark.slow
def test_the_demo_trains_both_networks_and_prints_a_table(capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["demo", "classification", "--epochs", "1"]) == 0
    found = [result(path.parent) for path in sorted(Path("runs/demo").rglob("result.json"))]
    assert [entry["attention"] for entry in found] == ["none", "rga_sc"]
    assert "raw-pixel nearest neighbour" in capfd.readouterr().out
