"""`relattn figures` from small checkpoints of every task, and figures during training."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from small_runs import RUNS, checkpoint_of, fit
from torch._dynamo.utils import counters
from untrained import save

from relattn.cli.main import run
from relattn.errors import InputError, MissingFileError
from relattn.figures.files import as_image
from relattn.inference.figure_images import images_of_data, images_of_files
from relattn.inference.figures import draw, evaluating
from relattn.inference.loading import load_data, load_task
from relattn.runs.checkpoints import read_checkpoint
from relattn.runs.metrics import MetricsLogger
from relattn.tasks.figure import evenly_spread

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*is (not the published set|a rendered stand-in)", "ignore:Fold .* has pairs of one kind"
)

SIZE = [32, 16]


def reid(root: Path, attention: str = "none", stages: list[int] | None = None, name: str = "net") -> Path:
    """A checkpoint of an untrained re-identification network."""
    data = {"root": str(root), "image_size": SIZE, "workers": 0}
    arguments = {"backbone": "resnet8", "last_stride": 2, "stages": stages, "flip": "none"}
    return save(Path(f"{name}.ckpt"), "reid", attention, data=data, **arguments)


@pytest.fixture(scope="module")
def plain(people: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint without attention."""
    return reid(people, name=str(tmp_path_factory.mktemp("plain") / "net"))


def figures(checkpoint: Path | str, *arguments: str) -> None:
    assert run(["figures", "--ckpt_path", str(checkpoint), "--gpus", "0", "--out", "out", *arguments]) == 0


def drawn(name: str) -> tuple[int, int]:
    """The size of a figure, which must exist as PNG and PDF and must not be empty."""
    assert Path(f"out/{name}.pdf").read_bytes().startswith(b"%PDF")
    image = Image.open(f"out/{name}.png")
    assert len(np.unique(np.asarray(image.convert("L")))) > 20
    return image.size


@pytest.mark.slow
def test_all_that_a_network_of_people_has(people: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rga = reid(people, "rga_sc", [2, 3], "rga")
    figures(rga, "--figure", "masks,relations", "architecture", "ranks", "--count", "2")
    assert all(min(drawn(name)) > 300 for name in ("masks", "relations", "architecture", "ranks"))
    said = capsys.readouterr().out
    weights = sum(parameter.numel() for parameter in load_task(rga).network.parameters())
    assert f"parameters: {weights:,}" in said
    assert "resnet8 + rga, dependence on the target: 0." in said
    assert "rank1: " in said


@pytest.mark.slow
def test_networks_side_by_side(people: Path, plain: Path, capsys: pytest.CaptureFixture[str]) -> None:
    non_local, rga = (reid(people, attention, [3], attention) for attention in ("nl", "rga_s"))
    figures(plain, "--beside", str(non_local), str(rga), "--figure", "grad-cam", "--images", "0", "3")
    beside = drawn("grad-cam")
    figures(plain, "--figure", "grad-cam", "--images", "0", "3")
    assert drawn("grad-cam")[0] < beside[0]
    options = ["--beside", str(rga), "--figure", "relations", "--images", "1", "--weights", "connecting"]
    figures(non_local, *options, "--targets", "0.1,0.1", "0.5,0.5")
    assert capsys.readouterr().out.count("dependence on the target") == 2


@pytest.mark.slow
def test_heads_of_stra_and_files_of_ones_own(capsys: pytest.CaptureFixture[str]) -> None:
    Path("own").mkdir()
    for number in range(2):
        Image.effect_noise((20, 40), 60).convert("RGB").save(f"own/{number}.png")
    figures(reid(Path("nowhere"), "stra", [3]), "--figure", "modes", "--images", "own")
    drawn("modes")
    assert "head diversity of gates" in capsys.readouterr().out


@pytest.mark.slow
def test_figures_of_the_papers_are_one_command_each(people: Path, plain: Path) -> None:
    """Figs. 4 and 5 of the CVPR paper and Fig. 1 of its supplement, with the commands of docs/figures.md."""
    nets = {name: str(reid(people, name, [2, 3], name)) for name in ("cbam_cs", "rga_sc", "nl", "rga_s")}
    look = ["--width", "3.25", "--font_size", "6", "--bare", "--count", "2"]
    pair = [nets["cbam_cs"], "--beside", nets["rga_sc"], "--labels", "CBAM", "RGA-SC"]
    figures(*pair, "--figure", "masks", "--module", "stage 3", "--maps", "over", "--columns", "2", *look)
    assert drawn("masks")[0] == 975
    figures(nets["nl"], "--beside", nets["rga_s"], "--labels", "NL", "RGA-S", "--figure", "relations", *look)
    assert drawn("relations")[0] == 975
    pair = [str(plain), "--beside", nets["rga_sc"], "--labels", "Baseline", "RGA-SC"]
    figures(*pair, "--figure", "grad-cam", "--module", "stage 2", *look)
    assert drawn("grad-cam")[0] == 975
    figures(nets["rga_sc"], "--figure", "architecture", "ranks", "--width", "6")
    assert [drawn("architecture")[0], drawn("ranks")[0] > 1000] == [1800, True]  # a sheet keeps its pixels


@pytest.mark.slow
def test_faces(face_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    figures(face_run, "--figure", "pairs", "grad-cam", "--count", "3", "--set", "lfw")
    drawn("pairs")
    drawn("grad-cam")
    assert "pairs: 20" in capsys.readouterr().out
    with pytest.raises(InputError, match=r"no verification set 'lwf'\. Closest: lfw"):
        figures(face_run, "--figure", "pairs", "--set", "lwf")


@pytest.mark.slow
def test_streets(segmentation_run: Path) -> None:
    names = ("segmentation", "masks", "grad-cam", "relations")
    figures(segmentation_run, "--figure", *names, "--count", "2")
    assert all(min(drawn(name)) > 200 for name in names)


# --- During training --------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_figures_during_training(cifar: Path, classification_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    logged: list[tuple[str, Any, int, Any]] = []

    def log_image(self: Any, key: str, images: list[Image.Image], step: int, caption: list[str]) -> None:
        logged.append((key, images[0].size, step, caption))

    monkeypatch.setattr(MetricsLogger, "log_image", log_image, raising=False)
    names = ("masks", "relations")
    folder = fit("classification", cifar, "--name", "a", "--figures", ",".join(names))
    found = sorted(path.name for path in (folder / "figures").iterdir())
    assert found == sorted(f"{name}-001.png" for name in names)
    assert [(key, step, caption) for key, _, step, caption in logged] == [
        (f"figures/{name}", 2, ["epoch 1"]) for name in names
    ]
    assert {size for _, size, *_ in logged} == {Image.open(folder / "figures" / name).size for name in found}
    metrics = (folder / "metrics.csv").read_text()
    assert "figures/dependence_on_the_target" in metrics.partition("\n")[0]
    drew, without = (read_checkpoint(checkpoint_of(one))["state_dict"] for one in (folder, classification_run))
    assert all(torch.equal(value, without[key]) for key, value in drew.items()), "drawing changes no training"

    # On resuming, the configuration already has the callback.
    logged.clear()
    again = ["--trainer.max_epochs", "2", "--figures", "masks,architecture"]
    assert run(["fit", "--ckpt_path", str(folder), *again]) == 0
    assert sorted(key for key, *_ in logged) == [f"figures/{name}" for name in ("architecture", *sorted(names))]


def test_what_does_not_apply_is_said_before_training(cifar: Path) -> None:
    with pytest.raises(InputError, match=r"RGA, CBAM.*no attention"):
        fit("classification", cifar, "--attention", "none", "--figures", "masks")
    with pytest.raises(InputError, match=r"no figure 'mask'.*masks"):
        fit("classification", cifar, "--figures", "mask")


@pytest.mark.slow
def test_figures_of_a_compiled_network_are_those_of_the_plain_one(people: Path) -> None:
    checkpoint = reid(people, "rga_sc", [3])
    task, original, data = load_task(checkpoint).train(), load_task(checkpoint), load_data(checkpoint)
    data.setup("test")
    images = images_of_data(data, "test", [0, 3])
    task.network.compile(backend="eager", dynamic=False)
    task.network(images.images)
    graphs = counters["stats"]["unique_graphs"]
    assert graphs > 0
    original.load_state_dict(task.state_dict())
    for name in ("masks", "relations", "grad-cam", "architecture"):
        with evaluating(task):
            found = as_image(draw(name, {"net": task}, images).figure)
        np.testing.assert_array_equal(found, as_image(draw(name, {"net": original}, images).figure))
    assert task.training
    task.network(images.images)
    assert counters["stats"]["unique_graphs"] == graphs, "training goes on with the graph that it had"


@pytest.mark.slow
def test_one_of_two_processes_draws(cifar: Path) -> None:
    two = ["--trainer.devices", "2", "--trainer.strategy", "ddp", "--trainer.max_epochs", "2", "--figures", "masks"]
    line = [sys.executable, "-m", "relattn", *RUNS["classification"], "--data.root", str(cifar), *two]
    subprocess.run([*line, "--name", "a"], check=True, timeout=300)
    found = sorted(path.name for path in Path("runs/classification/a/figures").iterdir())
    assert found == ["masks-001.png", "masks-002.png"]
    refused = subprocess.run([*line, "--attention", "none"], capture_output=True, text=True, timeout=300, check=False)
    assert refused.returncode == 2
    assert "no attention" in refused.stderr
    assert "Traceback" not in refused.stderr


# --- What is wrong ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--figure", "mask"], "no figure 'mask'.*masks"),
        (["--figure", "masks", "--count", "9"], "--count is 9"),
        (["--figure", "ranks", "--beside", "x.ckpt"], "--beside compares networks, and ranks draws one"),
        (["--figure", "modes", "--images", "0"], r"resnet8: modes draws the heads of StRA.*no attention"),
        (["--figure", "segmentation", "--images", "0"], "a network of reid has no figure 'segmentation'. Closest"),
        (["--figure", "pairs"], "a network of reid has no figure 'pairs'"),
        (["--figure", "masks", "--images", "0", "a.png"], "give one or the other"),
        (["--figure", "masks", "--images", "99999"], "Image 99999 of the test set .*Market1501 has 0 to"),
        (["--figure", "masks", "--images", "gone.png"], "--images gone.png: there is no such image or folder"),
        (["--figure", "architecture", "--out", "file/out"], r"file/out cannot be written: "),
        (["--figure", "architecture", "--images", "0"], "--images does not apply to architecture"),
        (["--figure", "masks", "--targets", "0.1,0.1"], "--targets does not apply to masks.*it applies to relations"),
        (["--figure", "ranks", "--module", "stage 3"], "--module does not apply to ranks.*applies to grad-cam, masks"),
        (["--figure", "ranks", "--maps", "over"], "--maps does not apply to ranks"),
        (["--figure", "masks", "--set", "lfw"], "--set does not apply to masks.*no figure of this task has it"),
        (["--figure", "grad-cam", "--module", "stage 9"], "stages 1 to 3, and stage 9 is not one of them"),
        (["--figure", "grad-cam", "--module", "stag"], "--module is 'stag', expected a stage such as"),
        (["--figure", "grad-cam", "--module", "fc"], "grad-cam explains a map, and that module gives none"),
        (["--figure", "grad-cam", "--labels", "a", "b"], "--labels has 2 for 1 networks"),
        (["--figure", "grad-cam", "--labels", " "], "--labels has an empty one"),
        (["--figure", "grad-cam", "--width", "0"], "--width is 0"),
        (["--figure", ","], "--figure names no figure"),
    ],
)
def test_what_cannot_be_drawn_is_said(arguments: list[str], message: str, plain: Path) -> None:
    Path("file").write_text("")
    with pytest.raises(InputError, match=message):
        figures(plain, *arguments)


def test_missing_data_can_be_named_or_done_without(people: Path) -> None:
    checkpoint = reid(Path("nowhere"), "rga_sc", [3])
    with pytest.raises(MissingFileError, match=r"--root(.|\n)*--images"):
        figures(checkpoint, "--figure", "masks")
    figures(checkpoint, "--figure", "masks", "--root", str(people), "--count", "1")
    drawn("masks")


def test_images_are_what_the_network_sees(plain: Path) -> None:
    data = load_data(plain)
    data.setup("test")
    chosen = evenly_spread(data.count("test"), 3)
    found = images_of_data(data, "test", chosen)
    assert found.images.shape == (3, 3, *SIZE)
    assert len(set(chosen)) == 3
    test = data.sets["test"]
    assert max(chosen) < test.queries
    files = [test.root / test.images[index].path for index in chosen]
    torch.testing.assert_close(images_of_files(data, files).images, found.images)
    mean, std = (torch.tensor(part).view(3, 1, 1) for part in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    pixels = torch.from_numpy(found.pixels[0]).permute(2, 0, 1) / 255
    torch.testing.assert_close((pixels - mean) / std, found.images[0], atol=0.02, rtol=0)
