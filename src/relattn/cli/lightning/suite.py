"""LightningCLI for the suite: every run owns a folder with its configuration, metrics, checkpoints and result."""

import os
from argparse import ArgumentError
from pathlib import Path
from typing import Any

import yaml
from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Callback, LearningRateMonitor, ModelCheckpoint
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import CSVLogger, Logger
from rich.console import Console

from relattn.cli.lightning.checks import check_composition, check_config
from relattn.cli.lightning.commands import attention_name, check_gpus, claim_folder, name_of_run
from relattn.cli.lightning.complaints import complaint
from relattn.cli.lightning.recipes import CommandLine, imported
from relattn.errors import InputError
from relattn.runs import wandb_logging
from relattn.runs.checkpoints import Checkpoints, read_checkpoint, run_of
from relattn.runs.divergence import Divergence
from relattn.runs.interruption import Interrupted, Interruption
from relattn.runs.record import RunRecord, keep_metrics
from relattn.tasks.base import Task
from relattn.tasks.data import Data


class SuiteCLI(LightningCLI):
    """One Lightning command over the suite's tasks and data sets."""

    def __init__(self, command: str, line: CommandLine) -> None:
        """Parse and run.

        Args:
            command: `fit`, `validate`, `test` or `predict`.
            line: Its command line.
        """
        self.command, self.line, self.own = command, line, line.suite
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
            args=[command, *line.arguments()],
        )

    def subcommands(self) -> dict[str, set[str]]:  # type: ignore[override]
        """The command that is run: building the parsers of all four takes longer than parsing does."""
        return {self.command: LightningCLI.subcommands()[self.command]}

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Admit the names of recipes, which a run's configuration keeps."""
        # Not hidden by SUPPRESS: the parser would leave it out of the configuration that it writes.
        text = "names of the recipes that a configuration comes from; relattn writes them itself"
        parser.add_argument("--recipes", type=dict[str, str] | None, default=None, help=text)

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse without Lightning's warning that `sys.argv` has arguments too: they are the same ones."""
        parser.exit_on_error = self._parser(self.command).exit_on_error = False
        try:
            self.config = parser.parse_args(args)
        except ArgumentError as error:
            check_composition(self.line.config)  # options of another data set are a consequence
            raise complaint(str(error), self._parser(self.command), args) from error
        check_config(self.command, self.config[self.command])

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
        recipes = config.recipes or {}
        attention = attention_name(arguments.attention, recipes.get("attention"))
        task_class = imported(model.class_path)
        assert task_class is not None
        assert issubclass(task_class, Task)
        task = task_class.name
        data_name = data.class_path.rpartition(".")[2]
        given = f"{data_name.lower()}-{arguments.backbone}-{attention}-s{config.seed_everything}".replace("/", "_")
        name = name_of_run(self.own.get("name", given))
        run = run_of(Path(config.ckpt_path)) if config.get("ckpt_path") else None
        if self.command == "fit":
            parent, exact = Path(self.own.get("runs", "runs")) / task, "name" in self.own
            self.folder = run or claim_folder(parent, name, exact=exact)
            if run is not None:
                self.check_same_network(run)
                keep_metrics(self.folder / "metrics.csv")
        else:
            parent = run or Path(self.own.get("runs", "runs")) / task / name
            self.folder = claim_folder(parent, self.command, exact=False)
        asked = config.clone()
        if self.command == "fit":
            asked.ckpt_path = None
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
            "recipes": dict(recipes),
        }
        self.save_config_kwargs = {"facts": self.facts, "asked": asked}
        loggers = trainer.logger if isinstance(trainer.logger, list) else [trainer.logger]
        for logger in loggers:
            if getattr(logger, "class_path", "").endswith(".WandbLogger"):
                wandb_logging.name_run(logger.init_args, self.folder, self.facts, self.command)

    def check_same_network(self, run: Path) -> None:
        """Refuse to go on with a run under another name, or with another network."""
        if "name" in self.own:
            raise InputError(f"--name is given, but a run that goes on keeps its folder, {run}: leave one of them out.")
        checkpoint = self.config[self.command].ckpt_path
        if "optimizer_states" not in read_checkpoint(checkpoint):
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
        except (ValueError, TypeError, MisconfigurationException) as error:
            cause: BaseException | None = error
            while cause is not None and not isinstance(cause, InputError):
                cause = cause.__cause__ or cause.__context__
            if cause is None and isinstance(error, TypeError):
                raise
            raise cause or InputError(" ".join(str(error).split())) from error

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """The configured trainer, with the run's loggers and checkpoints."""
        config = self._get(self.config_init, "trainer", default={})
        callbacks: list[Callback] = list(config["callbacks"] or [])
        loggers: list[Logger] = [CSVLogger(self.folder, name="", version="")]
        configured = config["logger"]
        if isinstance(configured, Logger | list):
            loggers += configured if isinstance(configured, list) else [configured]
        if self.command == "fit":
            place = self.folder / "checkpoints" if config["enable_checkpointing"] is not False else None
            if place is not None:
                last = ModelCheckpoint(place, "last", enable_version_counter=False, save_on_train_epoch_end=True)
                callbacks.append(last)
            interruption = Interruption(place / "last.ckpt" if place else None)
            callbacks += [LearningRateMonitor("epoch"), Divergence(), interruption]
        else:
            kwargs["enable_checkpointing"] = False
        plugins = [*(config["plugins"] or []), Checkpoints()]
        if SLURMEnvironment.detect() and not any(isinstance(plugin, ClusterEnvironment) for plugin in plugins):
            plugins.append(SLURMEnvironment(auto_requeue=False))  # `Interruption` does that, between two steps
        return super().instantiate_trainer(callbacks=callbacks, logger=loggers, plugins=plugins, **kwargs)

    def fit(self, model: Task, **options: Any) -> None:
        """Train; test the last epoch once; write down the outcome."""
        if self.facts["weights"] == "random" and self.trainer.is_global_zero:
            Console(stderr=True).print(f"{model.backbone} starts from random weights.", highlight=False)
        try:
            self.trainer.fit(model, **options)
        except Interrupted as interrupted:
            self.say_how_to_go_on(interrupted)
            raise SystemExit(128 + interrupted.told) from None  # the shell's number for this signal
        scores = self.scores()
        if self.trainer.fast_dev_run or self.trainer.interrupted:  # type: ignore[attr-defined]
            return
        self.trainer.test(model, datamodule=options["datamodule"], verbose=False)
        self.finish({**scores, **self.scores()})

    def say_how_to_go_on(self, interrupted: Interrupted) -> None:
        """Say where a run was stopped, and the command that continues it."""
        if self.trainer.is_global_zero:
            checkpoint = interrupted.checkpoint
            then = f"Go on with: relattn fit --ckpt_path {self.folder}" if checkpoint else "There is no checkpoint."
            Console(stderr=True).print(f"{interrupted} {then}", highlight=False, soft_wrap=True)

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
        for logger in wandb_logging.loggers_of(self.trainer.loggers):
            wandb_logging.log_end(logger, scores, result)
