"""Images per second of the suite's training loop beside a plain torchvision DataLoader loop, in one run.

    python benchmarks/cifar_loop.py --root data --backbone resnet20

Both train the same network with the same optimizer, loss, batch and augmentation, on the same device. The plain loop is
what most public CIFAR code does: torchvision's data set and transforms on PIL images, a DataLoader with workers, the
default memory layout. The suite's loop is `DeviceBatches` under the Lightning trainer, channels-last. The two take
turns; each round trains on the same number of batches. The third row times the suite's batches under a bare loop, which
tells the trainer's own cost, and the fourth what making the batches costs.
"""

import argparse
import json
import logging
import statistics
import time
import warnings
from pathlib import Path

import torch
import torch.nn.functional as F
from lightning.pytorch import Trainer
from rich.console import Console
from rich.table import Table
from torch.utils.data import DataLoader
from torchvision import datasets, transforms

from relattn.backbones import build
from relattn.cli.memory import keep_freed_memory
from tasks.classification import CIFAR100, Classification
from tasks.classification.device_batches import DeviceBatches


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, default=Path("data"), help="folder that holds cifar-100-python")
    parser.add_argument("--backbone", default="resnet20")
    parser.add_argument("--batch_size", type=int, default=128)
    parser.add_argument("--batches", type=int, default=40, help="batches of a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=2, help="of the plain loop's DataLoader")
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


def sgd(parameters: object) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=0.01, momentum=0.9, weight_decay=1e-4)


class Plain(datasets.CIFAR100):
    """torchvision's CIFAR-100, which a generated set may stand in for."""

    def _check_integrity(self) -> bool:
        return True


def plain_loader(asked: argparse.Namespace) -> DataLoader:
    augment = transforms.Compose(
        [
            transforms.RandomCrop(32, padding=4),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize(CIFAR100.mean, CIFAR100.std),
        ]
    )
    Plain._load_meta = lambda self: None  # the names of the classes, behind a checksum
    return DataLoader(
        Plain(asked.root, transform=augment),
        batch_size=asked.batch_size,
        shuffle=True,
        num_workers=asked.workers,
        persistent_workers=asked.workers > 0,
        pin_memory=torch.cuda.is_available(),
    )


def main() -> None:
    asked = options()
    keep_freed_memory()
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    images = asked.batches * asked.batch_size

    loader = plain_loader(asked)
    plain = build(asked.backbone, num_classes=100, size=(32, 32)).to(device)
    plain_optimizer = sgd(plain.parameters())

    def step(network: torch.nn.Module, optimizer: torch.optim.Optimizer, x: torch.Tensor, y: torch.Tensor) -> None:
        optimizer.zero_grad()
        F.cross_entropy(network(x), y).backward()
        optimizer.step()

    def finish(start: float) -> float:
        if device.type == "cuda":
            torch.cuda.synchronize()
        return images / (time.perf_counter() - start)

    def plain_round() -> float:
        batches = iter(loader)
        first = next(batches)  # starting workers is not counted
        step(plain, plain_optimizer, first[0].to(device), first[1].to(device))
        start = time.perf_counter()
        for _ in range(asked.batches):
            x, y = next(batches)
            step(plain, plain_optimizer, x.to(device, non_blocking=True), y.to(device, non_blocking=True))
        return finish(start)

    data = CIFAR100(asked.root, batch_size=asked.batch_size, seed=0)
    data.setup("fit")
    pixels, labels = data.sets["train"]
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

    def batches_round() -> float:
        source = iter(batches)
        start = time.perf_counter()
        for _ in range(asked.batches):
            next(source)
        return finish(start)

    class Timed(Classification):
        """Notes when the batches of an epoch begin and end; the first is not counted."""

        def on_train_batch_start(self, batch: object, batch_idx: int) -> None:
            if batch_idx == 1:
                self.start = time.perf_counter()

        def on_train_epoch_end(self) -> None:
            rates.append(finish(self.start))

    rates: list[float] = []
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
        return rates[-1]

    loops = {
        "torchvision DataLoader, plain loop": plain_round,
        "relattn under the Lightning trainer": suite_round,
        "relattn's batches, bare loop": bare_round,
        "relattn's batches alone": batches_round,
    }
    measured: dict[str, list[float]] = {name: [] for name in loops}
    for turn in range(asked.rounds + 1):
        for name, loop in loops.items():
            rate = loop()
            if turn:  # the first round warms up
                measured[name].append(rate)
    where = torch.cuda.get_device_name() if device.type == "cuda" else f"{torch.get_num_threads()} CPU threads"
    shown = Table(title=f"{asked.backbone}, batch {asked.batch_size}, {where}")
    for column in ("loop", "images / s", "against the plain loop"):
        shown.add_column(column, justify="left" if column == "loop" else "right")
    medians = {name: statistics.median(values) for name, values in measured.items()}
    first = next(iter(medians.values()))
    for name, value in medians.items():
        shown.add_row(name, f"{value:,.0f}", f"{value / first:.2f}")
    Console(width=100).print(shown)
    if asked.json:
        machine = {"device": where, "torch": torch.__version__}
        options_shown = {key: str(value) for key, value in vars(asked).items()}
        asked.json.write_text(json.dumps({"options": options_shown, "machine": machine, "images_per_second": measured}))


if __name__ == "__main__":
    main()
