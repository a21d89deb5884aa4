"""Whether an account on a W&B server is set up, without importing wandb, which takes seconds."""

import configparser
import netrc
import os
from pathlib import Path
from urllib.parse import urlsplit

SERVER = "https://api.wandb.ai"
"""W&B's own server; `WANDB_BASE_URL` or `wandb login --host` choose another one."""


def has_account() -> bool:
    """Whether there is a key for the W&B server, in `WANDB_API_KEY` or where `wandb login` writes it."""
    if "WANDB_API_KEY" in os.environ:
        return True
    try:
        entries = netrc.netrc(os.environ.get("NETRC") or Path.home() / ".netrc")
    except (OSError, netrc.NetrcParseError, UnicodeDecodeError):
        return False
    return entries.authenticators(urlsplit(server()).netloc) is not None


def server() -> str:
    """The address of the W&B server: from `WANDB_BASE_URL`, or W&B's settings of this folder or this user."""
    folder = Path(os.environ.get("WANDB_CONFIG_DIR") or Path.home() / ".config" / "wandb")
    settings = configparser.ConfigParser(interpolation=None)
    try:
        settings.read([folder / "settings", Path("wandb") / "settings"], encoding="utf-8")
    except (configparser.Error, UnicodeDecodeError, OSError):
        settings.clear()
    return os.environ.get("WANDB_BASE_URL") or settings.get("default", "base_url", fallback=None) or SERVER
