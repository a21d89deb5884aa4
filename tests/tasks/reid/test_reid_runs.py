"""Re-identification through the command line, on generated people."""

import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from small_runs import RUNS, checkpoint_of, fit, result

from relattn.cli.main import main, run
from relattn.errors import InputError
from relattn.inference.loading import load_task
from relattn.runs.checkpoints import read_checkpoint
from relattn.tasks.embeddings import Embedding
from relattn.tasks.reid import Market1501

pytestmark = pytest.mark.filterwarnings("ignore:.*is (not the published set|a rendered stand-in)")

MARKET = "Market-1501-v15.09.15"


def test_a_run_scores_the_retrieval(reid_run: Path) -> None:
    found = result(reid_run)
    assert (found["data"], found["identities"], found["genuine"]) == ("Market1501", 12, False)
    scores = found["scores"]
    assert 0 < scores["test/mAP_trapezoid"] <= scores["test/mAP"] == scores["test/score"] <= 100
    assert {"test/mINP", "test/rank1", "test/rank5", "test/rank10", "test/TPR@FPR=0.01"} <= scores.keys()
    assert scores["test/unmatched"] == 0
    assert 0 < scores["train/metric_loss"] < scores["train/loss"]
    assert (reid_run / "pictures").is_dir()


@pytest.mark.slow
def test_learning_beats_chance(people: Path) -> None:
    """A fraction of a minute suffices to memorise twelve people: the training error falls well below chance."""
    options = ["--attention", "none", "--trainer.max_epochs", "6", "--trainer.limit_train_batches", "1.0"]
    rate = ["--model.schedule.init_args.warmup", "0", "--model.optimizer.init_args.lr", "0.005"]
    augmentation = ["--data.augmentation.erasing", "0", "--data.augmentation.translation", "0"]
    found = result(fit("reid", people, *options, *rate, *augmentation, "--data.batch_size", "32"))
    assert found["scores"]["train/error"] < 50  # chance: 92


@pytest.mark.slow
def test_a_run_is_the_same_with_any_number_of_workers_and_after_a_pause(people: Path) -> None:
    options = ["--attention", "none", "--model.schedule", "relattn.tasks.schedules.Constant", "--name"]
    whole = fit("reid", people, *options, "whole", "--trainer.max_epochs", "2")
    paused = fit("reid", people, *options, "paused", "--data.workers", "1")
    assert run(["fit", "--ckpt_path", str(paused), "--trainer.max_epochs", "2"]) == 0
    states = [read_checkpoint(checkpoint_of(folder))["state_dict"] for folder in (whole, paused)]
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())
    assert result(whole)["scores"] == result(paused)["scores"]


@pytest.mark.slow
def test_stra_s_recipe_freezes_and_shuffles_and_validation_identities_are_held_out(people: Path) -> None:
    recipe = ["--task", "reid_stra", "--attention", "none", "--data.batch_size", "8", "--model.last_stride", "2"]
    folder = fit("reid", people, *recipe, "--data.validation", "3", "--trainer.check_val_every_n_epoch", "1")
    assert folder.name.startswith("market1501-resnet8-none-")
    task = load_task(checkpoint_of(folder))
    assert task.frozen_epochs == 8
    assert int(task.network.bn1.num_batches_tracked) == 0
    assert int(task.network.layer3[0].bn1.num_batches_tracked) > 0
    state = read_checkpoint(checkpoint_of(folder))["optimizer_states"][0]["state"]
    moved = {place for place, values in state.items() if float(values["exp_avg"].abs().sum()) > 0}
    names = [name for name, _ in task.named_parameters()]
    assert {names[place].partition(".")[2].partition(".")[0] for place in moved} <= {"layer3", "classifier"}
    found = result(folder)
    assert "train/metric_loss" not in found["scores"]
    assert found["identities"] == 9
    assert found["scores"]["val/mAP"] != found["scores"]["test/mAP"]


@pytest.mark.slow
def test_the_recipe_of_the_released_stra_trains_and_compares_a_short_embedding(people: Path) -> None:
    recipe = [
        "--task",
        "reid_stra_released",
        "--attention",
        "none",
        "--data.batch_size",
        "8",
        "--model.dimensions",
        "16",
    ]
    folder = fit("reid", people, *recipe, "--trainer.check_val_every_n_epoch", "1")
    task = load_task(checkpoint_of(folder)).eval()
    assert (task.frozen_epochs, task.compared, task.distance) == (8, "after_norm", "cosine")
    (group,) = read_checkpoint(checkpoint_of(folder))["optimizer_states"][0]["param_groups"]
    assert list(group["betas"]) == [0.9, 0.99]
    assert int(task.head.embedding[1].num_batches_tracked) > 0
    x = torch.randn(2, 3, 64, 32)
    assert task(x).shape == (2, 16)
    torch.testing.assert_close(task(x), task.head.embedding(task.network(x)))
    assert "train/metric_loss" not in result(folder)["scores"]


@pytest.mark.slow
def test_options_of_evaluation_are_reported_beside_and_predict_writes_what_was_scored(
    reid_run: Path, copy_of: Callable[[Path], Path]
) -> None:
    folder = copy_of(reid_run)
    checkpoint = str(checkpoint_of(folder))
    assert run(["test", "--ckpt_path", checkpoint, "--model.reranking", "true", "--model.expansion", "2"]) == 0
    scores = result(folder / "test")["scores"]
    assert scores["test/mAP"] == result(folder)["scores"]["test/mAP"]
    assert {"test/mAP_reranked", "test/rank1_expanded"} <= scores.keys()
    assert run(["test", "--ckpt_path", checkpoint, "--model.flip", "sum"]) == 0
    flipped = result(folder / "test-2")["scores"]
    assert {name: scores[name] for name in flipped} != flipped
    assert run(["predict", "--ckpt_path", checkpoint]) == 0
    embedding = Embedding.load(folder / "predict" / "embedding")
    assert [entry.split for entry in embedding.entries] == sorted((e.split for e in embedding.entries), reverse=True)
    assert embedding.metadata["checkpoint"] == checkpoint
    assert np.isfinite(embedding.features).all()
    assert embedding.features.shape == (len(embedding.entries), 64)


@pytest.mark.slow
def test_a_manifest_with_one_camera(people: Path) -> None:
    source = people / MARKET
    lines = ["path,identity,split"]
    for split, name in (("train", "bounding_box_train"), ("query", "query"), ("gallery", "bounding_box_test")):
        images = [
            image.name for image in sorted((source / name).iterdir()) if not image.name.startswith(("-1", "0000"))
        ]
        lines += [f"{name}/{image},{image[:4]},{split}" for image in images]
    Path("people.csv").write_text("\n".join(lines))
    options = ["--attention", "none", "--data", "Manifest", "--data.manifest", "people.csv"]
    with pytest.raises(InputError, match=r"own camera only.*same_camera: match"):
        fit("reid", source, *options)
    assert result(fit("reid", source, *options, "--model.same_camera", "match"))["scores"]["test/unmatched"] == 0


@pytest.mark.slow
def test_a_corrupt_image_is_named_without_a_traceback(people: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = Path(shutil.copytree(people, "corrupt")) / MARKET
    image = min((folder / "bounding_box_train").iterdir())
    content = image.read_bytes()
    image.write_bytes(content[:4] + bytes(len(content) - 8) + content[-4:])
    with pytest.MonkeyPatch.context() as patch:
        options = ["--data.root", str(folder.parent), "--data.images_per_identity", "null", "--data.workers", "1"]
        options += ["--trainer.limit_train_batches", "1.0"]
        patch.setattr(sys, "argv", ["relattn", *RUNS["reid"], *options])
        assert main() == 2
    printed = capsys.readouterr().err.strip().splitlines()[-1]
    assert re.fullmatch(
        rf"relattn: error: .*{image.name} cannot be decoded as an image: damaged, [\d,]+ bytes\.", printed
    )


def test_identities_of_one_image_are_dropped_or_repeated(people: Path) -> None:
    folder = Path(shutil.copytree(people, "alone")) / MARKET / "bounding_box_train"
    identity = min(image.name[:4] for image in folder.iterdir())
    first, *others = sorted(folder.glob(f"{identity}_*"))
    for image in others:
        image.unlink()

    def identities(choice: str) -> int:
        data = Market1501("alone", single_image_identities=choice)
        data.setup("fit")
        return data.num_classes

    with pytest.raises(InputError, match=rf"1 training identities have one image.*{first.name}.*identities drop"):
        identities("error")
    with pytest.warns(UserWarning, match=f"left out: {int(identity)}"):
        assert identities("drop") == 11
    assert identities("repeat") == 12
