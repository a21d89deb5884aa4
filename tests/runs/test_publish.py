"""A written file is either completely new or completely old, whatever happens to its writer."""

import errno
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from relattn import publish
from relattn.errors import InputError
from relattn.publish import publish_json, publish_text, publishing

WRITER = """
import os, signal, sys
from pathlib import Path
from relattn import publish

def die(*arguments, **options):
    os.kill(os.getpid(), signal.SIGKILL)

step = sys.argv[1]
if step == "written":
    os.fsync = die
elif step == "linked":
    Path.replace = die
elif step == "replaced":
    publish.sync_folder = die
with publish.publishing("file[1].txt", keep_as=Path("kept.txt")) as stream:
    if step == "begun":
        die()
    stream.write(b"new")
"""
"""Writes a file and is killed at a step of it."""


def names() -> list[str]:
    return sorted(path.name for path in Path().iterdir())


def age_leftovers() -> None:
    """Make temporary files old enough to count as abandoned."""
    for path in Path().iterdir():
        if path.suffix == publish.SUFFIX:
            os.utime(path, (time.time() - 60,) * 2)


@pytest.mark.parametrize("step", ["begun", "written", "linked", "replaced"])
def test_a_writer_that_is_killed_leaves_the_old_file_or_the_new_one(step: str) -> None:
    file, kept = Path("file[1].txt"), Path("kept.txt")
    file.write_text("old")
    kept.write_text("older")
    assert subprocess.run([sys.executable, "-c", WRITER, step]).returncode == -9
    assert file.read_text() == ("new" if step == "replaced" else "old")
    assert kept.read_text() == ("old" if step == "replaced" else "older")
    leftovers = [name for name in names() if name.endswith(publish.SUFFIX)]
    assert bool(leftovers) == (step != "replaced")
    publish_text(file, "newer")
    assert len([name for name in names() if name.endswith(publish.SUFFIX)]) == len(leftovers), "it may be in use"
    age_leftovers()
    with publishing(file, keep_as=kept) as stream:
        stream.write(b"newest")
    assert names() == ["file[1].txt", "kept.txt"]
    assert (file.read_text(), kept.read_text()) == ("newest", "newer")


def test_a_writer_that_lives_keeps_its_temporary_file() -> None:
    with publishing("a") as stream:
        stream.write(b"slow")
        age_leftovers()
        publish_text("a", "quick")
        assert Path("a").read_text() == "quick"
    assert Path("a").read_text() == "slow", "the last one to end wins"
    assert names() == ["a"]


def raising(error: OSError) -> Callable[..., None]:
    def fail(*arguments: object, **options: object) -> None:
        raise error

    return fail


@pytest.mark.parametrize(
    ("owner", "name"), [(os, "fsync"), (os, "link"), (Path, "replace"), (publish.tempfile, "mkstemp")]
)
def test_a_full_disk_leaves_what_was_there_and_nothing_else(
    owner: object, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish_json("a.json", {"old": "ä"})
    publish_text("b.json", "kept before")
    said = r"^a\.json cannot be written: No space left on device\. What was there before is kept\.$"
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, raising(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))))
        with pytest.raises(InputError, match=said), publishing("a.json", keep_as=Path("b.json")) as stream:
            stream.write(b"{}")
    assert names() == ["a.json", "b.json"]
    assert Path("a.json").read_text(encoding="utf-8") == '{\n  "old": "ä"\n}\n'
    assert Path("b.json").read_text() == "kept before"


def test_an_error_of_the_writer_leaves_what_was_there() -> None:
    publish_text("a", "old")
    with pytest.raises(TypeError), publishing("a") as stream:
        stream.write("half")
    assert (names(), Path("a").read_text()) == (["a"], "old")


def test_folders_are_made_and_permissions_are_the_usual_ones() -> None:
    before = os.umask(0o027)
    try:
        publish_text("new/folder/a", "b")
    finally:
        os.umask(before)
    assert Path("new/folder/a").stat().st_mode & 0o777 == 0o640
    Path("c").touch()
    with pytest.raises(InputError, match=r"^c/d cannot be written: .*[^.]\.$"):
        publish_text("c/d", "")
