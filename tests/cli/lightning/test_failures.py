"""Whose code an error comes from, determined by the file that raised it."""

import sys
import sysconfig
from pathlib import Path
from types import FrameType

import pytest

import relattn
from relattn.cli.lightning.failures import author_of


def frame_of(file: str) -> FrameType:
    """A frame of code that lies in a file."""
    names: dict[str, object] = {"sys": sys}
    exec(compile("frame = sys._getframe()", file, "exec"), names)
    frame = names["frame"]
    assert isinstance(frame, FrameType)
    return frame


@pytest.mark.parametrize(
    ("file", "author"),
    [
        (relattn.__file__, "suite"),
        (f"{Path(relattn.__file__).parent}/tasks/base.py", "suite"),
        (f"{sysconfig.get_path('purelib')}/lightning/a.py", "library"),
        (f"{sysconfig.get_path('stdlib')}/json/decoder.py", "library"),
        ("/home/me/.local/lib/python3.11/site-packages/wandb/a.py", "library"),
        ("/usr/lib/python3/dist-packages/torch/a.py", "library"),
        ("<string>", "library"),
        ("/home/me/project/losses.py", "user"),
        ("losses.py", "user"),
    ],
)
def test_code_is_the_suites_a_librarys_or_the_users(file: str, author: str) -> None:
    assert author_of(frame_of(file)) == author
