"""`relattn fit --task T --help`: a task's most used options, with the recipe's values, and then the others."""

import ast
import textwrap
from collections.abc import Sequence
from typing import Any

import yaml

from relattn.cli import catalogue
from relattn.cli.arguments import Argument, arguments_of
from relattn.cli.columns import table, width
from relattn.cli.lightning.recipes import Config, recipe_content, task_recipe
from relattn.cli.main import FLAGS

USAGE = """usage: relattn {command} --task {task} [options]

{summary}

most used, with the recipe's values:
{most}

the rest of the task, {model}:
{model_rest}

the rest of the data, {data}:
{data_rest}

the run:
{run}"""

RUN = {
    "--trainer.precision P": "32-true, or bf16-mixed, 16-mixed, ...",
    "--trainer.max_steps N": "at most N steps; the schedule ends with them",
    **{flag: FLAGS[flag] for flag in ("--trainer NAME", "--logger NAME", "--best")},
    "--figures masks,...": "figures after every epoch (relattn figures --help)",
    "--seed_everything N": "{seed}",
    "--runs FOLDER": FLAGS["--runs FOLDER"],
    "--ckpt_path FILE": "resume from a checkpoint, a run's folder, or last (with --name)",
    **{flag: FLAGS[flag] for flag in ("--config FILE", "--print_config")},
    "--help_all": "every option of Lightning's trainer",
}

SHOWN = ("backbone", "attention", "optimizer", "root", "batch_size", "workers")
"""Arguments that the first part of the text covers."""


def task_usage(command: str, task: str, data: str | None) -> str:
    """The help text.

    Args:
        command: `fit` or another trainer command.
        task: Recipe of the task.
        data: Recipe of the data set, if it is not the task's own.

    Raises:
        InputError: If a recipe does not exist.
    """
    config = task_recipe(task)
    model, section = config["model"], config.get("data", {})
    arguments = model.get("init_args", {})
    recipe = data or section.get("recipe", "")
    chosen: Config = recipe_content("data", recipe) if recipe else section
    training = {**chosen.get("init_args", {}), **section.get("init_args", {})}
    kinds = class_paths(chosen["class_path"].rpartition(".")[0])
    trainer = config.get("trainer", {})
    optimizer = arguments.get("optimizer", {})
    lasts = "max_steps" if trainer.get("max_epochs") == -1 else "max_epochs"
    most = {
        "--data.root FOLDER": f"{training.get('root', 'data')}: the folder that has the data set",
        "--data NAME": f"{recipe}; of this task: {', '.join(kinds)}",
        "--backbone NAME": f"{arguments.get('backbone', '')} (relattn list backbones)",
        "--attention NAME": "none (relattn list attentions)",
        f"--trainer.{lasts} N": f"{trainer.get(lasts)}",
        "--data.batch_size N": f"{training.get('batch_size', '')}, over all devices",
        "--model.optimizer.lr X": rate(optimizer),
        "--model.optimizer NAME": optimizer.get("class_path", ""),
        "--gpus N | 0,2 | all": "GPUs: a count, indices, or all; 0 for the CPU",
        "--data.workers N": "processes that read images",
        "--name NAME": "the run's folder, runs/TASK/NAME; by default made from the choices above",
    }
    overlays = {f"{kind}s": ", ".join(catalogue.recipes(kind)) for kind in ("trainer", "logger")}
    run = {flag: text.format(seed=config.get("seed_everything", 0), **overlays) for flag, text in RUN.items()}
    return USAGE.format(
        command=command,
        task=task,
        summary=textwrap.fill(catalogue.recipes("task").get(task, task), width()),
        most=table(most.items()),
        model=model["class_path"],
        model_rest=table(rows("--model", arguments_of(model["class_path"]), arguments)),
        data=chosen["class_path"],
        data_rest=table(rows("--data", arguments_of(chosen["class_path"]), training)),
        run=table(run.items()),
    )


def class_paths(module: str) -> list[str]:
    """The data sets of a task, from the module of their classes."""
    return [name for name in catalogue.recipes("data") if catalogue.class_path("data", name).startswith(f"{module}.")]


def rate(optimizer: Config) -> str:
    """The learning rate, and the optimizer that it belongs to."""
    value = optimizer.get("init_args", {}).get("lr")
    return f"{value}" if value is not None else "the optimizer's default"


def rows(option: str, arguments: Sequence[Argument], values: Config) -> list[tuple[str, str]]:
    """The arguments and their descriptions, with the recipe's value or their default."""
    return [
        (f"{option}.{one.name}", " ".join(filter(None, [one.summary, f"({value_of(one, values)})"])))
        for one in arguments
        if one.name not in SHOWN
    ]


def value_of(argument: Argument, values: Config) -> str:
    """The value in a recipe, or else the default, in YAML; a class is given by its name."""
    if not argument.default and argument.name not in values:
        return "needed"
    try:
        value: Any = values.get(argument.name, ast.literal_eval(argument.default or "None"))
    except ValueError:  # not a literal, but a name or a call
        return argument.default
    if isinstance(value, dict) and "class_path" in value:
        return str(value["class_path"]).rpartition(".")[2]
    plain = list(value) if isinstance(value, tuple) else value
    return yaml.safe_dump(plain, default_flow_style=True, width=1000).partition("\n")[0]
