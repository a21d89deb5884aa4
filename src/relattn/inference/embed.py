"""A folder of one's own images: finding them, who is on them by their names or by a table, and their features."""

import csv
import os
import posixpath
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from relattn.cores import available_cores
from relattn.errors import InputError, MissingFileError, suggest
from relattn.inference.loading import load
from relattn.tasks.embedding_task import EmbeddingTask, Preparation
from relattn.tasks.embeddings import Embedding, Entry
from relattn.tasks.files import absent, fault, inside, some_of
from relattn.tasks.images import one_thread, read_image
from relattn.tasks.reid.data import collate
from relattn.tasks.reid.manifest import SPLITS
from relattn.tasks.reid.market1501 import NAME

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
CHECKED = (".jpg", ".jpeg", ".png")
"""Files of which the beginning and the end tell whether they are whole; a decoder would fill the rest with grey."""

COLUMNS = tuple(Entry.__dataclass_fields__)


class Loaded(NamedTuple):
    """A trained network and where it came from."""

    task: EmbeddingTask
    about: dict[str, Any]
    """What the embeddings it gives say of it."""


def load_network(checkpoint: Path, *, flip: Any = None, device: str = "cpu") -> Loaded:
    """Load the network of a checkpoint of people or faces, in evaluation mode.

    Args:
        checkpoint: A checkpoint of `relattn fit`.
        flip: What is done with the mirror image, as of `EmbeddingTask.use_flip`; None for what the run had.
        device: Where the network is put.

    Raises:
        InputError: If it is no such checkpoint, or that of another task.
    """
    task = load(checkpoint)
    if not isinstance(task, EmbeddingTask):
        raise InputError(
            f"{checkpoint} is a checkpoint of {type(task).__name__}, whose features do not tell people apart. Expected "
            "one of ReID or Face, which `relattn fit --task reid` and `--task face` write."
        )
    if flip is not None:
        task.use_flip(flip)
    about = task.provenance(checkpoint)
    return Loaded(task.to(device, memory_format=torch.channels_last), about)  # type: ignore[call-overload]


def find_images(root: Path, pattern: str = "market") -> list[Entry]:
    """The images of a folder and of those in it, sorted by their relative paths; hidden files are passed over.

    Args:
        root: The folder. Links to folders are followed, none of them twice.
        pattern: Where identities and cameras come from, as of `reader`.

    Raises:
        InputError: If there is no folder, or no image in it.
    """
    read = reader(pattern)
    if not root.is_dir():
        raise MissingFileError(f"{root}: there is no such folder of images.")
    paths, visited = [], set()
    for folder, folders, names in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        folders[:] = [] if real in visited else sorted(name for name in folders if not name.startswith("."))
        if real not in visited:
            within = Path(folder).relative_to(root).as_posix()
            images = (name for name in names if name.lower().endswith(SUFFIXES) and not name.startswith("."))
            paths += [posixpath.normpath(posixpath.join(within, name)) for name in images]
        visited.add(real)
    if not paths:
        raise InputError(f"{root} holds no images: expected files that end in {', '.join(SUFFIXES)}, at any depth.")
    return [Entry(path, *read(path)) for path in sorted(paths)]


def reader(pattern: str) -> Callable[[str], tuple[str, str]]:
    """What reads identity and camera from an image's relative path; both are empty where it does not say.

    Args:
        pattern: `market` for names like `0002_c1s1_000451_03.jpg`: identity 2, camera 0 (counted from 0, as the data
            sets are). `none` reads nothing. Anything else is a regular expression, sought in the relative path, with
            the group `identity` and, if there is one, `camera`.

    Raises:
        InputError: If the expression is none, or lacks the group.
    """
    if pattern == "none":
        return lambda path: ("", "")
    if pattern == "market":

        def market(path: str) -> tuple[str, str]:
            match = NAME.match(posixpath.basename(path))
            return (str(int(match[1])), str(int(match[2]) - 1)) if match else ("", "")

        return market
    try:
        expression = re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:  # of numbers and nesting without measure
        raise InputError(f"--pattern {pattern!r} is no regular expression: {error}.") from error
    if "identity" not in expression.groupindex:
        raise InputError(
            f"--pattern {pattern!r} is neither market nor none, and as a regular expression it has no group identity: "
            f"write for example '(?P<identity>[^/]+)/[^/]*$'. {suggest(pattern, ['market', 'none'])}"
        )

    def searched(path: str) -> tuple[str, str]:
        groups = match.groupdict() if (match := expression.search(path)) else {}
        return groups.get("identity") or "", groups.get("camera") or ""

    return searched


def listed_images(root: Path, file: Path) -> list[Entry]:
    """The images that a table lists, sorted by their paths.

    Args:
        root: The folder that paths are relative to.
        file: A CSV file in UTF-8 with a column path, and where known identity, camera and split; others are ignored.

    Raises:
        InputError: If the table or the folder is wrong; the message names the line.
    """
    for path, what in ((file, "table"), (root, "folder of images")):
        if not path.exists():
            raise MissingFileError(f"{path}: there is no such {what}.")
    found: dict[str, tuple[int, Entry]] = {}
    try:
        with file.open(newline="", encoding="utf-8-sig") as stream:
            table = csv.DictReader(stream, strict=True, restval="")
            header = table.fieldnames or []
            if "path" not in header:
                raise InputError(
                    f"{file}, line 1: no column path in {','.join(header)!r}. Expected {','.join(COLUMNS)}."
                )
            for row in table:
                values = {name: (row[name] or "").strip() for name in COLUMNS if name in header}
                entry, where = listed_image(values, f"{file}, line {table.line_num}"), table.line_num
                if entry.path in found:
                    raise InputError(f"{file}, line {where}: {entry.path} is on line {found[entry.path][0]} already.")
                found[entry.path] = where, entry
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{file} cannot be read as CSV in UTF-8: {error}. Save it as such.") from error
    if not found:
        raise InputError(f"{file} lists no images: expected a row for each under the header {','.join(COLUMNS)}.")
    if missing := absent(root, found):
        named = some_of([f"{path} (line {found[path][0]})" for path in missing])
        raise MissingFileError(f"{file}: {len(missing):,} of its images are not in {root}: {named}.")
    return [found[path][1] for path in sorted(found)]


def listed_image(values: dict[str, str], where: str) -> Entry:
    """One row of a table, checked."""
    path, split = values["path"], values.get("split", "")
    normal = inside(path, where)
    if split and split not in SPLITS:
        raise InputError(f"{where}: split is {split!r}, expected {', '.join(SPLITS)} or nothing.")
    return Entry(**{**values, "path": normal})


class Files(Dataset[dict[str, Any]]):
    """Images of a folder as samples: `index`, and `image` (H, W, 3) float32 or, where it cannot be read, `fault`."""

    def __init__(self, root: Path, entries: Sequence[Entry], prepare: Preparation) -> None:
        """Keep the images, and what is done to them."""
        self.root, self.entries, self.prepare = root, entries, prepare

    def __len__(self) -> int:
        """Number of images."""
        return len(self.entries)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Read and process an image."""
        path = self.entries[index].path
        try:
            pixels = self.prepare(read_image(self.root / path))
        except (InputError, cv2.error):  # OpenCV has a limit of size as well
            return {"index": index, "fault": f"{path} (cannot be decoded)"}
        return {"index": index, "image": torch.from_numpy(pixels)}


def collate_readable(samples: list[dict[str, Any]]) -> tuple[dict[str, Tensor], list[str]]:
    """The batch of those samples that could be read, which may be empty, and what is wrong with the others."""
    readable = [sample for sample in samples if "image" in sample]
    faults = [sample["fault"] for sample in samples if "fault" in sample]
    return (collate(readable) if readable else {}), faults


@torch.inference_mode()
def embed(
    network: Loaded,
    root: Path,
    entries: Sequence[Entry],
    *,
    batch_size: int = 64,
    workers: int | None = None,
    skip_corrupt: bool = False,
    progress: Callable[[int], object] = lambda images: None,
) -> tuple[Embedding, list[str]]:
    """The features of images, those that the task compares.

    Args:
        network: What gives them.
        root: The folder that the entries' paths are relative to.
        entries: The images, at least one.
        batch_size: Images at a time.
        workers: Processes that read; by default as many as there are processor cores, at most 8.
        skip_corrupt: Whether images that are cut off or cannot be decoded are left out instead of refused.
        progress: Called after each batch with its number of images.

    Returns:
        The embedding, in the order of the entries, and what was left out, each with its reason.

    Raises:
        InputError: If images are corrupt and not to be left out, or none is left.
    """
    task, about = network
    reasons = ((entry, checked_fault(root / entry.path)) for entry in entries)
    faults = {entry.path: f"{entry.path} ({reason})" for entry, reason in reasons if reason}
    corrupt = list(faults.values())
    refuse(corrupt, len(entries), skip_corrupt)
    whole = [entry for entry in entries if entry.path not in faults]
    cores = available_cores()
    alone = len(whole) <= batch_size  # starting processes for one batch takes longer than reading it
    loader = DataLoader(
        Files(root, whole, task.preparation()),
        batch_size=batch_size,
        num_workers=(0 if alone else min(8, cores)) if workers is None else workers,
        worker_init_fn=one_thread,
        collate_fn=collate_readable,
        pin_memory=task.device.type == "cuda",
    )
    rows: list[int] = []
    features: list[Tensor] = []
    for batch, undecoded in loader:
        corrupt += undecoded
        refuse(corrupt, len(entries), skip_corrupt)
        if batch:
            rows += batch["index"].tolist()
            features.append(task(batch["image"].to(task.device, non_blocking=True)).float().cpu())
        progress(len(undecoded) + len(batch.get("index", ())))
    if not features:
        raise InputError(f"None of the {len(entries):,} images can be read: {some_of(corrupt)}. Replace them.")
    return Embedding(torch.cat(features).numpy(), [whole[row] for row in rows], root, about), corrupt


def checked_fault(file: Path) -> str | None:
    """Why a file is not whole, as far as its beginning and end tell; whether it can be decoded shows later."""
    if not file.name.lower().endswith(CHECKED):
        return None
    found = fault(str(file))
    return None if found == "neither JPEG nor PNG" else found  # OpenCV goes by what is in a file, not by its name


def refuse(corrupt: list[str], count: int, skip: bool) -> None:
    """Raise an InputError that names corrupt images, unless there are none or they are left out."""
    if corrupt and not skip:
        raise InputError(
            f"{len(corrupt):,} of {count:,} images cannot be read: {some_of(corrupt)}. Nothing is written. Replace "
            "them, or leave them out with --skip_corrupt."
        )
