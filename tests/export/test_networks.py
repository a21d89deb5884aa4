"""Every attention and every task as ONNX and as a file of torch.export: what the file computes, and what it says."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from untrained import MODELS, build, save

import relattn
from relattn.attention import RGA, StRA
from relattn.cli import catalogue
from relattn.export import export, read_metadata
from relattn.figures import capture

onnxruntime = pytest.importorskip("onnxruntime")

ABOUT = {"input": {"size": [32, 32]}, "output": {"name": "logits", "layout": "NC"}}

QUICK = ("rga_sc", "se", "stra", "eca", "sasa")
"""After stages, in blocks and in place of convolutions, ours and timm's; the rest take longer together."""

RECIPES = [
    name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in catalogue.recipes("attention")
]


def run_onnx(file: Path, images: Tensor) -> Tensor:
    """What an ONNX file gives, by a session of the test's own."""
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    [name] = [entry.name for entry in session.get_inputs()]
    assert name == "image"
    return torch.from_numpy(session.run(None, {name: images.numpy()})[0])


def run_torch(file: Path, images: Tensor) -> Tensor:
    """What a file of torch.export gives."""
    with torch.no_grad():
        return torch.export.load(file).module()(images)


def near(found: Tensor, expected: Tensor) -> bool:
    """Whether outputs agree to 1e-4 of the largest."""
    return found.shape == expected.shape and bool((found - expected).abs().max() <= 1e-4 * expected.abs().max())


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_attention_exports(recipe: str) -> None:
    task, _ = build("classification", recipe, stages=[3])
    images = torch.randn(5, 3, 32, 32)
    with torch.no_grad():
        expected = task.network(images)
        plain = build("classification")[0].network
        plain.load_state_dict(task.network.state_dict(), strict=False)
        assert not near(plain.eval()(images), expected), "attention has an effect"
    for kind, file, run in (("onnx", "a.onnx", run_onnx), ("torch", "a.pt2", run_torch)):
        differences = export(task.network, file, format=kind, metadata=ABOUT)
        assert [difference.shape for difference in differences] == [(1, 3, 32, 32), (3, 3, 32, 32)]
        assert near(run(Path(file), images), expected)
        assert read_metadata(file)["input"] == {"size": [32, 32], "dynamic": ["batch"]}


FORMATS = {"onnx": ("a.onnx", run_onnx), "torch": ("a.pt2", run_torch)}


@pytest.mark.parametrize(
    ("task", "kind"),
    [
        # A graph for any size of image takes long to make: its sizes are formulas.
        pytest.param(task, kind, marks=[pytest.mark.slow] * ((task, kind) == ("segmentation", "onnx")))
        for task in MODELS
        for kind in FORMATS
    ],
)
def test_every_task_exports(task: str, kind: Any) -> None:
    file, run = FORMATS[kind]
    model = relattn.load(save(Path("network.ckpt"), task, "rga_sc"))
    height, width = model.metadata["input"]["size"]
    any_size = task == "segmentation"
    export(model.network, file, format=kind, metadata=model.metadata)
    for count, *size in [(2, height, width), *([(1, 75, 130), (4, 33, 40)] if any_size else [])]:
        images = torch.randn(count, 3, *size)
        with torch.no_grad():
            assert near(run(Path(file), images), model.network(images)), size
    found = read_metadata(file)
    dynamic = ["batch", "height", "width"] if any_size else ["batch"]
    assert found == {**model.metadata, "input": {**model.metadata["input"], "dynamic": dynamic}}


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
    for shape in ((2, 3, 48, 64), (1, 3, 97, 129), (3, 3, 40, 33), (1, 3, 96, 128)):
        images = torch.randn(shape)
        with torch.no_grad():
            assert near(run_onnx(Path("a.onnx"), images), model.network(images))


def test_attention_of_one_size_fixes_the_image_s() -> None:
    model = relattn.load(save(Path("network.ckpt"), "segmentation", "rga_sc", attention_at="backbone"))
    differences = export(model.network, "a.pt2", format="torch", metadata=model.metadata)
    assert len(differences) == 2
    assert read_metadata("a.pt2")["input"]["dynamic"] == ["batch"]
    with pytest.raises(AssertionError):
        run_torch(Path("a.pt2"), torch.randn(1, 3, 96, 128))


def test_the_network_is_left_as_it_was() -> None:
    task, _ = build("classification", "rga_sc")
    network = task.network
    before = {name: value.clone() for name, value in network.state_dict().items()}
    formats = {name: value.stride() for name, value in network.state_dict().items()}
    images = torch.randn(2, 3, 32, 32)
    export(network, "a.pt2", format="torch", metadata=ABOUT)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert {name: value.stride() for name, value in network.state_dict().items()} == formats
    with torch.no_grad(), capture(network) as maps:
        network(images)
    assert maps["attention.stage1"]["spatial"].shape == (2, 1, 32, 32)


def test_real_images_are_compared_on() -> None:
    task, _ = build("classification", "se")
    image = torch.linspace(-2, 2, 3 * 32 * 32).view(1, 3, 32, 32)
    differences = export(task.network, "a.pt2", format="torch", metadata=ABOUT, images={"photo.png": image})
    assert [difference.images for difference in differences] == ["random", "random", "photo.png"]
    assert str(differences[2]).startswith("photo.png, 1 x 3 x 32 x 32: largest difference ")


@pytest.mark.parametrize("attention", [RGA, StRA])
def test_modules_alone_export(attention: type) -> None:
    module = attention(16, size=(6, 5)).eval()
    x = torch.randn(2, 16, 6, 5)
    with torch.no_grad():
        program = torch.export.export(module, (x,), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},))
        y = torch.randn(5, 16, 6, 5)
        assert near(program.module()(y), module(y))


def test_the_file_needs_nothing_of_ours() -> None:
    """The graph has standard operations alone, and the weights are in the file."""
    onnx = pytest.importorskip("onnx")
    task, _ = build("classification", "stra", stages=[3])
    export(task.network, "folder/a.onnx", format="onnx", metadata=ABOUT)
    model = onnx.load("folder/a.onnx")
    onnx.checker.check_model(model)
    assert {node.domain for node in model.graph.node} <= {"", "ai.onnx"}
    assert [file.name for file in Path("folder").iterdir()] == ["a.onnx"]
    weights = sum(np.prod(tensor.dims, dtype=int) for tensor in model.graph.initializer)
    assert weights >= 0.9 * sum(value.numel() for value in task.network.parameters())
