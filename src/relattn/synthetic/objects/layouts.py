"""Rendered objects in the official layouts of CIFAR-10 and CIFAR-100.

The layouts are those of https://www.cs.toronto.edu/~kriz/cifar.html (python version), so a loader for the genuine sets
reads these. Deviation: strings are pickled as text, not as Python 2's bytes. `encoding="latin1"`, which torchvision
also uses, reads both in the same way.
"""

import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np

from relattn.errors import InputError
from relattn.synthetic.objects.render import OBJECTS, PATTERNS, SHAPES, SIDE, render
from relattn.synthetic.staging import staged


def write_cifar(
    root: Path, name: Literal["cifar10", "cifar100"], *, train: int = 50_000, test: int = 10_000, seed: int = 0
) -> Path:
    """Render a data set and write it in the official layout of CIFAR-10 or CIFAR-100, all of it or nothing.

    Args:
        root: Folder to write to; created if it does not exist.
        name: Data set with the layout and number of classes to use.
        train: Training images, the same number for each class, give or take one.
        test: Test images, likewise, drawn independently of the training images.
        seed: The same seed gives the same images.

    Returns:
        The folder written: `root/cifar-10-batches-py` or `root/cifar-100-python`.

    Raises:
        InputError: If that folder already exists, the name is unknown, the seed is negative, or a class would have no
            image.
    """
    if name not in ("cifar10", "cifar100"):
        raise InputError(f"write_cifar: name is {name!r}, expected 'cifar10' or 'cifar100'.")
    if seed < 0:
        raise InputError(f"write_cifar: seed is {seed}, expected 0 or more.")
    classes = 10 if name == "cifar10" else 100
    for split, count in (("train", train), ("test", test)):
        if count < classes:
            raise InputError(f"write_cifar: {split} is {count}, expected at least {classes}, an image of each class.")
    with staged(root, "cifar-10-batches-py" if name == "cifar10" else "cifar-100-python") as folder:
        for file, content in _files(classes, (train, test), seed):
            with (folder / file).open("wb") as stream:
                pickle.dump(content, stream, protocol=2)
    return root / folder.name


def write_cifar10(root: Path, *, train: int = 50_000, test: int = 10_000, seed: int = 0) -> Path:
    """Objects of ten classes in the layout of CIFAR-10.

    Args:
        root: Folder to write to; created if it does not exist.
        train: Training images.
        test: Test images.
        seed: The same seed gives the same images.
    """
    return write_cifar(root, "cifar10", train=train, test=test, seed=seed)


def write_cifar100(root: Path, *, train: int = 50_000, test: int = 10_000, seed: int = 0) -> Path:
    """Objects of a hundred classes in the layout of CIFAR-100.

    Args:
        root: Folder to write to; created if it does not exist.
        train: Training images.
        test: Test images.
        seed: The same seed gives the same images.
    """
    return write_cifar(root, "cifar100", train=train, test=test, seed=seed)


def _files(classes: int, counts: tuple[int, int], seed: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """Name and content of every file of a set with 10 or 100 classes, for numbers of training and test images."""
    kinds = [f"{pattern}_{shape}" for pattern in PATTERNS for shape in SHAPES]
    meta: dict[str, Any] = {"fine_label_names": kinds, "coarse_label_names": list(SHAPES)}
    names = ["train"], ["test"]
    if classes == 10:
        meta = {"num_cases_per_batch": -(-counts[0] // 5), "label_names": list(OBJECTS), "num_vis": 3 * SIDE**2}
        names = [f"data_batch_{batch}" for batch in range(1, 6)], ["test_batch"]
    yield "meta" if classes == 100 else "batches.meta", meta
    for split, (count, files) in enumerate(zip(counts, names, strict=True)):
        rng = np.random.default_rng((seed, classes, split))
        labels = (np.arange(count) % classes)[np.argsort(rng.random(count), kind="stable")]
        patterns, shapes = np.divmod(labels, len(SHAPES))
        if classes == 10:
            patterns = (rng.random(count) * len(PATTERNS)).astype(np.int64)
            shapes = np.array([list(SHAPES).index(name) for name in OBJECTS])[labels]
        data = render(shapes, patterns, rng).reshape(count, 3 * SIDE**2)
        for batch, file in enumerate(files):
            rows = range(count * batch // len(files), count * (batch + 1) // len(files))
            fine, coarse = labels[rows].tolist(), shapes[rows].tolist()
            content = {"labels": fine} if classes == 10 else {"fine_labels": fine, "coarse_labels": coarse}
            content["batch_label"] = f"{('training', 'testing')[split]} batch {batch + 1} of {len(files)}"
            content["data"] = data[rows]
            content["filenames"] = [f"{kinds[patterns[k] * len(SHAPES) + shapes[k]]}_s_{k:06d}.png" for k in rows]
            yield file, content
