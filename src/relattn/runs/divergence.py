"""Stops a run whose loss is infinite or NaN before its weights replace those of the last good checkpoint."""

import math
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from relattn.errors import InputError

EVERY = 50
"""Number of steps between checks of the losses; a check waits for the device."""


class Divergence(Callback):
    """Raises an `InputError` if a loss is infinite or NaN.

    Losses stay on the device. They are checked every `every` steps, before validation, at the end of an epoch and
    before every checkpoint; the last two checks include the weights, which the last step may have corrupted.

    With `16-mixed` a loss may overflow; the trainer then skips that step and lowers the gradient scale. In this case
    only the newest loss counts.
    """

    def __init__(self, every: int = EVERY) -> None:
        """Check every `every` steps."""
        super().__init__()
        self.every = every
        self.losses: list[Tensor] = []
        """Losses of the steps since the last check."""

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Keep the loss, and check every `every` steps."""
        loss = outputs.get("loss") if isinstance(outputs, dict) else outputs
        if isinstance(loss, Tensor):
            self.losses.append(loss.detach())
        if (batch_idx + 1) % self.every == 0:
            self.look(trainer, batch_idx + 1)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Check before a network is scored."""
        if not trainer.sanity_checking:
            self.look(trainer, trainer.fit_loop.batch_idx + 1)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Check before the next epoch or the test."""
        self.look(trainer, trainer.fit_loop.batch_idx + 1, pl_module)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Check before a checkpoint replaces the last one."""
        self.look(trainer, trainer.fit_loop.batch_idx + 1, pl_module)

    def look(self, trainer: Trainer, steps: int, module: LightningModule | None = None) -> None:
        """Raise in all processes if a loss or a weight is not finite in any of them.

        Args:
            trainer: The trainer.
            steps: Steps of this epoch so far.
            module: The module whose weights to check as well.

        Raises:
            InputError: If so; the message has the step, the loss, the learning rate and what may help.
        """
        losses = torch.stack(self.losses).tolist() if self.losses else []
        self.losses.clear()
        first = steps - len(losses) + 1
        bad = [(first + place, loss) for place, loss in enumerate(losses) if not math.isfinite(loss)]
        if trainer.precision == "16-mixed" and losses and math.isfinite(losses[-1]):
            bad = []
        finite = {name: value.isfinite().all() for name, value in module.named_parameters()} if module else {}
        whole = torch.stack([*finite.values()]).tolist() if finite else []
        spoilt = [name for name, good in zip(finite, whole, strict=True) if not good]
        if not trainer.strategy.reduce_boolean_decision(bool(bad or spoilt), all=False):
            return
        if bad:
            step, loss = bad[0]
            found = f"the loss is {'not a number' if math.isnan(loss) else f'{loss:g}'} at step {step}"
        elif spoilt:
            found = f"{len(spoilt)} weights ({spoilt[0]}) are not finite after step {steps}"
        else:
            found = f"a loss of another process is not finite before step {steps + 1}"
        raise InputError(f"Training diverged: {found} of epoch {trainer.current_epoch + 1}. {advice(trainer)}")


def advice(trainer: Trainer) -> str:
    """Describe the learning rate, what may help, and the checkpoint that is kept."""
    rates = ", ".join(f"{optimizer.param_groups[0]['lr']:.3g}" for optimizer in trainer.optimizers)
    precise = str(trainer.precision).startswith("32")
    precision = "" if precise else f", --trainer.precision 32 instead of {trainer.precision}"
    own = [one for one in trainer.checkpoint_callbacks if getattr(one, "filename", "") == "last"]
    kept = getattr(own[0], "best_model_path", "") if own else ""
    return (
        f"The learning rate is {rates}. Try a lower --model.optimizer.lr, a longer warm-up, "
        f"--trainer.gradient_clip_val 1{precision}; relattn data check looks at the images."
        f"{f' The checkpoint of the last whole epoch is kept: {kept}.' if kept else ''}"
    )
