"""Images of a folder, labelled by their names."""

from pathlib import Path

import pytest

from relattn.errors import InputError
from relattn.inference.image_folder import find_images
from relattn.tasks.reid import ReID


@pytest.mark.parametrize(
    ("pattern", "wanted"),
    [
        ("market", {"anna/1.png": ("", ""), "0007_c3_x.png": ("", ""), "0007_c3s1_000451_03.jpg": ("7", "3")}),
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


def test_a_sign_ahead_of_an_identity_is_not_passed_over() -> None:
    Path("images").mkdir()
    Path("images/-1_c1_1.jpg").touch()
    with pytest.raises(InputError, match=r"reads identity 1 from -1_c1_1\.jpg.* begin the group with -\?"):
        find_images(Path("images"), "(?P<identity>[0-9]+)_c(?P<camera>[0-9]+)", ReID.name_patterns)
    (found,) = find_images(Path("images"), "(?P<identity>-?[0-9]+)_c(?P<camera>[0-9]+)", ReID.name_patterns)
    assert found.identity == "-1"
