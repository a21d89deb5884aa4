"""The code behind a result: the state of the suite's checkout, and versions of its dependencies. Imports no torch."""

import hashlib
import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = ("torchvision", "timm", "torchmetrics", "albumentations", "numpy", "scipy", "pillow", "jsonargparse")
"""Packages besides torch and Lightning that influence results, by the names of their distributions."""

OPENCV = ("opencv-python-headless", "opencv-python", "opencv-contrib-python-headless", "opencv-contrib-python")

PLAIN = (
    *("--binary", "--full-index", "--no-ext-diff", "--no-textconv", "--no-color", "--no-relative", "--no-renames"),
    *("--unified=3", "--diff-algorithm=myers", "--src-prefix=a/", "--dst-prefix=b/"),
)
"""Options with which `git diff` gives the same bytes whatever the user's git settings."""


def git_state(folder: Path | None = None) -> dict[str, Any]:
    """The commit of the suite's checkout, and its uncommitted changes.

    Nothing of the repository's settings is recorded, because the address of a remote may contain a token.

    Args:
        folder: Folder of the code; by default this package.

    Returns:
        `commit`, whether tracked files are `changed`, and if so `diff`, the first digits of the SHA-256 of the changes.
        If the suite is installed from a wheel or there is no git: `commit` None and the reason `why`.
    """
    here = folder or Path(__file__).parent
    # Variables of an enclosing git process (such as a hook) would refer to another repository.
    variables = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    variables["GIT_OPTIONAL_LOCKS"] = "0"  # this only reads

    def git(*arguments: str) -> bytes:
        command = ["git", "-C", str(here), *arguments]
        return subprocess.run(command, capture_output=True, check=True, env=variables, timeout=30).stdout  # noqa: S603

    try:
        # A wheel may be in an environment inside some repository that does not track it.
        git("ls-files", "--error-unmatch", "__init__.py")
        commit = git("rev-parse", "HEAD").decode().strip()
        difference = git("diff", *PLAIN, "HEAD")
    except FileNotFoundError:
        return {"commit": None, "why": "git is not installed"}
    except subprocess.TimeoutExpired:
        return {"commit": None, "why": "git did not answer"}
    except (OSError, subprocess.CalledProcessError):
        return {"commit": None, "why": "not a checkout"}
    found: dict[str, Any] = {"commit": commit, "changed": bool(difference)}
    return {**found, "diff": hashlib.sha256(difference).hexdigest()[:12]} if difference else found


def versions() -> dict[str, str]:
    """Versions of Python and of the installed `PACKAGES`; nothing is imported."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        if version := version_of(name):
            found[name] = version
    if version := next(filter(None, map(version_of, OPENCV)), None):
        found["opencv"] = version
    return found


def version_of(distribution: str) -> str | None:
    """The version of an installed distribution."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None
