"""The record of a run: its configuration when it starts, a line for each epoch, and its result when it ends."""

import statistics
import time
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import torch
from lightning import __version__
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.cli import SaveConfigCallback
from lightning.pytorch.utilities import rank_zero_only
from rich.console import Console

import relattn
from relattn.costs.measure import count_macs
from relattn.runs import wandb_logging
from relattn.runs.provenance import git_state, hidden, versions
from relattn.runs.run_folder import read_json, write_json
from relattn.tasks.base import Task
from relattn.tasks.data import Data


class RunRecord(SaveConfigCallback):
    """Keeps what a run is: `config.yaml` and `run.json` when it starts, and `result.json` when it ends."""

    def __init__(self, parser: Any, config: Any, facts: dict[str, Any], asked: Any) -> None:
        """Keep `facts` for the result, and `asked`, the configuration before the run's own names were filled in."""
        super().__init__(parser, config, save_to_log_dir=False)
        self.asked = asked
        self.facts = facts
        self.made: dict[str, Any] = {}
        self.console = Console(stderr=True)
        self.started = time.monotonic()
        self.step_ended: float | None = None
        self.step_seconds: list[float] = []

    @cached_property
    def text(self) -> str:
        """The configuration as YAML, which reproduces the run by itself but for keys and passwords, which it lacks."""
        return str(hidden(self.parser.dump(self.asked, skip_unset=False)))

    def save_config(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        folder = Path(trainer.default_root_dir)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.yaml").write_text(self.text)
        self.made = made(trainer)
        if before := read_json(folder / "run.json"):  # of a run that goes on
            self.made["earlier"] = [*before.pop("earlier", []), before]
        write_json(folder / "run.json", {**self.facts, **self.made})
        for logger in wandb_logging.loggers_of(trainer.loggers):
            wandb_logging.log_start(logger, hidden(self.config.as_dict()), self.facts)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        checkpoint["config"] = self.text
        checkpoint["seconds"] = self.seconds()

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        if trainer.state.fn == "fit":
            self.started -= checkpoint.get("seconds", 0.0)  # a run that goes on has taken that long already

    def seconds(self) -> float:
        """Seconds that the run has taken, over all times that it was started."""
        return time.monotonic() - self.started

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Say where the run is, one line an epoch, where no progress bar does."""
        if trainer.is_global_zero and trainer.progress_bar_callback is None:
            metrics = trainer.callback_metrics.items()
            task = cast(Task, pl_module)
            wanted = {"lr", *(f"train/{name}" for name in ("loss", "error"))}
            wanted |= {f"val/{score.name}" for score in task.scores()} | {"val/score"}
            shown = {name: float(value) for name, value in metrics if name in wanted}
            values = "  ".join(f"{name} {value:.4g}" for name, value in sorted(shown.items()))
            epochs = trainer.max_epochs if trainer.max_epochs and trainer.max_epochs > 0 else "?"
            line = f"epoch {trainer.current_epoch + 1}/{epochs}  {values}  {self.seconds():.0f} s"
            self.console.print(line, highlight=False, soft_wrap=True)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.step_ended = None  # what lies between two epochs is no step

    def on_train_batch_end(self, *arguments: Any) -> None:
        """Keep how long each step takes, the loading of its batch included."""
        now = time.monotonic()
        if self.step_ended is not None:
            self.step_seconds.append(now - self.step_ended)
        self.step_ended = now

    def costs(self, module: Task, data: Data) -> dict[str, float]:
        """What the network costs: multiply-accumulates of an image, and seconds of a step of training (the median)."""
        found: dict[str, float] = {}
        if module.compile_mode is None and module.network is not None:
            training = module.network.training
            image = torch.zeros(1, 3, *data.image_size, device=module.device)
            found["macs"] = count_macs(module.network.eval(), image)
            module.network.train(training)
        if self.step_seconds:
            found["seconds_per_step"] = round(statistics.median(self.step_seconds), 6)
        return found

    def write_result(self, trainer: Trainer, module: Task, data: Data, scores: dict[str, float]) -> dict[str, Any]:
        """Write `result.json` and return its content: what was run, on what, with which outcome."""
        content = {
            **self.facts,
            **module.describe(),
            **self.made,
            **self.costs(module, data),
            "epochs": trainer.current_epoch,
            "steps": trainer.global_step,
            "scores": {name: round(value, 4) for name, value in scores.items()},
            "seconds": round(self.seconds(), 1),
        }
        write_json(Path(trainer.default_root_dir) / "result.json", content)
        return content


def made(trainer: Trainer) -> dict[str, Any]:
    """What a run is made of and with: the data, the numerics, the machine, the code."""
    device, data = trainer.strategy.root_device, cast(Data, trainer.datamodule)  # type: ignore[attr-defined]
    deterministic: bool | str = torch.are_deterministic_algorithms_enabled()
    if deterministic and torch.is_deterministic_algorithms_warn_only_enabled():
        deterministic = "warn"
    own = {"relattn": relattn.__version__, "torch": torch.__version__, "lightning": __version__}
    if device.type == "cuda":
        own |= {"cuda": str(torch.version.cuda), "cudnn": str(torch.backends.cudnn.version())}
    return {
        **data.describe(),
        "deterministic": deterministic,
        "precision": str(trainer.precision),
        "processes": trainer.world_size,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "versions": {**own, **versions()},
        "git": git_state(),
    }


def keep_metrics(file: Path) -> None:
    """Put the metrics of a run that goes on aside, as metrics-1.csv and so on: the logger begins a new file."""
    if file.is_file() and getattr(rank_zero_only, "rank", 0) == 0:
        number = 1 + len(list(file.parent.glob("metrics-*.csv")))
        file.rename(file.with_name(f"metrics-{number}.csv"))
