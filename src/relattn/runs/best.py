"""The best checkpoint of a run by its held-out validation, `relattn fit --best`: kept, and tested at the end.

Choosing by the test set would make the test score meaningless, so this needs a separate validation set.
"""

from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from relattn.errors import InputError
from relattn.runs.checkpoint_files import BEST
from relattn.runs.checkpoints import read_whole
from relattn.runs.resume import progress_of
from relattn.tasks.data import Data

SCORE = "val/score"


class BestCheckpoint(ModelCheckpoint):
    """Keeps `best.ckpt`, the weights with the highest `val/score`; of equal ones, the earliest."""

    def __init__(self) -> None:
        """Monitor the headline score of validation."""
        super().__init__(
            monitor=SCORE,
            mode="max",
            filename=Path(BEST).stem,
            enable_version_counter=False,
            save_on_train_epoch_end=False,  # right after validation: exactly the weights that were scored
        )

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Refuse to choose by the test set, or without validation.

        Raises:
            InputError: If so; the message names the option that gives a validation set.
        """
        super().setup(trainer, pl_module, stage)
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        if stage != "fit" or not isinstance(data, Data):
            return
        if not data.holds_out():
            raise InputError(
                f"--best chooses by validation, and that of {type(data).__name__} is its test set: {data.holding_out}."
            )
        every, epochs = trainer.check_val_every_n_epoch, trainer.max_epochs
        if trainer.limit_val_batches == 0:
            raise InputError("--best chooses by validation, and --trainer.limit_val_batches is 0: leave that out.")
        if every is not None and epochs is not None and 0 < epochs < every:
            raise InputError(
                f"--best chooses by validation, and there is none in {epochs} epochs: "
                f"--trainer.check_val_every_n_epoch is {every}."
            )


def best_of(trainer: Trainer) -> Path | None:
    """The checkpoint with which a run with `--best` is tested; None for other runs, or if none was written."""
    for callback in trainer.checkpoint_callbacks:
        if isinstance(callback, BestCheckpoint) and callback.best_model_path:
            return Path(callback.best_model_path)
    return None


def chooses(trainer: Trainer) -> bool:
    """Whether a run uses `--best`."""
    return any(isinstance(callback, BestCheckpoint) for callback in trainer.checkpoint_callbacks)


def choice(checkpoint: Path, trainer: Trainer) -> dict[str, Any]:
    """The entry in a run's result about the checkpoint that was chosen and tested."""
    content = read_whole(checkpoint)
    (watcher,) = (one for one in trainer.checkpoint_callbacks if isinstance(one, BestCheckpoint))
    assert watcher.best_model_score is not None
    return {
        "checkpoint": f"checkpoints/{checkpoint.name}",
        "by": SCORE,
        "value": round(float(watcher.best_model_score), 4),
        "epoch": int(content["epoch"]) + 1,
        "steps": progress_of(content).steps,
    }
