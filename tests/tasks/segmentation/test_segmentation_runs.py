"""Segmentation through the command line, on generated streets."""

import re
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from small_runs import checkpoint_of, fit, result
from untrained import build

from relattn.backbones import dilated
from relattn.cli import catalogue
from relattn.cli.lightning.recipes import task_recipe
from relattn.cli.main import run
from relattn.errors import InputError
from relattn.heads import SegmentationNetwork
from relattn.inference.loading import load_task
from relattn.tasks.base import Task
from relattn.tasks.segmentation.labels import CITYSCAPES

pytestmark = pytest.mark.filterwarnings("ignore:.*is (not the published set|a rendered stand-in)")

RECIPES = ["segmentation", "segmentation_ppm", "segmentation_aspp"]


def check_scores(folder: Path, attention: str) -> None:
    """Check the scores of a small run."""
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


def test_a_run_with_attention_is_scored(segmentation_run: Path) -> None:
    check_scores(segmentation_run, "rga_sc")


@pytest.mark.parametrize(
    ("task", "attention"),
    [("segmentation", "rga_sc"), pytest.param("segmentation_aspp", "none", marks=pytest.mark.slow)],
)
@pytest.mark.slow
def test_a_recipe_trains_and_is_scored(task: str, attention: str, streets: Path) -> None:
    folder = fit("segmentation", streets, "--task", task, "--attention", attention)
    assert folder.name.startswith(f"cityscapes-resnet14t-{attention}-")
    check_scores(folder, attention)


@pytest.mark.parametrize("task", RECIPES)
@pytest.mark.slow
def test_a_recipe_states_the_paper_s_numbers_and_builds_its_network(task: str) -> None:
    file = catalogue.conf() / "task" / f"{task}.yaml"
    train, val = {
        "segmentation": (("83.8", "86.1"), ("74.8", "78.5")),
        "segmentation_ppm": (("85.0", "85.2"), ("77.0", "78.9")),
        "segmentation_aspp": (("85.9", "86.8"), ("78.5", "79.6")),
    }[task]
    text = " ".join(file.read_text().replace("#", "").split())
    assert f"{train[0]} / {val[0]}, with RGA-SC {train[1]} / {val[1]}" in text
    text, arguments = file.read_text(), task_recipe(task)["model"]["init_args"]
    assert re.search(rf"relattn fit --task {task} ", text)
    with torch.device("meta"):
        backbone = dilated(arguments["backbone"], output_stride=8, size=(769, 769))
        network = SegmentationNetwork(backbone, head=arguments["head"])
        parameters = sum(value.numel() for value in network.parameters())
    expected = {"fcn": 56.68, "ppm": 70.31, "aspp": 63.10}[arguments["head"]]
    assert parameters / 1e6 == pytest.approx(expected, abs=0.005)


@pytest.mark.slow
def test_predictions_are_label_ids_that_the_official_script_scores_alike(
    segmentation_run: Path, streets: Path, copy_of: Callable[[Path], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = copy_of(segmentation_run)
    checkpoint = str(checkpoint_of(folder))
    assert run(["test", "--ckpt_path", checkpoint]) == 0
    assert "protocol: whole" in capsys.readouterr().out
    scores = result(folder / "test")["scores"]
    assert run(["predict", "--ckpt_path", checkpoint, "--data.predict_split", "val"]) == 0
    files = sorted((folder / "predict" / "labelIds" / "leftImg8bit" / "val").rglob("*.png"))
    truths = sorted(streets.rglob("gtFine/val/*/*_labelIds.png"))
    names = [re.sub("_gtFine.*", "", path.name) for path in truths]
    assert [path.name for path in files] == [f"{name}_labelIds.png" for name in names]
    assert sorted(path.name for path in (folder / "predict" / "overlay").rglob("*.png")) == [
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


@pytest.mark.slow
def test_the_way_of_evaluation_and_the_images_are_named_with_the_scores(
    segmentation_run: Path, copy_of: Callable[[Path], Path]
) -> None:
    folder = copy_of(segmentation_run)
    ways = ["--model.inference.crop", "[48,64]", "--model.inference.scales", "[0.75,1.0]", "--model.inference.flip"]
    assert run(["test", "--ckpt_path", str(folder), *ways, "true"]) == 0
    assert result(folder / "test")["protocol"] == "slide 48x64/32x43 ms 0.75,1.0 + flip"
    assert run(["test", "--ckpt_path", str(folder), "--data.test_split", "train"]) == 0
    assert result(folder / "test-2")["test_split"] == "train"


def test_attention_in_the_context_of_the_head(segmentation_run: Path) -> None:
    check_places(segmentation_run, "network.context.attention")


@pytest.mark.parametrize(
    ("options", "where"),
    [
        (
            ["--attention", "rga_sc", "--model.stages", "[1]", "--model.inference.crop", "[32,32]"],
            "network.backbone.attention.stage1",
        ),
        pytest.param(
            ["--attention", "nl", "--model.loss", "relattn.losses.OHEMCrossEntropy", "--model.auxiliary_weight", "0"],
            "network.context.attention",
            marks=pytest.mark.slow,
        ),
    ],
)
@pytest.mark.slow
def test_attention_is_trained_where_it_belongs_or_is_sent(options: list[str], where: str, streets: Path) -> None:
    check_places(fit("segmentation", streets, *options, "--data.image_scale", "0.5"), where)


@pytest.mark.parametrize(
    ("attention", "arguments", "where"),
    [
        ("se", {}, "network.backbone"),  # belongs into blocks
        ("stra", {"output_stride": 8}, "network.backbone.layer4"),
        ("rga_sc", {"context_mode": "full"}, "network.context.attention"),
        ("rga_sc", {"context_mode": "masks"}, "network.context.attention"),
    ],
)
@pytest.mark.slow
def test_attention_is_built_where_it_belongs_and_learns(attention: str, arguments: dict, where: str) -> None:
    task, _ = build("segmentation", attention, **arguments)
    assert_places(task, where)
    task.train()(torch.randn(2, 3, 48, 64)).square().mean().backward()
    for module in task.attentions:
        assert any(parameter.grad is not None and parameter.grad.any() for parameter in module.parameters())


def check_places(folder: Path, where: str) -> None:
    """Check that all attention of a run's network is inside the module of that name."""
    task = load_task(checkpoint_of(folder))
    assert_places(task, where)
    with torch.no_grad():
        assert task(torch.randn(1, 3, 32, 32)).shape == (1, 19, 32, 32)


def assert_places(task: Task, where: str) -> None:
    names = [name for name, module in task.named_modules() if any(module is one for one in task.attentions)]
    assert names
    assert all(name.startswith(where) for name in names)


@pytest.mark.slow
def test_what_cannot_be_is_said(streets: Path) -> None:
    for options, message in (
        (["--data.batch_size", "1"], "at least 2 images|batch"),
        (["--backbone", "convnext_atto"], "--model.first_dilation previous"),
        (["--model.auxiliary_weight", "-1"], "auxiliary_weight is -1"),
        (["--attention", "rga_sc", "--model.context_mode", "full"], r"--model.inference.crop \[32,32\]"),
        (["--data.eval_batch_size", "0"], "eval_batch_size is 0"),
    ):
        with pytest.raises(InputError, match=message):
            fit("segmentation", streets, *options)
