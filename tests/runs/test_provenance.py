"""What a run records about its code, libraries and data, and what it keeps private."""

import json
import shutil
import subprocess
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

import pytest
import wandb
import yaml
from small_runs import fit, result

from relattn.cli.main import run
from relattn.runs import provenance
from relattn.runs.provenance import git_state, versions
from relattn.runs.secrets import hidden, hidden_in_yaml
from relattn.tasks.fingerprint import fingerprint
from relattn.tasks.reid import Market1501
from relattn.tasks.segmentation import Cityscapes

TOKEN = "ghp_thisisnobodyelsesbusiness"
PASSWORD = "correct-horse-battery"
KEY = "0123456789abcdef0123456789abcdef01234567"


def git(*arguments: str) -> None:
    who = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
    subprocess.run(["git", *who, *arguments], check=True, capture_output=True)


@pytest.fixture
def checkout() -> Path:
    folder = Path("checkout")
    folder.mkdir()
    git("init", str(folder))
    (folder / "__init__.py").write_text("a = 1\n")
    git("-C", str(folder), "add", ".")
    git("-C", str(folder), "commit", "-m", "one")
    git("-C", str(folder), "remote", "add", "origin", f"https://{TOKEN}@example.com/a.git")
    return folder


# --- Code -------------------------------------------------------------------------------------------------------------


def test_the_commit_and_what_differs_from_it(checkout: Path) -> None:
    clean = git_state(checkout)
    assert len(clean["commit"]) == 40
    assert clean == {"commit": clean["commit"], "changed": False}
    (checkout / "notes.txt").write_text("not tracked\n")
    assert git_state(checkout) == clean
    (checkout / "__init__.py").write_text("a = 2\n")
    changed = git_state(checkout)
    assert changed["changed"]
    assert changed["commit"] == clean["commit"]
    (checkout / "__init__.py").write_text("a = 3\n")
    assert git_state(checkout)["diff"] != changed["diff"]
    (checkout / "__init__.py").write_text("a = 2\n")
    git("-C", str(checkout), "config", "diff.noprefix", "true")
    git("-C", str(checkout), "config", "color.ui", "always")
    assert git_state(checkout) == changed, "whatever the user's own settings are"
    assert TOKEN not in json.dumps(changed)


def test_a_variable_of_another_git_changes_nothing(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = git_state(checkout)
    monkeypatch.setenv("GIT_DIR", "/nowhere")
    assert git_state(checkout) == expected


def test_an_installed_package_is_no_checkout(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed = checkout / "environment" / "relattn"
    installed.mkdir(parents=True)
    (installed / "__init__.py").touch()  # in the user's repository, which does not track it
    assert git_state(installed) == {"commit": None, "why": "not a checkout"}
    monkeypatch.setenv("PATH", "")
    assert git_state(checkout) == {"commit": None, "why": "git is not installed"}


def test_versions_are_those_that_are_imported() -> None:
    import cv2
    import numpy

    found = versions()
    assert found["numpy"] == numpy.__version__
    assert found["opencv"].startswith(cv2.__version__)
    assert {"python", "torchvision", "timm", "torchmetrics", "albumentations"} <= found.keys()


# --- Data -------------------------------------------------------------------------------------------------------------


def test_the_fingerprint_is_of_names_sizes_and_labels() -> None:
    for root in ("one", "two"):
        Path(root, "a").mkdir(parents=True)
        for name, size in (("a/1.jpg", 10), ("a/2.jpg", 20)):
            Path(root, name).write_bytes(b"x" * size)
    rows = [("a/1.jpg", 0), ("a/2.jpg", 1)]
    same = fingerprint(Path("one"), {"train": rows, "test": []})
    assert fingerprint(Path("two").absolute(), {"test": [], "train": rows[::-1]}) == same
    others = [
        {"train": rows[:1], "test": []},
        {"train": [("a/1.jpg", 1), ("a/2.jpg", 0)], "test": []},
        {"train": rows[:1], "test": rows[1:]},
    ]
    found = {fingerprint(Path("one"), lists) for lists in others}
    Path("two/a/2.jpg").write_bytes(b"x" * 21)
    found.add(fingerprint(Path("two"), {"train": rows, "test": []}))
    Path("two/a/2.jpg").unlink()
    found.add(fingerprint(Path("two"), {"train": rows, "test": []}))
    assert len(found | {same}) == 6


def test_many_files_are_asked_for_their_sizes_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    from relattn.tasks.fingerprint import sizes_of

    for size in range(30):
        Path(f"{size:02}").write_bytes(b"x" * size)
    names = sorted(path.name for path in Path().iterdir())
    monkeypatch.setattr("relattn.tasks.fingerprint.CHUNK", 4)
    for slow in (0, 1):
        monkeypatch.setattr("relattn.tasks.fingerprint.SLOW", slow)
        assert sizes_of(".", names) == list(range(30))


@pytest.mark.parametrize(
    ("kind", "data", "image"),
    [
        ("people", Market1501, "*/bounding_box_train/*.jpg"),
        ("streets", Cityscapes, "*/leftImg8bit/val/*/*.png"),
        ("streets", Cityscapes, "*/gtFine/val/*/*_labelIds.png"),
    ],
)
def test_moved_data_are_the_same_and_changed_ones_are_not(
    kind: str, data: type, image: str, request: pytest.FixtureRequest
) -> None:
    root = request.getfixturevalue(kind)

    def found(place: Path, **options: object) -> str:
        made = data(place, check_files=False, **options)
        made.setup("fit")
        return made.describe()["fingerprint"]

    expected = found(root)
    shutil.copytree(root, "copy")
    assert found(Path("copy")) == expected
    with sorted(Path("copy").glob(image))[0].open("ab") as file:
        file.write(b"\0")
    assert found(Path("copy")) != expected


def test_faces_and_their_verification_sets_have_a_fingerprint(faces: Path) -> None:
    from relattn.tasks.face import Faces

    def found(place: Path, **options: object) -> str:
        made = Faces(place, check_files=False, **options)
        made.setup("fit")
        return made.describe()["fingerprint"]

    shutil.copytree(faces, "copy")
    assert found(Path("copy")) == found(faces)
    assert found(faces, verification_sets=["lfw"]) != found(faces)
    Path("exclude.txt").write_text("00001\n")
    assert found(faces, exclude="exclude.txt") != found(faces)
    file = Path("copy/faces/lfw.bin")
    file.write_bytes(file.read_bytes() + b"\0")
    assert found(Path("copy")) != found(faces)


# --- Runs -------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_run_says_what_it_was_made_with_from_its_start(
    classification_run: Path, copy_of: Callable[[Path], Path]
) -> None:
    folder = copy_of(classification_run)
    begun, before = (json.loads((folder / f"{name}.json").read_text()) for name in ("run", "result"))
    assert {name: before[name] for name in begun} == begun
    assert begun["seed"] == 0
    assert begun["deterministic"] is True
    assert (begun["precision"], begun["device"], begun["processes"]) == ("32-true", "cpu", 1)
    assert begun["git"] == provenance.git_state()
    assert {"relattn", "torch", "lightning", "python", "numpy"} <= begun["versions"].keys()
    assert len(begun["fingerprint"]) == 16
    assert "earlier" not in begun
    (folder / "result.json").unlink()  # as if the run had been killed
    again = ["--trainer.max_epochs", "2", "--trainer.deterministic", "warn"]
    assert run(["fit", "--ckpt_path", str(folder), *again]) == 0
    after = result(folder)
    assert after["deterministic"] == "warn"
    assert after["earlier"] == [begun]
    again = json.loads((folder / "run.json").read_text())
    assert {name: after[name] for name in again} == again


@pytest.mark.slow
def test_no_key_is_kept(
    cifar: Path, checkout: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setenv("WANDB_MODE", "offline")
    wandb.teardown()  # it keeps the environment of an earlier test
    monkeypatch.chdir(checkout)  # whose remote has a token in it
    notes = ["--logger", "wandb", "--trainer.logger.init_args.notes", f"https://me:{PASSWORD}@example.com/x"]
    folder = fit("classification", cifar, *notes)
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert {"config.yaml", "run.json", "result.json", "metrics.csv", "last.ckpt"} <= {path.name for path in files}
    said = capfd.readouterr()
    for secret in (KEY, TOKEN, PASSWORD):
        holding = [path for path in files if secret.encode() in path.read_bytes()]
        # W&B's own file has its own options, and the command line, as they were given.
        assert [path for path in holding if path.suffix != ".wandb" or secret != PASSWORD] == []
        assert secret not in said.out + said.err
    assert "https://***@example.com/x" in (folder / "config.yaml").read_text()


def test_secrets_are_hidden_and_nothing_else() -> None:
    text = "a:\n  api_key: abc\n  tracking_uri: http://u:p@host:80/x\ntoken: 'x y'\nmy_password: null\n"
    assert yaml.safe_load(hidden_in_yaml(text)) == {
        "a": {"api_key": "***", "tracking_uri": "http://***@host:80/x"},
        "token": "***",
        "my_password": None,
    }
    plain = {
        "tokens": 4,
        "backbone": "resnet50.tv_in1k",
        "token": None,
        "remote": "ssh://git@host/x",
        "n": [1, 2.5],
        "class_token": True,
        "label": "key=3, class_token=True",
        "keys": ["a", "b"],
        "secretary": "anna",
        "password": "",
    }
    assert hidden(plain) == plain
    unchanged = "# kept as it is\na:   1\n"
    assert hidden_in_yaml(unchanged) == unchanged


@pytest.mark.parametrize(
    "name", ["api_key", "apiKey", "X-Api-Key", "WANDB_API_KEY", "logger.init_args.api_key", "token"]
)
@pytest.mark.parametrize("given", ["s3cr", 4711, 1.5, ["s3cr"], {"a": [["s3cr"]]}, "a line\n s3cr: of two", b"s3cr"])
def test_names_tell_secrets_whatever_their_type_and_depth(name: str, given: object) -> None:
    content = {"a": [{"b": ({name: given},)}]}
    assert hidden(content) == {"a": [{"b": [{name: "***"}]}]}
    assert yaml.safe_load(hidden_in_yaml(yaml.safe_dump({"c": {name: given}}))) == {"c": {name: "***"}}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("https://me@host/x?token=abc&page=2", "https://***@host/x?token=***&page=2"),
        ("https://me:p@ss@host/x", "https://***@host/x"),
        ("--trainer.logger.init_args.api_key=abc", "--trainer.logger.init_args.api_key=***"),
        (
            '--logger={"a": {"api_key": "a b", "mode": "x"}}',
            '--logger={"a": {"api_key": "***", "mode": "x"}}',
        ),
        ("Client(api_key='a b', retries=3)", "Client(api_key=***, retries=3)"),
        ("{'password': 'abc', 'token': None}", "{'password': \"***\", 'token': None}"),
        ('{"api_key": "${envvar:KEY}"}', '{"api_key": "${envvar:KEY}"}'),
        ("password = abc, user = me", "password = *** user = me"),
        (["--logger.api_key", "abc", "--seed", "3"], ["--logger.api_key", "***", "--seed", "3"]),
        (b"https://me:p@host/x", "https://***@host/x"),
        (Path("/data?token=abc"), "/data?token=***"),
        (Path("/data/token"), Path("/data/token")),
        ({"a": {"password=abc"}}, {"a": ["password=***"]}),
        (Namespace(a=Namespace(token=("abc", 1))), {"a": {"token": "***"}}),
        ({"api_key": "${envvar:KEY}"}, {"api_key": "${envvar:KEY}"}),
    ],
)
def test_secrets_inside_text_and_command_lines(text: object, expected: object) -> None:
    assert hidden(text) == expected


def test_no_secret_is_in_copies_of_sweeps_logs_of_failures_and_errors(capsys: pytest.CaptureFixture[str]) -> None:
    from types import SimpleNamespace

    from relattn.cli.main import message_of
    from relattn.cli.sweep import keep_file
    from relattn.errors import InputError
    from relattn.runs.run_folder import record_failure

    file, folder = Path("mine.yaml"), Path("sweep")
    folder.mkdir()
    file.write_text(yaml.safe_dump({"parameters": {"logger.api_key": {"value": 4711}}, "command": ["--token", "s3cr"]}))
    keep_file(SimpleNamespace(path=file, name="mine"), folder)  # type: ignore[arg-type]
    (folder / "log.txt").write_text("$ relattn fit --trainer.logger.init_args.api_key=s3cr\nhttps://me:s3cr@host/x\n")
    record_failure(folder, 1)
    kept = (folder / "mine.yaml").read_text() + (folder / "failed.json").read_text()
    said = message_of(InputError("--logger.password=s3cr: there is no such option"))
    assert "s3cr" not in kept + said
    assert "4711" not in kept
    assert "--logger.password=***" in said
