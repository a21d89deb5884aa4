"""The record of a run: its configuration when it starts, a line for each epoch, and its result when it ends.

Nothing is written before training (or an evaluation) really starts: by then options, data, network, checkpoint and
optimizer have been found to go together, so that a run that is refused leaves its folder as it was.
"""

import statistics
import time
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

import torch
import yaml
from lightning import __version__
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import Logger, WandbLogger

import relattn
from relattn.costs.measure import count_macs
from relattn.publish import publish_json, publish_text, remove_leftovers
from relattn.runs import wandb_logging
from relattn.runs.metrics import MetricsLogger, epoch_has_ended, log_row, metrics_logger, row_of_epoch
from relattn.runs.provenance import git_state, versions
from relattn.runs.run_folder import RunClaim, read_json
from relattn.runs.secrets import hidden, hidden_in_yaml
from relattn.tasks.base import Task
from relattn.tasks.data import Data


class RunRecord(Callback):
    """Keeps what a run is: `config.yaml` and `run.json` when it starts, and `result.json` when it ends."""

    def __init__(self, config: str, facts: dict[str, Any], claim: RunClaim) -> None:
        """Prepare the record.

        Args:
            config: The configuration as YAML, which reproduces the run by itself but for keys and passwords.
            facts: Entries of the record that are known before it starts.
            claim: The run's folder, which stays once something is written into it.
        """
        super().__init__()
        self.config, self.facts, self.claim = hidden_in_yaml(config), hidden(facts), claim
        self.loggers: list[Logger] = []
        """The user's, which begin with the run: Lightning would make their runs and folders before data are read."""
        self.made: dict[str, Any] = {}
        self.started = time.monotonic()
        self.step_ended: float | None = None
        self.step_seconds: list[float] = []
        self.resumed_rows: list[dict[str, float]] | None = None
        self.kept_scores: dict[str, float] = {}
        self.test_sets: dict[str, dict[str, Any]] = {}
        """Descriptions of the test sets beside the run's own, by their names."""
        self.chosen: dict[str, Any] | None = None
        """The checkpoint that was chosen by validation and tested; None for the last epoch's."""
        self.partial: dict[str, str] = {}
        """Stages that have seen a part of their images, and which part."""

    def begin(self, trainer: Trainer) -> None:
        """Write what the run is; a rehearsal with `fast_dev_run` leaves nothing."""
        self.made = hidden(made(trainer))
        if rehearses(trainer):
            self.claim.running = True
            return
        trainer.loggers, self.loggers = [*trainer.loggers, *self.loggers], []
        begin_loggers(trainer)
        self.claim.running = True
        if not trainer.is_global_zero:
            return
        self.claim.started = True
        if beginning := getattr(trainer.lightning_module, "beginning", ""):
            self.made["beginning"] = hidden(beginning)
        folder = Path(trainer.default_root_dir)
        keep_config(folder / "config.yaml", self.config)
        if before := read_json(folder / "run.json"):  # of a run that goes on
            self.made["earlier"] = [*before.pop("earlier", []), before]
        publish_json(folder / "run.json", {**self.facts, **self.made})
        metrics_logger(trainer).begin(self.resumed_rows)
        config = yaml.safe_load(self.config)
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):
                wandb_logging.log_start(logger, config, {**self.facts, **self.made})
            else:
                logger.log_hyperparams({name: config.get(name) for name in ("seed_everything", "model", "data")})
        self.log_resumed(trainer.loggers)

    def log_resumed(self, loggers: Iterable[Logger]) -> None:
        """Give the user's loggers what the checkpoint of a run that goes on holds and they may lack.

        That is the row of its last epoch, since a kill may come after the checkpoint and before that row is logged;
        another time it is logged twice, with equal values.
        """
        for logger in loggers:
            if not self.resumed_rows or isinstance(logger, MetricsLogger):
                continue
            if isinstance(logger, WandbLogger) and wandb_logging.begin_anew_offline(logger, self.resumed_rows):
                continue
            log_row(logger, self.resumed_rows[-1])

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.begin(trainer)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.note_part(trainer, "val", trainer.num_val_batches)
        if trainer.state.fn == "validate":
            self.begin(trainer)

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.note_part(trainer, "test", trainer.num_test_batches)
        if not self.made:
            self.begin(trainer)

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.note_part(trainer, "predict", trainer.num_predict_batches)
        self.begin(trainer)

    def note_part(self, trainer: Trainer, stage: str, batches: Any) -> None:
        """Remember that a stage sees a part of its images alone."""
        if trainer.sanity_checking:
            return
        loaders = getattr(trainer, f"{stage}_dataloaders")
        total = sum(len(loader) for loader in (loaders if isinstance(loaders, list) else [loaders]))
        count = sum(batches) if isinstance(batches, list) else batches
        if count < total and not rehearses(trainer):
            self.partial[stage] = f"{count:g} of {total} batches, --trainer.limit_{stage}_batches"

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Keep all that a run needs to go on as if it had never stopped, and to be known without its folder."""
        whole_epoch = epoch_has_ended(trainer)
        rows = list(metrics_logger(trainer).rows)
        checkpoint["config"] = self.config
        checkpoint["seconds"] = self.seconds()
        checkpoint["facts"] = self.facts
        checkpoint["data"] = {name: self.made.get(name) for name in ("data", "fingerprint")}
        checkpoint["metrics"] = [*rows, row_of_epoch(trainer)] if whole_epoch else rows
        checkpoint["scores"] = self.kept_scores | logged_scores(trainer)
        # Such as by EarlyStopping: going on must not train an epoch more before the same is found out again.
        checkpoint["stopped"] = whole_epoch and trainer.should_stop and trainer.fit_loop._can_stop_early
        checkpoint["progress"] = {
            "epochs": trainer.fit_loop.epoch_progress.state_dict()["current"]["processed"],
            "steps": trainer.global_step,
            "within_epoch": not whole_epoch,
        }

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        if trainer.state.fn == "fit":
            self.started -= checkpoint.get("seconds", 0.0)  # a run that goes on has taken that long already
            self.resumed_rows = checkpoint.get("metrics")
            self.kept_scores = checkpoint.get("scores", {})

    def seconds(self) -> float:
        """Seconds that the run has taken, over all times that it was started."""
        return time.monotonic() - self.started

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.step_ended = None  # what lies between two epochs is no step

    def on_train_batch_end(self, *arguments: Any) -> None:
        """Keep how long each step takes, the loading of its batch included."""
        now = time.monotonic()
        if self.step_ended is not None:
            self.step_seconds.append(now - self.step_ended)
        self.step_ended = now

    def write_result(self, trainer: Trainer, module: Task, data: Data, scores: dict[str, float]) -> dict[str, Any]:
        """Write `result.json` and return its content: the run, its data, its outcome and its costs.

        It is written once, so that a run that is killed here has no result, and is tested again; whatever goes wrong
        with the costs takes no score with it.
        """
        path = Path(trainer.default_root_dir) / "result.json"
        content: dict[str, Any] = {
            **self.facts,
            **hidden(module.describe()),
            **self.made,
            "epochs": trainer.current_epoch,
            "steps": trainer.global_step,
            "scores": {name: round(value, 4) for name, value in scores.items()},
            **({"tested": self.chosen} if self.chosen else {}),
            **({"test_sets": hidden(self.test_sets)} if self.test_sets else {}),
            **({"partial": self.partial} if self.partial else {}),
            "seconds": round(self.seconds(), 1),
        }
        try:
            content |= self.costs(module, data)
        except Exception as error:  # whatever a network of the user's own raises for one image
            warnings.warn(f"The costs of the network could not be counted: {error}", stacklevel=2)
        publish_json(path, content)
        return content

    def costs(self, module: Task, data: Data) -> dict[str, float]:
        """The network's costs: multiply-accumulates of an image, and seconds of a step of training (the median)."""
        costs: dict[str, float] = {}
        if self.step_seconds:
            costs["seconds_per_step"] = round(statistics.median(self.step_seconds), 6)
        if module.compile_mode is None and module.network is not None:
            dtype = next((p.dtype for p in module.network.parameters() if p.is_floating_point()), torch.float32)
            image = torch.zeros(1, 3, *data.image_size, device=module.device, dtype=dtype)
            training = module.network.training
            costs["macs"] = count_macs(module.network.eval(), image)
            module.network.train(training)
        return costs


def begin_loggers(trainer: Trainer) -> None:
    """Let loggers refuse before anything is written: no account, a server that does not answer."""
    if trainer.is_global_zero:
        for logger in trainer.loggers:
            getattr(logger, "experiment", None)


def rehearses(trainer: Trainer) -> bool:
    """Whether a few batches are run for a trial only."""
    return bool(trainer.fast_dev_run)  # type: ignore[attr-defined]


def logged_scores(trainer: Trainer) -> dict[str, float]:
    """The metrics that were logged last, but for the learning rate."""
    return {name: float(value) for name, value in trainer.callback_metrics.items() if "/" in name}


def keep_config(file: Path, text: str) -> None:
    """Write a run's configuration; one that it had before is kept as `config-1.yaml` and so on."""
    if file.is_file() and (before := file.read_text(encoding="utf-8")) != text:
        number = 1 + len(list(file.parent.glob("config-*.yaml")))
        remove_leftovers(file.with_name(f"config-{number - 1}.yaml"))  # which nobody writes again
        publish_text(file.with_name(f"config-{number}.yaml"), before)
    publish_text(file, text)


def made(trainer: Trainer) -> dict[str, Any]:
    """The data, the numerics, the machine and the code of a run."""
    device, data = trainer.strategy.root_device, cast(Data, trainer.datamodule)  # type: ignore[attr-defined]
    deterministic: bool | str = torch.are_deterministic_algorithms_enabled()
    if deterministic and torch.is_deterministic_algorithms_warn_only_enabled():
        deterministic = "warn"
    packages = {"relattn": relattn.__version__, "torch": torch.__version__, "lightning": __version__}
    if device.type == "cuda":
        packages |= {"cuda": str(torch.version.cuda), "cudnn": str(torch.backends.cudnn.version())}
    return {
        **data.describe(),
        "deterministic": deterministic,
        "precision": str(trainer.precision),
        "processes": trainer.world_size,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "versions": {**packages, **versions()},
        "git": git_state(),
    }
