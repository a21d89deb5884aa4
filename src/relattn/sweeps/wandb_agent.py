"""A sweep file as a sweep on W&B, whose agents start the same runs in the same folders."""

import os
import subprocess
import sys
from typing import Any

from relattn.errors import InputError
from relattn.runs.wandb_account import has_account
from relattn.sweeps.grid import OWN_KEYS, Sweep


def registered(sweep: Sweep, arguments: list[str]) -> dict[str, Any]:
    """The configuration for W&B: the file without our sections, and a command that resolves parameter values.

    Args:
        sweep: The sweep.
        arguments: Options of `relattn sweep` that every run needs: locations of folders, and overrides.
    """
    content = {key: value for key, value in sweep.content.items() if key not in {*OWN_KEYS, "program"}}
    own = [sys.executable, "-P", "-m", "relattn", "sweep", str(sweep.path.resolve()), *arguments]
    parameters = {
        name: content["parameters"][name] if not values else listing(values)  # W&B draws from a distribution
        for name, values in sweep.parameters.items()
    }
    return {
        **content,
        "name": sweep.name,
        "parameters": parameters,
        "program": "relattn",
        "command": ["${env}", *own, "--run", "${args}"],
    }


def listing(values: list[Any]) -> dict[str, Any]:
    """The entry of a parameter with a list of values."""
    return {"value": values[0]} if len(values) == 1 else {"values": values}


def check_online() -> None:
    """Raise an error if W&B cannot be reached, and say what to do.

    Raises:
        InputError: If W&B is offline or there is no account.
    """
    instead = "Offline, run the same file with --launcher local --set logger=wandb, and `wandb sync` its runs later."
    mode = os.environ.get("WANDB_MODE", "online")
    if mode != "online":
        raise InputError(f"A W&B sweep needs W&B's server, and WANDB_MODE is {mode}. {instead}")
    if not has_account():
        raise InputError(f"A W&B sweep needs an account: wandb login, or WANDB_API_KEY. {instead}")


def launch(sweep: Sweep, arguments: list[str], *, project: str | None, entity: str | None) -> int:
    """Register the sweep and work on it with an agent, until all runs are done or Ctrl-C."""
    check_online()
    import wandb

    project = project or sweep.content.get("project") or os.environ.get("WANDB_PROJECT") or "relattn"
    entity = entity or sweep.content.get("entity")
    sweep_id = wandb.sweep(registered(sweep, arguments), entity=entity, project=project)
    path = "/".join(part for part in (entity, project, sweep_id) if part)
    return subprocess.run([sys.executable, "-m", "wandb", "agent", path], check=False).returncode  # noqa: S603
