"""Cost of the Lightning trainer: a training step of re-identification under it, compared with a bare loop.

    python benchmarks/lightning_overhead.py
    python benchmarks/lightning_overhead.py --backbone resnet50

Both sides train the same network from the same weights on the same batches, held in memory, with the recipe's loss,
optimizer and schedule, and end with the same weights. The bare loop has no trainer, hooks, metrics or logging. The
overhead is everything else that the suite and Lightning do; a tiny network shows it in milliseconds.
"""

import argparse
import copy
import logging
import statistics
import time
import warnings
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from claims import parser, report
from lightning.pytorch import Trainer
from torch import Tensor, nn

from relattn.cli.memory import keep_freed_memory
from relattn.costs.side_by_side import Claim, difference, take_turns
from relattn.tasks.base import Data
from relattn.tasks.reid import ReID
from relattn.tasks.schedules import MultiStep

Batch = dict[str, Tensor]
RECIPE = MultiStep(
    of=600, milestones=[80, 120, 160, 200], gamma=0.5, warmup=20, warmup_factor=0.01, warmup_shape="linear"
)


class Ready:
    """Batches that already exist."""

    def __init__(self, batches: list[Batch]) -> None:
        """Keep the batches."""
        self.batches = batches

    def __len__(self) -> int:
        """Number of batches."""
        return len(self.batches)

    def __iter__(self) -> Iterator[Batch]:
        """Iterate over the batches."""
        return iter(self.batches)


class Held(Data):
    """Random images of people, held in memory."""

    num_classes = 751

    def __init__(self, size: tuple[int, int], batch_size: int, count: int) -> None:
        """Draw the batches."""
        super().__init__()
        self.image_size = size
        generator = torch.Generator().manual_seed(0)
        labels = torch.arange(batch_size) // 4
        self.batches = [
            {
                "image": torch.randn(batch_size, 3, *size, generator=generator).to(memory_format=torch.channels_last),
                "label": labels + number,
            }
            for number in range(count)
        ]

    def train_dataloader(self) -> Ready:
        return Ready(self.batches)

    def specification(self) -> dict[str, Any]:
        return {**super().specification(), "feature": "after_norm"}

    def describe(self) -> dict[str, Any]:
        return {"data": "random"}


class Timed(ReID):
    """Records when each step begins, and when the last one ends."""

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        if batch_idx == 0:
            self.times = []
        self.times.append(time.perf_counter())

    def on_train_batch_end(self, outputs: object, batch: Batch, batch_idx: int) -> None:
        if batch_idx + 1 == self.trainer.num_training_batches:
            self.times.append(time.perf_counter())


def adam(parameters: object) -> torch.optim.Optimizer:
    return torch.optim.Adam(parameters, lr=8e-4, weight_decay=5e-4, fused=True)


def step_time(times: list[float]) -> float:
    """Milliseconds per step, from the times at which steps began; the first step is warm-up."""
    return 1000 * statistics.median(later - earlier for earlier, later in pairwise(times[1:]))


def measure(backbone: str, size: tuple[int, int], batch_size: int, steps: int, asked: argparse.Namespace) -> Claim:
    """Time one network."""
    torch.manual_seed(0)
    data = Held(size, batch_size, steps + 1)
    task = Timed(backbone, optimizer=adam, schedule=RECIPE, pictures=0)
    task.assemble(data.specification())
    task.build_metrics(data)
    bare = nn.ModuleDict({"network": copy.deepcopy(task.network), "head": copy.deepcopy(task.head)})
    first = copy.deepcopy(bare.state_dict())

    def trainer_round() -> float:
        task.load_state_dict(first, strict=False)
        trainer = Trainer(
            max_epochs=1,
            accelerator="cpu",
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(task, datamodule=data)
        return step_time(task.times)

    def bare_round() -> float:
        bare.load_state_dict(first)
        bare.train()
        optimizer = adam(bare.parameters())
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: RECIPE.factor(step, steps + 1))
        times = []
        for batch in data.batches:
            times.append(time.perf_counter())
            pooled = bare["network"](batch["image"])
            _, logits = bare["head"](pooled)
            loss = F.cross_entropy(logits, batch["label"], label_smoothing=task.label_smoothing)
            loss = loss + task.loss_weight * task.loss(pooled, batch["label"])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        return step_time([*times, time.perf_counter()])

    sides = take_turns({"Lightning trainer": trainer_round, "bare loop": bare_round}, rounds=asked.rounds)
    trained, expected = task.state_dict(), bare.state_dict()
    differ = max(difference(trained[name].double(), value.double()) for name, value in expected.items())
    sizes = {"batch": batch_size, "image": "x".join(map(str, size)), "steps": steps}
    return Claim(f"{backbone}, batch {batch_size}", *sides.values(), "ms", "cost", sizes, differ)


def main(arguments: list[str] | None = None) -> None:
    options = parser(__doc__, rounds=3)
    options.add_argument("--backbone", default="resnet18")
    options.add_argument("--batch_size", type=int, default=64)
    options.add_argument("--steps", type=int, default=3, help="timed steps of a round")
    asked = options.parse_args(arguments)
    keep_freed_memory()
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")
    claims = [] if asked.quick else [measure(asked.backbone, (256, 128), asked.batch_size, asked.steps, asked)]
    tiny = measure("resnet8", (32, 32), 8, 3 if asked.quick else 60, asked)
    adds = tiny.ours.median - tiny.other.median
    notes = [f"the trainer adds {adds:.2f} ms to a step of {tiny.what}"]
    if claims:
        notes.append(f"as much would be {100 * adds / claims[0].other.median:.2f} % of a step of {claims[0].what}")
    report("lightning_overhead", asked, [*claims, tiny], notes=notes)


if __name__ == "__main__":
    main()
