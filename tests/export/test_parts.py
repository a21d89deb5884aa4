"""Parts of exports: sums that exporters know, pooling as matrices, parity, metadata; and what is refused."""

import json
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from relattn.adaptive_pooling import pool
from relattn.attention import FixedSize, SqueezeExcitation, exported_sums
from relattn.attention.shifts import Neighbourhood
from relattn.errors import InputError, MissingFileError
from relattn.export import Difference, ParityError, export, prepare, read_metadata, writing
from relattn.export.graph import other_size
from relattn.export.parity import check_parity
from relattn.extras import required
from relattn.preprocessing import Preprocessing

AS_IT_IS = {"preprocessing": Preprocessing((4, 4), resize="none").as_json()}

ABOUT = {"input": {"size": [32, 32]}, "output": {"name": "logits", "layout": "NC"}}


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3, stride=4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()


@pytest.mark.parametrize(("size", "kernel"), [((5, 7), 3), ((8, 3), 5), ((2, 2), 7), ((1, 6), 5)])
def test_sums_are_those_of_shifts(size: tuple[int, int], kernel: int) -> None:
    generator = torch.Generator().manual_seed(0)
    values, keys = torch.randn(2, 2, 8, *size, dtype=torch.float64, generator=generator)
    weights = torch.randn(2, 4, kernel**2, *size, dtype=torch.float64, generator=generator)
    sums = Neighbourhood(kernel, 4)
    parts = [sums.split(maps) for maps in (values, keys)]
    found = exported_sums.weighted_sum(parts[0], weights, kernel).flatten(1, 2)
    torch.testing.assert_close(found, sums.weighted_sum(values, weights))
    torch.testing.assert_close(exported_sums.comparison(*parts, kernel), sums.compare(values, keys))
    unfolded = F.unfold(values, kernel, padding=kernel // 2).unflatten(2, size).unflatten(1, (8, -1))
    assert torch.equal(exported_sums.neighbours(values, kernel), unfolded)


@pytest.mark.parametrize(
    ("size", "cells"), [((6, 6), (1, 1)), ((7, 12), (2, 2)), ((7, 12), (4, 7)), ((3, 4), (6, 6)), ((13, 1), (3, 3))]
)
def test_pooling_by_matrices_is_torch_s(size: tuple[int, int], cells: tuple[int, int]) -> None:
    x = torch.randn(2, 3, *size, dtype=torch.float64)
    torch.testing.assert_close(pool(x, list(cells)), F.adaptive_avg_pool2d(x, cells))


def test_pooling_to_a_map_s_own_size_gives_the_map() -> None:
    """The shortcut of `FixedSize` relies on this; graphs for any size do not have the shortcut."""
    module = FixedSize(8, grid=(6, 5), attention=SqueezeExcitation).double()
    x = torch.randn(2, 8, 6, 5, dtype=torch.float64)
    torch.testing.assert_close(module.pool(x), x)


@pytest.mark.parametrize("size", [(769, 769), (48, 64), (16, 16), (1024, 33)])
def test_the_other_size_is_another(size: tuple[int, int]) -> None:
    found = other_size(size)
    assert min(found) >= 32
    assert all(side % 2 for side in found)
    assert found[0] != size[0]
    assert found[1] != size[1]


# --- Parity -----------------------------------------------------------------------------------------------------------


class Off(nn.Module):
    """A network whose output is off by a fraction of its maximum."""

    def __init__(self, inner: nn.Module, part: float) -> None:
        super().__init__()
        self.inner, self.part = inner, part

    def forward(self, x: Tensor) -> Tensor:
        y = self.inner(x)
        return y + self.part * y.abs().max()


@pytest.mark.parametrize("scale", [1.0, 1e4])
@pytest.mark.parametrize(("part", "agrees"), [(0.0, True), (5e-5, True), (3e-4, False), (float("nan"), False)])
def test_differences_are_measured(part: float, agrees: bool, scale: float) -> None:
    class Scaled(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return scale * x.mean(dim=(2, 3)) / x.mean(dim=(2, 3)).abs().max()

    batches = {"random": [torch.rand(1, 3, 4, 4)]}
    if not agrees:
        with pytest.raises(ParityError, match="does not compute what the original does: random, 1 x 3 x 4 x 4"):
            check_parity(Off(Scaled(), part), Scaled(), batches)
        return
    [found] = check_parity(Off(Scaled(), part), Scaled(), batches)
    assert found.relative == pytest.approx(part, abs=1e-6)
    assert found.absolute == pytest.approx(part * scale, rel=0.05, abs=1e-6 * scale)


def test_small_outputs_are_compared_as_they_are() -> None:
    assert Difference("random", (1,), 9e-5, 0.5).agrees
    assert not Difference("random", (1,), 1e-3, 0.5).agrees


def test_another_shape_is_another_network() -> None:
    with pytest.raises(ParityError, match=r"gives \(1, 3\) where the original gives \(1, 4\)"):
        check_parity(lambda x: network()(x)[:, :3], network(), {"random": [torch.rand(1, 3, 32, 32)]})


@pytest.mark.parametrize("kind", [pytest.param("onnx", marks=pytest.mark.slow), "torch"])
def test_a_file_that_computes_something_else_is_not_kept(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if kind == "onnx":
        pytest.importorskip("onnxruntime")
    trace = writing.trace

    def tampered(original: nn.Module, size: tuple[int, int], *, any_size: bool) -> torch.export.ExportedProgram:
        return trace(Off(original, 0.01), size, any_size=any_size)

    monkeypatch.setattr(writing, "trace", tampered)
    with pytest.raises(ParityError, match=r"Nothing was written"):
        export(network(), f"folder/a.{kind}", format=kind, metadata=ABOUT)
    assert not list(Path("folder").iterdir())


# --- Metadata ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [pytest.param("onnx", marks=pytest.mark.slow), "torch"])
def test_metadata_come_back(kind: str) -> None:
    if kind == "onnx":
        pytest.importorskip("onnxruntime")
    about = {**ABOUT, "classes": ["Straße", "道"], "threshold": None, "nested": {"mean": [0.485, 1e-9]}}
    export(network(), f"a.{kind}", format=kind, metadata=about)
    assert read_metadata(f"a.{kind}") == {**about, "input": {"size": [32, 32], "dynamic": ["batch"]}}
    if kind == "onnx":
        import onnxruntime

        found = onnxruntime.InferenceSession("a.onnx").get_modelmeta().custom_metadata_map["relattn"]
    else:
        extra = {"relattn.json": ""}
        torch.export.load("a.torch", extra_files=extra)
        found = extra["relattn.json"]
    assert json.loads(found)["classes"] == ["Straße", "道"]


def test_files_of_others_are_refused() -> None:
    pytest.importorskip("onnxruntime")
    with pytest.raises(MissingFileError, match="there is no such file"):
        read_metadata("none.onnx")
    Path("text.onnx").write_text("no network")
    with pytest.raises(InputError, match=r"text\.onnx can be read neither as ONNX nor as a file of torch\.export"):
        read_metadata("text.onnx")
    with zipfile.ZipFile("other.pt2", "w") as archive:
        archive.writestr("data", "1")
    torch.onnx.export(network(), (torch.zeros(1, 3, 32, 32),), "other.onnx", verbose=False)
    for name in ("other.pt2", "other.onnx"):
        with pytest.raises(InputError, match="has no metadata of relattn"):
            read_metadata(name)


@pytest.mark.parametrize(
    ("image", "metadata", "message"),
    [
        (np.zeros((4, 4, 3)), AS_IT_IS, r"image is float64 \(4, 4, 3\)"),
        (np.zeros((4, 4), np.uint8), AS_IT_IS, r"image is uint8 \(4, 4\)"),
        (np.zeros((4, 4, 3), np.uint8), {"resize": "none"}, "have no 'preprocessing'"),
        (np.zeros((4, 4, 3), np.uint8), {"preprocessing": {}}, "not as relattn writes it: KeyError"),
    ],
    ids=str,
)
def test_images_and_metadata_of_another_kind_are_refused(image: np.ndarray, metadata: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        prepare(image, metadata)


# --- What is wrong ----------------------------------------------------------------------------------------------------


def test_wrong_requests_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="format is 'tflite', expected one of onnx, torch"):
        export(network(), "a.tflite", format="tflite", metadata=ABOUT)
    with pytest.raises(InputError, match="in training mode"):
        export(network().train(), "a.pt2", format="torch", metadata=ABOUT)
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(InputError, match=r"(?s)needs the package onnxscript.*pip install '\.\[export\]'"):
        export(network(), "a.onnx", format="onnx", metadata=ABOUT)
    assert required("json", "export") is json
    assert not list(Path.cwd().iterdir())


def test_what_cannot_be_traced_is_said() -> None:
    class Asks(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x if x.sum() > 0 else -x

    with pytest.raises(InputError, match="The network cannot be traced"):
        export(Asks().eval(), "a.pt2", format="torch", metadata=ABOUT)
    assert not list(Path.cwd().iterdir())
