"""Files that a task writes into its run's folder during a run, in addition to its metrics."""

from pathlib import Path
from typing import TYPE_CHECKING

from lightning.pytorch import Trainer

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def rehearses(trainer: Trainer) -> bool:
    """Whether a few batches are run as a trial, with `fast_dev_run`, of which nothing is written."""
    return bool(trainer.fast_dev_run)  # type: ignore[attr-defined]


def is_part(limit: float, batches: int) -> bool:
    """Whether an option such as `limit_val_batches` leaves out some of the batches: a share, or a number of them."""
    return limit < 1 if isinstance(limit, float) else limit < batches


def save_picture(trainer: Trainer, figure: "Figure", stage: str, name: str, caption: str = "") -> None:
    """Write a figure as `pictures/<stage>_<name>.jpg`, and pass it to loggers that accept images, such as W&B's."""
    if rehearses(trainer):
        return
    from relattn.figures.files import as_image
    from relattn.publish import publishing

    folder = Path(trainer.default_root_dir) / "pictures"
    picture = as_image(figure)
    with publishing(folder / f"{stage}_{name}.jpg") as stream:
        picture.save(stream, "JPEG", quality=90)
    for logger in trainer.loggers:
        if hasattr(logger, "log_image"):
            logger.log_image(f"{stage}/pictures", [picture], **({"caption": [caption]} if caption else {}))
