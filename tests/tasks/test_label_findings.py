"""Problems in labels are reported before training: one damaged data set for each."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from small_runs import small

from relattn.cli.main import run
from relattn.errors import InputError
from relattn.tasks.classification import ImageFolders
from relattn.tasks.data import Data
from relattn.tasks.face import FaceFolders
from relattn.tasks.reid import Manifest, PeopleFolders
from relattn.tasks.segmentation import Cityscapes, Folders

RANDOM = np.random.default_rng(0)


def picture(file: Path | str, height: int = 32, width: int = 24) -> None:
    Path(file).parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(file), RANDOM.integers(0, 256, (height, width, 3), dtype=np.uint8))


def checked(data: Data) -> Data:
    data.setup("fit")
    data.check()
    return data


# --- People -----------------------------------------------------------------------------------------------------------


def people(cameras: int, images: int = 4, identities: int = 6) -> None:
    for person in range(identities):
        for number in range(images):
            picture(f"people/p{person}_c{number % cameras}_{number}.jpg")


PATTERN = "(?P<identity>p[0-9])_c(?P<camera>[0-9])"


def test_one_camera_is_an_error_before_the_first_step_and_a_line_of_the_check(
    capsys: pytest.CaptureFixture[str],
) -> None:
    people(cameras=1)
    options = ["--data", "PeopleFolders", "--data.root", "people", "--data.pattern", PATTERN]
    with pytest.raises(InputError, match=r"3 of 3 .*own camera only.*same_camera: match"):
        run([*small("reid", "reid_small"), *options, "--data.batch_size", "8"])
    assert not list(Path("runs").rglob("*.ckpt"))
    assert run(["data", "check", *options, "--workers", "0"]) == 0
    assert "All images of the test are of one camera" in " ".join(capsys.readouterr().out.split())


def test_queries_without_a_positive_are_counted() -> None:
    rows = ["path,identity,camera,split"]
    rows += ["a.png,ann,1,train", "b.png,ann,2,train", "c.png,ben,1,train", "d.png,ben,2,train"]
    rows += ["e.png,cat,1,query", "f.png,cat,2,gallery", "g.png,dan,1,query"]
    for row in rows[1:]:
        picture(row.partition(",")[0])
    Path("people.csv").write_text("\n".join(rows))
    with pytest.warns(UserWarning, match="Queries without a match in the gallery: 1 of 2"):
        checked(Manifest("people.csv", batch_size=4, images_per_identity=2))


def test_shuffled_batches_and_people_of_one_image_are_named() -> None:
    people(cameras=2)
    picture("people/p9_c0_0.jpg")
    with pytest.warns(UserWarning, match="few anchors") as heard:
        checked(PeopleFolders("people", pattern=PATTERN, images_per_identity=None, batch_size=4))
    said = " ".join(str(one.message) for one in heard)
    assert "1 training identities have one image" in said
    with pytest.raises(InputError, match=r"1 training identities have one image.*single_image_identities"):
        checked(PeopleFolders("people", pattern=PATTERN, batch_size=8))


# --- Photos and faces -------------------------------------------------------------------------------------------------


def test_a_class_without_a_training_image_is_refused_and_one_of_one_image_named() -> None:
    for name in ("ant/1", "ant/2", "ant/3", "bee/1", "bee/2"):
        picture(f"photos/{name}.png")
    with pytest.warns(UserWarning, match="1 classes of photos have one training image: bee"):
        data = checked(ImageFolders("photos"))
    assert data.class_shares() == data.class_shares_seen() == {"ant": 2 / 3, "bee": 1 / 3}
    Path("photos/cat").mkdir()
    with pytest.raises(InputError, match="no training image belongs to cat"):
        checked(ImageFolders("photos"))


def test_pairs_of_one_kind_are_refused() -> None:
    for person in range(4):
        for number in range(3):
            picture(f"faces/p{person}/{number}.png")
    Path("faces/pairs.txt").write_text("p0 0 1\np0 1 2\n")
    with pytest.raises(InputError, match=r"pairs.txt\): all 2 pairs show one person"):
        checked(FaceFolders("faces"))


# --- Label images -----------------------------------------------------------------------------------------------------


def labelled(values: list[int], end: str = "png") -> None:
    for number in range(4):
        picture(f"mine/images/{number}.jpg")
        Path("mine/labels").mkdir(exist_ok=True)
        cv2.imwrite(f"mine/labels/{number}.{end}", RANDOM.choice(np.array(values, np.uint8), (32, 24)))


@pytest.mark.parametrize(
    ("values", "options", "message"),
    [
        ([0, 255], {}, r"no pixel .* is of b; they hold 0 \(\d.*%\), 255 .*--data.ids \[0,255\]"),
        ([0, 1], {"classes": ["a", "b", "c"]}, r"no pixel .* is of c; .*Remove the class"),
        ([1], {}, r"no pixel .* is of a; .*count from 1.*--data.ids \[1,2\]"),
        ([0, 1], {"ids": [7, 8], "ignored": [0, 1]}, "as train ids from 0 on do, and classes are 7 to 8"),
        ([0, 1, 9], {}, "pixels have the label 9"),
    ],
)
def test_values_that_are_other_classes_are_refused(values: list[int], options: dict, message: str) -> None:
    labelled(values)
    with pytest.raises(InputError, match=message):
        checked(Folders("mine", **{"classes": ["a", "b"], **options}))


def test_the_shares_that_were_seen_are_those_of_the_labels_read() -> None:
    labelled([0, 1, 1, 255])
    data = Folders("mine", ["a", "b"])
    data.setup("fit")
    assert data.class_shares_seen() == {}
    data.check()
    assert data.class_shares_seen() == data.class_shares()
    assert data.class_shares_seen()["b"] == pytest.approx(2 / 3, abs=0.05)


def test_train_ids_in_files_of_label_ids_are_refused(streets: Path) -> None:
    data = Cityscapes(streets)
    with pytest.warns(UserWarning, match="stand-in"):
        data.setup("fit")
    for pair in data.sets["train"].pairs:
        file = Path("copy") / pair.labels
        file.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(file), RANDOM.integers(0, 19, (64, 128), dtype=np.uint8))
        image = Path("copy") / pair.image
        image.parent.mkdir(parents=True, exist_ok=True)
        image.write_bytes((data.sets["train"].root / pair.image).read_bytes())
    data.sets = {"train": data.sets["train"]}
    data.sets["train"].root = Path("copy")
    with pytest.raises(InputError, match="as train ids from 0 on do"):
        data.check()


def test_ignored_pixels_that_are_most_are_asked_about() -> None:
    labelled([0, 1, 255, 255, 255, 255])
    with pytest.warns(UserWarning, match=r"6\d % of the pixels of training hold 255, which are ignored"):
        checked(Folders("mine", ["a", "b"]))


def test_label_images_with_loss_are_refused() -> None:
    labelled([0, 1], end="jpg")
    with pytest.raises(InputError, match=r"labels/0.jpg is a JPEG, whose compression changes values"):
        checked(Folders("mine", ["a", "b"]))


def test_images_that_exif_turns_are_named_and_labels_must_be_turned_as_well() -> None:
    labelled([0, 1])
    for number, orientation in ((0, 3), (1, 6)):
        exif = Image.Exif()
        exif[0x112] = orientation
        file = f"mine/images/{number}.jpg"
        Image.open(file).save(file, exif=exif)
        with (
            pytest.warns(UserWarning, match=r"1 images are turned upright.*images/0.jpg")
            if number == 0
            else pytest.raises(InputError, match=r"labels/1.png is 32 x 24 .*24 x 32.*turn the label image as well")
        ):
            checked(Folders("mine", ["a", "b"]))


def test_shares_of_classes_are_in_the_check(capsys: pytest.CaptureFixture[str]) -> None:
    labelled([0, 0, 0, 255])
    line = ["data", "check", "--data", "Folders", "--data.root", "mine", "--data.classes", "[rest,cell]"]
    assert run([*line, "--data.ids", "[0,255]", "--workers", "0"]) == 0
    assert "training is labelled: rest 7" in capsys.readouterr().out
    with pytest.raises(InputError, match=r"no pixel .* is of cell"):
        run([*line, "--workers", "0"])


def test_labels_of_the_test_are_examined_as_those_of_training() -> None:
    values = {"train": [0, 1], "test": [0, 255]}
    for split, some in values.items():
        for number in range(2):
            picture(f"mine/images/{split}/{number}.jpg")
            Path(f"mine/labels/{split}").mkdir(parents=True, exist_ok=True)
            labels = RANDOM.choice(np.array(some, np.uint8), (32, 24))
            cv2.imwrite(f"mine/labels/{split}/{number}.png", labels)
    for stage in ("fit", "test"):
        data = Folders("mine", ["a", "b"], batch_size=1)
        data.setup(stage)
        with pytest.warns(UserWarning, match=r"label images of \w+ hold 0 .*255 is ignored.*--data.ids \[0,255\]"):
            data.check()
