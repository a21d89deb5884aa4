"""What all tests share: a quiet environment, small generated data, and one short run of each task on them."""

import logging
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

os.environ["WANDB_MODE"] = "offline"
os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
os.environ.setdefault(
    "OMP_NUM_THREADS", "1"
)  # tiny tensors; threads of several test processes only wait for each other


# --- Data -------------------------------------------------------------------------------------------------------------


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
    """A root with a few generated faces to train with, and the five verification sets."""
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


# --- Runs -------------------------------------------------------------------------------------------------------------


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Run the command line in a folder, as the fixture below does for each test."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("RELATTN_RUN", "")
        patch.setattr(logging, "raiseExceptions", False)
        yield


def trained(factory: pytest.TempPathFactory, task: str, root: Path) -> Path:
    """Train the small run of a task (`small_runs.RUNS`); return its folder, which no test may change."""
    from small_runs import RUNS

    from relattn.cli.main import run

    folder = factory.mktemp(f"trained_{task}")
    with alone(folder):
        assert run([*RUNS[task], "--data.root", str(root), "--name", "small"]) == 0
    return folder / "runs" / task / "small"


@pytest.fixture(scope="session")
def classification_run(cifar: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of classification, with RGA; to be read only."""
    return trained(tmp_path_factory, "classification", cifar)


@pytest.fixture(scope="session")
def reid_run(people: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of re-identification, with RGA; to be read only."""
    return trained(tmp_path_factory, "reid", people)


@pytest.fixture(scope="session")
def segmentation_run(streets: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of segmentation, with RGA; to be read only."""
    return trained(tmp_path_factory, "segmentation", streets)


@pytest.fixture(scope="session")
def face_run(faces: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of face verification, with StRA; to be read only."""
    return trained(tmp_path_factory, "face", faces)


@pytest.fixture
def copy_of() -> Callable[[Path], Path]:
    """Copies a finished run to its place, `runs/<task>/small`, in the test's own folder, where it may be changed."""

    def copy(run: Path) -> Path:
        return Path(shutil.copytree(run, Path("runs") / run.parent.name / run.name))

    return copy


@pytest.fixture(autouse=True)
def in_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run each test in a folder of its own, so that nothing is written into the checkout."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    monkeypatch.setenv("RELATTN_RUN", "")
    monkeypatch.setattr(logging, "raiseExceptions", False)  # Lightning's handler keeps the stream of an earlier test
