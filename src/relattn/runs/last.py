"""The checkpoint that every run writes after each epoch and resumes from."""

from pathlib import Path

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint, StochasticWeightAveraging

from relattn.runs.checkpoint_files import LAST
from relattn.runs.checkpoints import read_whole


class LastCheckpoint(ModelCheckpoint):
    """Keeps `last.ckpt`. It is a separate class because Lightning distinguishes callbacks of one class by arguments."""

    def __init__(self, folder: Path) -> None:
        """Write after each epoch of training.

        Args:
            folder: The run's folder of checkpoints.
        """
        super().__init__(folder, Path(LAST).stem, enable_version_counter=False, save_on_train_epoch_end=True)
        self.file = folder / LAST

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Store the weights that are tested: averaged weights replace those of the last epoch's checkpoint."""
        super().on_train_end(trainer, pl_module)
        averaged = any(isinstance(callback, StochasticWeightAveraging) for callback in trainer.callbacks)  # type: ignore[attr-defined]
        if averaged and not trainer.interrupted and self.file.is_file():
            checkpoint = read_whole(self.file)
            checkpoint["state_dict"] = trainer.strategy.lightning_module_state_dict()
            trainer.strategy.save_checkpoint(checkpoint, self.file)
