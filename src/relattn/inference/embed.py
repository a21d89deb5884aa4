"""The features of the images in a folder, from a trained network."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate

from relattn.cores import available_cores
from relattn.errors import InputError, some_of
from relattn.inference.loading import load_task
from relattn.preprocessing import Preprocessing
from relattn.tasks.decoding import read_image
from relattn.tasks.embedding_task import EmbeddingTask, Flip
from relattn.tasks.embeddings import Embedding, Entry
from relattn.tasks.files import file_fault
from relattn.tasks.image_data import one_thread


class EmbeddingNetwork(NamedTuple):
    """A trained network with the metadata of its embeddings."""

    task: EmbeddingTask
    metadata: dict[str, Any]


def load_network(checkpoint: Path, *, flip: Flip | None = None, device: str = "cpu") -> EmbeddingNetwork:
    """Load the network of a checkpoint whose task compares features, in evaluation mode.

    Args:
        checkpoint: A checkpoint of `relattn fit`.
        flip: How the mirror image is used; None for the run's own setting.
        device: Device of the network.

    Raises:
        InputError: If it is not a checkpoint of the suite, or that of another kind of task.
    """
    task = load_task(checkpoint)
    if not isinstance(task, EmbeddingTask):
        raise InputError(
            f"{checkpoint} is of the task {task.name}, whose features are not compared. Expected a checkpoint of a "
            "task that embeds images, such as those of people or of faces."
        )
    if flip is not None:
        task.flip = flip
    metadata = task.provenance(checkpoint)
    return EmbeddingNetwork(task.to(device, memory_format=torch.channels_last), metadata)


class Files(Dataset[dict[str, Any]]):
    """Images of a folder as samples: `index`, and `image` `(H, W, 3)` float32 or, if it cannot be read, `fault`."""

    def __init__(self, root: Path, entries: Sequence[Entry], preprocessing: Preprocessing) -> None:
        """Store the images and their preprocessing."""
        self.root, self.entries, self.preprocessing = root, entries, preprocessing

    def __len__(self) -> int:
        """Number of images."""
        return len(self.entries)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Read and process an image."""
        path = self.entries[index].path
        try:
            pixels = self.preprocessing(read_image(self.root / path))
        except InputError as error:
            reason = str(error).removeprefix(str(self.root / path)).strip(" .")
            return {"index": index, "fault": f"{path} ({reason})"}
        return {"index": index, "image": torch.from_numpy(pixels)}


def collate_readable(samples: list[dict[str, Any]]) -> tuple[dict[str, Tensor], list[str]]:
    """Collate the samples that could be read into a batch, which may be empty; also return the faults of the others."""
    readable = [sample for sample in samples if "image" in sample]
    faults = [sample["fault"] for sample in samples if "fault" in sample]
    if not readable:
        return {}, faults
    batch: dict[str, Tensor] = default_collate(readable)
    batch["image"] = batch["image"].permute(0, 3, 1, 2)  # channels-last in memory
    return batch, faults


@torch.inference_mode()
def embed(
    network: EmbeddingNetwork,
    root: Path,
    entries: Sequence[Entry],
    *,
    batch_size: int = 64,
    workers: int | None = None,
    skip_corrupt: bool = False,
    progress: Callable[[int], object] = lambda images: None,
) -> tuple[Embedding, list[str]]:
    """Compute the features of images that the task compares.

    Args:
        network: The network.
        root: The folder that the entries' paths are relative to.
        entries: The images, at least one.
        batch_size: Number of images at a time.
        workers: Number of processes that read images; by default the number of processor cores, at most 8.
        skip_corrupt: Whether to leave out images that are truncated or cannot be decoded, instead of refusing them.
        progress: Called after each batch with its number of images.

    Returns:
        The embedding, in the order of the entries, and the images left out, each with the reason.

    Raises:
        InputError: If images are corrupt and must not be left out, or none is left.
    """
    task, metadata = network
    reasons = ((entry, file_fault(str(root / entry.path))) for entry in entries)
    faults = {entry.path: f"{entry.path} ({reason})" for entry, reason in reasons if reason}
    corrupt = list(faults.values())
    refuse(corrupt, len(entries), skip_corrupt)
    whole = [entry for entry in entries if entry.path not in faults]
    cores = available_cores()
    alone = len(whole) <= batch_size  # starting processes for one batch takes longer than reading it
    loader = DataLoader(
        Files(root, whole, task.preprocessing()),
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
    return Embedding(torch.cat(features).numpy(), [whole[row] for row in rows], root, metadata), corrupt


def refuse(corrupt: list[str], count: int, skip: bool) -> None:
    """Raise an InputError that names corrupt images, unless there are none or they may be left out."""
    if corrupt and not skip:
        raise InputError(
            f"{len(corrupt):,} of {count:,} images cannot be read: {some_of(corrupt)}. Nothing is written. Replace "
            "them, or leave them out with --skip_corrupt."
        )
