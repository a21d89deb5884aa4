"""Images per second of the suite's training loop compared with a plain torchvision DataLoader loop.

    python benchmarks/cifar_loop.py                     # on generated images
    python benchmarks/cifar_loop.py --root data         # on those of data/cifar-100-python

Both train the same network with the same optimizer, loss, batch and augmentation on the same device. The plain loop
does what most public CIFAR code does: torchvision's data set and transforms on PIL images, a DataLoader with workers,
the default memory layout. The suite's loop is `DeviceBatches` under the Lightning trainer, channels-last. Each round
trains on the same number of batches; the start of the workers is not counted. The suite's batches in a bare loop show
the cost of the trainer itself. Making batches is also timed alone, both ways.
"""

import argparse
import logging
import tempfile
import time
import warnings
from pathlib import Path

import torch
import torch.nn.functional as F
from claims import parser, report
from lightning.pytorch import Trainer
from torch.utils.data import DataLoader
from torchvision import datasets, transforms

from relattn.backbones import build
from relattn.cli.memory import keep_freed_memory
from relattn.costs.side_by_side import Claim, difference, synchronize, take_turns
from relattn.synthetic.objects.layouts import write_cifar
from relattn.tasks.classification import CIFAR100, Classification
from relattn.tasks.classification.device_batches import DeviceBatches

PLAIN, SUITE = "torchvision DataLoader, plain loop", "relattn under the Lightning trainer"
BARE, ALONE, PLAIN_ALONE = "relattn's batches, bare loop", "relattn's batches alone", "torchvision DataLoader alone"
NORMALISED = transforms.Compose([transforms.ToTensor(), transforms.Normalize(CIFAR100.mean, CIFAR100.std)])


def sgd(parameters: object) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=0.01, momentum=0.9, weight_decay=1e-4)


class Plain(datasets.CIFAR100):
    """torchvision's CIFAR-100, which a generated set may stand in for."""

    def _check_integrity(self) -> bool:
        return True

    def _load_meta(self) -> None:
        """Skip reading the names of the classes, which are checked by a checksum."""


def plain_loader(asked: argparse.Namespace) -> DataLoader:
    augment = [transforms.RandomCrop(32, padding=4), transforms.RandomHorizontalFlip(), *NORMALISED.transforms]
    return DataLoader(
        Plain(asked.root, transform=transforms.Compose(augment)),
        batch_size=asked.batch_size,
        shuffle=True,
        num_workers=asked.workers,
        persistent_workers=asked.workers > 0,
        pin_memory=torch.cuda.is_available(),
    )


def same_images(root: Path, pixels: torch.Tensor, labels: torch.Tensor, device: torch.device) -> float:
    """Largest difference between the first images of both, normalised and without augmentation."""
    expected = torch.stack([Plain(root, transform=NORMALISED)[index][0] for index in range(16)])
    whole = DeviceBatches(pixels[:16], labels[:16], batch_size=16, mean=CIFAR100.mean, std=CIFAR100.std, device=device)
    return difference(next(iter(whole))["image"].cpu(), expected)


def measure(asked: argparse.Namespace, device: torch.device) -> list[Claim]:
    """Time the loops, which take turns."""
    images = asked.batches * asked.batch_size
    loader = plain_loader(asked)
    plain = build(asked.backbone, num_classes=100, size=(32, 32)).to(device)
    plain_optimizer = sgd(plain.parameters())

    def step(network: torch.nn.Module, optimizer: torch.optim.Optimizer, x: torch.Tensor, y: torch.Tensor) -> None:
        optimizer.zero_grad()
        F.cross_entropy(network(x), y).backward()
        optimizer.step()

    def finish(start: float) -> float:
        synchronize(device)
        return images / (time.perf_counter() - start)

    def plain_round() -> float:
        batches = iter(loader)
        first = next(batches)
        step(plain, plain_optimizer, first[0].to(device), first[1].to(device))
        start = time.perf_counter()
        for _ in range(asked.batches):
            x, y = next(batches)
            step(plain, plain_optimizer, x.to(device, non_blocking=True), y.to(device, non_blocking=True))
        return finish(start)

    data = CIFAR100(asked.root, batch_size=asked.batch_size, seed=0)
    data.setup("fit")
    pixels, labels = data.sets["train"].images, data.sets["train"].labels
    batches = DeviceBatches(
        pixels, labels, batch_size=asked.batch_size, mean=data.mean, std=data.std, padding=4, device=device
    )
    bare = build(asked.backbone, num_classes=100, size=(32, 32)).to(device, memory_format=torch.channels_last)
    bare_optimizer = sgd(bare.parameters())

    def bare_round() -> float:
        source = iter(batches)
        start = time.perf_counter()
        for _ in range(asked.batches):
            batch = next(source)
            step(bare, bare_optimizer, batch["image"], batch["label"])
        return finish(start)

    def alone(loader: object, skipped: int) -> float:
        source = iter(loader)
        for _ in range(skipped):
            next(source)
        start = time.perf_counter()
        for _ in range(asked.batches):
            next(source)
        return finish(start)

    class Timed(Classification):
        """Records when the batches of an epoch begin and end; the first batch is not counted."""

        def on_train_batch_start(self, batch: object, batch_idx: int) -> None:
            if batch_idx == 1:
                self.start = time.perf_counter()

        def on_train_epoch_end(self) -> None:
            self.rate = finish(self.start)

    task = Timed(asked.backbone, optimizer=sgd)

    def suite_round() -> float:
        trainer = Trainer(
            max_epochs=1,
            limit_train_batches=asked.batches + 1,
            limit_val_batches=0,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(task, datamodule=data)
        return task.rate

    loops = {PLAIN: plain_round, SUITE: suite_round, BARE: bare_round}
    loops |= {ALONE: lambda: alone(batches, 0), PLAIN_ALONE: lambda: alone(loader, 1)}
    sides = take_turns(loops, rounds=asked.rounds, warmup=1)
    differ = same_images(asked.root, pixels, labels, device)
    sizes = {"backbone": asked.backbone, "batch": asked.batch_size, "workers": asked.workers}

    def claim(what: str, ours: str, other: str, kind: str = "gain", same: float | None = None) -> Claim:
        return Claim(what, sides[ours], sides[other], "images / s", kind, sizes, same)

    return [
        claim("training on CIFAR-100", SUITE, PLAIN, same=differ),
        claim("without the trainer", BARE, PLAIN, same=differ),
        claim("what the trainer costs", SUITE, BARE, "cost"),
        claim("making batches alone", ALONE, PLAIN_ALONE, same=differ),
    ]


def main(arguments: list[str] | None = None) -> None:
    options = parser(__doc__, rounds=4)
    options.add_argument(
        "--root", type=Path, help="folder that holds cifar-100-python; by default images are generated"
    )
    options.add_argument("--backbone", default="resnet20")
    options.add_argument("--batch_size", type=int, default=128)
    options.add_argument("--batches", type=int, default=20, help="batches of a round")
    options.add_argument("--workers", type=int, default=2, help="of the plain loop's DataLoader")
    asked = options.parse_args(arguments)
    if asked.quick:
        asked.backbone, asked.batch_size, asked.batches, asked.workers = "resnet8", 8, 3, 0
    keep_freed_memory()
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with tempfile.TemporaryDirectory() as folder:
        if asked.root is None:
            asked.root = Path(folder)
            needed = (asked.batches + 1) * asked.batch_size
            write_cifar(asked.root, "cifar100", train=max(needed, 100), test=100)
        claims = measure(asked, device)
    report("cifar_loop", asked, claims, device=device.type)


if __name__ == "__main__":
    main()
