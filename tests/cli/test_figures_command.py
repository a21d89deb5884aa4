"""`relattn figures` from tiny checkpoints of every task, and figures during training."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from jsonargparse import ArgumentParser
from lightning.pytorch.loggers import CSVLogger
from PIL import Image
from torch._dynamo.utils import counters

from relattn.cli.main import run
from relattn.errors import InputError, MissingFileError
from relattn.figures.canvas import as_image
from relattn.inference.figures import draw, evaluating
from relattn.inference.loading import load_task
from relattn.inference.figure_images import load_data, evenly, from_data, from_files
from relattn.tasks.base import Task
from relattn.tasks.segmentation.labels import CITYSCAPES

pytestmark = pytest.mark.filterwarnings("ignore:.*is not the published set", "ignore:Fold .* has pairs of one kind")

RGA = {"class_path": "relattn.attention.RGA", "init_args": {"mode": "spatial_channel"}}
NON_LOCAL = {"class_path": "relattn.attention.NonLocal"}
STRA = {"class_path": "relattn.attention.StRA", "init_args": {"heads": 4}}
SIZE = [32, 16]


def written(name: str, model: dict[str, Any], data: dict[str, Any], shapes: dict[str, Any]) -> Path:
    """Write a checkpoint of a network that was not trained."""
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(Task, "model", fail_untyped=False)
    torch.manual_seed(0)
    task = parser.instantiate(parser.parse_object({"model": model})).model
    task.assemble(SimpleNamespace(**shapes))
    content = {"config": yaml.safe_dump({"model": model, "data": data}), "shapes": task.shapes}
    torch.save({**content, "state_dict": task.state_dict()}, f"{name}.ckpt")
    return Path(f"{name}.ckpt")


def reid(root: Path, attention: Any, stages: list[int] | None = None, name: str = "net") -> Path:
    arguments = {"backbone": "resnet8", "attention": attention, "last_stride": 2, "stages": stages}
    data = {"root": str(root), "image_size": SIZE, "workers": 0}
    return written(
        name,
        {"class_path": "relattn.tasks.reid.ReID", "init_args": arguments},
        {"class_path": "relattn.tasks.reid.Market1501", "init_args": data},
        {"num_classes": 12, "image_size": SIZE, "feature": "after_norm"},
    )


def figures(checkpoint: Path, *arguments: str) -> None:
    assert run(["figures", "--ckpt", str(checkpoint), "--gpus", "0", "--out", "out", *arguments]) == 0


def drawn(name: str) -> tuple[int, int]:
    """The size of a figure, which is there as PNG and PDF and is not empty."""
    assert Path(f"out/{name}.pdf").read_bytes().startswith(b"%PDF")
    image = Image.open(f"out/{name}.png")
    assert len(np.unique(np.asarray(image.convert("L")))) > 20
    return image.size


def test_all_that_a_network_of_people_has(people: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rga = reid(people, RGA, [2, 3], "rga")
    figures(rga, "--figure", "masks,relations", "architecture", "ranks", "--count", "2")
    assert all(min(drawn(name)) > 300 for name in ("masks", "relations", "architecture", "ranks"))
    said = capsys.readouterr().out
    weights = sum(parameter.numel() for parameter in load_task(rga).network.parameters())
    assert f"parameters: {weights:,}" in said
    assert "resnet8 + rga_sc, dependence on the target: 0." in said or "+ rga, dependence" in said
    assert "rank-1" in said


def test_networks_side_by_side(people: Path, capsys: pytest.CaptureFixture[str]) -> None:
    checkpoints = [reid(people, one, [3], name) for one, name in ((None, "a"), (NON_LOCAL, "b"), (RGA, "c"))]
    figures(checkpoints[0], "--beside", *map(str, checkpoints[1:]), "--figure", "grad-cam", "--images", "0", "3")
    one = drawn("grad-cam")
    figures(checkpoints[0], "--figure", "grad-cam", "--images", "0", "3")
    assert drawn("grad-cam")[0] < one[0]
    beside = ["--beside", str(checkpoints[2]), "--figure", "relations", "--images", "1"]
    figures(checkpoints[1], *beside, "--targets", "0.1,0.1", "0.5,0.5", "--weights", "connecting")
    assert capsys.readouterr().out.count("dependence on the target") == 2


def test_heads_of_stra_and_files_of_ones_own(people: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("own").mkdir()
    for number in range(2):
        Image.effect_noise((20, 40), 60).convert("RGB").save(f"own/{number}.png")
    figures(reid(Path("nowhere"), STRA, [3]), "--figure", "modes", "--images", "own")
    drawn("modes")
    assert "head diversity of gates" in capsys.readouterr().out


def test_faces(faces: Path, capsys: pytest.CaptureFixture[str]) -> None:
    checkpoint = written(
        "face",
        {"class_path": "relattn.tasks.face.Face", "init_args": {"backbone": "resnet8", "dimensions": 16}},
        {
            "class_path": "relattn.tasks.face.Faces",
            "init_args": {"root": str(faces), "image_size": [32, 32], "workers": 0},
        },
        {"num_classes": 8, "image_size": [32, 32]},
    )
    figures(checkpoint, "--figure", "pairs", "grad-cam", "architecture", "--count", "3", "--pack", "lfw")
    drawn("pairs")
    drawn("grad-cam")
    assert "pairs: 20" in capsys.readouterr().out
    with pytest.raises(InputError, match=r"no .lwf.*lfw"):
        figures(checkpoint, "--figure", "pairs", "--pack", "lwf")


def test_streets(streets: Path) -> None:
    arguments = {"backbone": "resnet14t", "attention": RGA, "width": 16, "pool": [3, 4], "head": "ppm"}
    checkpoint = written(
        "streets",
        {"class_path": "relattn.tasks.segmentation.Segmentation", "init_args": arguments},
        {"class_path": "relattn.tasks.segmentation.Cityscapes", "init_args": {"root": str(streets), "crop": [48, 64]}},
        {"num_classes": 19, "image_size": [48, 64], "classes": list(CITYSCAPES.classes)},
    )
    names = ("segmentation", "masks", "grad-cam", "architecture", "relations")
    figures(checkpoint, "--figure", *names, "--count", "2")
    assert all(min(drawn(name)) > 200 for name in names)


TINY = ["--task", "classification", "--backbone", "resnet8", "--gpus", "0", "--data", "CIFAR10"]


def fit(root: Path, *arguments: str) -> int:
    """Train a small network on small data."""
    return run(["fit", *TINY, "--data.root", str(root), "--data.batch_size", "60", *arguments])


def weights(name: str) -> dict[str, torch.Tensor]:
    """The last weights of a run."""
    file = Path(f"runs/classification/{name}/checkpoints/last.ckpt")
    return torch.load(file, weights_only=True)["state_dict"]


def test_figures_during_training(cifar: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    logged: list[tuple[str, Any, int, Any]] = []

    def log_image(self: Any, key: str, images: list[Image.Image], step: int, caption: list[str]) -> None:
        logged.append((key, images[0].size, step, caption))

    monkeypatch.setattr(CSVLogger, "log_image", log_image, raising=False)
    rga = ["--attention", "rga_sc", "--trainer.max_epochs", "2"]
    assert fit(cifar, *rga, "--name", "a", "--figures", "masks,relations,grad-cam") == 0
    found = sorted(path.name for path in Path("runs/classification/a/figures").iterdir())
    names = ("masks", "relations", "grad-cam")
    assert found == sorted(f"{name}-00{epoch}.png" for name in names for epoch in (1, 2))
    sizes = [Image.open(f"runs/classification/a/figures/{name}").size for name in found]
    wanted = [(f"figures/{name}", 4 * epoch, [f"epoch {epoch}"]) for epoch in (1, 2) for name in names]
    assert [(key, step, caption) for key, _, step, caption in logged] == wanted
    assert {size for _, size, *_ in logged} == set(sizes)
    metrics = Path("runs/classification/a/metrics.csv").read_text()
    assert "figures/dependence_on_the_target" in metrics.partition("\n")[0]
    figures(Path("runs/classification/a/checkpoints/last.ckpt"), "--figure", "masks", "--images", "3", "7")
    drawn("masks")

    assert fit(cifar, *rga, "--name", "b") == 0
    plain = weights("b")
    assert all(torch.equal(value, plain[key]) for key, value in weights("a").items()), "drawing changes no training"

    # Going on: the configuration has the callback already.
    logged.clear()
    again = ["--trainer.max_epochs", "3", "--figures", "masks,architecture"]
    assert run(["fit", "--ckpt_path", "runs/classification/a", *again]) == 0
    assert sorted(key for key, *_ in logged) == [f"figures/{name}" for name in ("architecture", *sorted(names))]


def test_what_does_not_apply_is_said_before_training(cifar: Path) -> None:
    with pytest.raises(InputError, match=r"rga_sc.*no attention"):
        fit(cifar, "--attention", "none", "--name", "b", "--figures", "masks", "--trainer.max_epochs", "1")
    with pytest.raises(InputError, match=r"no figure 'mask'.*masks"):
        fit(cifar, "--figures", "mask")


def test_figures_go_to_wandb(cifar: Path) -> None:
    rga = ["--attention", "rga_s", "--trainer.max_epochs", "1", "--name", "a"]
    assert fit(cifar, *rga, "--logger", "wandb", "--figures", "masks,relations") == 0
    folder = Path("runs/classification/a")
    for name in ("masks", "relations"):
        (kept,) = (folder / "wandb").glob(f"offline-run-*/files/media/images/figures/{name}_*.png")
        with Image.open(kept) as image, Image.open(folder / "figures" / f"{name}-001.png") as own:
            assert image.size == own.size
            assert np.abs(np.asarray(image, float) - np.asarray(own.convert("RGB"), float)).mean() < 2


def test_figures_of_a_compiled_network_are_those_of_the_plain_one(people: Path) -> None:
    checkpoint = reid(people, RGA, [3])
    task, plain, data = load_task(checkpoint).train(), load_task(checkpoint), load_data(checkpoint)
    data.setup("test")
    pictures = from_data(data, [0, 3])
    task.network.compile(backend="eager", dynamic=False)
    task.network(pictures.images)
    graphs = counters["stats"]["unique_graphs"]
    assert graphs > 0
    plain.load_state_dict(task.state_dict())
    for name in ("masks", "relations", "grad-cam", "architecture"):
        with evaluating(task):
            found = as_image(draw(name, {"net": task}, data, pictures).figure)
        np.testing.assert_array_equal(found, as_image(draw(name, {"net": plain}, data, pictures).figure))
    assert task.training
    task.network(pictures.images)
    assert counters["stats"]["unique_graphs"] == graphs, "training goes on with the graph that it had"


@pytest.mark.slow
def test_one_of_two_processes_draws(cifar: Path) -> None:
    two = ["--trainer.devices", "2", "--trainer.strategy", "ddp", "--trainer.max_epochs", "2", "--figures", "masks"]
    line = [sys.executable, "-m", "relattn", "fit", *TINY, "--data.root", str(cifar), "--data.batch_size", "60", *two]
    subprocess.run([*line, "--attention", "rga_sc", "--name", "a"], check=True, timeout=300)
    found = sorted(path.name for path in Path("runs/classification/a/figures").iterdir())
    assert found == ["masks-001.png", "masks-002.png"]
    refused = subprocess.run([*line, "--attention", "none"], capture_output=True, text=True, timeout=300, check=False)
    assert refused.returncode == 2
    assert "no attention" in refused.stderr
    assert "Traceback" not in refused.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--figure", "mask"], "no figure 'mask'.*masks"),
        (["--figure", "masks", "--count", "9"], "--count is 9"),
        (["--figure", "ranks", "--beside", "x.ckpt"], "--beside compares networks, and ranks draws one"),
        (["--figure", "modes", "--images", "0"], r"resnet8: modes draws the heads of StRA.*no attention"),
        (["--figure", "segmentation", "--images", "0"], "networks of the task segmentation, and this is ReID"),
        (["--figure", "pairs"], "face verification, and this is a network of ReID"),
        (["--figure", "masks", "--images", "0", "a.png"], "give either"),
        (["--figure", "masks", "--images", "99999"], "--images has 99999"),
        (["--figure", "masks", "--images", "gone.png"], "--images gone.png: there is no such image or folder"),
        (["--figure", "architecture", "--images", "0", "--out", "file/out"], "architecture cannot be written there"),
    ],
)
def test_what_cannot_be_drawn_is_said(arguments: list[str], message: str, people: Path) -> None:
    Path("file").write_text("")
    with pytest.raises(InputError, match=message):
        figures(reid(people, None), *arguments)


def test_missing_data_can_be_named_or_done_without(people: Path) -> None:
    checkpoint = reid(Path("nowhere"), RGA, [3])
    with pytest.raises(MissingFileError, match=r"--root(.|\n)*--images"):
        figures(checkpoint, "--figure", "masks")
    figures(checkpoint, "--figure", "masks", "--root", str(people), "--count", "1")
    drawn("masks")


def test_pictures_are_what_the_network_sees(people: Path) -> None:
    checkpoint = reid(people, None)
    task, data = load_task(checkpoint), load_data(checkpoint)
    data.setup("test")
    places = evenly(data, 3)
    found = from_data(data, places)
    assert found.images.shape == (3, 3, *SIZE)
    assert len(set(places)) == 3
    assert max(places) < data.sets["test"].queries
    files = [people_root(data) / data.sets["test"].images[place].path for place in places]
    again = from_files(task, data, files)
    torch.testing.assert_close(again.images, found.images)
    mean, std = (torch.tensor(part).view(3, 1, 1) for part in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    pixels = torch.from_numpy(found.pixels[0]).permute(2, 0, 1) / 255
    torch.testing.assert_close((pixels - mean) / std, found.images[0], atol=0.02, rtol=0)


def people_root(data: Any) -> Path:
    return data.sets["test"].root
