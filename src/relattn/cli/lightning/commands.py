"""`relattn fit | validate | test | predict`: LightningCLI with short flags, run folders and checked devices."""

import logging
import os
import re
import sys
import warnings
from pathlib import Path
from typing import Any

from relattn.cli.lightning.command_line import read_command_line, value_of
from relattn.cli.main import short
from relattn.cli.memory import keep_freed_memory
from relattn.cli.streams import unbreakable_output
from relattn.errors import InputError
from relattn.runs.run_folder import RUN_VARIABLE, RunClaim
from relattn.runs.secrets import without_secrets


def main(command: str, arguments: list[str]) -> int:
    """Run one of Lightning's commands."""
    if "--help_all" in arguments:
        arguments = ["--help"]
    given: list[Any] = [list(arguments)]
    try:
        return trained(command, arguments, given)
    except InputError as error:
        said = without_secrets(str(error), given)
        if said == str(error):
            raise
        raise type(error)(said) from None


def trained(command: str, arguments: list[str], given: list[Any]) -> int:
    """Run one of Lightning's commands, and collect its configuration.

    Args:
        command: Its name.
        arguments: The arguments after it.
        given: List to which the resulting configuration is added.
    """
    line = read_command_line(arguments, command)
    given += [line.options, line.config]
    for sentence in line.dropped:
        sys.stderr.write(f"relattn: {without_secrets(sentence, given)}\n")
    sys.argv[1:] = [command, *arguments]  # the other processes of a distributed run are started with these
    keep_freed_memory()
    quieten()
    from relattn.cli.lightning.checks import misfit
    from relattn.cli.lightning.failures import in_one_line
    from relattn.cli.lightning.suite import CompleteRun, SuiteCLI

    claim = RunClaim()
    try:
        with unbreakable_output():
            SuiteCLI(command, line, claim)
    except CompleteRun as complete:
        sys.stderr.write(f"relattn: {complete}\n")
    except InputError:
        raise
    except Exception as error:
        said = misfit(error, value_of(line.options, "--ckpt_path"))
        said = said or in_one_line(error, setting_up=not claim.running)
        if said is None:
            raise
        raise said from error
    finally:
        claim.release()
    return 0


def quieten() -> None:
    """Silence messages of Lightning and similar packages that do not apply here, each for its own reason."""
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # otherwise importing it queries the network for updates
    os.environ.setdefault("WANDB_SILENT", "true")  # one line says where an offline run is; see suite.py
    # Tips on other products, an unrequested list of devices, and the seed, which the configuration already has.
    for source in ("lightning.pytorch.utilities.rank_zero", "lightning.fabric.utilities.seed"):
        logging.getLogger(source).setLevel(logging.WARNING)
    # The suite's loaders may run on the device, without workers to add.
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    # config.yaml is written before the first metric; it does not mean a previous run.
    warnings.filterwarnings("ignore", message="Experiment logs directory .* exists and is not empty.*")
    # Lightning 2.6 uses a function that torch 2.15 deprecates.
    warnings.filterwarnings("ignore", message=".*isinstance.treespec, LeafSpec.*")
    # CIFAR's 391 steps per epoch are logged once per epoch.
    warnings.filterwarnings("ignore", message=".*smaller than the logging interval.*")
    # `relattn.runs.interruption` resumes with the right batches, or says that a loader cannot.
    warnings.filterwarnings("ignore", message=".*resuming from a checkpoint that ended before the epoch ended.*")
    # It is the folder of the resumed run.
    warnings.filterwarnings("ignore", message="Checkpoint directory .* exists and is not empty.*")
    # Each process builds its whole network on one GPU; nothing is sharded.
    warnings.filterwarnings("ignore", message=".*WeightAveraging callback with a model that overrides.*")
    # SWA has its own schedule, by epochs, from its start.
    warnings.filterwarnings("ignore", message=".*SWA is currently only supported every epoch.*")
    # The test at the end of a run has no training callbacks; a tuner's trial has few steps.
    warnings.filterwarnings("ignore", message=".*You're using the WeightAveraging callback, but loading.*")
    # The samplers themselves handle `overfit_batches`.
    warnings.filterwarnings("ignore", message=".*requested to overfit but enabled .* dataloader shuffling.*")
    # Evaluating a checkpoint does not need the callbacks that wrote it.
    warnings.filterwarnings("ignore", message=".*callbacks used to create the checkpoint need to be provided.*")
    warnings.formatwarning = short


def attention_name(config: Any, recipe: str | None) -> str:
    """The short name of the configured attention: its recipe's name, or else its class name."""
    if not config:
        return "none"
    if recipe:
        return recipe
    name = config["class_path"].rpartition(".")[2]
    return re.sub(r"(?<=[a-z])(?=[A-Z][a-z])", "_", name).lower()


def name_of_run(name: str) -> str:
    """Check and return the name of a run's folder inside its task's folder.

    Raises:
        InputError: If the name leads elsewhere.
    """
    if not name.strip() or Path(name).is_absolute() or {".", ".."} & set(name.split("/")):
        raise InputError(f"--name is {name!r}, expected the name of a folder; give another place with --runs.")
    return name


def folder_of_run(claim: RunClaim, parent: Path, name: str, *, exact: bool) -> Path:
    """Take a new folder for a run; processes that were started together share it.

    Raises:
        InputError: If `exact` and the name is taken, the folder cannot be created, or processes have no common name.
    """
    if os.environ.get(RUN_VARIABLE):
        return claim.new(parent, name, exact=exact)
    # Processes started by torchrun or SLURM have no common parent that could number the folder, so the job's id does.
    job = os.environ.get("TORCHELASTIC_RUN_ID") or os.environ.get("SLURM_JOB_ID")
    if int(os.environ.get("WORLD_SIZE", os.environ.get("SLURM_NTASKS", "1"))) > 1:
        if not exact and job in (None, "none"):
            raise InputError("Processes that are launched together need a common name for their run: give --name.")
        return claim.shared(parent / (name if exact else f"{name}-{job}"))
    return claim.new(parent, name, exact=exact)


def with_float64(accelerator: str) -> str:
    """The accelerator to use: the CPU where `auto` would mean Apple's MPS, which lacks the float64 of scores.

    Raises:
        InputError: If MPS is requested.
    """
    import torch

    if accelerator == "mps":
        raise InputError("--trainer.accelerator mps: Apple's MPS lacks float64, in which scores are computed. Use cpu.")
    return "cpu" if accelerator == "auto" and torch.backends.mps.is_available() else accelerator


def check_gpus(accelerator: str, devices: Any) -> None:
    """Raise an InputError if requested GPUs do not exist, with the GPUs that were found."""
    import torch

    if accelerator not in ("gpu", "cuda"):
        return
    found = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    listed = ", ".join(f"{index}: {name}" for index, name in enumerate(found)) or "none"
    if not found:
        build = "a build without CUDA" if torch.version.cuda is None else f"a build for CUDA {torch.version.cuda}"
        raise InputError(
            f"GPUs are requested, but none is visible: torch {torch.__version__} is {build} and finds no device. Use "
            "--gpus 0 to run on the CPU, or look at nvidia-smi and CUDA_VISIBLE_DEVICES."
        )
    if devices == "auto":
        return
    if isinstance(devices, str):  # as given on the command line
        devices = int(devices) if devices.lstrip("-").isdigit() else [int(part) for part in devices.split(",") if part]
    wanted = devices if isinstance(devices, list) else range(max(devices, 0))
    if any(index >= len(found) for index in wanted):
        raise InputError(f"GPUs {list(wanted)} are requested, but there are {len(found)} ({listed}).")
