"""Face verification through the command line, on generated faces."""

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from small_runs import checkpoint_of, fit, result, rows

from relattn.cli.lightning.command_line import read_command_line
from relattn.cli.main import main, run
from relattn.errors import InputError
from relattn.heads import ArcFace, CosFace, Softmax
from relattn.inference.loading import load_task
from relattn.runs.stored_config import build_from_config
from relattn.tasks.base import Task
from relattn.tasks.decoding import read_image
from relattn.tasks.embeddings import Embedding
from relattn.tasks.face import Face, Faces

RECIPES = {"face": ArcFace, "face_cosface": CosFace, "face_softmax": Softmax}
SETS = ("lfw", "cplfw", "calfw", "cfp_fp", "agedb_30")
SIZE = (32, 32)


def check_scores(folder: Path, sets: tuple[str, ...]) -> Face:
    """Check the scores of a small run; return its task."""
    found = result(folder)
    scores = found["scores"]
    assert (found["steps"], found["identities"]) == (2, 8)
    for stage in ("val", "test"):
        accuracies = [scores[f"{stage}/accuracy/{name}"] for name in sets]
        assert all(0 <= accuracy <= 100 for accuracy in accuracies)
        assert scores[f"{stage}/score"] == scores[f"{stage}/accuracy"] == pytest.approx(np.mean(accuracies), abs=1e-3)
        kinds = ("std", "EER", "AUC", "TAR@FAR=0.001", "threshold")
        assert {f"{stage}/{kind}/lfw" for kind in kinds} <= scores.keys()
    task = load_task(checkpoint_of(folder))
    assert isinstance(task, Face)
    assert task.threshold == pytest.approx(scores["val/threshold"], abs=1e-4)
    return task


def test_a_run_with_stra_is_scored(face_run: Path) -> None:
    task, scores = check_scores(face_run, ("lfw", "cfp_fp")), result(face_run)["scores"]
    assert type(task.head) is ArcFace
    (attention,) = task.attentions  # the last stage's only block
    assert attention.size == (2, 2)
    extra = scores["train/loss"] - scores["train/identity_loss"]
    assert 0 < extra <= 0.1 * 8  # eight heads' diversity, times its weight


@pytest.mark.slow
def test_a_run_with_averaged_weights_keeps_their_threshold(faces: Path) -> None:
    average = ("--trainer.callbacks", "EMAWeightAveraging", "--trainer.callbacks.decay", "0.5")
    check_scores(fit("face", faces, *average), ("lfw", "cfp_fp"))


@pytest.mark.parametrize("task", ["face_cosface", "face_softmax"])
@pytest.mark.slow
def test_recipes_train_and_score_every_set(task: str, faces: Path) -> None:
    sets = [] if task == "face_softmax" else ["--data.verification_sets", str(list(SETS))]
    folder = fit("face", faces, "--task", task, "--attention", "none", *sets)
    assert folder.name.startswith("faces-test_resnet-none-")
    trained, scores = check_scores(folder, SETS if sets else ("lfw", "cfp_fp")), result(folder)["scores"]
    assert type(trained.head) is RECIPES[task]
    assert not trained.attentions
    assert scores["train/loss"] == pytest.approx(scores["train/identity_loss"], abs=1e-3)


@pytest.mark.parametrize(("task", "attention"), [("face", "stra"), ("face_cosface", "none"), ("face_softmax", "none")])
@pytest.mark.slow
def test_recipes_are_the_papers(task: str, attention: str) -> None:
    config = read_command_line(["--task", task, "--attention", attention]).config
    assert config["trainer"]["max_epochs"] == 20
    assert config["data"]["init_args"]["batch_size"] == 512
    model = config["model"]["init_args"]
    assert model["optimizer"]["init_args"].items() >= {"lr": 0.1, "momentum": 0.9, "weight_decay": 5e-4}.items()
    face = build_from_config(Task, config["model"], task)
    assert [face.schedule.factor(epoch, 20) for epoch in (0, 7, 8, 11, 12, 19)] == pytest.approx(
        [1, 1, 0.1, 0.1, 0.01, 0.01]
    )
    data = Faces()
    data.num_classes = 10_575
    with torch.device("meta"):
        face.assemble(data.specification())
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


@pytest.mark.slow
def test_learning_beats_chance(faces: Path) -> None:
    """A fraction of a minute suffices to memorise eight people."""
    options = ["--trainer.max_epochs", "8", "--trainer.check_val_every_n_epoch", "20", "--model.dropout", "0"]
    found = result(fit("face", faces, "--attention", "none", *options, "--data.flip", "0"))
    assert found["scores"]["train/error"] < 30  # chance: 87.5


# --- What a checkpoint is good for ------------------------------------------------------------------------------------


@pytest.fixture
def checkpoint(face_run: Path) -> Path:
    return checkpoint_of(face_run)


def photographs(faces: Path) -> list[Path]:
    return sorted((faces / "faces" / "train").rglob("*.jpg"))


def features_by_hand(checkpoint: Path, files: list[Path]) -> np.ndarray:
    """Concatenated features of length 1, computed by the network alone."""
    task, rows = load_task(checkpoint), []
    for file in files:
        pixels = (cv2.resize(read_image(file), SIZE[::-1], interpolation=cv2.INTER_AREA) - 127.5) / 128
        image = torch.from_numpy(pixels.astype(np.float32)).permute(2, 0, 1)[None]
        with torch.no_grad():
            parts = [task.network(view)[0].double().numpy() for view in (image, image.flip(3))]
        rows.append(np.concatenate(parts))
    features = np.array(rows)
    return features / np.linalg.norm(features, axis=1, keepdims=True)


@pytest.mark.slow
def test_verify_prints_distance_threshold_and_decision(
    faces: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = photographs(faces)[:5:4]
    distance = float(np.square(np.subtract(*features_by_hand(checkpoint, files))).sum())
    line = ["verify", *map(str, files), "--ckpt_path", str(checkpoint), "--gpus", "0"]
    assert run(line) == 0
    text = capsys.readouterr().out
    printed, threshold = (float(re.search(rf"{name} +(\S+)", text)[1]) for name in ("distance", "threshold"))
    assert printed == pytest.approx(distance, abs=2e-4)
    assert threshold == pytest.approx(result(checkpoint.parents[1])["scores"]["val/threshold"], abs=2e-4)
    for given, decision in ((distance + 0.01, "same identity"), (max(distance - 0.01, 0), "different identities")):
        assert run([*line, "--threshold", str(given)]) == 0
        assert re.search(rf"decision +{decision}", capsys.readouterr().out)


@pytest.mark.slow
def test_embed_and_search_serve_faces(faces: Path, checkpoint: Path) -> None:
    images = faces / "faces" / "train"
    given = ["--ckpt_path", str(checkpoint), "--gpus", "0"]
    line = ["embed", *given, "--images", str(images), "--pattern", "(?P<identity>[^/]+)/[^/]*$"]
    assert run([*line, "--out", "all"]) == 0
    found = Embedding.load(Path("all"))
    assert found.features.shape == (32, 64)
    normalised = found.features / np.linalg.norm(found.features, axis=1, keepdims=True)
    np.testing.assert_allclose(normalised, features_by_hand(checkpoint, photographs(faces)), atol=1e-4)
    assert (found.metadata["flip"], found.metadata["image_size"]) == ("concatenate", list(SIZE))
    assert found.entries[0].identity == "00001"
    assert run([*line, "--out", "summed", "--flip"]) == 0
    summed = Embedding.load(Path("summed"))
    np.testing.assert_allclose(summed.features, found.features[:, :32] + found.features[:, 32:], atol=1e-3)
    search = ["search", "--query", str(images / "00001"), "--gallery", "all", "--out", "found", *given]
    assert run([*search, "--workers", "0", "--top", "3"]) == 0
    ranking = json.loads(Path("found/ranking.json").read_text())
    assert len(ranking["queries"]) == 4


@pytest.mark.slow
def test_test_and_predict_agree(face_run: Path, copy_of: Callable[[Path], Path]) -> None:
    folder = copy_of(face_run)
    for command in ("test", "predict"):
        assert run([command, "--ckpt_path", str(checkpoint_of(folder))]) == 0
    scores = result(folder / "test")["scores"]
    assert scores["test/score"] == pytest.approx(result(folder)["scores"]["test/score"], abs=1e-3)
    found = rows(folder / "predict" / "pairs.csv")
    assert [row["set"] for row in found] == [name for name in ("lfw", "cfp_fp") for _ in range(20)]
    for name in ("lfw", "cfp_fp"):
        right = [row["same"] == row["accepted"] for row in found if row["set"] == name]
        assert 100 * np.mean(right) == pytest.approx(scores[f"test/accuracy/{name}"], abs=1e-3)


def test_the_compared_feature(checkpoint: Path) -> None:
    task = load_task(checkpoint)
    images = torch.randn(2, 3, *SIZE)
    for flip, dimensions in (("concatenate", 64), ("sum", 32), ("none", 32)):
        task.flip = flip
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
        (["--model.loss.m", "8.6"], r"m is 8.6, expected an angle in radians"),
        (["--model.regularization_weight", "-1"], "regularization_weight is -1"),
        (["--model.folds", "30"], "lfw: 20 pairs cannot be cut into 30 folds"),
        (
            ["--trainer.limit_val_batches", "1"],
            "limit_val_batches is 1, and VerificationMetric",
        ),
    ],
    ids=str,
)
@pytest.mark.filterwarnings("ignore:The ``compute`` method of metric")
@pytest.mark.slow
def test_wrong_options_are_refused(options: list[str], message: str, faces: Path) -> None:
    with pytest.raises(InputError, match=message):
        fit("face", faces, "--attention", "none", *options, "--data.eval_batch_size", "16")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("A A --ckpt_path C --threshold 5", "--threshold is 5.0, expected a squared distance from 0 to 4"),
        ("A none.jpg --ckpt_path C", "none.jpg: there is no such image"),
        ("A A --ckpt_path none.ckpt", "none.ckpt: there is no such file"),
        ("A A --ckpt_path never.ckpt", "never.ckpt has no threshold.*--threshold"),
        ("A text.jpg --ckpt_path C", "text.jpg cannot be decoded as an image"),
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
