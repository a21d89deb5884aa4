"""Learning rates of runs in plain Lightning: accumulation that changes, own optimizers, data of unknown length."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import GradientAccumulationScheduler, LearningRateFinder, ModelCheckpoint
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from relattn.errors import InputError
from relattn.tasks.classification import CIFAR10, Classification
from relattn.tasks.schedules import Polynomial


class Rates(Callback):
    """Notes the learning rate of every step."""

    def __init__(self) -> None:
        self.rates: list[float] = []

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: Any, optimizer: torch.optim.Optimizer) -> None:
        self.rates.append(round(optimizer.param_groups[0]["lr"], 6))


class Own(Classification):
    """A task that configures its optimizer itself."""

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=0.5)
        return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 1)]


class Endless(IterableDataset[Any]):
    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        for label in range(12):
            yield {"image": torch.randn(3, 32, 32), "label": torch.tensor(label % 10)}


class Streamed(CIFAR10):
    """Training and test images from a stream without a length."""

    def train_dataloader(self) -> Any:
        return DataLoader(Endless(), batch_size=2)


def fitted(task: Classification, data: Any, *callbacks: Callback, path: Any = None, **options: Any) -> list[float]:
    """Train on a few batches, and return the learning rate of every step."""
    watch = Rates()
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    options = {"max_epochs": 2, "limit_train_batches": 4, "limit_val_batches": 0} | options
    Trainer(callbacks=[watch, *callbacks], **quiet, **options).fit(task, datamodule=data, ckpt_path=path)
    return watch.rates


def linear(**arguments: Any) -> Classification:
    return Classification("resnet8", schedule=Polynomial(power=1.0), **arguments)


def test_the_schedule_knows_accumulation_that_changes(cifar: Path) -> None:
    data = CIFAR10(cifar, batch_size=20)
    changing = GradientAccumulationScheduler({0: 1, 1: 3})
    rates = fitted(linear(), data, changing, enable_checkpointing=False)
    assert len(rates) == 6  # four of one batch, then one of three and one of the rest
    assert rates == pytest.approx([rates[0] * (1 - step / 6) for step in range(6)], abs=1e-6)


def test_resumed_runs_go_on_in_their_schedule(cifar: Path, tmp_path: Path) -> None:
    data = CIFAR10(cifar, batch_size=20)
    scheduling = {0: 1, 1: 2}
    whole = fitted(linear(), data, GradientAccumulationScheduler(scheduling), max_epochs=3, enable_checkpointing=False)
    saved = ModelCheckpoint(tmp_path, "first", save_last=False)
    fitted(linear(), data, GradientAccumulationScheduler(scheduling), saved, max_epochs=1)
    rest = fitted(
        linear(),
        data,
        GradientAccumulationScheduler(scheduling),
        path=tmp_path / "first.ckpt",
        max_epochs=3,
        enable_checkpointing=False,
    )
    assert rest == whole[4:]


def test_a_stream_needs_a_number_of_steps(cifar: Path) -> None:
    data = Streamed(cifar, batch_size=20)
    with pytest.raises(InputError, match=r"how many steps the run has: give --trainer\.max_steps"):
        fitted(linear(), data, limit_train_batches=1.0, enable_checkpointing=False)
    rates = fitted(linear(), data, limit_train_batches=1.0, max_epochs=-1, max_steps=8, enable_checkpointing=False)
    assert rates == pytest.approx([rates[0] * (1 - step / 8) for step in range(8)], abs=1e-6)


def test_own_optimizers_are_resumed_with_their_own_schedule(cifar: Path, tmp_path: Path) -> None:
    data = CIFAR10(cifar, batch_size=20)
    whole = fitted(Own("resnet8"), data, enable_checkpointing=False)
    assert whole == [0.5] * 4 + [0.05] * 4
    fitted(Own("resnet8"), data, ModelCheckpoint(tmp_path, "first", save_last=False), max_epochs=1)
    assert fitted(Own("resnet8"), data, path=tmp_path / "first.ckpt", enable_checkpointing=False) == whole[4:]


def test_a_rate_found_is_the_rate_used(cifar: Path) -> None:
    finder = LearningRateFinder(num_training_steps=24, early_stop_threshold=None)
    data = CIFAR10(cifar, batch_size=20)
    rates = fitted(Classification("resnet8"), data, finder, max_epochs=6, enable_checkpointing=False)
    found = finder.optimal_lr.suggestion()
    assert rates[-1] == pytest.approx(found, abs=1e-6)
    assert found != 1e-3


def test_a_rate_that_is_set_is_the_rate_used(cifar: Path) -> None:
    class Mine(Classification):
        def __init__(self, lr: float, **arguments: Any) -> None:
            super().__init__(**arguments)
            self.lr = lr

    rates = fitted(Mine(0.07, backbone="resnet8"), CIFAR10(cifar, batch_size=20), enable_checkpointing=False)
    assert rates == [0.07] * 8
    with pytest.raises(AttributeError, match="lr"):
        _ = Classification("resnet8").lr


def test_lightnings_own_checkpoints_are_loaded_by_lightning(cifar: Path, tmp_path: Path) -> None:
    task = linear()
    saved = ModelCheckpoint(tmp_path, "first", save_last=False)
    fitted(task, CIFAR10(cifar, batch_size=20), saved, max_epochs=1)
    again = Classification.load_from_checkpoint(tmp_path / "first.ckpt", backbone="resnet8").eval()
    images = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(again(images), task.eval()(images))
