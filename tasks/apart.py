"""Reading a file in a process of its own, for formats whose readers are large C libraries (HDF5, MATLAB).

A damaged or hostile file may crash such a reader or make it request unbounded memory. Here that only ends a child
process, and the file is refused. The child returns its result as JSON, which cannot execute code even if the file has
compromised the child.
"""

import json
import multiprocessing
import resource
import signal
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from relattn.errors import InputError

ROOM = 4 * 2**30
"""Bytes that a reader may allocate beyond what the process has at its start."""


def apart(read: Callable[..., Any], file: Path, *arguments: Any) -> Any:
    """Call a function in a process of its own.

    Args:
        read: The function. It returns lists, dictionaries with string keys, strings and numbers.
        file: The function's first argument; error messages name it.
        arguments: The function's other arguments.

    Returns:
        The function's return value; tuples come back as lists.

    Raises:
        InputError: If the function raises one, or its process ends prematurely.
    """
    context = multiprocessing.get_context("fork")  # starts at once, with all imports done
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=answer, args=(sender, read, file, *arguments))
    process.start()
    sender.close()
    try:
        content = json.loads(receiver.recv_bytes())
    except (EOFError, OSError, ValueError) as error:
        process.join()
        code = process.exitcode or 0
        how = signal.strsignal(-code) if code < 0 else f"exit status {code}"
        raise InputError(f"{file} is damaged: reading it ended the process that read it ({how}).") from error
    finally:
        receiver.close()
    process.join()
    if "refused" in content:
        raise InputError(str(content["refused"]))
    return content["found"]


def answer(sender: Connection, read: Callable[..., Any], file: Path, *arguments: Any) -> None:
    """Run in the child process: read the file with bounded memory and send the result or the error."""
    try:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if (now := memory_now()) is not None:
            limit, most = now + ROOM, resource.getrlimit(resource.RLIMIT_AS)[1]
            soft = limit if most == resource.RLIM_INFINITY else min(limit, most)
            resource.setrlimit(resource.RLIMIT_AS, (soft, most))
        content = {"found": read(file, *arguments)}
    except InputError as error:
        content = {"refused": str(error)}
    except MemoryError:
        content = {"refused": f"{file} is damaged: it asks for more than {ROOM:,} bytes of memory."}
    sender.send_bytes(json.dumps(content).encode())
    sender.close()


def memory_now() -> int | None:
    """Size of this process's address space in bytes; None where the system does not tell, as on macOS."""
    statistics = Path("/proc/self/statm")
    return int(statistics.read_text().split()[0]) * resource.getpagesize() if statistics.is_file() else None
