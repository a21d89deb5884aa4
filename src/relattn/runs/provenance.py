"""Which code made a result: the state of the suite's checkout, and versions of what it stands on. No torch in here."""

import hashlib
import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = ("torchvision", "timm", "torchmetrics", "albumentations", "numpy", "scipy", "pillow", "jsonargparse")
"""What decides an outcome beside torch and Lightning, by the names of their distributions."""

OPENCV = ("opencv-python-headless", "opencv-python", "opencv-contrib-python-headless", "opencv-contrib-python")

PLAIN = (
    *("--binary", "--full-index", "--no-ext-diff", "--no-textconv", "--no-color", "--no-relative", "--no-renames"),
    *("--unified=3", "--diff-algorithm=myers", "--src-prefix=a/", "--dst-prefix=b/"),
)
"""A difference as the same bytes whatever the user's own settings of git."""


def git_state(folder: Path | None = None) -> dict[str, Any]:
    """The commit of the suite's checkout, and what differs from it.

    Nothing of the repository's own settings is kept: the address of a remote may hold a token.

    Args:
        folder: Where the code is; by default this package.

    Returns:
        `commit`, whether tracked files are `changed`, and if so `diff`, the beginning of the SHA-256 of the difference;
        or `commit` None and `why`, where the suite is installed from a wheel or there is no git.
    """
    here = folder or Path(__file__).parent
    # Variables of a git that is running (a hook's, for one) would speak of another repository.
    variables = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    variables["GIT_OPTIONAL_LOCKS"] = "0"  # a run only looks

    def git(*arguments: str) -> bytes:
        command = ["git", "-C", str(here), *arguments]
        return subprocess.run(command, capture_output=True, check=True, env=variables, timeout=30).stdout  # noqa: S603

    try:
        # A wheel may lie in an environment inside somebody's repository, which does not track it.
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
    """Versions of Python and of `PACKAGES`, as far as they are installed; nothing is imported."""
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
