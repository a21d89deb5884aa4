"""Fixtures that all tests share: a quiet environment and small generated data."""

import logging
import os
from pathlib import Path

import pytest

os.environ["WANDB_MODE"] = "offline"
os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
os.environ.setdefault(
    "OMP_NUM_THREADS", "1"
)  # tiny tensors; threads of several test processes only wait for each other


@pytest.fixture(scope="session")
def cifar(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with small generated CIFAR-10 and CIFAR-100."""
    from relattn.synthetic.objects.layouts import write_cifar

    root = tmp_path_factory.mktemp("data")
    write_cifar(root, "cifar10", train=200, test=50)
    write_cifar(root, "cifar100", train=300, test=101)
    return root


@pytest.fixture(scope="session")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with a small generated Market-1501."""
    from relattn.synthetic.people.layouts import write_market1501

    root = tmp_path_factory.mktemp("people")
    write_market1501(root, train_identities=12, test_identities=10, junk=5, distractors=8)
    return root


@pytest.fixture(scope="session")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with a few generated faces to train with, and the five packs of pairs."""
    from relattn.synthetic.faces.layouts import write_faces

    root = tmp_path_factory.mktemp("faces")
    write_faces(root, identities=8, images_per_identity=4, pairs=20)
    return root


@pytest.fixture(scope="session")
def streets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with a small generated Cityscapes."""
    from relattn.synthetic.streets.layouts import write_cityscapes

    root = tmp_path_factory.mktemp("streets")
    write_cityscapes(root, train=8, val=3, test=2, size=(64, 128))
    return root


@pytest.fixture(autouse=True)
def in_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run each test in a folder of its own, so that nothing is written into the checkout."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    monkeypatch.setenv("RELATTN_RUN", "")
    monkeypatch.setattr(logging, "raiseExceptions", False)  # Lightning's handler keeps the stream of an earlier test
