"""A run whose loss is not finite stops at once, says why, and leaves the last good checkpoint unchanged."""

import hashlib
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor, nn
from torch.utils.data import DataLoader

from relattn.cli.main import run
from relattn.errors import InputError
from relattn.runs.divergence import Divergence


class Scripted(LightningModule):
    """A weight, and given losses; after the step `spoil` the weight is no longer finite."""

    def __init__(self, losses: list[float], spoil: int | None = None) -> None:
        super().__init__()
        self.given, self.spoil, self.step = losses, spoil, 0
        self.weight = nn.Parameter(torch.zeros(()))

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        self.step += 1
        return self.weight * 0 + self.given[self.step - 1]

    def on_train_batch_end(self, *arguments: Any) -> None:
        if self.step == self.spoil:
            with torch.no_grad():
                self.weight.fill_(torch.nan)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.25)


def train(module: Scripted, every: int = 50, epochs: int = 2, **options: Any) -> Path:
    """Train with five steps per epoch; return the checkpoint's path."""
    place = Path("checkpoints")
    last = ModelCheckpoint(place, "last", enable_version_counter=False, save_on_train_epoch_end=True)
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    trainer = Trainer(max_epochs=epochs, callbacks=[last, Divergence(every)], **quiet, **options)
    trainer.fit(module, DataLoader(range(5), batch_size=1))  # type: ignore[arg-type]
    return place / "last.ckpt"


def test_a_good_run_is_left_alone() -> None:
    assert train(Scripted([1.0] * 10)).is_file()


@pytest.mark.parametrize("every", [1, 2, 50])
@pytest.mark.parametrize(
    ("loss", "said"), [(float("nan"), "not a number"), (float("inf"), "inf"), (-float("inf"), "-inf")]
)
@pytest.mark.parametrize("step", [1, 3, 5])
def test_the_step_the_loss_and_the_rate_are_named(every: int, loss: float, said: str, step: int) -> None:
    losses = [1.0] * 10
    losses[4 + step] = loss
    with pytest.raises(
        InputError, match=rf"the loss is {said} at step {step} of epoch 2\. The learning rate is 0\.25"
    ) as e:
        train(Scripted(losses), every)
    assert "The checkpoint of the last whole epoch is kept" in str(e.value)
    assert "checkpoints/last.ckpt" in str(e.value)
    assert torch.load("checkpoints/last.ckpt", weights_only=True)["state_dict"]["weight"] == 0
    assert torch.load("checkpoints/last.ckpt", weights_only=True)["epoch"] == 0


def test_the_first_of_several_is_named_and_without_a_checkpoint_none() -> None:
    with pytest.raises(InputError, match="at step 2 of epoch 1") as error:
        train(Scripted([1.0, float("inf"), float("nan"), 1.0, 1.0]))
    assert "kept" not in str(error.value)
    assert not Path("checkpoints").exists()


def test_weights_that_the_last_step_spoilt_are_not_saved() -> None:
    with pytest.raises(InputError, match=r"1 weights \(weight\) are not finite after step 5 of epoch 2"):
        train(Scripted([1.0] * 10, spoil=10))
    assert torch.load("checkpoints/last.ckpt", weights_only=True)["state_dict"]["weight"] == 0


def test_a_checkpoint_amid_an_epoch_is_not_written_either() -> None:
    class Saving(Scripted):
        def on_train_batch_end(self, *arguments: Any) -> None:
            if self.step == 2:
                self.trainer.save_checkpoint("amid.ckpt")

    with pytest.raises(InputError, match="not a number at step 2 of epoch 1"):
        train(Saving([1.0, float("nan"), 1.0, 1.0, 1.0]))
    assert not Path("amid.ckpt").exists()


@pytest.mark.slow
def test_a_run_that_goes_on_with_too_large_a_rate_keeps_its_checkpoint(cifar: Path) -> None:
    tiny = ["fit", "--task", "classification", "--backbone", "resnet8", "--data", "CIFAR10", "--data.root", str(cifar)]
    options = [
        "--gpus",
        "0",
        "--data.batch_size",
        "50",
        "--name",
        "mine",
        "--model.schedule",
        "relattn.tasks.schedules.Constant",
    ]
    assert run([*tiny, *options, "--trainer.max_epochs", "1"]) == 0
    checkpoint = Path("runs/classification/mine/checkpoints/last.ckpt")
    before = hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    rate = ["--model.optimizer.init_args.lr", "1e30"]
    with pytest.raises(InputError, match=r"diverged: the loss is .* of epoch 2\. The learning rate is 1e\+30"):
        run(["fit", "--ckpt_path", str(checkpoint), "--trainer.max_epochs", "2", *rate])
    assert hashlib.sha256(checkpoint.read_bytes()).hexdigest() == before
