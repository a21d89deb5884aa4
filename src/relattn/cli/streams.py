"""Output that goes on into nothing once nobody reads it: a training must not end with its terminal or pipe."""

import contextlib
import errno
import os
import sys
from collections.abc import Iterator
from typing import IO, Any

DEAD = (errno.EPIPE, errno.EIO)  # a pipe without a reader; a terminal that was closed


class Unbreakable:
    """A text stream, until its reader is gone; from then on what is written is dropped."""

    def __init__(self, stream: IO[str]) -> None:
        self.stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    def write(self, text: str) -> int:
        with self.unbroken():
            self.stream.write(text)
        return len(text)

    def flush(self) -> None:
        with self.unbroken():
            self.stream.flush()

    @contextlib.contextmanager
    def unbroken(self) -> Iterator[None]:
        """Let the file descriptor lead nowhere when its reader is gone, for those too who write to it themselves."""
        try:
            yield
        except OSError as error:
            if error.errno not in DEAD:
                raise
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.stream.fileno())
            os.close(nowhere)


@contextlib.contextmanager
def unbreakable_output() -> Iterator[None]:
    """Standard output and standard error survive their readers."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (Unbreakable(stream) for stream in before)
    try:
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        sys.stdout, sys.stderr = before
