"""Images of a folder, labelled by their names."""

from pathlib import Path

import pytest

from relattn.inference.image_folder import find_images
from relattn.tasks.reid import ReID


@pytest.mark.parametrize(
    ("pattern", "wanted"),
    [
        ("market", {"anna/1.png": ("", ""), "0007_c3_x.png": ("", ""), "0007_c3s1_000451_03.jpg": ("7", "2")}),
        ("none", {"anna/1.png": ("", ""), "0007_c3_x.png": ("", "")}),
        (r"(?P<identity>[^/]+)/(?P<camera>\d)", {"anna/1.png": ("anna", "1"), "0007_c3_x.png": ("", "")}),
    ],
)
def test_names_say_who_is_on_an_image(pattern: str, wanted: dict[str, tuple[str, str]]) -> None:
    Path("images/anna").mkdir(parents=True)
    Path("images/loop").symlink_to(Path("images").resolve())
    for path in (*wanted, ".hidden.png"):
        (Path("images") / path).touch()
    Path("images/notes.txt").touch()
    found = find_images(Path("images"), pattern, ReID.name_patterns)
    assert {entry.path: (entry.identity, entry.camera) for entry in found} == wanted
