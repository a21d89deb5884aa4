"""`relattn data check` decodes every image, names all that are bad, and accepts the good ones."""

import shutil
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from relattn.cli.main import main, run
from relattn.errors import InputError
from relattn.synthetic.faces.records import write_records

MARKET = "Market-1501-v15.09.15"


def check(data: str, root: Path | str, *options: str) -> int:
    return run(["data", "check", "--data", data, "--data.root", str(root), "--workers", "0", *options])


@pytest.fixture
def market(people: Path, tmp_path: Path) -> Path:
    """A copy of the people that tests may damage."""
    shutil.copytree(people / MARKET, tmp_path / "data" / MARKET)
    return tmp_path / "data" / MARKET


@pytest.mark.parametrize(
    ("data", "root", "lines"),
    [
        ("CIFAR10", "cifar", ["train 200 images", "test 50 images"]),
        ("Market1501", "people", ["query", "gallery", "identities 12"]),
        ("Cityscapes", "streets", ["train 8 images", "val 3 images", "classes 19"]),
        ("Faces", "faces", ["train 32 images", "lfw 40 images", "identities 8"]),
    ],
)
def test_a_whole_set_passes_with_its_counts(
    data: str, root: str, lines: list[str], request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    assert check(data, request.getfixturevalue(root)) == 0
    said = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert said[0] == data
    for line in (*lines, "rendered by relattn data make", "every image is whole"):
        assert any(part.startswith(line) for part in said), said


def test_all_bad_images_are_counted_and_twenty_named(market: Path) -> None:
    files = sorted((market / "bounding_box_train").iterdir())[:23]
    for file in files:
        file.write_bytes(file.read_bytes()[:-400])
    with pytest.raises(InputError) as error:
        check("Market1501", market.parent)
    lines = str(error.value).splitlines()
    assert lines[0] == "23 images cannot be used:"
    assert [line.strip().partition(":")[0] for line in lines[1:21]] == [str(file) for file in files[:20]]
    assert all(line.endswith("cut off before its end") for line in lines[1:21])
    assert lines[21].strip() == "and 3 more"


def test_processes_find_the_same_and_the_status_is_2(
    market: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    files = sorted((market / "query").iterdir())
    files[0].write_bytes(b"")
    files[1].write_bytes(files[1].read_bytes()[:900] + b"\xff\xd9")
    said = []
    for processes in ("0", "2"):
        line = ["data", "check", "--data", "Market1501", "--data.root", str(market.parent), "--workers", processes]
        monkeypatch.setattr(sys, "argv", ["relattn", *line])
        assert main() == 2
        said.append(capsys.readouterr().err)
    assert said[0] == said[1]
    assert f"{files[0]}: empty" in said[0]
    assert f"{files[1]}: damaged: " in said[0]
    assert "premature end" in said[0]


def test_copies_of_training_images_are_warned_of(market: Path, cifar: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train, query = (min((market / name).iterdir()) for name in ("bounding_box_train", "query"))
    query.write_bytes(train.read_bytes())
    assert check("Market1501", market.parent) == 0
    assert f"training has copies of 1 images of other splits: {query}" in capsys.readouterr().out
    copy = shutil.copytree(cifar, Path("cifar"))
    shutil.copy(copy / "cifar-10-batches-py" / "data_batch_1", copy / "cifar-10-batches-py" / "test_batch")
    assert check("CIFAR10", copy) == 0
    assert "training has copies of 40 images of other splits: image " in capsys.readouterr().out


def test_the_line_of_a_run_can_be_checked_as_it_stands(people: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = ["--task", "reid", "--attention", "rga_sc", "--gpus", "0", "--trainer.max_epochs", "3", "--name", "mine"]
    assert check("Market1501", people, *line, "--model.loss_weight=0.5", "--data.image_size", "[32,16]") == 0
    others = people / "others.csv"
    folder = next(path.parent for path in people.rglob("query"))
    rows = ["path,identity,camera,split"]
    for split, name in (("query", "query"), ("gallery", "bounding_box_test")):
        for file in sorted((folder / name).glob("0*.jpg"))[:4]:
            rows.append(f"{file.relative_to(people)},{file.name[:4]},{file.name[6]},{split}")
    others.write_text("\n".join(rows))
    assert check(f"Market1501,{others}", people, "--task", "reid") == 0
    printed = capsys.readouterr().out
    assert "others, to be tested on:" in printed
    assert printed.count("every image is whole") == 3
    with pytest.raises(InputError, match="no option --batch_size"):
        check("Market1501", people, "--batch_size", "3")
    with pytest.raises(InputError, match="--workers is -1"):
        check("Market1501", people, "--workers", "-1")


def test_records_are_read_whole(faces: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(faces / "faces", tmp_path / "faces"))
    shutil.rmtree(root / "train")
    noise = np.random.default_rng(0).integers(0, 256, (40, 24, 3), dtype=np.uint8)
    whole = cv2.imencode(".jpg", noise)[1].tobytes()
    write_records(root / "train", [(label, whole) for label in range(3) for _ in range(2)])
    assert check("Faces", tmp_path, "--data.train", "[train.rec]") == 0
    shutil.rmtree(root)
    shutil.copytree(faces / "faces", root)
    write_records(root / "train", [(0, whole), (0, whole[:-50]), (1, whole)])
    with pytest.raises(InputError, match=r"(?s)1 images.*train\.rec, offset \d+ \(key 2\): cut off before its end"):
        check("Faces", tmp_path, "--data.train", "[train.rec]")


def test_the_home_folder_is_expanded(cifar: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(cifar.parent))
    assert run(["data", "check", "--data", "CIFAR10", f"--data.root=~/{cifar.name}"]) == 0
