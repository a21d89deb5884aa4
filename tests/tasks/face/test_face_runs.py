"""Face verification through the command line, on generated faces."""

import csv
import json
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
import yaml
from jsonargparse import ArgumentParser

from relattn.cli.main import main, run
from relattn.errors import InputError
from relattn.heads import ArcFace, CosFace, Softmax
from relattn.inference.loading import load_task
from relattn.tasks.base import Task
from relattn.tasks.embeddings import Embedding
from relattn.tasks.face import Face
from relattn.tasks.image_data import read_image

RECIPES = {"face": ArcFace, "face_cosface": CosFace, "face_softmax": Softmax}
PACKS = ("lfw", "cplfw", "calfw", "cfp_fp", "agedb_30")
SIZE = (48, 48)
TINY = [
    *("--data.image_size", str(list(SIZE)), "--data.batch_size", "16", "--data.workers", "0"),
    *("--backbone", "test_resnet", "--gpus", "0", "--trainer.max_epochs", "1", "--model.dimensions", "32"),
]
"""Two steps of a network with 3x3 positions at its end."""


def fit(root: Path, task: str, *arguments: str) -> Path:
    """Train; return the run's folder."""
    before = set(Path("runs").glob("*/*"))
    assert run(["fit", "--task", task, "--data", "Faces", "--data.root", str(root), *TINY, *arguments]) == 0
    (folder,) = set(Path("runs").glob("*/*")) - before
    return folder


def result(folder: Path) -> dict:
    return json.loads((folder / "result.json").read_text())


@pytest.mark.parametrize("attention", ["none", "stra"])
@pytest.mark.parametrize("task", RECIPES)
def test_recipes_train_and_score_every_pack(task: str, attention: str, faces: Path) -> None:
    folder = fit(faces, task, "--attention", attention)
    assert folder == Path(f"runs/face/faces-test_resnet-{attention}-s0")
    found = result(folder)
    scores = found["scores"]
    assert (found["steps"], found["identities"]) == (2, 8)
    for stage in ("val", "test"):
        accuracies = [scores[f"{stage}/{pack}"] for pack in PACKS]
        assert all(0 <= accuracy <= 100 for accuracy in accuracies)
        assert scores[f"{stage}/score"] == scores[f"{stage}/accuracy"] == pytest.approx(np.mean(accuracies), abs=1e-3)
        assert {f"{stage}/lfw_{what}" for what in ("std", "EER", "AUC", "TAR@FAR=0.001", "threshold")} <= scores.keys()
    network = load_task(folder / "checkpoints" / "last.ckpt")
    assert isinstance(network, Face)
    assert type(network.head) is RECIPES[task]
    assert network.threshold == pytest.approx(scores["val/threshold"], abs=1e-4)
    assert len(network.attentions) == (attention == "stra")
    if attention == "stra":  # the last stage's only block
        assert network.attentions[0].size == (3, 3)
        extra = scores["train/loss"] - scores["train/identity_loss"]
        assert 0 < extra <= 0.1 * 8  # eight heads' diversity, times its weight
    else:
        assert scores["train/loss"] == pytest.approx(scores["train/identity_loss"], abs=1e-3)


@pytest.mark.parametrize("attention", ["none", "stra"])
@pytest.mark.parametrize("task", RECIPES)
def test_recipes_are_the_papers(task: str, attention: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run(["fit", "--task", task, "--attention", attention, "--print_config"])
    config = yaml.safe_load(capsys.readouterr().out)
    assert config["trainer"]["max_epochs"] == 20
    assert config["data"]["init_args"]["batch_size"] == 512
    model = config["model"]["init_args"]
    assert model["optimizer"]["init_args"].items() >= {"lr": 0.1, "momentum": 0.9, "weight_decay": 5e-4}.items()
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(Task, "model", fail_untyped=False)
    face = parser.instantiate(parser.parse_object({"model": config["model"]})).model
    assert [face.schedule.factor(epoch, 20) for epoch in (0, 7, 8, 11, 12, 19)] == pytest.approx(
        [1, 1, 0.1, 0.1, 0.01, 0.01]
    )
    with torch.device("meta"):
        face.assemble(SimpleNamespace(num_classes=10_575, image_size=(112, 112)))
    assert face.network.embedding.size == (7, 7)
    assert face.network.embedding.fc.out_features == 512
    assert len(face.attentions) == 3 * (attention == "stra")
    head = sum(parameter.numel() for parameter in face.head.parameters())
    assert head == 10_575 * (513 if task == "face_softmax" else 512)
    if task == "face":
        assert (face.head.s, face.head.m) == (20, 0.15)
    if task == "face_cosface":
        assert (face.head.s, face.head.m) == (20, 0.2)
    if attention == "none":
        assert sum(parameter.numel() for parameter in face.network.parameters()) == (
            23_508_032 - 64 * 3 * 40 + 2 * 2048 + 2048 * 49 * 512 + 2 * 512
        )


def test_learning_beats_chance(faces: Path) -> None:
    """Eight people are learned by heart in a minute's fraction."""
    options = ["--trainer.max_epochs", "12", "--trainer.check_val_every_n_epoch", "20", "--model.dropout", "0"]
    found = result(fit(faces, "face", *options, "--data.flip", "0"))
    assert found["scores"]["train/error"] < 30  # chance: 87.5


# --- What a checkpoint is good for ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def checkpoint(faces: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("trained"))
        patch.setenv("RELATTN_RUN", "")
        patch.setattr("logging.raiseExceptions", False)
        return (fit(faces, "face", "--attention", "stra") / "checkpoints" / "last.ckpt").absolute()


def photographs(faces: Path) -> list[Path]:
    return sorted((faces / "faces" / "train").rglob("*.jpg"))


def features_by_hand(checkpoint: Path, files: list[Path]) -> np.ndarray:
    """Concatenated features of length 1, by the network alone."""
    task, rows = load_task(checkpoint), []
    for file in files:
        pixels = (cv2.resize(read_image(file), SIZE[::-1], interpolation=cv2.INTER_AREA) - 127.5) / 128
        image = torch.from_numpy(pixels.astype(np.float32)).permute(2, 0, 1)[None]
        with torch.no_grad():
            parts = [task.network(view)[0].double().numpy() for view in (image, image.flip(3))]
        rows.append(np.concatenate(parts))
    features = np.array(rows)
    return features / np.linalg.norm(features, axis=1, keepdims=True)


def test_verify_prints_distance_threshold_and_decision(
    faces: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = photographs(faces)[:5:4]
    distance = float(np.square(np.subtract(*features_by_hand(checkpoint, files))).sum())
    line = ["verify", *map(str, files), "--ckpt", str(checkpoint), "--gpus", "0"]
    assert run(line) == 0
    text = capsys.readouterr().out
    printed, threshold = (float(re.search(rf"{name} +(\S+)", text)[1]) for name in ("distance", "threshold"))
    assert printed == pytest.approx(distance, abs=2e-4)
    assert threshold == pytest.approx(result(checkpoint.parents[1])["scores"]["val/threshold"], abs=2e-4)
    for given, decision in ((distance + 0.01, "same person"), (max(distance - 0.01, 0), "different people")):
        assert run([*line, "--threshold", str(given)]) == 0
        assert re.search(rf"decision +{decision}", capsys.readouterr().out)


def test_embed_and_search_serve_faces(faces: Path, checkpoint: Path) -> None:
    images = faces / "faces" / "train"
    given = ["--checkpoint", str(checkpoint), "--gpus", "0"]
    line = ["embed", *given, "--images", str(images), "--pattern", "(?P<identity>[^/]+)/[^/]*$"]
    assert run([*line, "--out", "all"]) == 0
    found = Embedding.load(Path("all"))
    assert found.features.shape == (32, 64)
    normalised = found.features / np.linalg.norm(found.features, axis=1, keepdims=True)
    np.testing.assert_allclose(normalised, features_by_hand(checkpoint, photographs(faces)), atol=1e-4)
    assert (found.about["flip"], found.about["image_size"]) == ("concatenate", list(SIZE))
    assert found.entries[0].identity == "00001"
    assert run([*line, "--out", "summed", "--flip"]) == 0
    summed = Embedding.load(Path("summed"))
    np.testing.assert_allclose(summed.features, found.features[:, :32] + found.features[:, 32:], atol=1e-3)
    search = ["search", "--query", str(images / "00001"), "--gallery", "all", "--out", "found", *given]
    assert run([*search, "--workers", "0", "--top", "3"]) == 0
    ranking = json.loads(Path("found/ranking.json").read_text())
    assert len(ranking["queries"]) == 4


def test_test_and_predict_agree(checkpoint: Path) -> None:
    run_folder = checkpoint.parents[1]
    for command in ("test", "predict"):
        assert run([command, "--ckpt_path", str(checkpoint)]) == 0
    scores = result(run_folder / "test")["scores"]
    assert scores["test/score"] == pytest.approx(result(run_folder)["scores"]["test/score"], abs=1e-3)
    with (run_folder / "predict" / "pairs.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["pack"] for row in rows] == [pack for pack in PACKS for _ in range(20)]
    for pack in PACKS:
        right = [row["same"] == row["accepted"] for row in rows if row["pack"] == pack]
        assert 100 * np.mean(right) == pytest.approx(scores[f"test/{pack}"], abs=1e-3)


@pytest.mark.parametrize(("flip", "dimensions"), [("concatenate", 64), ("sum", 32), ("none", 32)])
def test_the_compared_feature(flip: str, dimensions: int, checkpoint: Path) -> None:
    task = load_task(checkpoint)
    task.use_flip(flip)
    images = torch.randn(2, 3, *SIZE)
    with torch.no_grad():
        feature, mirrored = task(images), task(images.flip(3))
    assert feature.shape == (2, dimensions)
    if flip == "sum":
        torch.testing.assert_close(feature, mirrored)
    if flip == "concatenate":
        torch.testing.assert_close(feature, mirrored.roll(32, dims=1))


# --- What is wrong ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--model.m", "8.6"], r"m is 8.6, expected an angle in radians"),
        (["--model.regularization_weight", "-1"], "regularization_weight is -1"),
        (["--model.folds", "30"], "lfw: 20 pairs cannot be cut into 30 folds"),
        (["--trainer.limit_val_batches", "1"], "200 images, and features of"),
    ],
    ids=str,
)
@pytest.mark.filterwarnings("ignore:The ``compute`` method of metric")
def test_wrong_options_are_refused(options: list[str], message: str, faces: Path) -> None:
    with pytest.raises(InputError, match=message):
        fit(faces, "face", *options, "--trainer.num_sanity_val_steps", "0", "--data.eval_batch_size", "16")


def test_softmax_has_no_margin() -> None:
    with pytest.raises(InputError, match="softmax has no margin"):
        Face(loss="softmax", m=0.1)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("A A --ckpt C --threshold 5", "--threshold is 5.0, expected a squared distance from 0 to 4"),
        ("A none.jpg --ckpt C", "none.jpg: there is no such image"),
        ("A A --ckpt none.ckpt", "none.ckpt: there is no such checkpoint"),
        ("A A --ckpt never.ckpt", "never.ckpt has no threshold.*--threshold"),
        ("A text.jpg --ckpt C", "text.jpg cannot be read as an image"),
    ],
)
def test_verify_says_what_is_wrong(
    line: str,
    message: str,
    faces: Path,
    checkpoint: Path,
    capsys: pytest.CaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    content = torch.load(checkpoint, weights_only=True)
    content["state_dict"]["threshold"].fill_(torch.nan)
    torch.save(content, "never.ckpt")
    Path("text.jpg").write_text("no image")
    names = {"A": str(photographs(faces)[0]), "C": str(checkpoint)}
    monkeypatch.setattr(sys, "argv", ["relattn", "verify", "--gpus", "0", *(names.get(p, p) for p in line.split())])
    assert main() == 2
    assert re.search(message, capsys.readouterr().err, re.DOTALL)


def test_help_of_verify_imports_nothing_heavy() -> None:
    line = [sys.executable, "-X", "importtime", "-m", "relattn", "verify", "--help"]
    answer = subprocess.run(line, capture_output=True, text=True, check=True)
    imported = {part.rpartition("|")[2].strip() for part in answer.stderr.splitlines()}
    assert not imported & {"torch", "lightning", "numpy", "cv2", "PIL", "rich"}
    assert "--threshold" in answer.stdout
