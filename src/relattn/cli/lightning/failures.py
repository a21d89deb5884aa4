"""Which errors of other people's classes are said in one line, and which keep their traceback.

Until the first step is made, what Lightning, W&B, timm or another library raises says that an option does not fit: one
line with the reason. So it does later, if it was raised by Lightning or W&B themselves, about a metric that a callback
waits for, for example. An error within the user's own code keeps its traceback, unless the code refuses an argument
during set-up, as by a ValueError. An error within this package is a mistake of ours, and keeps it too.
`relattn --traceback ...` shows all in any case.
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
"""Packages whose errors are about options at any time."""

WATCHERS = ("lightning.pytorch.callbacks.", "lightning.pytorch.loggers.", "lightning.pytorch.profilers.")
"""Modules whose classes an option has chosen: what fails within them, in torch for example, is about that option."""

REFUSALS = (ValueError, OSError, ImportError, NotImplementedError, RuntimeError)
"""What the user's own code raises to refuse an argument; other errors in it are mistakes of programming."""

STANDARD = tuple({Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "platstdlib")})
"""Folders of Python's own modules."""

INSTALLED = {"site-packages", "dist-packages"}
"""Names of folders of installed packages: the environment's, the system's, the user's."""


def in_one_line(error: Exception, *, setting_up: bool) -> InputError | None:
    """What an error says, in one line; None if its traceback is wanted.

    Args:
        error: What was raised.
        setting_up: Whether no step has been made.
    """
    if isinstance(error, InputError):
        return error
    cause = inner(error, InputError)
    if cause is not None and setting_up:
        return cause  # jsonargparse and Lightning bury it under what they tried
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
    """The error that others were raised from: a parser says what it tried, and the first one why it failed."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def said(error: BaseException, origin: FrameType) -> InputError:
    """The message for an error that has none of ours: who raised it, and why."""
    owner = origin.f_locals.get("self")
    who = type(owner).__name__ if owner is not None else "_"
    if who.startswith("_"):  # a function, or a class that nobody asks for by its name
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
    """Whose code a frame runs."""
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
    """The first error of a kind that another was raised from."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, kind):
        cause = cause.__cause__ or cause.__context__
    return cause if isinstance(cause, kind) else None


def is_out_of_memory(error: Exception) -> bool:
    """Whether a device had not enough memory."""
    import torch

    return isinstance(error, torch.cuda.OutOfMemoryError)


def first_line(error: Exception) -> str:
    """The first sentence of an error."""
    return str(error).strip().partition("\n")[0].partition(". ")[0] + "."
