"""Output that is discarded once its reader is gone: a training must not end with its terminal or pipe."""

import contextlib
import errno
import os
import sys
from collections.abc import Iterator
from typing import IO, Any

DEAD = (errno.EPIPE, errno.EIO)  # a pipe without a reader; a closed terminal


class Unbreakable:
    """A text stream that discards everything written to it after its reader is gone."""

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
        """Redirect the file descriptor to nowhere when its reader is gone, also for code that writes to it directly."""
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
    """Let standard output and standard error survive their readers."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (Unbreakable(stream) for stream in before)
    try:
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        sys.stdout, sys.stderr = before
