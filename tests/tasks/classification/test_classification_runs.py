"""Classification through the command line: the content of a run, repetition, evaluation and resuming."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from small_runs import RUNS, checkpoint_of, fit, result, rows

from relattn.cli.main import main, run
from relattn.runs.checkpoints import read_checkpoint
from relattn.synthetic.objects.layouts import OBJECTS


def test_a_run_owns_a_folder_that_holds_everything(classification_run: Path) -> None:
    found = result(classification_run)
    assert (found["task"], found["run"], found["backbone"]) == ("classification", "small", "resnet8")
    assert (found["attention"], found["weights"]) == ("rga_sc", "random")
    assert (found["epochs"], found["steps"], found["data"], found["genuine"]) == (1, 2, "CIFAR10", False)
    scores = found["scores"]
    assert scores["test/score"] == scores["test/accuracy"] == pytest.approx(100 - scores["test/error"], abs=1e-3)
    assert scores["val/error"] == scores["test/error"]  # without held-out images the curves are the test set's
    logged = rows(classification_run / "metrics.csv")
    assert [row["val/error"] for row in logged if row["val/error"]] != []
    assert len([row for row in logged if row["train/loss"]]) == 1
    kept = read_checkpoint(checkpoint_of(classification_run))["specification"]
    assert (kept["num_classes"], kept["image_size"], kept["class_names"]) == (10, (32, 32), list(OBJECTS))


@pytest.mark.slow
def test_a_timm_backbone_is_trained_and_held_out_images_are_what_validation_scores(cifar: Path) -> None:
    chosen = ["--backbone", "resnet10t", "--attention", "rga_s", "--model.stages", "[1]"]
    folder = fit("classification", cifar, *chosen, "--data.validation", "50")
    assert folder.name.startswith("cifar10-resnet10t-rga_s-")
    assert folder.name.endswith("-s0")
    found = result(folder)
    assert found["backbone"] == "resnet10t"
    assert found["images"] == {"train": 150, "val": 50, "test": 50}
    assert found["scores"]["val/loss"] != found["scores"]["test/loss"]


def test_a_saved_configuration_reproduces_its_run_alone(classification_run: Path) -> None:
    assert run(["fit", "--config", str(classification_run / "config.yaml"), "--name", "again"]) == 0
    again = Path("runs/classification/again")
    first, second = (read_checkpoint(checkpoint_of(folder))["state_dict"] for folder in (classification_run, again))
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    assert result(classification_run)["scores"] == result(again)["scores"]
    configs = [yaml.safe_load((folder / "config.yaml").read_text()) for folder in (classification_run, again)]
    assert configs[0] == configs[1]


@pytest.mark.slow
def test_evaluation_and_prediction_of_a_checkpoint(
    classification_run: Path, copy_of: Callable[[Path], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = copy_of(classification_run)
    for command in ("test", "validate", "predict"):
        assert run([command, "--ckpt_path", str(checkpoint_of(folder))]) == 0
    tested, validated = result(folder / "test"), result(folder / "validate")
    assert tested["scores"]["test/error"] == result(folder)["scores"]["test/error"]
    assert validated["scores"]["val/error"] == tested["scores"]["test/error"]
    predictions = rows(folder / "predict" / "predictions.csv")
    assert [int(row["index"]) for row in predictions] == list(range(50))
    assert {row["label"] for row in predictions} <= set(OBJECTS)
    wrong = sum(row["predicted"] != row["label"] for row in predictions)
    assert 100 * wrong / 50 == pytest.approx(tested["scores"]["test/error"], abs=1e-3)
    assert f"run: {folder}/predict" in capsys.readouterr().out
    assert rows(folder / "metrics.csv"), "the run's own metrics are left alone"


@pytest.mark.slow
def test_a_run_goes_on_from_its_checkpoint_in_its_folder(
    classification_run: Path, copy_of: Callable[[Path], Path]
) -> None:
    folder = copy_of(classification_run)
    for options, named in (
        (["--name", "other"], "keeps its folder"),
        (["--backbone", "resnet14"], "--model.backbone is resnet14, and .* has resnet8: a resumed run keeps it"),
    ):
        with pytest.raises(ValueError, match=named):
            run(["fit", "--ckpt_path", str(folder), *options])
        assert rows(folder / "metrics.csv"), "nothing is lost"
    assert run(["fit", "--ckpt_path", str(checkpoint_of(folder)), "--trainer.max_epochs", "2"]) == 0
    assert list(Path("runs/classification").iterdir()) == [folder]
    assert result(folder)["epochs"] == 2
    assert result(folder)["weights"] == "random", "it began with them"
    assert yaml.safe_load((folder / "config.yaml").read_text())["ckpt_path"] is None, "it starts anew when it is used"
    assert len([row for row in rows(folder / "metrics.csv") if row["train/loss"]]) == 2


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


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--data.root", "nowhere"], "relattn data make cifar10 --root "),
        (["--model.pretrained", "nowhere.safetensors"], "no such file of weights"),
    ],
)
@pytest.mark.slow
def test_what_is_wrong_is_said_without_a_traceback(
    arguments: list[str], named: str, cifar: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Further errors are in the catalogue of bad inputs."""
    line = [*RUNS["classification"], "--data.root", str(cifar), *arguments]
    monkeypatch.setattr(sys, "argv", ["relattn", *line])
    assert main() == 2
    message = capsys.readouterr().err
    assert "relattn: error:" in message
    assert "Traceback" not in message
    assert named in message
    assert not list(Path().glob("runs/*/*")), "the name of the run is free again"


@pytest.mark.slow
def test_the_demo_trains_both_networks_and_prints_a_table(capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["demo", "classification", "--epochs", "1"]) == 0
    found = [result(path.parent) for path in sorted(Path("runs/demo").rglob("result.json"))]
    assert [entry["attention"] for entry in found] == ["none", "rga_sc"]
    assert "raw-pixel nearest neighbour" in capfd.readouterr().out
