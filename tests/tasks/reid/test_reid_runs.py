"""Re-identification through the command line, on generated people."""

import json
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from relattn.cli.main import main, run
from relattn.errors import InputError
from relattn.inference.loading import load_task
from relattn.tasks.embeddings import Embedding

pytestmark = pytest.mark.filterwarnings("ignore:.*is not the published set")

TINY = [
    *("fit", "--task", "reid", "--data", "Market1501", "--backbone", "resnet8", "--model.pretrained", "false"),
    *("--gpus", "0", "--trainer.max_epochs", "2", "--data.image_size", "[32,16]", "--data.batch_size", "16"),
    *("--data.workers", "0", "--data.epoch", "chunks"),
]


def fit(root: Path, *arguments: str) -> Path:
    """Train; return the run's folder."""
    before = set(Path("runs").glob("*/*"))
    assert run([*TINY, "--data.root", str(root), *arguments]) == 0
    (folder,) = set(Path("runs").glob("*/*")) - before
    return folder


def result(folder: Path) -> dict:
    return json.loads((folder / "result.json").read_text())


@pytest.mark.parametrize("attention", ["none", "rga_sc"])
def test_a_run_scores_the_retrieval(attention: str, people: Path) -> None:
    folder = fit(people, "--attention", attention)
    assert folder == Path(f"runs/reid/market1501-resnet8-{attention}-s16")
    found = result(folder)
    assert (found["data"], found["identities"], found["genuine"]) == ("Market1501", 12, False)
    scores = found["scores"]
    assert 0 < scores["test/mAP_trapezoid"] <= scores["test/mAP"] == scores["test/score"] <= 100
    assert {"test/mINP", "test/rank1", "test/rank5", "test/rank10", "test/TPR@FPR=0.01"} <= scores.keys()
    assert scores["test/unmatched"] == 0
    assert 0 < scores["train/triplet_loss"] < scores["train/loss"]


def test_learning_beats_chance(people: Path) -> None:
    """Twelve people are learned by heart in a minute's fraction: the training error falls well below chance."""
    options = ["--trainer.max_epochs", "12", "--model.schedule.init_args.warmup", "0", "--trainer", "deterministic"]
    augmentation = ["--data.augmentation.erasing", "0", "--data.augmentation.translation", "0"]
    found = result(fit(people, *options, *augmentation, "--model.optimizer.init_args.lr", "0.003"))
    assert found["scores"]["train/error"] < 50  # chance: 92


def test_a_run_is_the_same_with_any_number_of_workers_and_after_a_pause(people: Path) -> None:
    options = ["--trainer", "deterministic", "--name"]
    whole = fit(people, *options, "whole")
    workers = fit(people, *options, "workers", "--data.workers", "1")
    fit(people, *options, "paused", "--trainer.max_epochs", "1", "--model.schedule", "relattn.tasks.schedules.Constant")
    again = fit(people, *options, "once", "--model.schedule", "relattn.tasks.schedules.Constant")
    checkpoint = "runs/reid/paused/checkpoints/last.ckpt"
    assert run(["fit", "--ckpt_path", checkpoint, "--trainer.max_epochs", "2"]) == 0
    for one, other in ((whole, workers), (again, Path("runs/reid/paused"))):
        states = [torch.load(at / "checkpoints/last.ckpt", weights_only=True)["state_dict"] for at in (one, other)]
        assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())
        assert result(one)["scores"] == result(other)["scores"]


def test_stra_s_recipe_freezes_and_shuffles(people: Path) -> None:
    options = ["--task", "reid_stra", "--data.batch_size", "8", "--model.last_stride", "2", "--trainer.max_epochs", "1"]
    folder = fit(people, *options)
    task = load_task(folder / "checkpoints/last.ckpt")
    assert task.frozen_epochs == 8
    assert int(task.network.bn1.num_batches_tracked) == 0
    assert int(task.network.layer3[0].bn1.num_batches_tracked) > 0
    assert "train/triplet_loss" not in result(folder)["scores"]
    state = torch.load(folder / "checkpoints/last.ckpt", weights_only=True)["optimizer_states"][0]["state"]
    moved = {place for place, values in state.items() if float(values["exp_avg"].abs().sum()) > 0}
    names = [name for name, _ in task.named_parameters()]
    assert {names[place].partition(".")[2].partition(".")[0] for place in moved} <= {"layer3", "classifier"}


def test_options_of_evaluation_are_reported_beside(people: Path) -> None:
    folder = fit(people)
    checkpoint = str(folder / "checkpoints" / "last.ckpt")
    assert run(["test", "--ckpt_path", checkpoint, "--model.reranking", "true", "--model.expansion", "2"]) == 0
    scores = result(folder / "test")["scores"]
    assert scores["test/mAP"] == result(folder)["scores"]["test/mAP"]
    assert {"test/mAP_reranked", "test/rank1_expanded"} <= scores.keys()
    assert run(["test", "--ckpt_path", checkpoint, "--model.flip_test", "true"]) == 0
    assert result(folder / "test-2")["scores"]["test/mAP"] != scores["test/mAP"]


def test_predict_writes_the_features_that_were_scored(people: Path) -> None:
    folder = fit(people)
    checkpoint = folder / "checkpoints" / "last.ckpt"
    assert run(["predict", "--ckpt_path", str(checkpoint)]) == 0
    embedding = Embedding.load(folder / "predict" / "embedding")
    assert [entry.split for entry in embedding.entries] == sorted((e.split for e in embedding.entries), reverse=True)
    assert embedding.about["checkpoint"] == str(checkpoint)
    assert np.isfinite(embedding.features).all()
    assert embedding.features.shape == (len(embedding.entries), 64)


def test_validation_identities_are_held_out(people: Path) -> None:
    folder = fit(people, "--data.validation", "3", "--trainer.check_val_every_n_epoch", "1")
    found = result(folder)
    assert found["identities"] == 9
    assert found["scores"]["val/mAP"] != found["scores"]["test/mAP"]


def test_a_manifest_with_one_camera(people: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = people / "Market-1501-v15.09.15"
    lines = ["path,identity,split"]
    for split, name in (("train", "bounding_box_train"), ("query", "query"), ("gallery", "bounding_box_test")):
        images = [
            image.name for image in sorted((source / name).iterdir()) if not image.name.startswith(("-1", "0000"))
        ]
        lines += [f"{name}/{image},{image[:4]},{split}" for image in images]
    Path("people.csv").write_text("\n".join(lines))
    options = ["--data", "Manifest", "--data.manifest", "people.csv", "--trainer.max_epochs", "1"]
    with pytest.raises(InputError, match=r"own camera only.*same_camera: match"):
        fit(source, *options)
    assert result(fit(source, *options, "--model.same_camera", "match"))["scores"]["test/unmatched"] == 0


def broken(people: Path, name: str) -> Path:
    """A copy of the data set to spoil."""
    root = Path(name)
    shutil.copytree(people, root)
    return root / "Market-1501-v15.09.15"


def test_broken_data_are_named_before_training(people: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = broken(people, "cut")
    image = sorted((folder / "bounding_box_train").iterdir())[3]
    image.write_bytes(image.read_bytes()[:200])
    with pytest.raises(InputError, match=f"{image.name}.*Unpack the archive again"):
        fit(folder.parent)
    for missing in (folder / "query").iterdir():
        missing.unlink()
    with pytest.raises(InputError, match=r"query"):
        fit(folder.parent)
    shutil.rmtree(folder / "query")
    with pytest.raises(FileNotFoundError, match="is incomplete: query missing"):
        fit(folder.parent)
    shutil.rmtree(folder)
    with pytest.raises(FileNotFoundError, match=r"(?s)query.*relattn data make market1501"):
        fit(folder.parent)
    assert list(Path("runs/reid").iterdir()) == []


def test_a_corrupt_image_is_named_without_a_traceback(people: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = broken(people, "corrupt")
    image = sorted((folder / "bounding_box_train").iterdir())[0]
    content = image.read_bytes()
    image.write_bytes(content[:4] + bytes(len(content) - 8) + content[-4:])
    with pytest.MonkeyPatch.context() as patch:
        options = ["--data.root", str(folder.parent), "--data.images_per_identity", "null", "--data.workers", "1"]
        patch.setattr(sys, "argv", ["relattn", *TINY, *options])
        assert main() == 2
    printed = capsys.readouterr().err.strip().splitlines()[-1]
    assert re.fullmatch(rf"relattn: error: .*{image.name} cannot be read as an image \(\d+ bytes\)\.", printed)


def test_an_identity_of_one_image_is_named(people: Path) -> None:
    folder = broken(people, "alone") / "bounding_box_train"
    identity = sorted(image.name[:4] for image in folder.iterdir())[0]
    images = sorted(folder.glob(f"{identity}_*"))
    for image in images[1:]:
        image.unlink()
    root = folder.parents[1]
    with pytest.raises(
        InputError,
        match=rf"1 training identities have one image.*{images[0].name}.*--data.single_image_identities drop",
    ):
        fit(root)
    with pytest.warns(UserWarning, match=f"left out: {int(identity)}"):
        assert result(fit(root, "--data.single_image_identities", "drop"))["identities"] == 11
    assert result(fit(root, "--data.single_image_identities", "repeat"))["identities"] == 12


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--data.batch_size", "18"], "batch_size is 18, expected a multiple of images_per_identity, 4"),
        (["--data.batch_size", "64"], "has 16 identities, and the training set has 12"),
        (["--data.images_per_identity", "1"], "images_per_identity is 1, expected at least 2"),
        (["--data.validation", "11"], "validation is 11, and of 12 training identities"),
        (["--data.root", "nowhere"], "nowhere"),
    ],
)
def test_bad_options_are_explained(options: list[str], message: str, people: Path) -> None:
    with pytest.raises(InputError, match=message):
        fit(people, *options)
    assert not list(Path("runs/reid").glob("*"))
