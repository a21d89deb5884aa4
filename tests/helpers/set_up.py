"""Sets up runs of `relattn fit` as the command does, without starting them: many lines share one parser."""

from collections.abc import Sequence
from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.cli import LightningArgumentParser

from relattn.cli.lightning.checks import check_config
from relattn.cli.lightning.command_line import read_command_line
from relattn.cli.lightning.failures import in_one_line
from relattn.cli.lightning.suite import SuiteCLI
from relattn.runs.identity import decisive
from relattn.runs.interruption import Signals
from relattn.runs.run_folder import RunClaim


class SetUp(SuiteCLI):
    """One parser for many command lines."""

    def __init__(self) -> None:
        self.shared: LightningArgumentParser | None = None
        super().__init__("fit", read_command_line(["--help"]), RunClaim())

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        self.shared = parser
        self.config = {"subcommand": None}

    def _set_seed(self) -> None: ...

    def before_instantiate_classes(self) -> None:
        if self.subcommand is not None:
            super().before_instantiate_classes()

    def instantiate_classes(self) -> None:
        if self.subcommand is not None:
            super().instantiate_classes()

    def after_instantiate_classes(self) -> None:
        if self.subcommand is not None:
            super().after_instantiate_classes()

    def __call__(self, arguments: Sequence[str]) -> Trainer:
        """Set up the run of a command line, given the arguments after `fit`.

        Raises:
            InputError: If the command refuses them.
        """
        self.subcommand, self.claim, self.resumed, self.signals = "fit", RunClaim(), None, Signals()
        self.stopped = False
        self.line = read_command_line(list(arguments))
        try:
            self.config = self.parsed(self.shared, ["fit", *self.line.arguments()])
            check_config("fit", self.config["fit"])
            self.options, self.overrides = decisive(self.content(self.config["fit"])), {}
            self.before_instantiate_classes()
            self.instantiate_classes()
            self.after_instantiate_classes()
        except Exception as error:
            said = in_one_line(error, setting_up=True)
            if said is None:
                raise
            raise said from error
        finally:
            self.claim.release()
        trainer: Trainer = self.trainer
        return trainer
