"""Command dispatch. Nothing heavy is imported before the command is known, so `relattn --help` is fast."""

import importlib
import os
import sys
import traceback
import warnings
from pathlib import Path

from relattn.errors import InputError
from relattn.printable import printable

TRAINER_COMMANDS = {
    "fit": "train a network, then test its last epoch once",
    "validate": "score a checkpoint on the validation set",
    "test": "score a checkpoint on the test set",
    "predict": "write a checkpoint's predictions for the test set",
}

COMMANDS = {
    "align": ("relattn.cli.align", "cut faces out of photographs and align them by five landmarks"),
    "benchmark": ("relattn.cli.costs", "measure parameters, MACs, time and memory of attention, side by side"),
    "convert": ("relattn.cli.convert", "turn a released checkpoint of the papers' authors into one of the suite's"),
    "dashboard": ("relattn.cli.dashboard", "create a W&B workspace for what all tasks log"),
    "data": ("relattn.cli.data", "generate stand-ins for data sets, or check every image of a set"),
    "demo": ("relattn.cli.demo", "run the suite in miniature: train with and without attention on generated data"),
    "embed": ("relattn.cli.embed", "write the features of a folder's images, from a network for people or faces"),
    "export": ("relattn.cli.export", "write a trained network as ONNX or torch.export, ready for use"),
    "figures": ("relattn.cli.figures", "draw what a trained network looks at, and how it is built"),
    "list": ("relattn.cli.list", "list tasks, attention modules, data sets or backbones"),
    "parameters": ("relattn.cli.parameters", "count parameters with each attention, beside the paper's table"),
    "report": ("relattn.cli.report", "write tables in the papers' layout from run folders, with curves and costs"),
    "score": ("relattn.cli.score", "score features of people from another program, as test does"),
    "search": ("relattn.cli.search", "rank a gallery for each query, and draw the nearest images"),
    "sweep": ("relattn.cli.sweep", "run a sweep file, such as a table of the papers"),
    "verify": (
        "relattn.cli.verify",
        "tell whether two images of faces or people show the same person",
    ),
}

USAGE = """usage: relattn COMMAND [options]

Attention for vision networks: one library of modules, one suite of tasks.

commands:
{commands}

  relattn fit --task reid --attention rga_sc --data Market1501
  relattn fit --task reid --help
  relattn COMMAND --help
  relattn COMMAND ... --traceback shows where an error comes from

{catalogue}"""

TRAINER_USAGE = """usage: relattn {command} --task TASK [options]

{summary}.

short options, which stand for longer ones of the Lightning command line; those
all work as well, and override recipes:
{flags}

{catalogue}"""

FLAGS = {
    "--task NAME": "a recipe: the task, its training and its data",
    "--task NAME --help": "the options of a task, the most used first",
    "--data NAME": "a data set (--data.root, --data.batch_size, ...)",
    "--backbone NAME": "a network (--model.backbone; --model.stages, --model.pretrained)",
    "--attention NAME": "an attention module, or none (--model.attention, --model.attention.<argument>)",
    "--gpus N | 0,2 | all": "GPUs: a count, indices, or all (--trainer.accelerator, --trainer.devices)",
    "--trainer NAME": "an overlay of conf/trainer: {trainers}",
    "--logger NAME": "an overlay of conf/logger: {loggers}",
    "--figures masks,...": "figures after every epoch (relattn figures --help), in the run's folder and in W&B",
    "--best": "keep the checkpoint with the best val/score of a held-out validation, and test that one",
    "--name NAME": "the run's folder: runs/<task>/<name>",
    "--runs FOLDER": "where runs are kept, by default runs",
    "--ckpt_path FILE": "a checkpoint, a run's folder, or last (with --name); without --task or --config its run's "
    "configuration is taken",
    "--config FILE": "a configuration, such as a run's config.yaml",
    "--print_config": "print the whole configuration and stop",
    "--help_all": "every option of the trainer, and how to see those of a model or data set",
}
"""Short options of the trainer commands."""


def usage() -> str:
    """The text of `relattn --help`."""
    from relattn.cli import catalogue
    from relattn.cli.columns import table

    summaries = {**TRAINER_COMMANDS, **{name: summary for name, (_, summary) in COMMANDS.items()}}
    commands = table(summaries.items(), max(map(len, summaries)) + 4)
    return USAGE.format(commands=commands, catalogue=catalogue.text())


def trainer_usage(command: str) -> str:
    """The text of `relattn fit --help` and similar."""
    from relattn.cli import catalogue
    from relattn.cli.columns import table

    overlays = {f"{kind}s": ", ".join(catalogue.recipes(kind)) for kind in ("trainer", "logger")}
    summary = TRAINER_COMMANDS[command].capitalize()
    flags = table((flag, text.format(**overlays)) for flag, text in FLAGS.items())
    return TRAINER_USAGE.format(command=command, summary=summary, flags=flags, catalogue=catalogue.text())


def help_of(command: str, arguments: list[str]) -> str | None:
    """The help text that a trainer command should print; None if Lightning's parser should, or no help is wanted.

    Args:
        command: `fit` or another trainer command.
        arguments: The arguments after it.
    """
    asked = [one for one in arguments if one not in ("--help", "-h")]
    if asked == arguments:
        return None
    if not asked:
        return trainer_usage(command)
    words = [word for one in asked for word in one.split("=", 1)]
    chosen = dict(zip(words[::2], words[1::2], strict=False))
    if len(words) % 2 or not {*chosen} <= {"--task", "--data"} or "--task" not in chosen:
        return None  # for a configuration or a user's own class, only its parser knows the options
    from relattn.cli.task_help import task_usage

    return task_usage(command, chosen["--task"], chosen.get("--data"))


def run(arguments: list[str]) -> int:
    """Run one command; user errors are raised as `InputError`."""
    from relattn.errors import suggest

    command, rest = (arguments[0], arguments[1:]) if arguments else ("--help", [])
    if command in ("--help", "-h", "help"):
        print(usage())  # noqa: T201
        return 0
    if command == "--version":
        from relattn import __version__

        print(__version__)  # noqa: T201
        return 0
    if command in TRAINER_COMMANDS:
        if (text := help_of(command, rest)) is not None:
            print(text)  # noqa: T201
            return 0
        from relattn.cli.lightning.commands import main as train

        return train(command, rest)
    if command not in COMMANDS:
        raise InputError(f"relattn has no command {command!r}. {suggest(command, [*TRAINER_COMMANDS, *COMMANDS])}")
    return int(importlib.import_module(COMMANDS[command][0]).main(rest))


def short(message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None) -> str:
    """Format a warning of the suite for the user, and others with their location as usual."""
    from relattn.cli import catalogue

    ours = {catalogue.tasks_folder(), Path(catalogue.__file__).parents[1]}
    if ours & set(Path(filename).parents):
        return f"relattn: warning: {message}\n"
    return f"{filename}:{lineno}: {category.__name__}: {message}\n"


def message_of(error: InputError) -> str:
    """The message of an error; an error from a worker process has that process's traceback in front of it."""
    from relattn.runs.secrets import hidden_in_text

    text = hidden_in_text(printable(error))
    return text.rpartition("Error: ")[2].strip() if text.startswith("Caught ") else text


def main() -> int:
    """The entry point: run the command line, and print user errors without a traceback."""
    # Idle torch threads spin for milliseconds before they sleep, on cores that the image-reading processes need. A
    # hundredth of that costs nothing if torch has the cores to itself. OpenMP reads this when torch is imported.
    os.environ.setdefault("GOMP_SPINCOUNT", "3000")
    arguments = [argument for argument in sys.argv[1:] if argument != "--traceback"]
    warnings.formatwarning = short
    traced = "--traceback" in sys.argv  # read before commands change it
    try:
        return run(arguments)
    except InputError as error:
        if traced:
            traceback.print_exception(error)
        print(f"relattn: error: {message_of(error)}", file=sys.stderr)  # noqa: T201
        return 2
    except KeyboardInterrupt:
        print("relattn: interrupted", file=sys.stderr)  # noqa: T201
        return 130
    except BrokenPipeError:  # the reader of the output, such as head, has closed the pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
