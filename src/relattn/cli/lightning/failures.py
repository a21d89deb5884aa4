"""Decides which errors of other packages are shown in one line, and which keep their traceback.

Before the first step, errors raised by Lightning, W&B, timm or another library mean that an option does not fit; they
are shown in one line with the reason. Later, this applies to errors that Lightning or W&B raise themselves, for example
about a metric that a callback waits for. An error in the user's own code keeps its traceback, unless the code refuses
an argument during set-up, for example with a ValueError. An error in this package is a bug and also keeps its
traceback. `relattn --traceback ...` shows all tracebacks in any case.
"""

import sysconfig
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Literal

import relattn
from relattn.cli.lightning.complaints import reason_of
from relattn.errors import InputError

Author = Literal["suite", "library", "user"]

SPEAKING = ("lightning", "lightning_fabric", "pytorch_lightning", "wandb", "jsonargparse")
"""Packages whose errors concern options at any time."""

WATCHERS = ("lightning.pytorch.callbacks.", "lightning.pytorch.loggers.", "lightning.pytorch.profilers.")
"""Modules with classes selected by an option; errors inside their calls, such as in torch, concern that option."""

REFUSALS = (ValueError, OSError, ImportError, NotImplementedError, RuntimeError)
"""Errors with which a user's code may refuse an argument; other errors in it are bugs."""

STANDARD = tuple({Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "platstdlib")})
"""Folders of Python's own modules."""

INSTALLED = {"site-packages", "dist-packages"}
"""Names of folders of installed packages: the environment's, the system's, the user's."""


def in_one_line(error: Exception, *, setting_up: bool) -> InputError | None:
    """The message of an error in one line; None if its traceback should be shown.

    Args:
        error: The error.
        setting_up: Whether no step has been done yet.
    """
    if isinstance(error, InputError):
        return error
    cause = inner(error, InputError)
    if cause is not None and setting_up:
        return cause  # jsonargparse and Lightning wrap it in messages about what they tried
    frames = list(frames_of(root_of(error)))
    origin, authors = frames[-1] if frames else None, [author_of(frame) for frame in frames]
    by_user = "user" in authors
    watcher = next((frame for frame in reversed(frames) if package_of(frame) in (*SPEAKING, "relattn")), None)
    if is_out_of_memory(error) and not by_user:
        return InputError(
            f"The device has not enough memory: {first_line(error)} Lower --data.batch_size, or try "
            "--trainer.precision bf16-mixed and --model.recompute_attention all."
        )
    if origin is None or authors[-1] == "suite":
        return None
    if authors[-1] == "user":
        refused = setting_up and isinstance(error, REFUSALS) and not isinstance(error, RecursionError)
        return said(error, origin) if refused else None
    if setting_up or (package_of(origin) in SPEAKING and not by_user):
        return said(error, origin)
    if watcher is not None and not by_user and module_of(watcher).startswith(WATCHERS):
        return said(error, watcher)
    return None


def root_of(error: BaseException) -> BaseException:
    """The first error of a chain: a parser's errors list what it tried, and the first one has the reason."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def said(error: BaseException, origin: FrameType) -> InputError:
    """The message for an error without one of ours: who raised it, and why."""
    owner = origin.f_locals.get("self")
    who = type(owner).__name__ if owner is not None else "_"
    if who.startswith("_"):  # a function, or a private class that no option selects
        who = package_of(origin) or Path(origin.f_code.co_filename).name
    if (reason := reason_of(str(error))) is not None and package_of(origin) == "jsonargparse":
        return InputError(f"{reason} (relattn --traceback ... shows where.)")
    error = root_of(error)
    text = " ".join(str(error).split())
    plain = isinstance(error, ValueError | RuntimeError) or type(error).__name__ == "MisconfigurationException"
    name = type(error).__name__
    text = text if plain and text else f"{name}: {text}" if text else name
    end = "" if text.endswith((".", "!", "?")) else "."
    return InputError(f"{who}: {text}{end} (relattn --traceback ... shows where.)")


def frames_of(error: BaseException) -> Iterator[FrameType]:
    """The frames of an error's traceback, the innermost last."""
    trace = error.__traceback__
    while trace is not None:
        yield trace.tb_frame
        trace = trace.tb_next


def author_of(frame: FrameType) -> Author:
    """The author of the code that a frame runs."""
    file = frame.f_code.co_filename
    if file.startswith("<"):
        return "library"
    path, package = Path(file).resolve(), Path(relattn.__file__).resolve().parent
    if any(path.is_relative_to(folder) for folder in (package, (package / "tasks").resolve())):
        return "suite"
    installed = not INSTALLED.isdisjoint(path.parts) or any(path.is_relative_to(folder) for folder in STANDARD)
    return "library" if installed else "user"


def module_of(frame: FrameType) -> str:
    """Name of the module that a frame's code belongs to."""
    return str(frame.f_globals.get("__name__", ""))


def package_of(frame: FrameType) -> str:
    """Name of the package that a frame's code belongs to."""
    return module_of(frame).partition(".")[0]


def inner(error: BaseException, kind: type[InputError]) -> InputError | None:
    """The first error of a class among those that another was raised from."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, kind):
        cause = cause.__cause__ or cause.__context__
    return cause if isinstance(cause, kind) else None


def is_out_of_memory(error: Exception) -> bool:
    """Whether a device ran out of memory."""
    import torch

    return isinstance(error, torch.cuda.OutOfMemoryError)


def first_line(error: Exception) -> str:
    """The first sentence of an error."""
    return str(error).strip().partition("\n")[0].partition(". ")[0] + "."
