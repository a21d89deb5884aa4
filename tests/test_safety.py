"""Untrusted checkpoints, tables, archives and run folders run no code and reach nothing outside."""

import contextlib
import json
import os
import pickle
import re
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from untrained import MODELS, save

import relattn
from relattn.attention.base import Attention
from relattn.cli.main import run
from relattn.errors import InputError
from relattn.inference.image_folder import find_images, listed_images
from relattn.inference.loading import load_data, load_task
from relattn.runs.stored_config import TRUSTED, check_classes, check_whole_config
from relattn.tasks.decoding import read_image
from relattn.tasks.embeddings import Embedding, Entry
from relattn.tasks.files import file_fault, inside
from relattn.tasks.reid.cuhk03_mat import held
from relattn.tasks.reid.manifest import read_manifest
from relattn.tasks.reid.msmt17 import read_list

POPEN = {"class_path": "subprocess.Popen", "init_args": {"args": ["touch", "pwned"]}}


class Mine(Attention):
    """A user's attention module, outside the suite."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


def stored(part: str, where: list[str], value: Any, task: str = "classification") -> Path:
    """A checkpoint whose configuration has a malicious value at a given place."""
    file = save(Path("hostile.ckpt"), task)
    content = torch.load(file, weights_only=True)
    config = yaml.safe_load(content["config"])
    place = config[part]
    for key in where[:-1]:
        place = place.setdefault(key, {})
    place[where[-1]] = value
    torch.save({**content, "config": yaml.safe_dump(config)}, file)
    return file


# --- Checkpoints ------------------------------------------------------------------------------------------------------


class Runs:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("pwned",)


@pytest.mark.parametrize("content", [Runs(), {"config": Runs(), "specification": {}, "state_dict": {}}])
def test_nothing_in_a_checkpoint_is_run(content: Any) -> None:
    torch.save(content, "hostile.ckpt")
    for read in (load_task, relattn.load, load_data):
        with pytest.raises(InputError, match=r"hostile\.ckpt cannot be read as a checkpoint"):
            read("hostile.ckpt")
    assert not Path("pwned").exists()


@pytest.mark.parametrize(
    ("where", "value"),
    [
        (["class_path"], "subprocess.Popen"),
        (["class_path"], "relattn.sweeps.run_process.subprocess.Popen"),
        (["class_path"], "relattn.tasks.files.os.system"),
        (["class_path"], "relattn.sweeps.run_process.Attempt"),
        (["init_args", "optimizer"], POPEN),
        (["init_args", "optimizer"], {"class_path": "os.system", "init_args": {"command": "touch pwned"}}),
        (["init_args", "optimizer"], {"class_path": "torch.optim.optimizer.functools.partial"}),
        (["init_args", "optimizer"], "os.system"),
        (["init_args", "optimizer"], json.dumps(POPEN)),
        (
            ["init_args", "optimizer"],
            '{"class\\u005fpath": "subprocess.Popen", "init_args": {"args": ["touch", "pwned"]}}',
        ),
        (["init_args", "optimizer", "class_path"], "hostile_module.Optimizer"),
        (["init_args", "attention"], "hostile_module.Attention"),
        (
            ["init_args", "attention"],
            {"class_path": "relattn.attention.Chain", "init_args": {"modules": ["os.system"]}},
        ),
        (["init_args", "attention"], {"class_path": "relattn.attention.Timm", "dict_kwargs": {"act_layer": POPEN}}),
        (["init_args", "attention"], "hostile.yaml"),
        (["dict_kwargs"], {"anything": [{"deep": POPEN}]}),
    ],
)
@pytest.mark.parametrize("part", ["model", "data"])
def test_a_checkpoint_names_no_class_of_its_choice(
    part: str, where: list[str], value: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("hostile_module.py").write_text("open('pwned', 'w')\nclass Attention: ...\nOptimizer = Attention\n")
    Path("hostile.yaml").write_text("class_path: relattn.attention.RGA\n")
    monkeypatch.syspath_prepend(".")
    file = stored(part, where, value)
    if part == "model" and "optimizer" in where:
        load_task(file)  # using a network ignores its training options, so this is not even read
    else:
        with pytest.raises(InputError, match=r"hostile\.ckpt: its configuration"):
            load_task(file) if part == "model" else load_data(file)
    assert not Path("pwned").exists()


@pytest.mark.parametrize("config", ["- a list", "model: 3", "model: {init_args: {}}", "{", "!!python/object:os.system"])
def test_a_configuration_that_is_none_is_refused(config: str) -> None:
    file = save(Path("odd.ckpt"), "classification")
    torch.save({**torch.load(file, weights_only=True), "config": config}, file)
    with pytest.raises(InputError, match=r"odd\.ckpt holds no configuration of the model"):
        load_task(file)


def test_arguments_that_do_not_fit_are_one_message() -> None:
    with pytest.raises(InputError, match=r"hostile\.ckpt: its configuration does not fit"):
        load_task(stored("model", ["init_args", "channels_last"], "perhaps"))


@pytest.mark.parametrize("task", MODELS)
@pytest.mark.slow
def test_checkpoints_of_the_suite_are_as_good_as_before(task: str) -> None:
    optimizer = {"class_path": "torch.optim.Adam", "init_args": {"lr": 0.1}}
    schedule = {"class_path": "relattn.tasks.schedules.Constant"}
    file = save(Path("good.ckpt"), task, "rga_sc", optimizer=optimizer, schedule=schedule)
    assert type(load_task(file)).__name__.lower() == task
    assert load_data(file).image_size


def test_a_class_of_one_s_own_counts_where_it_was_imported_or_is_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    check_classes({"class_path": f"{__name__}.Mine"}, "a.ckpt")
    Path("own_package.py").write_text(
        "from relattn.attention import RGA\nfrom torch import nn\nclass Own(RGA): ...\nclass Loss(nn.Module): ...\n"
        "class NotOurs:\n    def __init__(self, **a): ...\n"
    )
    monkeypatch.syspath_prepend(".")
    for name in ("own_package.Own", "own_package.Loss", "own_package.NotOurs"):
        with pytest.raises(InputError, match=r"names own_package\.\w+, .*RELATTN_TRUSTED=own_package"):
            check_classes({"class_path": name}, "a.ckpt")
    monkeypatch.setenv(TRUSTED, "another, own_package")
    for name in ("own_package.Own", "own_package.Loss"):
        check_classes({"class_path": name}, "a.ckpt")
    with pytest.raises(InputError, match="NotOurs"):
        check_classes({"class_path": "own_package.NotOurs"}, "a.ckpt")


@pytest.mark.parametrize("text", ["resnet50.tv_in1k", "names.txt", "data.csv", "a/b.c", "0.5", "hf-hub:a/b.c"])
def test_names_and_files_are_no_classes(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("data").mkdir()  # for Python, a folder on the path is a package
    monkeypatch.syspath_prepend(".")
    check_classes({"backbone": text, "train": [text]}, "a.ckpt")


# --- Packs ------------------------------------------------------------------------------------------------------------


def test_nothing_in_a_pack_or_an_embedding_is_run() -> None:
    from relattn.tasks.face.verification_sets import read_bin
    from relattn.unpickle import unpickle

    Path("hostile.bin").write_bytes(pickle.dumps(([b"", Runs()], [True])))
    for read in (read_bin, unpickle):
        with pytest.raises(InputError, match="which is not data"):
            read(Path("hostile.bin"))
    Embedding(np.zeros((1, 2), np.float32), [Entry("a.jpg")], Path(), {}).save(Path("features"))
    np.save("features/features.npy", np.array([Runs()]), allow_pickle=True)
    with pytest.raises(InputError, match=r"features\.npy cannot be read"):
        Embedding.load(Path("features"))
    assert not Path("pwned").exists()


def test_arrays_of_other_files_are_not_taken() -> None:
    Path("secret.raw").write_bytes(bytes(range(16)))
    with h5py.File("other.mat", "w") as file:
        file["array"] = np.arange(4)
    with h5py.File("cuhk-03.mat", "w") as file:
        file["own"] = np.arange(4)
        file["linked"] = h5py.ExternalLink("other.mat", "array")
        file.create_dataset("raw", (4, 4), "uint8", external=[("secret.raw", 0, 16)])
        layout = h5py.VirtualLayout((4,), "int64")
        layout[:] = h5py.VirtualSource("other.mat", "array", shape=(4,))
        file.create_virtual_dataset("virtual", layout)
    with h5py.File("cuhk-03.mat") as file:
        assert held(file, "own")[3] == 3
        for name in ("linked", "raw", "virtual"):
            with pytest.raises(InputError, match="from another file"):
                held(file, name)


# --- Paths ------------------------------------------------------------------------------------------------------------

OUTSIDE = ["../secret.jpg", "a/../../secret.jpg", "/etc/secret.jpg", "..", ".", "", "a/..", "..\\secret.jpg", "a\0.jpg"]


@pytest.mark.parametrize("entry", OUTSIDE)
def test_entries_that_lead_elsewhere_are_refused(entry: str) -> None:
    with pytest.raises(InputError, match=r"^list\.txt, line 3: path is "):
        inside(entry, "list.txt, line 3")


@pytest.mark.parametrize(
    "entry", ["a.jpg", "a/b.jpg", "./a.jpg", "a/../b.jpg", "..a/b.jpg", "a..jpg", "~/a.jpg", "ä b.jpg"]
)
def test_entries_that_stay_inside_are_kept(entry: str) -> None:
    assert inside(entry, "list.txt, line 3") == os.path.normpath(entry)


@pytest.mark.parametrize("entry", ["../0000_000_01_x.jpg", "/etc/0000_000_01_x.jpg", "a/../../0000_000_01_x.jpg"])
def test_no_list_leads_out_of_its_set(entry: str) -> None:
    Path("set").mkdir()
    Path("set/list_train.txt").write_text(f"{entry} 0\n")
    with pytest.raises(InputError, match=r"set/list_train\.txt, line 1: path is "):
        read_list(Path("set/list_train.txt"), "train")
    Path("set/people.csv").write_text(f"path,identity,camera,split\n{entry},0,0,train\n")
    with pytest.raises(InputError, match=r"set/people\.csv, line 2: path is "):
        read_manifest(Path("set/people.csv"))
    with pytest.raises(InputError, match=r"set/people\.csv, line 2: path is "):
        listed_images(Path("set"), Path("set/people.csv"))
    Embedding(np.zeros((1, 2), np.float32), [Entry(entry)], Path(), {}).save(Path("features"))
    with pytest.raises(InputError, match=r"features/manifest\.csv, line 2: path is "):
        Embedding.load(Path("features"))


def test_pairs_name_people_not_places() -> None:
    from relattn.tasks.face.pairs import read_pairs

    Path("lfw").mkdir()
    for line in ("../lfw 1 2", "/etc 1 2", ".. 1 2", "a ../../x 2"):
        Path("lfw/pairs.txt").write_text(f"{line}\n")
        with pytest.raises(InputError, match=r"lfw/pairs\.txt, line 1"):
            read_pairs(Path("lfw"))


def test_links_that_the_user_placed_are_followed() -> None:
    Path("elsewhere").mkdir()
    for place in range(3):
        Path(f"elsewhere/{place}.jpg").write_bytes(b"\xff\xd8\xff\xd9")
    Path("set").mkdir()
    Path("set/images").symlink_to(Path("elsewhere").absolute())
    rows = [f"images/{place}.jpg,{place},0,{split}" for place, split in enumerate(("train", "query", "gallery"))]
    Path("set/people.csv").write_text("\n".join(["path,identity,camera,split", *rows]))
    assert read_manifest(Path("set/people.csv")).query[0].path == "images/1.jpg"


# --- What is written --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["../../x", "/tmp/x", "a/../../x", "..", ""])
@pytest.mark.sampled(3)
def test_a_run_stays_in_its_task_s_folder(name: str) -> None:
    with pytest.raises(InputError, match="--name is"):
        run(["fit", "--task", "classification", "--data", "CIFAR10", "--gpus", "0", f"--name={name}"])
    assert not list(Path().rglob("config.yaml"))


def test_a_run_folder_names_no_other_file(capsys: pytest.CaptureFixture[str]) -> None:
    Path("runs/one").mkdir(parents=True)
    Path("outside.yaml").write_text("parameters: {}")  # not a sweep, which would be reported
    Path("runs/one/sweep.json").write_text(json.dumps({"sweep": "../outside", "options": {}}))
    assert run(["report", "runs"]) == 0
    assert "outside" not in capsys.readouterr().out


def test_no_text_of_a_run_is_markup() -> None:
    text = "<script>alert(1)</script>"
    for place in range(2):
        folder = Path("runs", f"<img src=x onerror=alert({place})>")
        folder.mkdir(parents=True)
        result = {
            "task": text,
            "attention": text,
            "data": text,
            "seed": text,
            "device": f"{text}{place}",
            "weights": text,
        }
        scores = {"test/score": 1.0, "test/IoU/<b>": 2.0, f"test/{text}": 3.0}
        (folder / "result.json").write_text(json.dumps({**result, "scores": scores, "versions": {"torch": text}}))
        (folder / "pictures").mkdir()
        (folder / "pictures" / '"><script>.png').write_bytes(b"png")
    (folder / "failed.json").write_text(json.dumps({"log": [text]}))
    assert run(["report", "runs"]) == 0
    page = Path("report/report.html").read_text()
    assert "&lt;script&gt;alert(1)" in page
    assert "<script" not in page
    assert "<img src=x" not in page
    assert "<b>" not in page.partition("<body>")[2]


def test_specifications_and_weights_that_do_not_fit_are_one_message() -> None:
    file = save(Path("odd.ckpt"), "classification")
    content = torch.load(file, weights_only=True)
    torch.save({**content, "specification": [1]}, file)
    with pytest.raises(InputError, match="not a checkpoint of `relattn fit`"):
        load_task(file)
    torch.save({**content, "state_dict": {}}, file)
    with pytest.raises(InputError, match=r"odd\.ckpt: its weights are not those of its network"):
        load_task(file)


def test_an_embedding_of_somebody_else_shows_no_picture_of_this_machine(capsys: pytest.CaptureFixture[str]) -> None:
    Path("private").mkdir()
    for place, colour in enumerate(("red", "green", "blue")):
        Image.new("RGB", (16, 32), colour).save(f"private/{place}.png")
    entries = [Entry(f"{place}.png", str(place % 2), str(place)) for place in range(3)]
    features = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    Embedding(features, entries, Path("private"), {}).save(Path("mine"))
    assert run(["search", "--query", "mine", "--gallery", "mine", "--out", "found"]) == 0
    assert "cannot be read" not in capsys.readouterr().out
    Image.new("RGB", (16, 32), "white").save("private/1.png")  # no longer the one that was embedded
    assert run(["search", "--query", "mine", "--gallery", "mine", "--out", "changed"]) == 0
    assert "1 images cannot be read or are not those that were embedded" in capsys.readouterr().out
    (Path("theirs")).mkdir()
    np.save("theirs/features.npy", features)
    Path("theirs/embedding.json").write_text('{"root": "/"}')
    paths = [str(Path(f"private/{place}.png").absolute()).lstrip("/") for place in range(3)]
    Path("theirs/manifest.csv").write_text("\n".join(["path,identity,camera", *(f"{path},1,{path}" for path in paths)]))
    assert run(["search", "--query", "theirs", "--gallery", "theirs", "--out", "shown"]) == 0
    assert "3 images cannot be read or are not those that were embedded" in capsys.readouterr().out
    sheet = np.asarray(Image.open("shown/sheet-01.png").convert("RGB"))
    assert not (sheet.reshape(-1, 3) == (0, 0, 255)).all(axis=1).any()


@pytest.mark.parametrize("name", [b"\xff.png", b"a\\b.png", b"a\x1b[2J.png", b"a\nb.png"])
def test_names_that_no_table_can_have_are_refused(name: bytes) -> None:
    Path("images").mkdir()
    Image.new("RGB", (16, 32)).save("images/1.png")
    Path(os.fsdecode(b"images/" + name)).write_bytes(Path("images/1.png").read_bytes())
    with pytest.raises(InputError, match=r"names of 1 images have backslashes, .* Rename them"):
        find_images(Path("images"))


def test_loops_of_links_and_pipes_in_folders_of_images_hang_nothing() -> None:
    Path("images/a").mkdir(parents=True)
    Image.new("RGB", (16, 32)).save("images/a/1.png")
    Path("images/a/again").symlink_to("..")
    Path("images/itself.png").symlink_to("itself.png")
    os.mkfifo("images/a/pipe.png")
    with contextlib.suppress(InputError):
        for entry in find_images(Path("images")):
            with contextlib.suppress(InputError):
                read_image(Path("images") / entry.path)


def test_a_pipe_is_no_image() -> None:
    os.mkfifo("pipe.png")
    assert file_fault("pipe.png") == "no regular file"
    with pytest.raises(InputError, match=r"pipe\.png cannot be read: it is not a regular file"):
        read_image(Path("pipe.png"))


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("model", {"class_path": "subprocess.Popen"}),
        ("data", {"class_path": "relattn.tasks.files.os.system"}),
        ("trainer", {"callbacks": [{"class_path": "lightning.pytorch.callbacks.LambdaCallback"}]}),
        ("trainer", {"logger": {"class_path": "subprocess.Popen", "init_args": {"args": ["touch", "pwned"]}}}),
        ("trainer", {"plugins": "a: &a [1, 2, 3]\n" + "".join(f"a{n}: &a{n} [*a, *a]\n" for n in range(60_000))}),
    ],
)
@pytest.mark.sampled(3)
def test_no_command_takes_a_class_from_a_checkpoint_alone(part: str, value: Any) -> None:
    file = save(Path("hostile.ckpt"), "classification")
    content = torch.load(file, weights_only=True)
    config = {**yaml.safe_load(content["config"]), part: value}
    torch.save({**content, "config": yaml.safe_dump(config)}, file)
    for command in ("fit", "validate", "test", "predict"):
        with pytest.raises(InputError, match=r"hostile\.ckpt: its configuration"):
            run([command, "--ckpt_path", str(file), "--gpus", "0"])
    assert not Path("pwned").exists()


def test_what_a_run_s_own_config_names_is_the_user_s() -> None:
    config = {"model": {"class_path": "my_package.Task"}, "trainer": {"logger": {"class_path": "my_package.Logger"}}}
    checkpoint = Path("run/checkpoints/last.ckpt")
    checkpoint.parent.mkdir(parents=True)
    with pytest.raises(InputError, match=r"names my_package\.Task"):
        check_whole_config(config, checkpoint)
    Path("run/config.yaml").write_text(yaml.safe_dump(config))
    check_whole_config(config, checkpoint)
    with pytest.raises(InputError, match=r"names my_package\.Other"):
        check_whole_config({"model": {"class_path": "my_package.Other"}}, checkpoint)


# --- The boundary -----------------------------------------------------------------------------------------------------


def test_each_sentence_of_the_boundary_names_tests_that_there_are() -> None:
    root = Path(__file__).parents[1]
    page = (root / "docs" / "safety.md").read_text()
    there = {
        name
        for file in root.glob("tests/**/test_*.py")
        for name in re.findall(r"^def (test_\w+)", file.read_text(), re.M)
    }
    protecting = page.partition("## What protects")[2].partition("\n## ")[0]
    tested = page.partition("## How it is tested")[2].partition("\n## ")[0]
    rows = [line.strip("| ").split(" | ") for line in tested.splitlines() if line.startswith("| **")]
    assert {row[0] for row in rows} == set(re.findall(r"^\*\*[\w ,]+\*\*", protecting, re.M))
    for _, sentence, named in rows:
        names = re.findall(r"`(test_\w+)`", named)
        assert names, sentence
        assert set(names) <= there, sentence
