"""Queries and gallery drawn from people, and what is written of them."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from relattn.tasks.reid import Manifest, PeopleFolders
from relattn.tasks.reid.checks import unmatched_queries
from relattn.tasks.reid.data_sets import Market1501
from relattn.tasks.reid.joint import Joint
from relattn.tasks.reid.splits import PersonImage, queries_and_gallery


def picture(file: Path) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(file), np.full((32, 16, 3), 100, np.uint8))
    return file


def drawn(*cameras: int) -> tuple[list[int], list[int]]:
    """The cameras of the queries and of the gallery of one person with an image from each of `cameras`."""
    images = [PersonImage(f"{number}.jpg", 0, camera) for number, camera in enumerate(cameras)]
    other = PersonImage("other.jpg", 1, 5)
    query, gallery = queries_and_gallery([*images, other])
    together = [*query, *gallery]
    assert sorted(together) == sorted([*images, other])
    rule = "junk" if len({*cameras, 5}) > 1 else "match"
    unmatched = [query[number] for number in unmatched_queries(together, range(len(together)), len(query), rule)]
    assert not unmatched
    return [image.camera for image in query], [image.camera for image in gallery if image is not other]


@pytest.mark.parametrize(
    ("cameras", "query", "gallery"),
    [
        ((0, 1), [0], [1]),  # VIPeR
        ((0, 0, 1, 1), [0, 1], [0, 1]),
        ((0, 1, 1), [0], [1, 1]),
        ((0, 0, 1), [1], [0, 0]),
        ((0, 1, 2), [0, 1], [2]),
        ((0, 0), [], [0, 0]),  # no other camera saw the person
        ((5, 5), [5], [5]),  # all images are of one camera
    ],
)
def test_every_query_has_a_match(cameras: tuple[int, ...], query: list[int], gallery: list[int]) -> None:
    assert drawn(*cameras) == (query, gallery)


def test_an_embedding_names_people_and_cameras_as_the_data_do() -> None:
    rows = ["path,identity,camera,split"]
    for number, (person, camera, split) in enumerate(
        [("ann", "till", "train"), ("ben", "till", "train"), ("cat", "door", "query"), ("cat", "till", "gallery")]
    ):
        rows.append(f"{picture(Path(f'{number}.jpg'))},{person},{camera},{split}")
    Path("people.csv").write_text("\n".join(rows))
    data = Manifest("people.csv")
    data.setup("predict")
    entries = [data.sets["predict"].entry(number) for number in range(2)]
    assert [(one.identity, one.camera, one.split) for one in entries] == [
        ("cat", "door", "query"),
        ("cat", "till", "gallery"),
    ]


def test_an_unknown_camera_has_no_name() -> None:
    rows = ["path,identity,split", *(f"{picture(Path(f'{n}.jpg'))},{n // 2},query" for n in range(2))]
    Path("people.csv").write_text("\n".join([*rows, f"{picture(Path('2.jpg'))},0,gallery"]))
    data = Manifest("people.csv")
    data.setup("predict")
    assert [data.sets["predict"].entry(number).camera for number in range(3)] == [""] * 3


def test_images_of_no_one_are_left_out() -> None:
    for person in (-1, 7, 8, 9, 10):
        for camera in (1, 2):
            for number in (1, 2):
                picture(Path(f"people/{person}_c{camera}_{number}.jpg"))
    data = PeopleFolders("people", pattern="^(?P<identity>-?[0-9]+)_c(?P<camera>[0-9])", batch_size=4)
    with pytest.warns(UserWarning, match="4 files are left out .identity -1 shows no one"):
        data.setup("fit")
    test = data.sets["test"]
    assert {*data.class_names, *map(test.display_name, range(len(test)))} == {"7", "8", "9", "10"}


def test_sets_that_were_joined_are_as_genuine_as_their_parts(people: Path) -> None:
    sets = [Market1501(people), Market1501(people)]
    data = Joint(sets, root=people, batch_size=8)
    with pytest.warns(UserWarning, match="is a rendered stand-in"):
        data.setup("fit")
    assert data.describe()["genuine"] is False
