"""The record of a run: its configuration at the start, a row per epoch, and its result at the end.

Nothing is written before training (or an evaluation) really starts. By then options, data, network, checkpoint and
optimizer are known to be compatible, so a run that is refused leaves its folder unchanged.
"""

import statistics
import time
import warnings
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import torch
import yaml
from lightning import __version__
from lightning.fabric.utilities.data import sized_len
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
from relattn.tasks.run_outputs import rehearses


class RunRecord(Callback):
    """Records a run: `config.yaml` and `run.json` at the start, and `result.json` at the end."""

    def __init__(self, config: str, facts: dict[str, Any], claim: RunClaim) -> None:
        """Prepare the record.

        Args:
            config: The configuration as YAML, which reproduces the run except for keys and passwords.
            facts: Entries of the record that are known before the start.
            claim: The run's folder, which is kept once something has been written into it.
        """
        super().__init__()
        self.config, self.facts, self.claim = hidden_in_yaml(config), hidden(facts), claim
        self.loggers: list[Logger] = []
        """The user's loggers, which start with the run: Lightning would create their files before data are read."""
        self.made: dict[str, Any] = {}
        self.started = time.monotonic()
        self.step_ended: float | None = None
        self.step_seconds: list[float] = []
        self.resumed_rows: list[dict[str, float]] | None = None
        self.kept_scores: dict[str, float] = {}
        self.test_sets: dict[str, dict[str, Any]] = {}
        """Descriptions of the additional test sets, by name."""
        self.chosen: dict[str, Any] | None = None
        """The checkpoint that validation chose and that was tested; None for the last epoch's."""
        self.partial: dict[str, str] = {}
        """Stages that saw only a part of their images, and which part."""

    def begin(self, trainer: Trainer) -> None:
        """Write the record of the start; a rehearsal with `fast_dev_run` writes nothing."""
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
        if isinstance(trainer.lightning_module, Task):
            trainer.lightning_module.run_config = self.config
        if beginning := getattr(trainer.lightning_module, "beginning", ""):
            self.made["beginning"] = hidden(beginning)
        folder = Path(trainer.default_root_dir)
        keep_config(folder / "config.yaml", self.config)
        if before := read_json(folder / "run.json"):  # from before the run was resumed
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
        """Pass to the user's loggers what the checkpoint of a resumed run contains and they may lack.

        That is the row of its last epoch, because a run may be killed after writing the checkpoint and before logging
        that row. Otherwise the row is logged twice, with the same values.
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
        """Remember that a stage sees only a part of its images."""
        if trainer.sanity_checking:
            return
        loaders = getattr(trainer, f"{stage}_dataloaders")
        lengths = [sized_len(loader) for loader in (loaders if isinstance(loaders, list) else [loaders])]
        if None in lengths:  # of an iterable data set
            return
        total = sum(lengths)  # type: ignore[arg-type]
        count = sum(batches) if isinstance(batches, list) else batches
        if count < total and not rehearses(trainer):
            self.partial[stage] = f"{count:g} of {total} batches, --trainer.limit_{stage}_batches"

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Store all that a run needs to resume as if it had never stopped, and to be identified without its folder."""
        whole_epoch = epoch_has_ended(trainer)
        rows = list(metrics_logger(trainer).rows)
        checkpoint["config"] = self.config
        checkpoint["seconds"] = self.seconds()
        checkpoint["facts"] = self.facts
        checkpoint["data"] = {name: self.made.get(name) for name in ("data", "fingerprint")}
        checkpoint["metrics"] = [*rows, row_of_epoch(trainer)] if whole_epoch else rows
        checkpoint["scores"] = self.kept_scores | logged_scores(trainer)
        # For example by EarlyStopping: a resumed run must not train one more epoch before finding out again.
        checkpoint["stopped"] = whole_epoch and trainer.should_stop and trainer.fit_loop._can_stop_early
        checkpoint["progress"] = {
            "epochs": trainer.fit_loop.epoch_progress.state_dict()["current"]["processed"],
            "steps": trainer.global_step,
            "within_epoch": not whole_epoch,
        }

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        if trainer.state.fn == "fit":
            self.started -= checkpoint.get("seconds", 0.0)  # the resumed run has already taken this long
            self.resumed_rows = checkpoint.get("metrics")
            self.kept_scores = checkpoint.get("scores", {})

    def seconds(self) -> float:
        """Total seconds that the run has taken, including those before it was resumed."""
        return time.monotonic() - self.started

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.step_ended = None  # the time between two epochs is not part of a step

    def on_train_batch_end(self, *arguments: Any) -> None:
        """Store the duration of each step, including the loading of its batch."""
        now = time.monotonic()
        if self.step_ended is not None:
            self.step_seconds.append(now - self.step_ended)
        self.step_ended = now

    def write_result(self, trainer: Trainer, module: Task, data: Data, scores: dict[str, float]) -> dict[str, Any]:
        """Write `result.json` and return its content: the run, its data, its outcome and its costs.

        It is written in one go, so a run that is killed here has no result and is tested again. An error while counting
        the costs does not affect the scores.
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
            "ended": datetime.now(UTC).isoformat(),
        }
        try:
            content |= self.costs(module, data)
        except Exception as error:  # a user's own network may raise anything for a single image
            warnings.warn(f"The costs of the network could not be counted: {error}", stacklevel=2)
        publish_json(path, content)
        return content

    def costs(self, module: Task, data: Data) -> dict[str, float]:
        """The network's costs: multiply-accumulates per image, and the median of the seconds per training step."""
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
    """Let loggers fail before anything is written, for example if there is no account or the server does not answer."""
    if trainer.is_global_zero:
        for logger in trainer.loggers:
            getattr(logger, "experiment", None)


def logged_scores(trainer: Trainer) -> dict[str, float]:
    """The metrics logged last, without the learning rate."""
    return {name: float(value) for name, value in trainer.callback_metrics.items() if "/" in name}


def keep_config(file: Path, text: str) -> None:
    """Write a run's configuration; an earlier one is kept as `config-1.yaml` and so on."""
    if file.is_file() and (before := file.read_text(encoding="utf-8")) != text:
        number = 1 + len(list(file.parent.glob("config-*.yaml")))
        remove_leftovers(file.with_name(f"config-{number - 1}.yaml"))  # which is never written again
        publish_text(file.with_name(f"config-{number}.yaml"), before)
    publish_text(file, text)


def made(trainer: Trainer) -> dict[str, Any]:
    """Describe the data, numerics, machine and code of a run."""
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
