"""Checkpoints of weights alone, which Lightning does not show to callbacks."""

from typing import Any

from lightning.pytorch import LightningModule
from lightning.pytorch.callbacks import WeightAveraging

OF_AVERAGING = ("current_model_state", "averaging_state")
"""Entries that weight averaging keeps in order to resume training."""


def complete(checkpoint: dict[str, Any], module: LightningModule, config: str) -> None:
    """Give a checkpoint of weights alone the run's configuration and, where weights are averaged, the average.

    Args:
        checkpoint: The checkpoint; one with more than weights stays as it is.
        module: The module that is trained.
        config: The run's configuration as YAML; empty if there is none.
    """
    if "callbacks" in checkpoint:
        return
    if config:
        checkpoint["config"] = config
    for callback in module.trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, WeightAveraging):
            callback.on_save_checkpoint(module.trainer, module, checkpoint)
            for name in OF_AVERAGING:
                checkpoint.pop(name, None)
