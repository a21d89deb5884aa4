"""What all tests share: a quiet environment, small generated data, and one short run of each task on them."""

import fcntl
import logging
import os
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

os.environ["WANDB_MODE"] = "offline"
os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
os.environ["JSONARGPARSE_DEPRECATION_WARNINGS"] = "off"  # caused by Lightning's own calls
os.environ.setdefault(
    "OMP_NUM_THREADS", "1"
)  # tensors are tiny, and threads of several test processes would only wait for each other


@pytest.hookimpl(tryfirst=True)  # before tests are selected by their marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark most cases of long tables as slow."""
    seen: Counter[str] = Counter()
    for item in items:
        mark = item.get_closest_marker("sampled")
        if mark is not None:
            table = item.nodeid.partition("[")[0]
            if seen[table] % mark.args[0]:
                item.add_marker(pytest.mark.slow)
            seen[table] += 1


# --- Data -------------------------------------------------------------------------------------------------------------


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """A read-only folder that the first of several test processes fills while the others wait for it."""
    base = factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "shared" / name
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "made").exists():
            make(folder)
            (folder / "made").touch()
    return folder


@pytest.fixture(scope="session")
def cifar(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with small generated CIFAR-10 and CIFAR-100."""
    from relattn.synthetic.objects.layouts import write_cifar

    def make(root: Path) -> None:
        write_cifar(root / "data", "cifar10", train=200, test=50)
        write_cifar(root / "data", "cifar100", train=300, test=101)

    return made_once(tmp_path_factory, "cifar", make) / "data"


@pytest.fixture(scope="session")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with a small generated Market-1501."""
    from relattn.synthetic.people.layouts import write_market1501

    def make(root: Path) -> None:
        write_market1501(root / "data", train_identities=12, test_identities=6, junk=3, distractors=4)

    return made_once(tmp_path_factory, "people", make) / "data"


@pytest.fixture(scope="session")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with a few generated training faces, and the five verification sets."""
    from relattn.synthetic.faces.layouts import write_faces

    def make(root: Path) -> None:
        write_faces(root / "data", identities=8, images_per_identity=4, pairs=20, size=64)

    return made_once(tmp_path_factory, "faces", make) / "data"


@pytest.fixture(scope="session")
def streets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with a small generated Cityscapes."""
    from relattn.synthetic.streets.layouts import write_cityscapes

    def make(root: Path) -> None:
        write_cityscapes(root / "data", train=8, val=3, test=2, size=(64, 128))

    return made_once(tmp_path_factory, "streets", make) / "data"


# --- Runs -------------------------------------------------------------------------------------------------------------


def trained(factory: pytest.TempPathFactory, task: str, root: Path) -> Path:
    """Train the small run of a task (`small_runs.RUNS`); return its folder, which tests must not change."""
    from small_runs import RUNS

    from relattn.cli.main import run

    def train(folder: Path) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(folder)
            patch.setenv("RELATTN_RUN", "")
            patch.setattr(logging, "raiseExceptions", False)
            assert run([*RUNS[task], "--data.root", str(root), "--name", "small"]) == 0

    return made_once(factory, f"{task}_run", train) / "runs" / task / "small"


@pytest.fixture(scope="session")
def classification_run(cifar: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of classification with RGA; read-only."""
    return trained(tmp_path_factory, "classification", cifar)


@pytest.fixture(scope="session")
def reid_run(people: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of re-identification with RGA; read-only."""
    return trained(tmp_path_factory, "reid", people)


@pytest.fixture(scope="session")
def segmentation_run(streets: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of segmentation with RGA; read-only."""
    return trained(tmp_path_factory, "segmentation", streets)


@pytest.fixture(scope="session")
def face_run(faces: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of face verification with StRA; read-only."""
    return trained(tmp_path_factory, "face", faces)


@pytest.fixture
def copy_of() -> Callable[[Path], Path]:
    """Copies a finished run to `runs/<task>/small` in the test's own folder, where it may be changed."""

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
