"""W&B: how runs are named and grouped, and a real offline run read back from its file."""

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import wandb
from jsonargparse import Namespace
from PIL import Image
from small_runs import fit, result, rows
from wandb_files import read

from relattn.runs.wandb_account import has_account
from relattn.runs.wandb_logging import name_run, previous_id, tables

FACTS = {
    "task": "reid",
    "backbone": "resnet50.tv_in1k",
    "attention": "rga_sc",
    "label": "RGA-SC, masks open",
    "data": "Market1501",
    "identity": "0123456789",
}


@pytest.mark.slow
def test_an_offline_run_holds_all_of_it(
    streets: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("WANDB_MODE")
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setattr(Path, "home", Path.cwd)  # no account
    wandb.teardown()  # it keeps the environment of an earlier test
    monkeypatch.setenv("WANDB_RUN_GROUP", "rga_arxiv_table6")
    folder = fit("segmentation", streets, "--logger", "wandb", "--figures", "masks", "--model.pictures", "1")
    assert "no account is set up, so the run is kept offline" in capsys.readouterr().err
    (file,) = folder.rglob("offline-run-*/*.wandb")
    for _ in range(120):  # another process writes it
        found = read(file)
        if "parameters" in found["summary"]:
            break
        time.sleep(0.5)
    assert found["run"].run_group == "rga_arxiv_table6"
    assert found["run"].job_type == "train"
    assert {"segmentation", "resnet14t", "Cityscapes"} < set(found["run"].tags)
    assert [tag for tag in found["run"].tags if tag.startswith("RGA-SC, ")]
    assert found["run"].display_name == folder.name
    assert found["run"].project == "relattn"
    config = found["config"]
    assert config["model"]["class_path"] == "relattn.tasks.segmentation.Segmentation"
    assert config["model"]["init_args"]["optimizer"]["init_args"]["lr"] == 0.01
    assert config["data"]["init_args"]["crop"] == [32, 32]
    assert config["run"]["attention"] == "rga_sc"
    assert not {"config", "lr", "backbone", "model/init_args/backbone"} & config.keys(), "nested, and once"
    scores = result(folder)
    history: dict[str, Any] = {}
    for row in found["history"]:
        history |= row
    assert history["test/score"] == pytest.approx(scores["scores"]["test/score"], abs=1e-3)
    assert {"train/loss", "val/score", "epoch", "test/IoU/road"} <= history.keys()
    assert history["test/IoU_table/_type"] == "table-file"
    assert history["test/pictures/_type"] == "images/separated"
    assert found["summary"]["parameters"] == scores["parameters"]
    assert found["metrics"]["val/score"].summary.max
    assert found["summary"]["val/score"].keys() == {"last", "max"}
    assert found["summary"]["test/score"] == history["test/score"]
    (table,) = folder.rglob("files/media/table/test/IoU_table*.table.json")
    content = json.loads(table.read_text())
    assert content["columns"] == ["name", "IoU"]
    assert dict(content["data"])["road"] == pytest.approx(scores["scores"]["test/IoU/road"], abs=1e-3)
    (kept,) = (folder / "wandb").glob("offline-run-*/files/media/images/figures/masks_*.png")
    with Image.open(kept) as image, Image.open(folder / "figures" / "masks-001.png") as own:
        assert image.size == own.size
        assert np.abs(np.asarray(image, float) - np.asarray(own.convert("RGB"), float)).mean() < 2
    assert rows(folder / "metrics.csv"), "the table is written all the same"


def test_what_the_recipe_says_of_the_run_stays() -> None:
    arguments = Namespace(name="mine", group="ours", tags=["a"], job_type="ablation", id="abc")
    name_run(arguments, Path("runs/reid/one"), FACTS, "fit")
    assert (arguments.name, arguments.group, arguments.tags) == ("mine", "ours", ["a"])
    assert (arguments.job_type, arguments.id) == ("ablation", "abc")
    assert arguments.save_dir == str(Path("runs/reid/one").resolve())


def test_the_environment_names_what_no_option_names(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable, value in (("PROJECT", "thesis"), ("NAME", "theirs"), ("TAGS", "a, b"), ("JOB_TYPE", "ablation")):
        monkeypatch.setenv(f"WANDB_{variable}", value)
    arguments = Namespace(job_type="pilot")
    name_run(arguments, Path("runs/reid/one"), FACTS, "fit")
    assert (arguments.project, arguments.name, arguments.tags) == ("thesis", "theirs", ["a", "b"])
    assert arguments.job_type == "pilot"


def test_an_offline_run_is_said_to_be_one(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for mode, arguments, said in (
        ("offline", Namespace(), True),
        ("online", Namespace(), False),
        ("online", Namespace(offline=True), True),
    ):
        monkeypatch.setenv("WANDB_MODE", mode)
        name_run(arguments, Path("runs/reid/one"), FACTS, "fit")
        assert ("the run is kept offline; later: wandb sync" in " ".join(capsys.readouterr().err.split())) == said


def test_runs_that_differ_in_the_seed_are_a_group_and_a_test_is_named_after_its_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for variable in ("PROJECT", "NAME", "RUN_GROUP", "JOB_TYPE", "TAGS"):
        monkeypatch.delenv(f"WANDB_{variable}", raising=False)
    arguments = Namespace()
    name_run(arguments, Path("runs/reid/one-s0/test"), FACTS, "test")
    assert arguments.project == "relattn"
    assert (arguments.name, arguments.job_type) == ("one-s0-test", "test")
    assert arguments.group == "Market1501, resnet50.tv_in1k, RGA-SC, masks open"
    assert arguments.tags == ["reid", "Market1501", "resnet50.tv_in1k", "RGA-SC, masks open"]


def test_a_run_that_goes_on_keeps_its_id() -> None:
    folder = Path("run")
    assert previous_id(folder) is None
    for name in ("offline-run-20260101_100000-abc12345", "run-20251231_100000-other", "latest-run"):
        (folder / "wandb" / name).mkdir(parents=True)
    assert previous_id(folder) == "abc12345"


def test_scores_by_class_and_by_set_are_tables() -> None:
    scores = {"test/IoU/road": 90.0, "test/IoU/traffic light": 30.0, "test/mIoU": 60.0, "val/IoU/road": 80.0}
    faces = {"test/accuracy/lfw": 99.0, "test/EER/lfw": 1.0, "test/TAR@FAR=0.001/lfw": 95.0}
    faces |= {name.replace("lfw", "cfp_fp"): value - 0.5 for name, value in faces.items()}
    assert tables(scores) == {
        "test/IoU_table": (["name", "IoU"], [["road", 90.0], ["traffic light", 30.0]]),
        "val/IoU_table": (["name", "IoU"], [["road", 80.0]]),
    }
    assert tables({**faces, "test/accuracy": 94.5}) == {
        "test/accuracy_table": (
            ["name", "accuracy", "EER", "TAR@FAR=0.001"],
            [["lfw", 99.0, 1.0, 95.0], ["cfp_fp", 98.5, 0.5, 94.5]],
        )
    }


@pytest.mark.parametrize("chosen_by", ["environment", "settings", "default"])
def test_an_account_is_one_of_the_chosen_server(chosen_by: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "home", Path.cwd)
    for name in ("WANDB_API_KEY", "WANDB_BASE_URL", "WANDB_CONFIG_DIR", "NETRC"):
        monkeypatch.delenv(name, raising=False)
    assert not has_account()
    if chosen_by == "environment":
        monkeypatch.setenv("WANDB_BASE_URL", "https://ml.company.com:8080")
    elif chosen_by == "settings":
        Path(".config/wandb").mkdir(parents=True)
        Path(".config/wandb/settings").write_text("[default]\nbase_url = https://ml.company.com:8080\n")
    Path(".netrc").write_text("machine wandb.example.com\n  login user\n  password key\n")
    assert not has_account(), "an account on another server"
    server = "api.wandb.ai" if chosen_by == "default" else "ml.company.com:8080"
    Path(".netrc").write_text(f"machine {server}\n  login user\n  password key\n")
    Path(".netrc").chmod(0o600)
    assert has_account()
    Path(".netrc").write_text("machine\n")
    assert not has_account(), "a damaged file"
