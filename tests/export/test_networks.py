"""Every attention and every task as ONNX and torch.export files: their outputs and their metadata."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from jsonargparse import ArgumentParser
from torch import Tensor, nn
from untrained import OLD_TRACE, build, save, shake

import relattn
from relattn.attention import RGA, Chain, StRA
from relattn.backbones import AttentionFactory
from relattn.cli import catalogue
from relattn.cli.lightning.recipes import attention_config
from relattn.export import export, read_metadata
from relattn.figures import capture

onnxruntime = pytest.importorskip("onnxruntime")

ABOUT = {"input": {"size": [32, 32]}, "output": {"name": "logits", "layout": "NC"}}

RECIPES = catalogue.recipes("attention")

CLASSES = {catalogue.class_path("attention", name): name for name in RECIPES}
"""A recipe of each class of attention."""

SMALL: dict[str, dict[str, Any]] = {
    "classification": {"stages": [3]},
    "reid": {"backbone": "resnet8", "last_stride": 2, "stages": [3]},
    "segmentation": {"backbone": "resnet10t", "head": "fcn"},
    "face": {"stages": [3]},
}
"""Networks of each task with few operations, since tracing each operation takes time."""


Runner = Callable[[Tensor], Tensor]


def open_onnx(file: Path) -> Runner:
    """Return a function that runs an ONNX file in the test's own session."""
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    [name] = [entry.name for entry in session.get_inputs()]
    assert name == "image"
    return lambda images: torch.from_numpy(session.run(None, {name: images.numpy()})[0])


def open_torch(file: Path) -> Runner:
    """Return a function that runs a torch.export file."""
    return torch.export.load(file).module()


FORMATS: dict[str, tuple[str, Callable[[Path], Runner]]] = {
    "onnx": ("a.onnx", open_onnx),
    "torch": ("a.pt2", open_torch),
}


def near(found: Tensor, expected: Tensor) -> bool:
    """Whether outputs agree to 1e-4 of the largest."""
    return found.shape == expected.shape and bool((found - expected).abs().max() <= 1e-4 * expected.abs().max())


def compare(kind: str, network: nn.Module, sizes: list[tuple[int, int, int]]) -> None:
    """Compare the exported file's outputs with the network's, for batches of given count, height and width."""
    file, opened = FORMATS[kind]
    run_file = opened(Path(file))
    for count, height, width in sizes:
        images = torch.randn(count, 3, height, width)
        with torch.no_grad():
            assert near(run_file(images), network(images)), (kind, count, height, width)


@pytest.mark.slow
@pytest.mark.parametrize("recipe", CLASSES.values())
def test_every_attention_exports(recipe: str) -> None:
    """One attention of each class between a convolution and a classifier; whole networks follow below."""
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--attention", type=AttentionFactory)
    config = {"attention": attention_config(recipe, "resnet8")}
    attention = parser.instantiate(parser.parse_object(config)).attention(32, size=(8, 6))
    torch.manual_seed(0)
    stem, classifier = nn.Conv2d(3, 32, 3, stride=2, padding=1), nn.Linear(32, 5)
    network = nn.Sequential(stem, attention, nn.AdaptiveAvgPool2d(1), nn.Flatten(), classifier).eval()
    shake(network)
    x = torch.randn(2, 32, 8, 6)
    with torch.no_grad():
        assert not near(attention(x), x), "attention has an effect"
    for kind, (file, _) in FORMATS.items():
        differences = export(network, file, format=kind, metadata=ABOUT, size=(16, 12))
        assert [difference.shape for difference in differences] == [(1, 3, 16, 12), (3, 3, 16, 12)]
        compare(kind, network, [(2, 16, 12), (5, 16, 12)])
        assert read_metadata(file)["input"] == {"size": [16, 12], "dynamic": ["batch"]}


def check_task(task: str, recipe: str, kinds: Iterable[str]) -> None:
    """Export a task's network and compare it, also at other sizes if it accepts them; the file describes all of it."""
    model = relattn.load(save(Path("network.ckpt"), task, recipe, **SMALL[task]))
    height, width = model.metadata["input"]["size"]
    for kind in kinds:
        export(model.network, FORMATS[kind][0], format=kind, metadata=model.metadata)
        found = read_metadata(FORMATS[kind][0])
        dynamic = found["input"].pop("dynamic")
        assert found == model.metadata
        assert dynamic == (["batch", "height", "width"] if task == "segmentation" else ["batch"])
        others = [(1, 75, 130), (4, 33, 40)] if task == "segmentation" else []
        compare(kind, model.network, [(2, height, width), (5, height, width), *others])


@pytest.mark.slow
@pytest.mark.parametrize("recipe", [*RECIPES, "none"])
@pytest.mark.parametrize("task", SMALL)
def test_every_attention_exports_in_every_task(task: str, recipe: str) -> None:
    if task == "segmentation" and OLD_TRACE:
        pytest.skip(OLD_TRACE)
    # torch.export refuses a map that is pooled to one row, as that of a small image is.
    pooled_to_one = (task, recipe) == ("segmentation", "nl_original")
    check_task(task, recipe, ["onnx"] if pooled_to_one else FORMATS)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("attention", "arguments"),
    [
        ("none", {"head": "fcn"}),
        ("rga_sc", {"head": "aspp", "context_mode": "masks"}),
        ("rga_sc", {"head": "ppm", "align_corners": False}),
        ("stra", {"head": "fcn", "context_mode": "full"}),
        ("sasa", {"head": "fcn", "context_mode": "full"}),
        ("nl", {"head": "fcn", "context_mode": "full"}),
    ],
    ids=str,
)
def test_segmentation_takes_any_size(attention: str, arguments: dict[str, Any]) -> None:
    place = {} if attention == "none" else {"attention_at": "context"}
    model = relattn.load(save(Path("network.ckpt"), "segmentation", attention, **place, **arguments))
    export(model.network, "a.onnx", format="onnx", metadata=model.metadata)
    compare("onnx", model.network, [(2, 48, 64), (1, 97, 129), (3, 40, 33), (1, 96, 128)])


@pytest.mark.slow
def test_attention_of_one_size_fixes_the_image_s() -> None:
    place = {"attention_at": "backbone", "stages": [4]}
    model = relattn.load(save(Path("network.ckpt"), "segmentation", "rga_sc", **place, **SMALL["segmentation"]))
    differences = export(model.network, "a.pt2", format="torch", metadata=model.metadata)
    assert len(differences) == 2
    assert read_metadata("a.pt2")["input"]["dynamic"] == ["batch"]
    with pytest.raises(AssertionError):
        open_torch(Path("a.pt2"))(torch.randn(1, 3, 96, 128))


@pytest.mark.slow
def test_the_network_is_left_as_it_was_and_real_images_are_compared_on() -> None:
    task, _ = build("classification", "stra", stages=[3])
    network = task.network
    before = {name: value.clone() for name, value in network.state_dict().items()}
    formats = {name: value.stride() for name, value in network.state_dict().items()}
    images = torch.randn(2, 3, 32, 32)
    photo = torch.linspace(-2, 2, 3 * 32 * 32).view(1, 3, 32, 32)
    differences = export(network, "a.pt2", format="torch", metadata=ABOUT, images={"photo.png": photo})
    assert [difference.images for difference in differences] == ["random", "random", "photo.png"]
    assert str(differences[2]).startswith("photo.png, 1 x 3 x 32 x 32: largest difference ")
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert {name: value.stride() for name, value in network.state_dict().items()} == formats
    with torch.no_grad(), capture(network) as maps:
        network(images)
    assert [found["masks"].shape for found in maps.values() if found] == [(2, 8, 8, 8)]


@pytest.mark.slow
def test_modules_alone_export() -> None:
    module = Chain(16, size=(6, 5), modules=[RGA, StRA]).eval()
    shake(module)
    x = torch.randn(2, 16, 6, 5)
    with torch.no_grad():
        program = torch.export.export(module, (x,), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},))
        y = torch.randn(5, 16, 6, 5)
        assert near(program.module()(y), module(y))


@pytest.mark.slow
def test_onnx_computes_the_same_and_needs_nothing_of_ours() -> None:
    """The graph has only standard operations, and the weights are in the file."""
    onnx = pytest.importorskip("onnx")
    task, _ = build("classification", "se", stages=[3])
    export(task.network, "folder/a.onnx", format="onnx", metadata={**ABOUT, "classes": ["Straße", "道"]})
    assert read_metadata("folder/a.onnx")["classes"] == ["Straße", "道"]
    run_file = open_onnx(Path("folder/a.onnx"))
    with torch.no_grad():
        for images in (torch.randn(2, 3, 32, 32), torch.randn(5, 3, 32, 32)):
            assert near(run_file(images), task.network(images))
    model = onnx.load("folder/a.onnx")
    onnx.checker.check_model(model)
    assert {node.domain for node in model.graph.node} <= {"", "ai.onnx"}
    assert [file.name for file in Path("folder").iterdir()] == ["a.onnx"]
    weights = sum(np.prod(tensor.dims, dtype=int) for tensor in model.graph.initializer)
    assert weights >= 0.9 * sum(value.numel() for value in task.network.parameters())
