"""Segmentation through the command line, on generated streets."""

import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import yaml

from relattn.backbones import dilated
from relattn.cli import catalogue
from relattn.cli.main import run
from relattn.errors import InputError
from relattn.heads import SegmentationNetwork
from relattn.inference.loading import load_task
from relattn.tasks.segmentation.labels import CITYSCAPES

pytestmark = pytest.mark.filterwarnings("ignore:.*is not the published set")

RECIPES = ["segmentation", "segmentation_ppm", "segmentation_aspp"]
TINY = [
    *("--backbone", "resnet14t", "--model.pretrained", "false", "--model.width", "32", "--model.pool", "[6,8]"),
    *("--gpus", "0", "--trainer.max_steps", "2", "--trainer.max_epochs", "1", "--trainer.check_val_every_n_epoch", "1"),
    *("--data.crop", "[48,64]", "--data.batch_size", "4", "--data.workers", "0"),
]


def fit(root: Path, *arguments: str, task: str = "segmentation_ppm") -> Path:
    """Train for two steps; return the run's folder."""
    before = set(Path("runs").glob("*/*"))
    assert run(["fit", "--task", task, *TINY, "--data.root", str(root), *arguments]) == 0
    (folder,) = set(Path("runs").glob("*/*")) - before
    return folder


def result(folder: Path) -> dict:
    return json.loads((folder / "result.json").read_text())


@pytest.mark.parametrize("attention", ["none", "rga_sc"])
@pytest.mark.parametrize("task", RECIPES)
def test_a_recipe_trains_and_is_scored(task: str, attention: str, streets: Path) -> None:
    folder = fit(streets, "--attention", attention, task=task)
    found = result(folder)
    assert (found["data"], found["attention"], found["steps"], found["genuine"]) == ("Cityscapes", attention, 2, False)
    assert found["protocol"] == "whole"
    scores = found["scores"]
    assert scores["test/score"] == scores["test/mIoU"]
    classes = [scores[f"test/IoU/{name}"] for name in CITYSCAPES.classes if f"test/IoU/{name}" in scores]
    assert scores["test/mIoU"] == pytest.approx(np.mean(classes), abs=1e-4)
    expected = scores["train/segmentation_loss"] + 0.4 * scores["train/auxiliary_loss"]
    assert scores["train/loss"] == pytest.approx(expected, abs=1e-3)
    assert {path.name for path in (folder / "pictures").iterdir()} == {
        f"{stage}_{index}.jpg" for stage in ("val", "test") for index in range(3)
    }


@pytest.mark.parametrize("task", RECIPES)
def test_a_recipe_states_the_paper_s_numbers_and_builds_its_network(task: str) -> None:
    file = catalogue.conf() / "task" / f"{task}.yaml"
    train, val = {
        "segmentation": (("83.8", "86.1"), ("74.8", "78.5")),
        "segmentation_ppm": (("85.0", "85.2"), ("77.0", "78.9")),
        "segmentation_aspp": (("85.9", "86.8"), ("78.5", "79.6")),
    }[task]
    text = " ".join(file.read_text().replace("#", "").split())
    assert f"{train[0]} / {val[0]}, with RGA-SC {train[1]} / {val[1]}" in text
    arguments = yaml.safe_load(text := file.read_text())["model"]["init_args"]
    assert re.search(rf"relattn fit --task {task} ", text)
    with torch.device("meta"):
        backbone = dilated(arguments["backbone"], output_stride=8, size=(769, 769))
        network = SegmentationNetwork(backbone, head=arguments["head"])
        parameters = sum(value.numel() for value in network.parameters())
    expected = {"fcn": 56.68, "ppm": 70.31, "aspp": 63.10}[arguments["head"]]
    assert parameters / 1e6 == pytest.approx(expected, abs=0.005)


def test_predictions_are_label_ids_that_the_official_script_scores_alike(streets: Path, capsys) -> None:
    folder = fit(streets)
    checkpoint = str(folder / "checkpoints" / "last.ckpt")
    assert run(["test", "--ckpt_path", checkpoint]) == 0
    assert "protocol: whole" in capsys.readouterr().out
    scores = result(folder / "test")["scores"]
    assert run(["predict", "--ckpt_path", checkpoint, "--data.predict_split", "val"]) == 0
    files = sorted((folder / "predict" / "labelIds").iterdir())
    truths = sorted(streets.rglob("gtFine/val/*/*_labelIds.png"))
    names = [re.sub("_gtFine.*", "", path.name) for path in truths]
    assert [path.name for path in files] == [f"{name}_labelIds.png" for name in names]
    assert sorted(path.name for path in (folder / "predict" / "overlay").iterdir()) == [
        f"{n}_overlay.png" for n in names
    ]
    for file in files:
        assert set(np.unique(cv2.imread(str(file), cv2.IMREAD_UNCHANGED))) <= set(CITYSCAPES.ids)
    official = pytest.importorskip("cityscapesscripts.evaluation.evalPixelLevelSemanticLabeling")
    for name in ("evalInstLevelScore", "evalPixelAccuracy", "JSONOutput"):
        setattr(official.args, name, False)
    official.args.quiet = True
    found = official.evaluateImgLists([str(file) for file in files], [str(path) for path in truths], official.args)
    assert 100 * found["averageScoreClasses"] == pytest.approx(scores["test/mIoU"], abs=1e-4)


def test_windows_scales_and_mirror_images_are_named_with_the_scores(streets: Path) -> None:
    folder = fit(streets)
    ways = [
        "--model.inference.crop",
        "[48,64]",
        "--model.inference.scales",
        "[0.75,1.0]",
        "--model.inference.flip",
        "true",
    ]
    assert run(["test", "--ckpt_path", str(folder / "checkpoints" / "last.ckpt"), *ways]) == 0
    assert result(folder / "test")["protocol"] == "slide 48x64/32x43 ms 0.75,1.0 + flip"


def test_the_train_images_are_scored_as_the_paper_does(streets: Path) -> None:
    folder = fit(streets)
    options = ["--ckpt_path", str(folder / "checkpoints" / "last.ckpt"), "--data.test_split", "train"]
    assert run(["test", *options]) == 0
    assert result(folder / "test")["test_split"] == "train"


@pytest.mark.parametrize(
    ("options", "where"),
    [
        (["--attention", "se"], "network.backbone"),  # belongs into blocks
        (["--attention", "stra"], "network.backbone.layer4"),
        (["--attention", "rga_sc", "--model.stages", "[1]"], "network.backbone.attention.stage1"),
        (["--attention", "rga_sc"], "network.context.attention"),
        (["--attention", "rga_sc", "--model.context_mode", "full"], "network.context.attention"),
        (["--attention", "rga_sc", "--model.context_mode", "masks"], "network.context.attention"),
        (["--attention", "nl", "--model.ohem", "true", "--model.auxiliary_weight", "0"], "network.context.attention"),
    ],
)
def test_attention_goes_where_it_belongs_or_is_sent(options: list[str], where: str, streets: Path) -> None:
    needs_windows = "rga_sc" in options and {"full", "--model.stages"} & set(options)
    inference = ["--model.inference.crop", "[48,64]"] if needs_windows else []
    folder = fit(streets, *options, *inference)
    task = load_task(folder / "checkpoints" / "last.ckpt")
    names = [name for name, module in task.named_modules() if any(module is one for one in task.attentions)]
    assert names
    assert all(name.startswith(where) for name in names)
    with torch.no_grad():
        assert task(torch.randn(1, 3, 48, 64)).shape == (1, 19, 48, 64)


def test_what_cannot_be_is_said(streets: Path) -> None:
    for options, message in (
        (["--data.batch_size", "1"], "at least 2 images|batch"),
        (["--backbone", "convnext_atto"], "first_dilation='previous'"),
        (["--model.auxiliary_weight", "-1"], "auxiliary_weight is -1"),
        (["--attention", "rga_sc", "--model.context_mode", "full"], r"--model.inference.crop \[48,64\]"),
        (["--data.eval_batch_size", "0"], "eval_batch_size is 0"),
    ):
        with pytest.raises(InputError, match=message):
            fit(streets, *options)
