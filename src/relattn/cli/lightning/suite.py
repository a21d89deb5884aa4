"""LightningCLI for the suite: every run owns a folder with its configuration, metrics, checkpoints and result."""

import json
import re
import warnings
from argparse import ArgumentError
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Callback, LearningRateMonitor, ModelSummary, ProgressBar
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from rich.console import Console

from relattn.cli import catalogue
from relattn.cli.lightning.callbacks import check_network, for_evaluation, listed, place_checkpoints
from relattn.cli.lightning.checks import check_composition, check_config
from relattn.cli.lightning.command_line import CommandLine, value_of
from relattn.cli.lightning.commands import attention_name, check_gpus, folder_of_run, name_of_run, with_float64
from relattn.cli.lightning.complaints import complaint
from relattn.cli.lightning.display import Display, next_commands, show_scores, table_of_sets
from relattn.cli.lightning.paths import with_absolute_paths
from relattn.cli.lightning.recipes import imported
from relattn.cli.lightning.test_sets import build_all, kept_entry, named_like, prepare_as_trained, test_entries
from relattn.cli.lightning.writing import with_plain_texts, written
from relattn.errors import InputError
from relattn.runs import wandb_logging
from relattn.runs.best import best_of, choice, chooses
from relattn.runs.checkpoints import Checkpoints, read_checkpoint, run_of
from relattn.runs.divergence import Divergence
from relattn.runs.identity import changes, decisive, identity, label, shown
from relattn.runs.interruption import Interrupted, Interruption, Signals
from relattn.runs.last import LastCheckpoint
from relattn.runs.metrics import MetricsLogger
from relattn.runs.preflight import Preflight
from relattn.runs.record import RunRecord, logged_scores
from relattn.runs.resume import ResumedRun, at, check_length, check_same_run, has_stopped, progress_of
from relattn.runs.run_folder import RunClaim, read_json
from relattn.runs.secrets import hidden
from relattn.runs.tuning import Tuned, has_tuners, with_found
from relattn.tasks.base import Task
from relattn.tasks.data import Data
from relattn.tasks.run_outputs import rehearses
from relattn.tasks.score import name_in_set

LONGEST_NAME = 100
"""Maximum length of a folder's default name; a longer one is cut, and the run's identity added."""


class CompleteRun(Exception):  # noqa: N818 (no error)
    """Raised if a run has nothing left to train; the message says so, and how to extend it."""


class SuiteCLI(LightningCLI):
    """One Lightning command over the suite's tasks and data sets."""

    def __init__(self, command: str, line: CommandLine, claim: RunClaim) -> None:
        """Parse and run.

        Args:
            command: `fit`, `validate`, `test` or `predict`.
            line: Its command line.
            claim: Object that takes the run's folder.

        Raises:
            CompleteRun: If the run has nothing left to train.
        """
        self.command, self.line, self.claim = command, line, claim
        self.resumed: dict[str, Any] | None = None
        """The checkpoint that training resumes from."""
        self.stopped = False
        """Whether a callback had already ended that training."""
        with Signals() as self.signals:
            super().__init__(
                Task,
                Data,
                subclass_mode_model=True,
                subclass_mode_data=True,
                save_config_callback=None,
                trainer_defaults={"enable_progress_bar": False, "enable_model_summary": False},
                seed_everything_default=0,
                auto_configure_optimizers=False,
                load_from_checkpoint_support=False,
                parser_kwargs={"prog": "relattn"},
                args=[command, *line.arguments()],
            )

    def subcommands(self) -> dict[str, set[str]]:  # type: ignore[override]
        """Only the command that runs: building the parsers of all four takes longer than parsing."""
        return {self.command: LightningCLI.subcommands()[self.command]}

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse the command line, and find its overrides of the recipes."""
        self.config = self.parsed(parser, args)
        check_config(self.command, self.config[self.command])
        self.options = decisive(self.content(self.config[self.command]))
        self.overrides = self.departures(parser)

    def parsed(self, parser: LightningArgumentParser, args: Any) -> Any:
        """Parse a command line without Lightning's warning about `sys.argv`, which has the same arguments.

        Raises:
            InputError: If an option is wrong; the message names it, and the closest ones.
        """
        parser.exit_on_error = self._parser(self.command).exit_on_error = False
        try:
            return parser.parse_args(args)
        except ArgumentError as error:
            check_composition(self.line.config)  # wrong options may be a consequence of another task's data set
            raise complaint(str(error), self._parser(self.command), args) from error

    def dumped(self, config: Any) -> str:
        """A configuration of the command as YAML."""
        return yaml.safe_dump(self.content(config), sort_keys=False, allow_unicode=True)

    def content(self, config: Any) -> dict[str, Any]:
        """A configuration of the command as plain dictionaries, lists, texts and numbers.

        Raises:
            InputError: If a value is an object that cannot be stored in a file.
        """
        config = with_plain_texts(config)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="(?s).*[Uu]nable to serialize.*")
            text = self._parser(self.command).dump(config, format="json", skip_unset=False)
        content: dict[str, Any] = written(json.loads(text), config)
        return content

    def departures(self, parser: LightningArgumentParser) -> dict[str, Any]:
        """The options that differ from those of the recipes, with their values."""
        recipes = self.line.reference(str(self.options.get("model.backbone")))
        if recipes is None:
            return {}
        try:
            reference = self.parsed(parser, [self.command, *recipes])
        except InputError:  # its data need an argument without a default, for example the path of a table
            data = json.dumps(self.content(self.config[self.command])["data"])
            reference = self.parsed(parser, [self.command, *recipes, "--data", data])
        before = decisive(self.content(reference[self.command]))
        found: dict[str, Any] = hidden({name: value for name, (_, value) in changes(before, self.options).items()})
        return found

    def _parse_ckpt_path(self) -> None:
        """Do nothing with a checkpoint: Lightning would let its contents override the command line."""

    def before_instantiate_classes(self) -> None:
        """Check the devices and the run, and assign its folder."""
        config = self.config[self.command]
        config.trainer.accelerator = with_float64(config.trainer.accelerator)
        check_gpus(config.trainer.accelerator, config.trainer.devices)
        with_absolute_paths(config)
        config.trainer.callbacks = listed(config.trainer.callbacks) or None
        arguments = config.model.init_args
        checkpoint = Path(config.ckpt_path) if config.get("ckpt_path") else None
        if self.command != "fit" and checkpoint is None and not arguments.pretrained:
            raise InputError(f"relattn {self.command} needs a trained network: --ckpt_path RUN or FILE.")
        run = run_of(checkpoint) if checkpoint is not None else None
        self.facts = self.facts_of_run(checkpoint)
        runs = Path(self.line.suite.get("runs", "runs"))
        name = name_of_run(self.line.suite.get("name", default_name(self.facts)))
        parent = runs / self.facts["task"]
        if self.command != "fit":
            if run is not None and "name" in self.line.suite:
                raise InputError(
                    f"--name {name}: relattn {self.command} writes into the folder of the checkpoint's run, {run}: "
                    "leave it out."
                )
            folder = folder_of_run(self.claim, run or parent / name, self.command, exact=False)
        elif checkpoint is not None and run is not None:
            self.check_resumed(run, checkpoint)
            folder = self.claim.existing(run)
        else:
            if checkpoint is not None:
                self.check_resumed(parent / name, checkpoint)
            folder = folder_of_run(self.claim, parent, name, exact="name" in self.line.suite)
        self.folder = folder
        config.trainer.default_root_dir = str(folder)
        planned = (read_json(folder / "sweep.json") or {}) if self.command == "fit" else {}
        self.facts |= {name: planned[name] for name in ("row", "column") if planned.get(name)}
        trained = folder if self.command == "fit" else folder.parent
        self.facts["run"] = trained.name
        recorded = config.clone()
        if self.command == "fit":
            recorded.ckpt_path = None
        recorded.trainer.default_root_dir = None
        chosen: dict[str, Any] = {"recipes": self.line.recipes} if self.line.recipes else {}
        if self.command == "fit" and (entries := test_entries(self.line.suite)):
            chosen["test_data"] = ",".join(map(kept_entry, entries))
        names = yaml.safe_dump(chosen, sort_keys=False) if chosen else ""
        self.record = RunRecord(names + self.dumped(recorded), self.facts, self.claim)
        for logger in listed(config.trainer.logger):
            within_run(logger, folder)
            if getattr(logger, "class_path", "").endswith(".WandbLogger"):
                wandb_logging.name_run(logger.init_args, folder, self.facts, self.command)
        if checkpoint is not None:
            arguments.pretrained = False  # the initial weights may be missing: the checkpoint has all weights

    def facts_of_run(self, checkpoint: Path | None) -> dict[str, Any]:
        """The entries of the record that are known before a run starts."""
        config = self.config[self.command]
        arguments = config.model.init_args
        recipes = self.line.recipes
        task = imported(config.model.class_path)
        assert task is not None
        assert issubclass(task, Task)
        weights = "timm" if arguments.pretrained is True else arguments.pretrained or "random"
        if self.command == "fit" and checkpoint is not None:  # a resumed run keeps its own initial weights
            weights = read_checkpoint(checkpoint).get("facts", {}).get("weights", weights)
        elif checkpoint is not None:
            weights = str(checkpoint)
        attention = attention_name(arguments.attention, recipes.get("attention"))
        return {
            "task": task.name,
            "backbone": arguments.backbone,
            "attention": attention,
            "data": config.data.class_path.rpartition(".")[2],
            "seed": config.seed_everything,
            "weights": str(weights),
            "recipes": recipes,
            "overrides": self.overrides,
            "label": label([catalogue.display_name("attention", attention)], self.overrides),
            "identity": identity(self.options),
        }

    def check_resumed(self, run: Path, checkpoint: Path) -> None:
        """Refuse to resume a run under another name, as a different run, or with nothing left to train.

        Raises:
            CompleteRun: If the run is complete.
        """
        if "name" in self.line.suite and run_of(checkpoint) is not None:
            raise InputError(f"--name is given, but a resumed run keeps its folder, {run}: leave one of them out.")
        content = read_checkpoint(checkpoint)
        if "optimizer_states" not in content:
            raise InputError(
                f"{checkpoint} holds only weights, as `relattn convert` writes them, and no training "
                "state to resume from: use it with relattn test, predict or embed."
            )
        now = self.content(self.config[self.command])
        before, done = yaml.safe_load(content["config"]), progress_of(content)
        check_same_run(run, before, now, done)
        complete = check_length(run, before, now, done)
        result = read_json(run / "result.json")
        if complete is not None and result is not None and result.get("steps", done.steps) == done.steps:
            raise CompleteRun(complete)  # another result is of the run before it was extended
        self.resumed, self.stopped = content, has_stopped(content, before, now)

    def after_instantiate_classes(self) -> None:
        """Load the network's specification from a checkpoint, and check the additional test sets."""
        config = self.config[self.command]
        if config.get("ckpt_path"):
            self.model.pretrained = False  # all weights come from the checkpoint
            if self.command != "fit":
                checkpoint = read_checkpoint(Path(config.ckpt_path))
                self.model.trained_for = dict(checkpoint["specification"])
                before = yaml.safe_load(checkpoint["config"])
                self.datamodule.trained_on = at(before, ("data", "init_args", "root"))
                sized = value_of(self.line.arguments(), "--data.image_size") is not None
                prepare_as_trained(self.datamodule, before, self.model.trained_for, sized=sized)
        entries = test_entries(self.line.suite)
        if entries and self.command not in ("fit", "test"):
            raise InputError(f"--test_data is for fit and test, and not for {self.command}.")
        own = self.content(config)["data"]
        self.same_set = [entry for entry in entries if named_like(own, entry)]
        others = [entry for entry in entries if entry not in self.same_set]
        self.test_sets = build_all(others, own, type(self.model).data_type)

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """The configured trainer, with the run's logger and checkpoints."""
        config = self._get(self.config_init, "trainer", default={})
        chosen: list[Callback] = listed(config["callbacks"])
        self.record.loggers = listed(config["logger"])
        callbacks: list[Callback] = [Preflight()]
        if self.command == "fit":
            check_network(chosen, self.model)
            place_checkpoints(chosen, self.folder)
            callbacks += [*chosen, Tuned(self.note_tuned)] if has_tuners(chosen) else chosen
            place = self.folder / "checkpoints" if config["enable_checkpointing"] is not False else None
            if place is not None:
                callbacks.append(LastCheckpoint(place))
            self.interruption = Interruption(place / "last.ckpt" if place else None, self.signals)
            self.interruption.stopped = self.stopped
            callbacks += [Divergence(), self.interruption]
            if not any(isinstance(one, LearningRateMonitor) for one in chosen):
                callbacks.append(LearningRateMonitor("epoch"))
            if self.resumed is not None:
                callbacks.append(ResumedRun(self.resumed.get("data", {})))
        else:
            callbacks += for_evaluation(chosen)
            kwargs["enable_checkpointing"] = False
        own_bar = bool(config["enable_progress_bar"]) or any(isinstance(one, ProgressBar) for one in callbacks)
        kwargs["enable_progress_bar"] = own_bar
        if any(isinstance(one, ModelSummary) for one in callbacks):
            kwargs["enable_model_summary"] = True
        self.display = Display(self.facts, self.folder, quiet="quiet" in self.line.suite, bar=not own_bar)
        callbacks += [self.display, self.record]
        plugins = [*listed(config["plugins"]), Checkpoints()]
        if SLURMEnvironment.detect() and not any(isinstance(plugin, ClusterEnvironment) for plugin in plugins):
            plugins.append(SLURMEnvironment(auto_requeue=False))  # `Interruption` requeues, between two steps
        return super().instantiate_trainer(
            callbacks=callbacks, logger=[MetricsLogger(self.folder)], plugins=plugins, **kwargs
        )

    def fit(self, model: Task, **options: Any) -> None:
        """Train, test the last epoch once, and write the result."""
        try:
            self.trainer.fit(model, **options)
            self.interruption.stop_if_told(self.trainer)
        except Interrupted as interrupted:
            self.say_how_to_go_on(interrupted)
            raise SystemExit(128 + interrupted.told) from None  # the shell's exit code for this signal
        finally:
            self.signals.training = False
        scores = self.record.kept_scores | logged_scores(self.trainer)
        if rehearses(self.trainer) or self.trainer.interrupted:
            return
        tested: dict[str, Any] = {"datamodule": options["datamodule"]}
        if chooses(self.trainer):
            self.record.chosen = self.choose(tested)
        callbacks: list[Callback] = self.trainer.callbacks  # type: ignore[attr-defined]
        self.trainer.callbacks = for_evaluation(callbacks)  # type: ignore[attr-defined]
        self.finish(scores | self.tested(model, **tested))

    def choose(self, options: dict[str, Any]) -> dict[str, Any] | None:
        """Select the best checkpoint for the test, and return its description."""
        best = best_of(self.trainer)
        if best is None:
            self.display.line("tests the last epoch: training has ended before any validation")
            return None
        options["ckpt_path"] = str(best)
        chosen = choice(best, self.trainer)
        if self.trainer.is_global_zero:
            self.display.line(
                f"tests {best.name}, of epoch {chosen['epoch']} of {self.trainer.current_epoch}: the highest "
                f"{chosen['by']} of the held-out validation, {chosen['value']:.2f}"
            )
        return chosen

    def note_tuned(self, found: Mapping[str, float]) -> None:
        """Record and report the results of Lightning's tuners."""
        config = with_found(yaml.safe_load(str(self.record.config)), found)
        self.record.config = yaml.safe_dump(config, sort_keys=False, allow_unicode=True)
        self.record.facts["tuned"] = dict(found)
        for option, value in found.items():
            self.display.line(f"tuned     --{option} {value:.4g}")

    def say_how_to_go_on(self, interrupted: Interrupted) -> None:
        """Report where a run was stopped, and the command that resumes it."""
        if self.trainer.is_global_zero:
            checkpoint = interrupted.checkpoint
            then = f"Resume with: relattn fit --ckpt_path {self.folder}" if checkpoint else "There is no checkpoint."
            self.display.line(f"{interrupted} {then}")

    def validate(self, model: Task, **options: Any) -> None:
        self.trainer.validate(model, **{**options, "verbose": False})
        self.finish(logged_scores(self.trainer))

    def test(self, model: Task, **options: Any) -> None:
        self.finish(self.tested(model, **options))

    def tested(self, model: Task, **options: Any) -> dict[str, float]:
        """The scores of the run's own test set, then those of the others, `test/<metric>/<name>`."""
        self.trainer.test(model, **{**options, "verbose": False})
        scores = logged_scores(self.trainer)
        for name in self.same_set:  # so that the run's own set is in the table too
            own = {key: value for key, value in scores.items() if key.startswith("test/") and key != "test/score"}
            scores |= {f"test/{name_in_set(key.removeprefix('test/'), name)}": value for key, value in own.items()}
        for name, data in self.test_sets.items():
            model.extra_set = name
            self.trainer.test(model, datamodule=data, verbose=False)
            scores |= logged_scores(self.trainer)
            self.record.test_sets[name] = data.describe()
        model.extra_set = ""
        return scores

    def predict(self, model: Task, **options: Any) -> None:
        self.trainer.predict(model, **{**options, "return_predictions": False})
        self.finish({})

    def finish(self, scores: dict[str, float]) -> None:
        """Write the result and report where it is."""
        if not self.trainer.is_global_zero:
            return
        result = None
        if not rehearses(self.trainer):
            result = self.record.write_result(self.trainer, self.model, self.datamodule, scores)
        console = Console(quiet=self.display.quiet)
        show_scores(console, scores, wandb_logging.tables(scores))
        if self.test_sets:
            own = self.same_set[0] if self.same_set else self.facts["data"]
            console.print(table_of_sets(type(self.model), scores, own, self.test_sets))
        for stage, part in self.record.partial.items():
            self.display.line(f"partial: {stage} saw a part of its images ({part})")
        if self.model.protocol:
            console.print(f"protocol: {self.model.protocol}", highlight=False)
        if result is None:
            return
        console.print(f"run: {self.folder}", highlight=False, soft_wrap=True)
        for number, line in enumerate(next_commands(self.command, self.folder)):
            self.display.line(f"{'next:' if number == 0 else '     '} {line}", indent=None)
        for logger in wandb_logging.loggers_of(self.trainer.loggers):
            wandb_logging.log_end(logger, scores, result)


def within_run(logger: Any, folder: Path) -> None:
    """Replace `{run}` in the arguments of a logger by the run's folder."""
    arguments = logger.get("init_args") if hasattr(logger, "get") else None
    for name, value in vars(arguments).items() if arguments is not None else ():
        if isinstance(value, str):
            setattr(arguments, name, value.replace("{run}", str(folder.resolve())))


def default_name(facts: dict[str, Any]) -> str:
    """The default name of a run's folder: its recipes, its overrides and its seed."""
    overrides = [shown(name, value) for name, value in facts["overrides"].items()]
    parts = [facts["data"].lower(), facts["backbone"], Path(facts["attention"]).stem, *overrides]
    name = re.sub(r"[^\w.,+-]+", "_", "-".join(parts).replace("w/o ", "no_")).strip("_.")
    if len(name) > LONGEST_NAME:
        name = f"{name[:LONGEST_NAME]}-{facts['identity'][:6]}"
    return f"{name}-s{facts['seed']}"
