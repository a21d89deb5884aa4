"""Checkpoints are either complete or absent."""

import contextlib
import errno
import os
from functools import partial
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from relattn.errors import InputError, MissingFileError
from relattn.runs.checkpoints import Checkpoints, find_checkpoint, newest_whole, read_whole


def save(folder: Path, epoch: int) -> Path:
    file = folder / "checkpoints" / "last.ckpt"
    Checkpoints().save_checkpoint({"epoch": epoch, "state_dict": {"w": torch.full((100,), float(epoch))}}, file)
    return file


def test_the_replaced_checkpoint_is_kept_and_nothing_else(tmp_path: Path) -> None:
    for epoch in range(3):
        file = save(tmp_path, epoch)
    assert sorted(path.name for path in file.parent.iterdir()) == ["last.ckpt", "previous.ckpt"]
    assert [read_whole(file.with_name(name))["epoch"] for name in ("last.ckpt", "previous.ckpt")] == [2, 1]
    assert Checkpoints().load_checkpoint(file)["state_dict"]["w"][0] == 2


@pytest.mark.parametrize("failing", ["fsync", "link"])
def test_a_full_disk_leaves_the_last_good_one_and_says_so(tmp_path: Path, monkeypatch, failing: str) -> None:
    file = save(tmp_path, 1)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, failing, full)
    with pytest.raises(InputError, match=rf"{file} cannot be written: No space left on device. .* is kept"):
        save(tmp_path, 2)
    monkeypatch.undo()
    assert [path.name for path in file.parent.iterdir()] == ["last.ckpt"]
    assert read_whole(file)["epoch"] == 1


def test_a_damaged_one_is_named_and_so_is_the_one_before(tmp_path: Path) -> None:
    save(tmp_path, 1)
    file = save(tmp_path, 2)
    file.write_bytes(file.read_bytes()[:700])
    with pytest.raises(
        InputError, match=r"last.ckpt cannot be read (.|\n)*of epoch 1 \(from 0\): --ckpt_path .*previous"
    ):
        Checkpoints().load_checkpoint(file)
    assert newest_whole(tmp_path) == file.with_name("previous.ckpt")
    file.with_name("previous.ckpt").write_bytes(b"")
    with pytest.raises(InputError, match=r"No checkpoint of .* is whole"):
        newest_whole(tmp_path)


def test_what_could_not_be_read_again_is_not_kept_or_stops_the_first_save(tmp_path: Path) -> None:
    file, weights = tmp_path / "last.ckpt", {"state_dict": {"w": torch.ones(2)}}
    saved = {**weights, "hyper_parameters": {"optimizer": partial(torch.optim.SGD, lr=0.1)}}
    Checkpoints().save_checkpoint(saved, file)
    assert read_whole(file).keys() == {"state_dict"}, (
        "save_hyperparameters keeps classes, which the configuration names"
    )
    Checkpoints().save_checkpoint({**weights, "hyper_parameters": {"width": 3}}, file)
    assert read_whole(file)["hyper_parameters"] == {"width": 3}
    with pytest.raises(InputError, match=r"entry 'own' has functools\.partial, which cannot be read without running"):
        Checkpoints().save_checkpoint({**weights, "own": partial(print)}, file)
    torch.save({"own": partial(print)}, file)
    with pytest.raises(InputError, match=r"it has functools\.partial, and only tensors, .*since code is not run"):
        read_whole(file)


def test_last_is_the_newest_whole_one_of_a_named_run(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    file = save(runs / "reid" / "mine", 1)
    assert find_checkpoint("last", name="mine", runs=runs) == file
    assert find_checkpoint(runs / "reid" / "mine") == find_checkpoint(file) == file
    save(runs / "reid" / "mine", 2)
    file.write_bytes(b"half")
    with pytest.warns(UserWarning, match="the last checkpoint is damaged, so previous.ckpt is used"):
        assert find_checkpoint("last", name="mine", runs=runs) == file.with_name("previous.ckpt")
    with pytest.raises(InputError, match="give --name"):
        find_checkpoint("last")
    with pytest.raises(MissingFileError, match="found none in"):
        find_checkpoint("last", name="other", runs=runs)
    with pytest.raises(MissingFileError, match="is not the folder of a run"):
        newest_whole(tmp_path)
    with pytest.raises(MissingFileError, match="no such file"):
        find_checkpoint(tmp_path / "nowhere.ckpt")


@settings(max_examples=150, deadline=None)
@given(cut=st.integers(0, 1500), place=st.integers(0, 1500), byte=st.integers(0, 255))
def test_no_damage_is_more_than_an_error_of_ours(tmp_path_factory, cut: int, place: int, byte: int) -> None:
    file = save(tmp_path_factory.mktemp("damaged"), 3)
    content = bytearray(file.read_bytes())
    content[place % len(content)] = byte
    file.write_bytes(bytes(content[: len(content) - cut]))
    with contextlib.suppress(InputError):
        read_whole(file)
