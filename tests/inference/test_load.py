"""`relattn.load`: networks ready for use, and the documentation page that shows it."""

import json
import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from small_runs import checkpoint_of
from untrained import MODELS, save

import relattn
from relattn.errors import InputError, MissingFileError
from relattn.export import prepare
from relattn.inference.loading import load_data, load_task
from relattn.tasks.classification import CIFAR10
from relattn.tasks.classification.device_batches import DeviceBatches
from relattn.tasks.face import Faces
from relattn.tasks.reid import Market1501
from relattn.tasks.samplers import SampleIndex
from relattn.tasks.segmentation import Cityscapes

PAGE = Path(__file__).parents[2] / "docs" / "python.md"
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)


def picture(height: int = 70, width: int = 90, seed: int = 0) -> np.ndarray:
    """A smooth picture, which different resize filters change in nearly the same way."""
    noise = np.random.default_rng(seed).integers(0, 256, (5, 6, 3)).astype(np.uint8)
    return cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("checkpoints")
    return {task: save(folder / f"{task}.ckpt", task, "rga_sc") for task in MODELS}


# --- The network ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", MODELS)
@pytest.mark.slow
def test_the_network_is_the_task_s(task: str, checkpoints: dict[str, Path]) -> None:
    model, original = relattn.load(checkpoints[task]), load_task(checkpoints[task])
    assert not model.network.training
    images = torch.randn(3, 3, *model.metadata["input"]["size"])
    with torch.no_grad():
        expected = original(images)
        if model.metadata["output"].get("normalised"):
            expected = expected / expected.norm(dim=1, keepdim=True)
        torch.testing.assert_close(model.network(images), expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("feature", ["before_norm", "after_norm"])
@pytest.mark.parametrize("neck", ["bnneck", "plain"])
@pytest.mark.slow
def test_features_compared_by_distance_keep_their_length(neck: str, feature: str) -> None:
    file = save(Path("people.ckpt"), "reid", neck=neck, feature=feature, distance="euclidean", flip="none")
    model, original = relattn.load(file), load_task(file)
    images = torch.randn(2, 3, 64, 32)
    with torch.no_grad():
        torch.testing.assert_close(model.network(images), original(images), atol=1e-5, rtol=1e-4)
    assert (model.metadata["feature"], model.metadata["flip"]) == (feature, "none")
    assert model.metadata["output"]["normalised"] is False


@pytest.mark.parametrize(("flip", "dimensions"), [("none", 16), ("sum", 16), ("concatenate", 32)])
@pytest.mark.parametrize("task", ["face", "reid"])
def test_images_are_flipped_as_the_task_does_it(task: str, flip: str, dimensions: int) -> None:
    options = {"neck": "embedding", "dimensions": 16} if task == "reid" else {}
    file = save(Path("network.ckpt"), task, flip=flip, **options)
    model, original = relattn.load(file), load_task(file)
    images = torch.randn(2, 3, *model.metadata["input"]["size"])
    with torch.no_grad():
        expected = original(images)
        found = model.network(images)
    assert found.shape == (2, dimensions)
    torch.testing.assert_close(found, expected / expected.norm(dim=1, keepdim=True), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("task", ["face", "reid"])
def test_an_unknown_use_of_mirror_images_is_refused(task: str) -> None:
    original = load_task(save(Path("network.ckpt"), task))
    with pytest.raises(InputError, match="flip is 'mirror', expected one of none, sum, concatenate"):
        original.flip = "mirror"


# --- The images -------------------------------------------------------------------------------------------------------


def test_classification_prepares_as_its_data_do(cifar: Path, checkpoints: dict[str, Path]) -> None:
    data = CIFAR10(cifar)
    data.setup("test")
    images, labels = data.sets["test"].images, data.sets["test"].labels
    batches = DeviceBatches(images, labels, batch_size=50, mean=data.mean, std=data.std)
    expected = next(iter(batches))["image"]
    model = relattn.load(checkpoints["classification"])
    found = torch.stack([model.transform(image.numpy()) for image in images])
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)  # one multiplies, the other looks up


def test_people_are_prepared_as_their_data_do(people: Path, checkpoints: dict[str, Path]) -> None:
    data = Market1501(people, image_size=(64, 32))
    data.setup("test")
    images = data.sets["test"]
    expected = torch.as_tensor(images[SampleIndex(0, 0)]["image"]).permute(2, 0, 1)
    found = relattn.load(checkpoints["reid"]).transform(images.root / images.images[0].path)
    assert torch.equal(found, expected)


@pytest.mark.parametrize("options", [{}, {"normalisation": "caffe", "image_scale": 0.5}])
def test_streets_are_prepared_as_their_data_do(streets: Path, options: dict) -> None:
    data = Cityscapes(streets, crop=(48, 64), **options)
    with pytest.warns(UserWarning, match="is a rendered stand-in"):
        data.setup("test")
    images = data.sets["test"]
    model = relattn.load(save(Path("streets.ckpt"), "segmentation", data=options))
    file = images.root / images.paths[0]
    assert torch.equal(model.transform(file), images[SampleIndex(0, 0)]["image"].permute(2, 0, 1))
    [found] = model(file)
    assert found.shape == read_size(file)


def read_size(file: Path) -> tuple[int, int]:
    with Image.open(file) as image:
        return image.height, image.width


@pytest.mark.parametrize("size", [(112, 112), (48, 48), (30, 60), (48, 20)])
def test_faces_are_prepared_as_their_data_do(size: tuple[int, int], checkpoints: dict[str, Path]) -> None:
    pixels = picture(*size)
    found = relattn.load(checkpoints["face"]).transform(pixels)
    assert np.array_equal(found.permute(1, 2, 0).numpy(), Faces(image_size=(48, 48)).preprocessing()(pixels))


@pytest.mark.parametrize("size", [(48, 64), (130, 50), (33, 20)])
@pytest.mark.parametrize("task", MODELS)
@pytest.mark.sampled(8)
def test_metadata_say_how_images_are_prepared(task: str, size: tuple[int, int], checkpoints: dict[str, Path]) -> None:
    model, pixels = relattn.load(checkpoints[task]), picture(*size)
    metadata = json.loads(json.dumps(model.metadata))
    np.testing.assert_allclose(prepare(pixels, metadata), model.transform(pixels).numpy(), atol=1e-5)


def test_scaled_images_are_described() -> None:
    model = relattn.load(save(Path("streets.ckpt"), "segmentation", data={"image_scale": 0.5}))
    pixels = picture(71, 90)
    np.testing.assert_allclose(prepare(pixels, model.metadata), model.transform(pixels).numpy(), atol=1e-5)


def test_files_pictures_and_arrays_are_the_same(checkpoints: dict[str, Path]) -> None:
    model, pixels = relattn.load(checkpoints["reid"]), picture()
    Image.fromarray(pixels).save("image.png")
    expected = model.transform(pixels)
    for image in ("image.png", Path("image.png"), Image.fromarray(pixels)):
        assert torch.equal(model.transform(image), expected)
    turned = Image.fromarray(pixels)
    turned.getexif()[274] = 6  # lies on its side
    turned.save("turned.jpg", quality=100, exif=turned.getexif())
    with Image.open("turned.jpg") as opened:
        difference = (model.transform(opened) - model.transform("turned.jpg")).abs().max()
    assert difference < 0.1


# --- The answers ------------------------------------------------------------------------------------------------------


def test_classification_answers_with_names(cifar: Path, classification_run: Path) -> None:
    model = relattn.load(checkpoint_of(classification_run))
    names = CIFAR10(cifar)
    names.setup("test")
    assert model.metadata["classes"] == names.class_names
    images = [picture(32, 32, seed) for seed in range(4)]
    with torch.no_grad():
        best = model.network(torch.stack([model.transform(image) for image in images])).softmax(dim=1).max(dim=1)
    for found, index, probability in zip(model(*images), best.indices, best.values, strict=True):
        assert found.name == names.class_names[index]
        assert found.probability == pytest.approx(float(probability), rel=1e-5)


def test_classes_without_names_are_numbers(checkpoints: dict[str, Path]) -> None:
    model = relattn.load(checkpoints["classification"])
    assert model.metadata["classes"] is None
    assert model(picture())[0].name in {str(number) for number in range(10)}


def test_segmentation_answers_at_the_size_of_each_image(checkpoints: dict[str, Path]) -> None:
    model = relattn.load(checkpoints["segmentation"])
    small, large = picture(48, 64), picture(81, 100)
    found = model(small, large)
    assert [classes.shape for classes in found] == [(48, 64), (81, 100)]
    with torch.no_grad():
        expected = model.network(model.transform(large)[None]).argmax(dim=1)[0]
    assert np.array_equal(found[1], expected.numpy())
    assert len(model.metadata["classes"]) == len(model.metadata["palette"]) == 19


@pytest.mark.slow
def test_embeddings_answer_with_features(checkpoints: dict[str, Path]) -> None:
    for task in ("reid", "face"):
        features = relattn.load(checkpoints[task])(picture(seed=1), picture(seed=2), picture(seed=1))
        torch.testing.assert_close(features.norm(dim=1), torch.ones(3))
        torch.testing.assert_close(features[0], features[2])
        assert not torch.allclose(features[0], features[1], atol=1e-4)
    assert relattn.load(checkpoints["face"]).metadata["threshold"] == 1.25


def test_scores_come_from_the_result_beside() -> None:
    file = save(Path("run/checkpoints/last.ckpt"), "face")
    assert relattn.load(file).metadata["scores"] == {}
    Path("run/result.json").write_text(json.dumps({"scores": {"test/accuracy": 93.5}}))
    assert relattn.load(file).metadata["scores"] == {"test/accuracy": 93.5}
    assert relattn.load("run").metadata["checkpoint"]["file"] == "last.ckpt"
    Path("run/result.json").write_text(json.dumps({"scores": {"test/accuracy": 93.5}, "steps": 10**6}))
    assert relattn.load(file).metadata["scores"] == {}, "they are of the run before it was extended, or after"
    other = file.with_name("previous.ckpt")
    other.write_bytes(file.read_bytes())
    assert relattn.load(other).metadata["scores"] == {}, "they are of the checkpoint that was tested"
    Path("run/result.json").write_text(
        json.dumps({"scores": {"test/accuracy": 93.5}, "tested": {"checkpoint": "checkpoints/previous.ckpt"}})
    )
    assert relattn.load(other).metadata["scores"] == {"test/accuracy": 93.5}


# --- What is wrong ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("image", "message"),
    [
        ("none.png", "none.png: there is no such image"),
        ("text.png", "text.png cannot be decoded as an image"),
        (np.zeros((4, 4), np.uint8), r"An image is uint8 \(4, 4\), expected"),
        (np.zeros((4, 4, 3)), r"An image is float64 \(4, 4, 3\)"),
        (torch.zeros(3, 4, 4), r"An image is torch.float32 \(3, 4, 4\)"),
        (None, "An image is NoneType"),
    ],
    ids=str,
)
@pytest.mark.sampled(6)
def test_what_is_no_image_is_refused(image: object, message: str, checkpoints: dict[str, Path]) -> None:
    Path("text.png").write_text("no image")
    model = relattn.load(checkpoints["reid"])
    with pytest.raises(InputError, match=message):
        model(image)
    with pytest.raises(InputError, match="No image is given"):
        model()


def test_what_is_no_checkpoint_is_refused(checkpoints: dict[str, Path]) -> None:
    with pytest.raises(MissingFileError, match=r"none\.ckpt"):
        relattn.load("none.ckpt")
    torch.save({"state_dict": {}}, "other.ckpt")
    with pytest.raises(InputError, match="is not a checkpoint of `relattn fit`"):
        relattn.load("other.ckpt")
    content = torch.load(checkpoints["segmentation"], weights_only=True)
    del content["specification"]["preprocessing"]["mean"]
    torch.save(content, "wrong.ckpt")
    with pytest.raises(InputError, match=r"The preprocessing .* is not as relattn writes it: KeyError\('mean'\)"):
        relattn.load("wrong.ckpt")
    content["config"] = content["config"].replace("crop:", "image_scale: 9.0\n    crop:")
    torch.save(content, "wrong.ckpt")
    with pytest.raises(InputError, match=r"wrong.ckpt: relattn.tasks.*Cityscapes cannot be built: .*image_scale is 9"):
        load_data("wrong.ckpt")


def test_importing_is_light() -> None:
    code = (
        "import sys, relattn; print([name for name in ('torch', 'tasks', 'numpy', 'lightning') if name in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"


# --- The page ---------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_page_s_code_runs(checkpoints: dict[str, Path]) -> None:
    pytest.importorskip("onnxruntime")
    assert len(BLOCKS) >= 9
    for task, name in (
        ("classification", "objects"),
        ("segmentation", "streets"),
        ("reid", "people"),
        ("face", "faces"),
    ):
        folder = Path(f"runs/{task}/{name}/checkpoints")
        folder.mkdir(parents=True)
        (folder / "last.ckpt").write_bytes(checkpoints[task].read_bytes())
    for seed, name in enumerate(("photo", "other", "street", "query", "first", "second")):
        Image.fromarray(picture(seed=seed)).save(f"{name}.png")
    names: dict = {}
    found = {}
    for block in BLOCKS:
        exec(compile(block, str(PAGE), "exec"), names)
        found |= {key: value for key, value in names.items() if key not in found}
    assert names["coloured"].shape == (70, 90, 3)
    assert names["mask"].shape == (2, 1, 8, 4)
    assert names["similarity"].shape == (2,)
    assert isinstance(names["same"], bool)
    assert all(difference.agrees for difference in names["differences"])
    torch.testing.assert_close(torch.from_numpy(found["logits"]), names["logits"], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(names["logits"].softmax(dim=1), names["probabilities"][:1], atol=1e-5, rtol=1e-4)
