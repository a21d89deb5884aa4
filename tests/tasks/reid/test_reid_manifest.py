"""Tables of the user's own images, and the check of image files before a run."""

import random
import warnings
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from relattn.errors import InputError, MissingFileError
from relattn.tasks.files import file_fault
from relattn.tasks.reid.checks import check_images, check_splits
from relattn.tasks.reid.manifest import read_manifest
from relattn.tasks.reid.splits import PersonImage, Splits

HEADER = "path,identity,camera,split\n"
ROWS = """\
shop/b/2.jpg,ben,till,gallery
shop/a/1.jpg,anna,entrance,train
shop/c/1.jpg,"Dee, jr.",till,train
shop/b/1.jpg,ben,entrance,query
"""
FILES = ["shop/a/1.jpg", "shop/b/1.jpg", "shop/b/2.jpg", "shop/c/1.jpg"]


def draw(file: Path, kind: str = "JPEG") -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.fromarray(np.random.default_rng(0).integers(0, 256, (8, 4, 3), np.uint8)).save(file, kind)
    return file


def write(folder: Path, text: str = HEADER + ROWS, encoding: str = "utf-8") -> Path:
    for file in FILES:
        draw(folder / file)
    (folder / "people.csv").write_bytes(text.encode(encoding))
    return folder / "people.csv"


def test_a_table_is_read(tmp_path: Path) -> None:
    splits = read_manifest(write(tmp_path))
    assert splits == Splits(
        tmp_path,
        train=(PersonImage("shop/a/1.jpg", 1, 0), PersonImage("shop/c/1.jpg", 0, 1)),
        query=(PersonImage("shop/b/1.jpg", 2, 0),),
        gallery=(PersonImage("shop/b/2.jpg", 2, 1),),
        identity_names={0: "Dee, jr.", 1: "anna", 2: "ben"},
        camera_names={0: "entrance", 1: "till"},
    )
    lines = ROWS.splitlines()
    random.Random(1).shuffle(lines)
    again = write(tmp_path, HEADER + "\r\n\r\n".join(lines), "utf-8-sig")  # as a spreadsheet saves it
    assert read_manifest(again) == splits


def test_columns_may_stand_in_any_order_and_the_camera_may_be_left_out(tmp_path: Path) -> None:
    text = "split, note ,identity,path\ntrain,x,1,shop/a/1.jpg\nquery,,2,shop/b/1.jpg\ngallery,y,2,./shop/b/2.jpg\n"
    splits = read_manifest(write(tmp_path, text))
    assert splits.gallery == (PersonImage("shop/b/2.jpg", 1, 0),)
    assert {image.camera for part in (splits.train, splits.query, splits.gallery) for image in part} == {0}


def test_numbers_are_sorted_as_numbers(tmp_path: Path) -> None:
    text = "shop/a/1.jpg,100,-1,train\nshop/b/1.jpg,9,10,query\nshop/b/2.jpg,009,2,gallery\n"
    splits = read_manifest(write(tmp_path, HEADER + text))
    assert (splits.train[0], splits.query[0], splits.gallery[0]) == (
        PersonImage("shop/a/1.jpg", 1, 0),
        PersonImage("shop/b/1.jpg", 0, 2),
        PersonImage("shop/b/2.jpg", 0, 1),
    )


def test_paths_may_be_relative_to_another_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "images")
    (tmp_path / "tables").mkdir()
    file = (tmp_path / "images" / "people.csv").rename(tmp_path / "tables" / "people.csv")
    splits = read_manifest(file, tmp_path / "images")
    assert splits.root == tmp_path / "images"
    monkeypatch.chdir(tmp_path)
    assert read_manifest(Path("tables/people.csv"), Path("images")).train == splits.train
    file.write_text(HEADER + ROWS.replace("shop/", "../images/shop/"))
    with pytest.raises(InputError, match=r"line 2: path is '\.\./images/shop/"):
        read_manifest(Path("tables/people.csv"))  # only the user, not the table, may name another folder
    file.write_text(HEADER + ROWS)
    with pytest.raises(MissingFileError, match=r"4 images are not in tables: shop/a/1\.jpg"):
        read_manifest(Path("tables/people.csv"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "line 1: no column path, identity, split, but 'nothing'"),
        ("path;identity;split\n", "line 1: no column .*'path;identity;split'.*with commas"),
        ("path,person,split\n", "line 1: no column identity, but 'path,person,split'"),
        ("path,identity,split,split\n", "the column split appears twice"),
        (HEADER + ROWS + "shop/a/2.jpg,anna,till,test\n", "line 6: split is 'test', expected train, query, gallery"),
        (HEADER + ROWS + "shop/a/2.jpg,anna,till,galery\n", "Closest: gallery"),
        (HEADER + ROWS + "shop/a/2.jpg,,till,train\n", "line 6: identity is empty. Fill it in"),
        (HEADER + ROWS + " ,anna,till,train\n", "line 6: path is empty"),
        (HEADER + ROWS + "shop/a/2.jpg,anna,,train\n", "line 6: camera is empty"),
        (HEADER + ROWS + "shop/a/2.jpg,anna,train\n", "line 6: 3 entries, but the header has 4"),
        (HEADER + ROWS + "shop/a/2.jpg,Dee, jr.,till,train\n", "line 6: 5 entries.*quotation marks"),
        (HEADER + ROWS + "shop\\a\\2.jpg,anna,till,train\n", "line 6: path is .*Write forward slashes"),
        (HEADER + ROWS + "/shop/a/2.jpg,anna,till,train\n", "line 6: path is '/shop/a/2.jpg'. Write a path relative"),
        (HEADER + "\n" + ROWS + "shop//a/1.jpg,anna,till,train\n", "line 7: shop/a/1.jpg is in split train .* line 4"),
        (HEADER + ROWS.replace("train", "query"), "no row has the split train. Expected"),
        (HEADER + ROWS.replace("query", "train"), "no row has the split query"),
        (HEADER + ROWS.replace("gallery", "train"), "no row has the split gallery"),
        (HEADER, "no row has the split train or query or gallery"),
        (HEADER + '"unclosed', "cannot be read as CSV"),
    ],
)
def test_a_wrong_table_is_an_error_that_names_the_line(text: str, said: str, tmp_path: Path) -> None:
    file = write(tmp_path, text)
    with pytest.raises(InputError, match=said) as caught:
        read_manifest(file)
    assert str(file) in str(caught.value)


def test_missing_files_are_counted_and_named(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"people.csv: no such file. Expected a CSV file with the header path,"):
        read_manifest(tmp_path / "people.csv")
    rows = "".join(f"shop/a/{number}.jpg,anna,till,train\n" for number in range(2, 9))
    with pytest.raises(MissingFileError, match=r"7 images .*shop/a/2.jpg \(line 6\).*a/6.jpg \(line 10\) and 2 more"):
        read_manifest(write(tmp_path, HEADER + ROWS + rows))
    with pytest.raises(InputError, match="cannot be read as CSV in UTF-8"):
        read_manifest(write(tmp_path, HEADER + ROWS.replace("anna", "änna"), "latin-1"))


def test_people_who_are_trained_on_and_searched_for_are_warned_of(tmp_path: Path) -> None:
    file = write(tmp_path, HEADER + ROWS.replace("anna", "ben"))
    with pytest.warns(UserWarning, match="1 identities are in training and in test"):
        splits = read_manifest(file)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_splits(splits, "MSMT17", shared_numbering=False)


def everything(root: Path) -> Splits:
    images = [PersonImage(file.relative_to(root).as_posix(), 1, 0) for file in sorted(root.rglob("*.*"))]
    return Splits(root, images, images, images)


def test_whole_images_pass(tmp_path: Path) -> None:
    for number in range(3):
        draw(tmp_path / f"folder/{number}.jpg")
        draw(tmp_path / f"{number}.png", "PNG")
    draw(tmp_path / "a png at heart.jpg", "PNG")
    for padding in (bytes(5000), bytes(2), b"\r\n", b"SEFT" * 30):
        for whole in (tmp_path / "folder/0.jpg", tmp_path / "0.png"):
            (tmp_path / f"{len(padding)}{whole.suffix}").write_bytes(whole.read_bytes() + padding)
    check_images(everything(tmp_path))


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_every_cut_is_noticed(kind: str, tmp_path: Path) -> None:
    file = draw(tmp_path / "image", kind)
    whole = file.read_bytes()
    for length in range(len(whole)):
        file.write_bytes(whole[:length])
        assert file_fault(str(file)), length
        file.write_bytes(whole[:length] + bytes(len(whole) - length))  # as an incomplete, preallocated download
        assert file_fault(str(file)), length
    file.write_bytes(whole)
    assert file_fault(str(file)) is None


def test_bad_images_are_named_with_what_is_wrong(tmp_path: Path) -> None:
    whole = draw(tmp_path / "good.jpg").read_bytes()
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "half.jpg").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "page.png").write_text("<html>404</html>")
    (tmp_path / "folder.jpg").mkdir()
    splits = everything(tmp_path)
    (tmp_path / "good.jpg").rename(tmp_path / "gone")
    with pytest.raises(InputError, match=r"5 of the 5 images") as caught:
        check_images(splits)
    for part in (
        f"in {tmp_path}",
        "empty.jpg (empty)",
        "half.jpg (cut off before its end)",
        "page.png (not an image, but a web page or drawing in text)",
        "folder.jpg (no regular file)",
        "good.jpg (no such file or directory)",
    ):
        assert part in str(caught.value)
    for number in range(40):
        (tmp_path / f"more{number:02d}.png").touch()
    with pytest.raises(InputError, match=r"44 of the 44 images.* and 39 more\. Unpack"):
        check_images(everything(tmp_path))
