"""The display of a run: its description at the start, a line per epoch, a live bar on a terminal, and its scores.

A terminal and a pipe get the same lines, on standard error; only a terminal gets the bar. Scores and the run's folder
go to standard output.
"""

import contextlib
import math
import shlex
import textwrap
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, cast

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn
from rich.table import Table

from relattn.cli import catalogue
from relattn.runs.identity import shown
from relattn.tasks.base import Task
from relattn.tasks.data import Data
from relattn.tasks.plan import planned_steps
from relattn.tasks.score import name_in_set

REFRESH = 0.25
"""Seconds between readings of the loss; a reading waits for the device."""


class Display(Callback):
    """Shows the progress of a run.

    Attributes:
        console: Console for lines, on standard error.
        quiet: Whether to show nothing but errors.
    """

    def __init__(self, facts: Mapping[str, Any], folder: Path, *, quiet: bool = False, bar: bool = True) -> None:
        """Prepare the display.

        Args:
            facts: Entries of the run's record.
            folder: The run's folder.
            quiet: Whether to show nothing.
            bar: Whether to show a live bar on a terminal; False if the user has one of Lightning's.
        """
        super().__init__()
        self.facts, self.folder, self.quiet, self.with_bar = facts, folder, quiet, bar
        self.console = Console(stderr=True, quiet=quiet)
        self.bar: Progress | None = None
        self.task: TaskID | None = None
        self.began = self.epoch_began = self.looked = 0.0
        self.first_step = 0
        self.validated: dict[str, float] = {}

    # --- Training -----------------------------------------------------------------------------------------------------

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show what is trained, on which data, and where."""
        self.began = self.epoch_began = time.monotonic()  # a run resumed within an epoch begins none
        self.first_step = trainer.global_step
        if trainer.is_global_zero:
            for name, text in banner(trainer, cast(Task, pl_module), self.facts, self.folder).items():
                self.line(f"{name:<9} {text}", indent=10)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start a bar."""
        self.epoch_began, self.validated = time.monotonic(), {}
        if not (trainer.is_global_zero and self.with_bar and self.console.is_terminal and not self.quiet):
            return
        self.close()
        columns = [
            TextColumn("{task.description}"),
            BarColumn(None),
            MofNCompleteColumn(),
            TextColumn("{task.fields[now]}"),
        ]
        self.bar = Progress(*columns, console=self.console, transient=True, refresh_per_second=4)
        total = None if math.isinf(trainer.num_training_batches) else int(trainer.num_training_batches)
        self.task = self.bar.add_task(epoch_of(trainer), total=total, now="")
        self.bar.start()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Advance the bar."""
        if self.bar is None or self.task is None:
            return
        now = time.monotonic()
        if now - self.looked < REFRESH and batch_idx + 1 < trainer.num_training_batches:
            self.bar.update(self.task, completed=batch_idx + 1)
            return
        self.looked = now
        loss = outputs.get("loss") if isinstance(outputs, dict) else outputs
        parts = [] if loss is None else [f"loss {float(loss):.4g}"]
        parts += [f"lr {rate_of(trainer):.3g}"] if rate_of(trainer) is not None else []
        parts.append(f"{images_in(batch) * (batch_idx + 1) / (now - self.epoch_began):,.0f} images/s")
        if left := duration(self.left(trainer)):
            parts.append(f"{left} left")
        self.bar.update(self.task, completed=batch_idx + 1, now="  ".join(parts))

    def left(self, trainer: Trainer) -> float | None:
        """Estimated seconds that training still needs, from its speed since the start; None if unknown."""
        total = planned_steps(trainer)
        done = trainer.global_step - self.first_step
        if math.isinf(total) or done <= 0:
            return None
        return (time.monotonic() - self.began) / done * (total - trainer.global_step)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep the new scores for the epoch's line."""
        if not trainer.sanity_checking and trainer.state.fn == "fit":
            wanted = {score.name: f"val/{score.name}" for score in cast(Task, pl_module).scores()}
            values = trainer.callback_metrics
            self.validated = {name: float(values[key]) for name, key in wanted.items() if key in values}

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the epoch's line: loss, learning rate, the scores of validation if they are new, and time."""
        if not trainer.is_global_zero:
            return
        self.close()
        values = trainer.callback_metrics
        parts = [f"{name} {float(values[key]):.4g}" for name in ("loss", "error") if (key := f"train/{name}") in values]
        parts += [f"lr {rate:.3g}"] if (rate := rate_of(trainer)) is not None else []
        if self.validated:
            parts.append("val " + "  ".join(f"{name} {value:.2f}" for name, value in self.validated.items()))
        seconds = time.monotonic() - self.epoch_began
        left = duration(self.left(trainer)) if trainer.current_epoch + 1 != trainer.max_epochs else ""
        parts.append(f"{duration(seconds)}" + (f", {left} left" if left else ""))
        self.line(f"{epoch_of(trainer)}  {'  '.join(parts)}")

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Remove the bar before an error is shown."""
        self.close()

    def close(self) -> None:
        """End the bar."""
        if self.bar is not None:
            self.bar.stop()
            self.bar = None

    def line(self, text: str, indent: int | None = 2) -> None:
        """Write a permanent line; a closed terminal does not stop training.

        Args:
            text: The line.
            indent: Indentation of continuation lines on a terminal; None for a command, which must stay in one line to
                be copied.
        """
        if self.console.is_terminal and indent is not None:
            text = textwrap.fill(text, self.console.width, subsequent_indent=" " * indent, break_on_hyphens=False)
        with contextlib.suppress(OSError, ValueError):
            self.console.print(text, highlight=False, markup=False, soft_wrap=True)


def epoch_of(trainer: Trainer) -> str:
    """The number of the epoch, and the total."""
    epochs = trainer.max_epochs if trainer.max_epochs and trainer.max_epochs > 0 else "?"
    return f"epoch {trainer.current_epoch + 1}/{epochs}"


def rate_of(trainer: Trainer) -> float | None:
    """The learning rate of the first group of the first optimizer."""
    return float(trainer.optimizers[0].param_groups[0]["lr"]) if trainer.optimizers else None


def images_in(batch: Any) -> int:
    """Number of images in a batch; 0 if unknown."""
    images = batch.get("image") if isinstance(batch, Mapping) else None
    return len(images) if images is not None else 0


def duration(seconds: float | None) -> str:
    """A duration in readable form: 4.2 s, 45 s, 12 min, 3 h 05."""
    if seconds is None:
        return ""
    if seconds < 90:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02}"


def banner(trainer: Trainer, task: Task, facts: Mapping[str, Any], folder: Path) -> dict[str, str]:
    """The description of a run, one line per heading."""
    data = cast(Data, trainer.datamodule)  # type: ignore[attr-defined]
    description = data.describe()
    parameters = sum(parameter.numel() for parameter in task.parameters())
    size = "x".join(map(str, data.image_size))
    weights = {"timm": "pretrained weights", "random": "random weights"}.get(facts["weights"], facts["weights"])
    counts = description.get("images", {})
    images = ", ".join(f"{counts[split]:,} {split}" for split in sorted(counts, key=lambda split: split != "train"))
    steps = planned_steps(trainer)
    length = "" if math.isinf(steps) else f", {int(steps):,} steps"
    epochs = f"{trainer.max_epochs} epoch{'s' if trainer.max_epochs != 1 else ''}"
    optimizer = type(trainer.optimizers[0]).__name__ if trainer.optimizers else "no optimizer"
    device = trainer.strategy.root_device
    processes = f" x {trainer.world_size}" if trainer.world_size > 1 else ""
    attention = catalogue.display_name("attention", facts["attention"])
    lines = {
        "network": f"{task.backbone}, {attention}: {parameters / 1e6:.2f} M parameters, {size}, {weights}",
        "data": f"{description.get('data', type(data).__name__)}: {images}",
        "training": f"{optimizer}, {type(task.schedule).__name__}, {epochs}{length}",
        "device": f"{device_name(device)}{processes}, {trainer.precision}",
        "run": str(folder),
    }
    if shares := sorted(data.class_shares_seen().items(), key=lambda one: -one[1]):
        named = [f"{name} {100 * share:.1f} %" for name, share in shares]
        lines["labels"] = "so far read: " + ", ".join(named if len(named) <= 6 else [*named[:3], "...", *named[-3:]])
    said = ("model.backbone", "trainer.max_epochs", "trainer.max_steps")  # in the lines above
    if changed := [shown(name, value) for name, value in facts["overrides"].items() if name not in said]:
        lines["changed"] = ", ".join(changed)
    if task.beginning:
        lines["weights"] = task.beginning
    return lines


def device_name(device: Any) -> str:
    """Display name of a device."""
    import torch

    return torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)


# --- The end --------------------------------------------------------------------------------------------------------


def show_scores(console: Console, scores: Mapping[str, float], families: Mapping[str, Any]) -> None:
    """Print scores one per line, and those by class or set as tables.

    Args:
        console: Console to print to.
        scores: Scores by name.
        families: Columns and rows of the tables, as from `relattn.runs.wandb_logging.tables`.
    """
    plain = {name: value for name, value in scores.items() if name.count("/") < 2}
    width = max(map(len, plain), default=0)
    for name, value in sorted(plain.items()):
        console.print(f"{name:<{width}}  {value:.4f}", highlight=False, markup=False)
    for key, (columns, rows) in families.items():
        table = Table(title=key.removesuffix("_table"), title_justify="left")
        for number, column in enumerate(columns):
            table.add_column(column, justify="left" if number == 0 else "right")
        for name, *values in rows:
            table.add_row(str(name), *(f"{value:.2f}" for value in values))
        console.print(table)


def table_of_sets(task: type[Task], scores: Mapping[str, float], own: str, others: Iterable[str]) -> Table:
    """A table with a row for each test set and a column for each score of the task."""
    names = [score.name for score in task.scores() if "/" not in score.name]
    table = Table("test set", *names)
    rows = {own: {name: f"test/{name}" for name in names}}
    rows |= {one: {name: f"test/{name_in_set(name, one)}" for name in names} for one in others}
    for row, keys in rows.items():
        values = (scores.get(keys[name]) for name in names)
        table.add_row(row, *("" if value is None else f"{value:.2f}" for value in values))
    return table


def next_commands(command: str, folder: Path) -> list[str]:
    """Commands that may be useful after training has succeeded."""
    run = shlex.quote(str(folder))
    if command != "fit":
        return []
    return [
        f"relattn test --ckpt_path {run}",
        f"relattn figures --ckpt_path {run} --figure grad-cam",
        f"relattn report {shlex.quote(str(folder.parent))}",
    ]
