"""The metrics of a run as `metrics.csv` in its folder: written by a logger, read by whatever follows the run.

Every checkpoint contains the rows, so a resumed run has the same file as one that was never interrupted.
"""

import contextlib
import csv
import io
import os
from argparse import Namespace
from pathlib import Path
from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor

from relattn.errors import InputError
from relattn.publish import publish_text
from relattn.runs.progress import METRICS

Row = dict[str, float]


class MetricsLogger(Logger):
    """Writes logged metrics to `metrics.csv`, one row per call; nothing is written before `begin`."""

    def __init__(self, folder: Path) -> None:
        """Log into a run's folder."""
        super().__init__()
        self.folder = folder
        self.rows: list[Row] = []
        self.columns: list[str] = []
        self.written = 0
        """Number of rows in the file."""
        self.begun = False

    @property
    def name(self) -> str:
        """The run's name."""
        return self.folder.name

    @property
    def version(self) -> str:
        """Empty: there is only one version."""
        return ""

    @property
    def log_dir(self) -> str:
        """The run's folder."""
        return str(self.folder)

    @property
    def save_dir(self) -> str:
        """The run's folder."""
        return str(self.folder)

    def log_hyperparams(self, params: dict[str, Any] | Namespace, *arguments: Any, **options: Any) -> None:
        """Do nothing: `config.yaml` has the configuration."""

    @rank_zero_only
    def begin(self, rows: list[Row] | None = None) -> None:
        """Start writing: a new file or, for a resumed run, a file with the rows of its checkpoint."""
        self.rows = [*(rows or []), *self.rows]
        self.begun, self.written, self.columns = True, 0, []
        self.save()

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Add a row."""
        values = {name: value.item() if isinstance(value, Tensor) else value for name, value in metrics.items()}
        self.rows.append({**values, "step": len(self.rows) if step is None else step})

    @rank_zero_only
    def save(self) -> None:
        """Write the new rows: append them, or rewrite the file if there are new columns."""
        if not self.begun or self.written == len(self.rows):
            return
        columns = sorted(set(self.columns).union(*self.rows[self.written :]))
        new = self.rows[self.written :]
        if columns == self.columns and (self.folder / METRICS).is_file():
            self.append(as_csv(columns, new, header=False))
        else:
            publish_text(self.folder / METRICS, as_csv(columns, self.rows))
        self.columns, self.written = columns, len(self.rows)

    def append(self, text: str) -> None:
        """Append rows to the file, all or none.

        Raises:
            InputError: If they cannot be written, for example because the disk is full.
        """
        file = self.folder / METRICS
        size = file.stat().st_size
        try:
            with file.open("ab") as stream:
                stream.write(text.encode())
        except OSError as error:
            with contextlib.suppress(OSError):
                os.truncate(file, size)
            raise InputError(
                f"{file} cannot be written: {error.strerror or error}. Its rows so far are kept."
            ) from error

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Write the remaining rows."""
        self.save()


def as_csv(columns: list[str], rows: list[Row], *, header: bool = True) -> str:
    """Rows as lines of a CSV file."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns)
    if header:
        writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def log_row(logger: Logger, row: Row) -> None:
    """Pass a row of `metrics.csv` to a logger."""
    logger.log_metrics({name: value for name, value in row.items() if name != "step"}, int(row["step"]))


def metrics_logger(trainer: Trainer) -> MetricsLogger:
    """The logger of a run's `metrics.csv`."""
    (logger,) = (one for one in trainer.loggers if isinstance(one, MetricsLogger))
    return logger


def epoch_has_ended(trainer: Trainer) -> bool:
    """Whether a training epoch is over: after its last batch, or earlier if max_steps or a callback ended it."""
    progress = trainer.fit_loop.epoch_progress.current
    return bool(progress.state_dict()["processed"] == progress.ready)


def row_of_epoch(trainer: Trainer) -> Row:
    """The row that Lightning logs for a training epoch after writing its last checkpoint."""
    # Values logged at the end of an epoch have no public name before they are logged.
    values = trainer._logger_connector.metrics["log"]
    numbers = {name: float(value) for name, value in values.items()}
    return {**numbers, "epoch": trainer.current_epoch, "step": trainer.fit_loop.epoch_loop._batches_that_stepped - 1}
