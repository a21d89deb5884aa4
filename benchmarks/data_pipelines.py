"""Images per second at which each task's training data are produced, with 0, 1 and 2 worker processes.

    python benchmarks/data_pipelines.py

The data are generated in the official layouts: people at 256x128 in batches of 64, streets cropped to 512x512 in
batches of 4, faces at 112x112 in batches of 128, and CIFAR, which has no workers. One side is the data set's own
training loader with the recipe's augmentation. The other side only reads and decodes the same files, which the system
has cached in memory: whatever a pipeline costs beyond that is augmentation and batching. `cache` keeps all images
decoded in memory (`--data.cache ram`) and runs in the main process; `linear resize` resizes people by OpenCV's filter
without antialiasing. For CIFAR, whose images are in memory, the other side is torchvision's transforms, image by image.
Neither the start of the workers nor the batches made in advance are counted. Batches are identical, to the last bit,
for any number of workers; the reported difference is between them.
"""

import argparse
import itertools
import os
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

os.environ.setdefault("GOMP_SPINCOUNT", "3000")  # as on the command line: workers need the cores

import cv2
import torch
from claims import parser, report
from PIL import Image
from torchvision import transforms

from relattn.costs.side_by_side import Claim, difference, take_turns
from relattn.synthetic.faces.layouts import write_faces
from relattn.synthetic.objects.layouts import write_cifar
from relattn.synthetic.people.layouts import write_market1501
from relattn.synthetic.streets.layouts import write_cityscapes
from relattn.tasks.classification import CIFAR10
from relattn.tasks.data import Data
from relattn.tasks.decoding import decode_image
from relattn.tasks.face import Faces
from relattn.tasks.image_data import ImageData
from relattn.tasks.reid import Market1501
from relattn.tasks.segmentation import Cityscapes

One = Callable[[int], object]
"""A function of the index of an image."""


def write(root: Path, quick: bool) -> None:
    """Generate the data."""
    write_market1501(root, train_identities=16 if quick else 64, test_identities=4, junk=0, distractors=0)
    write_cityscapes(root, train=4 if quick else 16, val=1, size=(64, 128) if quick else (512, 1024))
    write_faces(root, identities=4 if quick else 32, images_per_identity=8, pairs=20, size=32 if quick else 112)
    write_cifar(root, "cifar10", train=256 if quick else 5_120, test=10)


def data_sets(root: Path, quick: bool) -> dict[str, Callable[..., Data]]:
    """For each task, a function that builds its data for a number of workers."""
    sizes = {"people": 16, "streets": 2, "faces": 8, "CIFAR": 64}
    if not quick:
        sizes = {"people": 64, "streets": 4, "faces": 128, "CIFAR": 128}
    crop = (64, 64) if quick else (512, 512)
    return {
        "people": lambda workers, **options: Market1501(
            root, batch_size=sizes["people"], workers=workers, seed=0, **options
        ),
        "streets": lambda workers: Cityscapes(root, crop=crop, batch_size=sizes["streets"], workers=workers, seed=0),
        "faces": lambda workers: Faces(root, batch_size=sizes["faces"], workers=workers, seed=0),
        "CIFAR": lambda workers: CIFAR10(root, batch_size=sizes["CIFAR"], seed=0),
    }


def by_itself(data: Data) -> tuple[str, int, One]:
    """What a pipeline is compared with: its name, the number of images, and the function applied to each image."""
    train = data.sets["train"]
    if isinstance(data, CIFAR10):
        pictures = [Image.fromarray(pixels) for pixels in train.images.numpy()]
        augment = [transforms.RandomCrop(32, padding=4), transforms.RandomHorizontalFlip(), transforms.ToTensor()]
        vary = transforms.Compose([*augment, transforms.Normalize(data.mean, data.std)])
        return "torchvision's transforms alone", len(pictures), lambda index: vary(pictures[index])
    decoded: One
    if isinstance(data, Cityscapes):
        decoded = lambda index: train.decode(index)  # noqa: E731
    else:
        decoded = lambda index: decode_image(train.encoded(index), "")  # noqa: E731
    return "reading and decoding alone", len(train), decoded


class Endless:
    """A sampler's epochs, one after the other, so that no round reaches the end of one."""

    def __init__(self, sampler: Any) -> None:
        """Take a sampler, or batches made on the device."""
        self.sampler = sampler

    def __iter__(self) -> Iterator[Any]:
        """Iterate over all epochs."""
        for epoch in itertools.count():
            self.sampler.set_epoch(epoch)
            yield from self.sampler


class Stream:
    """Training batches; every measurement starts new workers, so that none is busy while others are measured."""

    def __init__(self, data: Data, workers: int) -> None:
        """Set up the data as a trainer on one CPU would."""
        strategy = SimpleNamespace(root_device=torch.device("cpu"))
        data.trainer = SimpleNamespace(global_rank=0, world_size=1, num_devices=1, strategy=strategy, overfit_batches=0)
        data.setup("fit")
        self.data, self.workers = data, workers

    def cached(self) -> "Stream":
        """Keep all images decoded in memory, and return this stream."""
        assert isinstance(self.data, ImageData)
        self.data.keep_in_memory(self.data.sets["train"])
        return self

    def batches(self) -> Iterator[dict[str, torch.Tensor]]:
        """Start from the first batch."""
        if not isinstance(self.data, ImageData):
            return iter(Endless(self.data.train_dataloader()))
        sampler = self.data.sampler()
        return iter(self.data.loader("train", Endless(sampler), sampler.per_process))

    def rate(self, at_least: float) -> float:
        """Images per second, over whole batches until the given number of seconds has passed."""
        source = self.batches()
        for _ in range(1 + 3 * self.workers):  # batches made in advance: two per worker, and those begun
            next(source)
        count, start = 0, time.perf_counter()
        while (spent := time.perf_counter() - start) < at_least or not count:
            next(source)
            count += self.data.batch_size
        return count / spent


def one_by_one(images: int, one: One, at_least: float) -> float:
    """Images per second of a function applied to each image in turn, until the given number of seconds has passed."""
    count, start = 0, time.perf_counter()
    while (spent := time.perf_counter() - start) < at_least or not count:
        for _ in range(16):
            one(count % images)
            count += 1
    return count / spent


def label(workers: int | str) -> str:
    """Display name of a loader."""
    return workers if isinstance(workers, str) else f"{workers} worker{'' if workers == 1 else 's'}"


def measure(name: str, make: Callable[..., Data], asked: argparse.Namespace) -> list[Claim]:
    """Time the data of one task."""
    least = 0.05 if asked.quick else 1.0
    streams: dict[int | str, Stream] = {
        workers: Stream(make(workers), workers) for workers in ([0] if name == "CIFAR" else asked.workers)
    }
    batches = [next(stream.batches())["image"] for stream in streams.values()]
    differ = max(difference(batch, batches[0]) for batch in batches)
    start = next(iter(streams))
    other, images, one = by_itself(streams[start].data)
    if name != "CIFAR":
        streams["cache"] = Stream(make(0), 0).cached()
        batches.append(next(streams["cache"].batches())["image"])
        differ = max(differ, difference(batches[-1], batches[0]))
    if name == "people":
        streams["linear resize"] = Stream(make(0, interpolation="linear"), 0)
    sides = {label(workers): lambda stream=stream: stream.rate(least) for workers, stream in streams.items()}
    measured = take_turns({**sides, other: lambda: one_by_one(images, one, least)}, rounds=asked.rounds)
    sizes = {"batch": len(batches[0]), "image": "x".join(map(str, batches[0].shape[2:]))}
    first = measured[label(start)]

    kind = "gain" if name == "CIFAR" else "cost"
    found = [Claim(f"{name}: pipeline", first, measured[other], "images / s", kind, sizes)]
    for side in list(sides)[1:]:
        if side == "linear resize":
            found.append(Claim(f"{name}: antialiased resize", first, measured[side], "images / s", "cost", sizes))
            continue
        found.append(Claim(f"{name}: {side}", measured[side], first, "images / s", "gain", sizes, differ))
    return found


def main(arguments: list[str] | None = None) -> None:
    options = parser(__doc__, rounds=3)
    options.add_argument("--workers", type=int, nargs="+", default=[0, 1, 2], help="the first is compared with")
    asked = options.parse_args(arguments)
    cv2.setNumThreads(0)  # as in workers
    warnings.filterwarnings("ignore")
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), asked.quick)
        found = data_sets(Path(folder), asked.quick)
        claims = [claim for name, make in found.items() for claim in measure(name, make, asked)]
    report("data_pipelines", asked, claims)


if __name__ == "__main__":
    main()
