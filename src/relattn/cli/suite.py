"""LightningCLI for the suite: every run owns a folder with its configuration, metrics, checkpoints and result."""

import json
import os
import statistics
import time
from pathlib import Path
from typing import Any, cast

import torch
import yaml
from lightning import __version__
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, LearningRateMonitor, ModelCheckpoint
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI, SaveConfigCallback
from lightning.pytorch.loggers import CSVLogger, Logger
from lightning.pytorch.utilities import rank_zero_only
from rich.console import Console

import relattn
import relattn.attention
from relattn.benchmark.measure import count_macs
from relattn.cli import wandb_run
from relattn.cli.flags import run_of
from relattn.cli.trainer import attention_name, check_gpus, claim_folder
from relattn.errors import InputError
from tasks.base import Data, Task
from tasks.checkpoints import Checkpoints
from tasks.loading import read


class RunRecord(SaveConfigCallback):
    """Keeps what a run is: `config.yaml` when it starts, in every checkpoint, and `result.json` when it ends."""

    def __init__(self, parser: Any, config: Any, facts: dict[str, Any], asked: Any) -> None:
        """Keep `facts` for the result, and `asked`, the configuration before the run's own names were filled in."""
        super().__init__(parser, config, save_to_log_dir=False)
        self.asked = asked
        self.facts = facts
        self.console = Console(stderr=True)
        self.started = time.monotonic()
        self.step_ended: float | None = None
        self.step_seconds: list[float] = []

    def text(self) -> str:
        """The configuration as YAML, which reproduces the run by itself."""
        return str(self.parser.dump(self.asked, skip_unset=False))

    def save_config(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        folder = Path(trainer.default_root_dir)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.yaml").write_text(self.text())
        for logger in wandb_run.loggers_of(trainer.loggers):
            wandb_run.log_start(logger, self.config.as_dict(), self.facts)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        checkpoint["config"] = self.text()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Say where the run is, one line an epoch, where no progress bar does."""
        if trainer.is_global_zero and trainer.progress_bar_callback is None:
            metrics = trainer.callback_metrics.items()
            wanted = ("lr", *cast(Task, pl_module).progress)
            shown = {name: float(value) for name, value in metrics if name.rpartition("/")[2] in wanted}
            values = "  ".join(f"{name} {value:.4g}" for name, value in sorted(shown.items()))
            epochs = trainer.max_epochs if trainer.max_epochs and trainer.max_epochs > 0 else "?"
            elapsed = time.monotonic() - self.started
            line = f"epoch {trainer.current_epoch + 1}/{epochs}  {values}  {elapsed:.0f} s"
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
        path = Path(trainer.default_root_dir) / "result.json"
        device = trainer.strategy.root_device
        content = {
            **self.facts,
            **module.describe(),
            **data.describe(),
            **self.costs(module, data),
            "epochs": trainer.current_epoch,
            "steps": trainer.global_step,
            "scores": {name: round(value, 4) for name, value in scores.items()},
            "seconds": round(time.monotonic() - self.started, 1),
            "processes": trainer.world_size,
            "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
            "versions": {"relattn": relattn.__version__, "torch": torch.__version__, "lightning": __version__},
        }
        beside = path.with_name(".result.json")
        beside.write_text(json.dumps(content, indent=2) + "\n")
        beside.replace(path)  # at once: a result that is there is complete
        return content


def keep_metrics(file: Path) -> None:
    """Put the metrics of a run that goes on aside, as metrics-1.csv and so on: the logger begins a new file."""
    if file.is_file() and getattr(rank_zero_only, "rank", 0) == 0:
        number = 1 + len(list(file.parent.glob("metrics-*.csv")))
        file.rename(file.with_name(f"metrics-{number}.csv"))


class SuiteCLI(LightningCLI):
    """One Lightning command over the suite's tasks and data sets."""

    def __init__(self, command: str, arguments: list[str], own: dict[str, str]) -> None:
        """Parse and run.

        Args:
            command: `fit`, `validate`, `test` or `predict`.
            arguments: Lightning's options.
            own: The suite's own flags: `name` and `runs`.
        """
        self.command, self.own = command, own
        super().__init__(
            Task,
            Data,
            subclass_mode_model=True,
            subclass_mode_data=True,
            save_config_callback=RunRecord,
            trainer_defaults={"enable_progress_bar": os.isatty(2), "enable_model_summary": False},
            seed_everything_default=0,
            auto_configure_optimizers=False,
            load_from_checkpoint_support=False,
            parser_kwargs={"prog": "relattn"},
            args=[command, *arguments],
        )

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse without Lightning's warning that `sys.argv` has arguments too: they are the same ones."""
        self.config = parser.parse_args(args)

    def _parse_ckpt_path(self) -> None:
        """Take nothing from a checkpoint: Lightning would let what it holds override the command line."""

    def before_instantiate_classes(self) -> None:
        """Check the devices and give the run its folder."""
        config = self.config[self.command]
        trainer = config.trainer
        check_gpus(trainer.accelerator, trainer.devices)
        model, data = config.model, config.data
        arguments = model.init_args
        if self.command != "fit" and not config.get("ckpt_path") and not arguments.pretrained:
            raise InputError(f"relattn {self.command} needs a trained network: --ckpt_path FILE.")
        attention = attention_name(arguments.attention)
        task = model.class_path.split(".")[1]
        data_name = data.class_path.rpartition(".")[2]
        name = f"{data_name.lower()}-{arguments.backbone}-{attention}-s{config.seed_everything}"
        run = run_of(Path(config.ckpt_path)) if config.get("ckpt_path") else None
        if self.command == "fit":
            parent, exact = Path(self.own.get("runs", "runs")) / task, "name" in self.own
            self.folder = run or claim_folder(parent, self.own.get("name", name), exact=exact)
            if run is not None:
                self.check_same_network(run)
                keep_metrics(self.folder / "metrics.csv")
        else:
            parent = run or Path(self.own.get("runs", "runs")) / task / self.own.get("name", name)
            self.folder = claim_folder(parent, self.command, exact=False)
        trainer.default_root_dir = str(self.folder)
        weights = "timm" if arguments.pretrained is True else arguments.pretrained or "random"
        self.facts = {
            "task": task,
            "run": self.folder.name if self.command == "fit" else parent.name,
            "backbone": arguments.backbone,
            "attention": attention,
            "data": data_name,
            "seed": config.seed_everything,
            "weights": str(config.get("ckpt_path") or weights),
        }
        asked = config.clone()
        if self.command == "fit":
            asked.ckpt_path = None
        self.save_config_kwargs = {"facts": self.facts, "asked": asked}
        loggers = trainer.logger if isinstance(trainer.logger, list) else [trainer.logger]
        for logger in loggers:
            if getattr(logger, "class_path", "").endswith(".WandbLogger"):
                wandb_run.name_run(logger.init_args, self.folder, self.facts, self.command)

    def check_same_network(self, run: Path) -> None:
        """Refuse to go on with a run under another name, or with another network."""
        if "name" in self.own:
            raise InputError(f"--name is given, but a run that goes on keeps its folder, {run}: leave one of them out.")
        checkpoint = self.config[self.command].ckpt_path
        if "optimizer_states" not in read(checkpoint):
            raise InputError(
                f"{checkpoint} holds weights alone, as `relattn convert` writes them, and no training to go on with: "
                "use it with relattn test, predict or embed."
            )
        now = yaml.safe_load(self._parser(self.command).dump(self.config[self.command], skip_unset=False))
        before = yaml.safe_load((run / "config.yaml").read_text())
        for key in ("backbone", "attention", "stages", "placement"):
            was, is_now = (config["model"]["init_args"].get(key) for config in (before, now))
            if was != is_now:
                raise InputError(f"{run} has {key} {was}, and {is_now} is asked for: its checkpoint does not fit.")

    def instantiate_classes(self) -> None:
        """Instantiate; what a class of ours says of its arguments is not buried under what jsonargparse says."""
        try:
            super().instantiate_classes()
        except ValueError as error:
            cause: BaseException | None = error
            while cause is not None and not isinstance(cause, InputError):
                cause = cause.__cause__ or cause.__context__
            raise cause or error from None

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """The configured trainer, with the run's loggers and checkpoints."""
        config = self._get(self.config_init, "trainer", default={})
        callbacks: list[Callback] = list(config["callbacks"] or [])
        loggers: list[Logger] = [CSVLogger(self.folder, name="", version="")]
        configured = config["logger"]
        if isinstance(configured, Logger | list):
            loggers += configured if isinstance(configured, list) else [configured]
        if self.command == "fit":
            if config["enable_checkpointing"] is not False:
                place = self.folder / "checkpoints"
                last = ModelCheckpoint(place, "last", enable_version_counter=False, save_on_train_epoch_end=True)
                callbacks.append(last)
            callbacks.append(LearningRateMonitor("epoch"))
        else:
            kwargs["enable_checkpointing"] = False
        plugins = [*(config["plugins"] or []), Checkpoints()]
        return super().instantiate_trainer(callbacks=callbacks, logger=loggers, plugins=plugins, **kwargs)

    def fit(self, model: Task, **options: Any) -> None:
        """Train; test the last epoch once; write down the outcome."""
        if self.facts["weights"] == "random" and self.trainer.is_global_zero:
            Console(stderr=True).print(f"{model.backbone} starts from random weights.", highlight=False)
        self.trainer.fit(model, **options)
        scores = self.scores()
        if self.trainer.fast_dev_run or self.trainer.interrupted:  # type: ignore[attr-defined]
            return
        self.trainer.test(model, datamodule=options["datamodule"], verbose=False)
        self.finish({**scores, **self.scores()})

    def validate(self, model: Task, **options: Any) -> None:
        self.trainer.validate(model, **{**options, "verbose": False})
        self.finish(self.scores())

    def test(self, model: Task, **options: Any) -> None:
        self.trainer.test(model, **{**options, "verbose": False})
        self.finish(self.scores())

    def predict(self, model: Task, **options: Any) -> None:
        self.trainer.predict(model, **{**options, "return_predictions": False})
        self.finish({})

    def scores(self) -> dict[str, float]:
        """The metrics that were logged last, but for the learning rate."""
        return {name: float(value) for name, value in self.trainer.callback_metrics.items() if "/" in name}

    def finish(self, scores: dict[str, float]) -> None:
        """Write the result and say where it is."""
        if not self.trainer.is_global_zero:
            return
        console = Console()
        (record,) = (callback for callback in self.trainer.callbacks if isinstance(callback, RunRecord))  # type: ignore[attr-defined]
        result = record.write_result(self.trainer, self.model, self.datamodule, scores)
        width = max(map(len, scores), default=0)
        for name, value in sorted(scores.items()):
            console.print(f"{name:<{width}}  {value:.4f}", highlight=False)
        if self.model.protocol:
            console.print(f"protocol: {self.model.protocol}", highlight=False)
        console.print(f"run: {self.folder}", highlight=False, soft_wrap=True)
        for logger in wandb_run.loggers_of(self.trainer.loggers):
            wandb_run.log_end(logger, scores, result)
