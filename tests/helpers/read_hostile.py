"""Reads the files of a corpus in a process with bounded memory and time, and reports the outcome of each.

    python read_hostile.py FOLDER < [[name, reader], ...] as JSON

Prints a line of JSON for each: `name`, `reader`, `status` (of its process: 0, or negative for a signal), `said`
(`read`, the suite's error, or a traceback), `mebibytes` that the process has used so far, and `seconds`.
"""

import json
import os
import resource
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import relattn
from relattn.errors import InputError
from relattn.inference.image_folder import listed_images
from relattn.inference.loading import load_data
from relattn.inference.score import read_array, read_table
from relattn.released.loading import read_released
from relattn.tasks.apart import apart
from relattn.tasks.classification.cifar import read_batches
from relattn.tasks.decoding import decode_wholly, read_image, size_of
from relattn.tasks.embeddings import Embedding
from relattn.tasks.face.records import Records
from relattn.tasks.face.verification_sets import read_bin
from relattn.tasks.reid.cuhk03 import load_protocol
from relattn.tasks.reid.cuhk03_mat import extract, read_names
from relattn.tasks.reid.manifest import read_manifest

ROOM = 3 * 2**30
"""Bytes of address space that a reader may use in addition; the test limits the memory actually used."""
SECONDS = 60


def read_records(path: Path) -> None:
    records = Records(path)
    for index in range(len(records)):
        records.read(index)


def read_both(path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        refused = []
        for read in (relattn.load, load_data):
            try:
                read(path)
            except InputError as error:
                refused.append(error)
    if refused:
        raise refused[0]


def search(path: Path) -> None:
    from relattn.inference.search import Search

    embedding = Embedding.load(path)
    Search(embedding, embedding)


def read_image_whole(path: Path) -> None:
    size_of(path)
    try:
        decode_wholly(path.read_bytes())
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


READERS: dict[str, Callable[[Path], Any]] = {
    "pack": read_bin,
    "cifar": lambda path: read_batches(path.parent, {path.name: ""}, "labels", 10),
    "array": read_array,
    "image": read_image,
    "whole image": read_image_whole,
    "checkpoint": read_both,
    "released": read_released,
    "table": read_table,
    "people": lambda path: (read_manifest(path), listed_images(path.parent, path)),
    "records": read_records,
    "protocol": load_protocol,
    "cuhk03": lambda path: (
        apart(read_names, path, "labeled"),
        apart(extract, path, "labeled", Path(f"extracted-{os.getpid()}")),
    ),
    "embedding": search,
}


def answer(read: Callable[[Path], Any], path: Path) -> str:
    """Read a file and return the outcome."""
    try:
        read(path)
    except InputError as error:
        return f"InputError: {error}"
    except BaseException:
        return traceback.format_exc()
    return "read"


def memory() -> int:
    """Size of the address space in bytes."""
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def peak() -> int:
    """Peak memory so far in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def read_all(folder: Path, corpus: list[list[str]], sender: int) -> None:
    """Run in the child: read files one after the other, and write a line for each."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (memory() + ROOM,) * 2)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    before = peak()
    for name, reader in corpus:
        signal.alarm(SECONDS)
        started = time.monotonic()
        said = answer(READERS[reader], folder / name)
        took = max(peak(), resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024) - before
        line = {"status": 0, "said": said[-4000:], "mebibytes": took, "seconds": round(time.monotonic() - started, 2)}
        os.write(sender, json.dumps(line).encode() + b"\n")


def main() -> None:
    """Read all files. If a process ends early, blame the file that it was reading and continue in another process."""
    folder, corpus = Path(sys.argv[1]), json.load(sys.stdin)
    torch.set_num_threads(1)  # threads do not survive a fork
    relattn.load(folder / "good.ckpt")  # do all imports once, before forking
    found: list[dict[str, Any]] = []
    while len(found) < len(corpus):
        receiver, sender = os.pipe()
        child = os.fork()
        if not child:
            read_all(folder, corpus[len(found) :], sender)
            os._exit(0)
        os.close(sender)
        with os.fdopen(receiver) as stream:
            found += [json.loads(line) for line in stream]
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if len(found) < len(corpus):
            found.append({"status": status or "ended", "said": "", "mebibytes": 0, "seconds": 0})
    for (name, reader), line in zip(corpus, found, strict=True):
        print(json.dumps({"name": name, "reader": reader, **line}))  # noqa: T201


if __name__ == "__main__":
    main()
