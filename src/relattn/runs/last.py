"""The checkpoint that every run writes after each epoch, and goes on from."""

from pathlib import Path

from lightning.pytorch.callbacks import ModelCheckpoint

from relattn.runs.checkpoint_files import LAST


class LastCheckpoint(ModelCheckpoint):
    """Keeps `last.ckpt`. A class of its own, since Lightning knows callbacks of one class apart by their arguments."""

    def __init__(self, folder: Path) -> None:
        """Write after each epoch of training.

        Args:
            folder: The run's folder of checkpoints.
        """
        super().__init__(folder, Path(LAST).stem, enable_version_counter=False, save_on_train_epoch_end=True)
