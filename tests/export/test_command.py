"""`relattn export` on the command line."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from untrained import OLD_TRACE, save

from relattn.cli.main import main, run
from relattn.export import read_metadata


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("run") / "checkpoints" / "last.ckpt", "classification", "rga_sc", stages=[3])


@pytest.mark.slow
def test_a_checkpoint_becomes_a_file(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(4):
        Path("photos").mkdir(exist_ok=True)
        Image.fromarray(np.full((40, 50, 3), 60 * number, np.uint8)).save(f"photos/{number}.png")
    assert run(["export", "--ckpt", str(checkpoint), "--format", "torch", "--images", "photos"]) == 0
    text = capsys.readouterr().out
    compared = re.findall(r"^(\S+), (\d) x 3 x 32 x 32: largest difference (\S+), relative (\S+)$", text, re.MULTILINE)
    assert [line[:2] for line in compared] == [("random", "1"), ("random", "3"), *((f"{n}.png", "1") for n in range(3))]
    assert all(float(value) < 1e-4 for line in compared for value in line[2:])
    out = checkpoint.with_suffix(".pt2")
    assert f"{out}: " in text
    assert "any batch, images of 32x32 only" in text
    found = read_metadata(out)
    assert (found["task"], found["backbone"], found["output"]["name"]) == ("classification", "resnet8", "logits")


@pytest.mark.slow
@pytest.mark.skipif(bool(OLD_TRACE), reason=OLD_TRACE)
def test_segmentation_takes_another_size(capsys: pytest.CaptureFixture[str]) -> None:
    file = save(Path("streets.ckpt"), "segmentation", backbone="resnet10t", head="fcn")
    Image.fromarray(np.full((50, 200, 3), 90, np.uint8)).save("street.png")
    line = ["export", "--ckpt", str(file), "--format", "torch", "--out", "made/a.pt2", "--size", "64x96"]
    assert run([*line, "--images", "street.png"]) == 0
    text = capsys.readouterr().out
    assert "street.png, 1 x 3 x 64 x 96: largest difference" in text
    assert "any batch, height, width" in text
    assert read_metadata("made/a.pt2")["input"]["size"] == [64, 96]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--ckpt_path none.ckpt --format torch", "--ckpt_path none.ckpt: there is no such file"),
        ("--ckpt_path CKPT --format torch --out a.onnx", "--out a.onnx: the name of a file of torch ends in .pt2"),
        ("--ckpt_path CKPT --format torch --out there.pt2", "there.pt2 exists, and nothing is overwritten"),
        ("--ckpt_path CKPT --format torch --out a.pt2 --size 64x64", "takes images of 32x32, as in its training"),
        ("--ckpt_path CKPT --format torch --out a.pt2 --size 64", "--size: '64' is not height x width"),
        (
            "--ckpt_path CKPT --format torch --out a.pt2 --images none",
            "--images none: there is no such image or folder",
        ),
        ("--ckpt_path CKPT --format torch --out a.pt2 --images empty", "empty holds no images"),
        ("--ckpt_path CKPT --format torch --out there.pt2/a.pt2", "there.pt2/a.pt2 cannot be written: "),
    ],
)
def test_wrong_options_are_refused(
    line: str, message: str, checkpoint: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("there.pt2").write_text("")
    Path("empty").mkdir()
    given = [str(checkpoint) if part == "CKPT" else part for part in line.split()]
    monkeypatch.setattr(sys, "argv", ["relattn", "export", *given])
    assert main() == 2
    assert message in capsys.readouterr().err
    assert not Path("a.pt2").exists()


def test_help_imports_nothing_heavy() -> None:
    line = [sys.executable, "-X", "importtime", "-m", "relattn", "export", "--help"]
    answer = subprocess.run(line, capture_output=True, text=True, check=True)
    imported = {part.rpartition("|")[2].strip() for part in answer.stderr.splitlines()}
    assert not imported & {"torch", "lightning", "numpy", "cv2", "onnx", "rich"}
    assert "--format" in answer.stdout
