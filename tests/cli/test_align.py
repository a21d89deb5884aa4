"""`relattn align` crops faces by their landmarks and names wrong ones; `verify` aligns in the same way."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from relattn.cli.main import run
from relattn.errors import InputError
from relattn.tasks.face import Face
from relattn.tasks.face.alignment import FIVE, align
from relattn.tasks.face.landmarks import COLUMNS, EXCHANGES, fault_of

RANDOM = np.random.default_rng(0)
LINE = ["align", "--images", "photos", "--landmarks", "landmarks.csv", "--out"]


def turned(degrees: float, scale: float, shift: tuple[float, float]) -> np.ndarray:
    """The template's points, rotated, scaled and shifted."""
    angle = np.deg2rad(degrees)
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return scale * (FIVE - 56) @ rotation.T + np.array(shift)


def photograph(points: dict[str, np.ndarray], size: tuple[int, int] = (200, 240)) -> None:
    """Write images of noise, and the table of their landmarks."""
    for name in points:
        file = Path("photos") / name
        file.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(file), RANDOM.integers(0, 256, (*size, 3), dtype=np.uint8))
    rows = [",".join([name, *map(str, five.ravel())]) for name, five in points.items()]
    Path("landmarks.csv").write_text("\n".join([",".join(COLUMNS), *rows]))


def test_faces_are_written_under_their_paths() -> None:
    points = {f"{folder}/1.png": turned(degrees, 0.8, (120, 100)) for folder, degrees in (("ann", 0), ("ben", 30))}
    photograph(points)
    assert run([*LINE, "faces"]) == 0
    for name, five in points.items():
        face = cv2.imread(f"faces/{name}")
        np.testing.assert_array_equal(face, align(cv2.imread(f"photos/{name}"), five))
    with pytest.raises(InputError, match="faces"):
        run([*LINE, "faces"])  # it is not empty


def test_landmarks_off_the_frame_and_swapped_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    right = turned(10, 0.8, (120, 100))
    photograph({"a.png": right, "b.png": right + np.array((110, 0)), "c.png": right[[1, 0, 2, 4, 3]]})
    with pytest.raises(InputError, match=r"2 of 3 images.* b.png: right_eye at .* outside the image.*c.png: left and"):
        run([*LINE, "faces"])
    assert not Path("faces").exists()
    assert run([*LINE, "faces", "--wrong", "skip"]) == 0
    assert [path.name for path in Path("faces").iterdir()] == ["a.png"]
    assert "landmarks of 2 images are wrong, and these are left out" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("degrees", [0, 45, 180])
def test_exchanges_are_told_at_any_angle(degrees: float) -> None:
    points = turned(degrees, 1.3, (200, 200)) + RANDOM.normal(0, 2, (5, 2))
    assert fault_of(points, (400, 400)) is None
    for name, order in EXCHANGES.items():
        assert fault_of(points[list(order)], (400, 400)) == f"{name} are swapped"


def test_columns_may_be_celeba_s_and_entries_are_checked() -> None:
    photograph({"a.png": turned(0, 0.8, (120, 100))})
    table = Path("landmarks.csv").read_text()
    header = "image_id,lefteye_x,lefteye_y,righteye_x,righteye_y,nose_x,nose_y,leftmouth_x,leftmouth_y,"
    Path("landmarks.csv").write_text(table.replace(",".join(COLUMNS), f"{header}rightmouth_x,rightmouth_y"))
    assert run([*LINE, "faces"]) == 0
    Path("landmarks.csv").write_text(table.replace("a.png,", "../a.png,"))
    with pytest.raises(InputError, match=r"line 2: path is '../a.png'"):
        run([*LINE, "others"])
    Path("landmarks.csv").write_text(f"{','.join(COLUMNS)}\na.png{',wide' * 10}")
    with pytest.raises(InputError, match="line 2: left_eye_x is 'wide'"):
        run([*LINE, "others"])


def test_a_network_aligns_to_the_size_of_its_images_or_as_asked() -> None:
    photograph({"a.png": turned(0, 0.8, (120, 100))})
    pixels, five = cv2.imread("photos/a.png"), turned(0, 0.8, (120, 100))
    face = Face("resnet8")
    for size, asked, template in (
        ((112, 112), None, "112x112"),
        ((112, 96), None, "112x96"),
        ((128, 128), None, "128x128"),
        ((64, 64), None, "112x112"),
        ((112, 112), "128x128", "128x128"),
    ):
        face.specification = {"image_size": size}
        found = face.aligned(pixels, Path("landmarks.csv"), Path("photos/a.png"), asked)
        np.testing.assert_array_equal(found, align(pixels, five, template))


@pytest.mark.slow
def test_verify_aligns_pictures_of_any_size(face_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photograph({"a.png": turned(0, 0.8, (120, 100)), "b.png": turned(40, 0.5, (90, 90))}, size=(210, 300))
    assert run([*LINE, "faces"]) == 0
    checkpoint = ["--ckpt_path", str(face_run), "--gpus", "0", "--threshold", "1"]
    capsys.readouterr()
    said = []
    for line in (
        ["photos/a.png", "photos/b.png", "--landmarks", "landmarks.csv"],
        ["faces/a.png", "faces/b.png"],
        ["photos/a.png", "photos/b.png"],
    ):
        assert run(["verify", *line, *checkpoint]) == 0
        said.append(capsys.readouterr().out)
    assert said[0] == said[1] != said[2]
    cv2.imwrite("faces/c.png", cv2.imread("faces/a.png"))
    with pytest.raises(InputError, match=r"has no row of faces/c.png"):
        run(["verify", "photos/a.png", "faces/c.png", "--landmarks", "landmarks.csv", *checkpoint])
