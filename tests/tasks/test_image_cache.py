"""`--data.cache ram`: the same batches without reading any file twice, and a refusal if memory does not suffice."""

import warnings
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch

from relattn.errors import InputError
from relattn.tasks import image_cache
from relattn.tasks.classification import ImageFolders
from relattn.tasks.face import Faces
from relattn.tasks.image_data import ImageData
from relattn.tasks.reid import Market1501
from relattn.tasks.segmentation import Cityscapes

Make = Callable[..., ImageData]


def ready(data: ImageData, devices: int = 1) -> ImageData:
    strategy = SimpleNamespace(root_device=torch.device("cpu"))
    data.trainer = SimpleNamespace(  # type: ignore[assignment]
        global_rank=0, world_size=1, num_devices=devices, strategy=strategy, overfit_batches=0
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data.setup("fit")
    return data


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    for name in ("train/cat", "train/dog", "val/cat", "val/dog"):
        (tmp_path / name).mkdir(parents=True)
        for number in range(4):
            cv2.imwrite(str(tmp_path / name / f"{number}.png"), random.integers(0, 256, (40, 50, 3), dtype=np.uint8))
    return tmp_path


@pytest.fixture(params=["people", "streets", "faces", "photos"])
def make(request: pytest.FixtureRequest) -> Make:
    root = request.getfixturevalue(request.param)
    if request.param == "streets":
        return lambda **options: ready(Cityscapes(root, crop=(32, 48), batch_size=2, seed=0, **options))
    if request.param == "photos":
        return lambda **options: ready(ImageFolders(root, image_size=(32, 32), batch_size=2, seed=0, **options))
    kind = Market1501 if request.param == "people" else Faces
    return lambda **options: ready(kind(root, batch_size=8, seed=0, **options))


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.sampled(3)
def test_batches_are_the_same_and_no_file_is_decoded_again(
    make: Make, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, cached = (make(workers=workers, cache=cache).train_dataloader() for cache in (None, "ram"))
    monkeypatch.setattr(cached.dataset, "decode", None)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*not writable.*")
        for epoch in range(2):
            for loader in (plain, cached):
                loader.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
            batches = list(zip(plain, cached, strict=True))
            assert batches
            for one, other in batches:
                assert torch.equal(one["image"], other["image"])
                assert torch.equal(one["label"], other["label"])


def test_images_that_do_not_fit_into_memory_are_refused_before_they_are_decoded(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_cache, "free_memory", lambda: 2**10)
    with pytest.raises(InputError, match=r"cache is 'ram'.* about .* of memory that are free: leave --data.cache out"):
        make(cache="ram").train_dataloader()
    monkeypatch.setattr(image_cache, "free_memory", lambda: None)  # as if the system did not report it
    assert make(cache="ram").train_dataloader()


def test_copies_of_several_processes_count() -> None:
    image = np.zeros((8, 8, 3), np.uint8)
    free = image_cache.free_memory()
    assert free is None or free > 2**20
    assert len(image_cache.decode_all("Data", 3, lambda _: image, processes=1)) == 3
    with pytest.raises(InputError, match="in 1000000000 processes take about"):
        image_cache.decode_all("Data", 3, lambda _: image, processes=10**9)


def test_what_is_no_cache_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="Market1501: cache is 'disk', expected 'ram' or null"):
        Market1501(tmp_path, cache="disk")
