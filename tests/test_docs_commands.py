"""The examples in the documentation work: Python blocks are run, and every `relattn fit` sets up its run.

tests/test_docs.py checks names and options of the other commands. Blocks that are not run are listed below with the
reason.
"""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from set_up import SetUp

from relattn.errors import MissingFileError

ROOT = Path(__file__).parents[1]

PAGES = [*sorted((ROOT / "docs").rglob("*.md")), *sorted(ROOT.glob("tasks/*/README.md")), ROOT / "README.md"]

ELSEWHERE = {
    "docs/python.md": "tests/inference/test_load.py runs it",
    "docs/adding.md": "tests/test_docs.py runs it",
    "docs/speed.md": "a profile of ResNet-50 takes minutes",
    "docs/safety.md": "imports a package of the reader's",
}
"""Pages whose Python blocks are not run here, with the reason; those of all others are run."""

OTHERS = {
    "pip": "installs",
    "ray": "starts a cluster",
    "make": "runs these tests",
    "python": "benchmarks, which tests/costs/test_benchmarks_run.py runs",
    "torchrun": "tests/runs/test_two_processes.py starts its processes",
    "wandb": "needs an account",
    "tensorboard": "serves until it is stopped",
    **dict.fromkeys(("srun", "if", "else", "fi"), "needs SLURM"),
    "export": "sets a variable",
    "--trainer.callbacks+": "an option by itself",
    "cd": "changes the folder",
    ".": "activates the environment",
    "jupyter": "tests/test_notebooks.py runs the notebooks",
}
"""Other programs, whose commands are not run."""


def blocks(page: Path, language: str) -> list[str]:
    """The blocks of code in a language."""
    return re.findall(rf"^```{language}[^\n]*\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)


(STOPPING,) = blocks(ROOT / "docs" / "callbacks.md", "yaml")


def name_of(page: Path) -> str:
    """The path of a page in the repository."""
    return page.relative_to(ROOT).as_posix()


def commands() -> Iterator[tuple[str, list[str]]]:
    """The command lines of all pages, with the page's name; shell variables stand for a run's folder."""
    for page in PAGES:
        for block in blocks(page, "sh"):
            for line in block.replace("\\\n", " ").splitlines():
                words = shlex.split(line, comments=True)
                if words:
                    yield name_of(page), words


def fits() -> list[str]:
    """The command lines of `relattn fit` that begin a run, without options for the run's folder and for GPUs."""
    found = []
    for _, words in commands():
        if words[:2] != ["relattn", "fit"] or {"--ckpt_path", "--help"} & {*words} or "..." in words:
            continue
        for flag in ("--name", "--gpus", "--runs"):
            if flag in words:
                at = words.index(flag)
                words = [*words[:at], *words[at + 2 :]]
        found.append(shlex.join(words[2:]))
    return sorted(set(found))


@pytest.fixture(scope="module")
def set_up() -> SetUp:
    return SetUp()


@pytest.mark.parametrize("line", fits())
@pytest.mark.sampled(10)
def test_a_run_that_is_shown_is_set_up(line: str, set_up: SetUp) -> None:
    words = shlex.split(line)
    if "mine" in line:
        pytest.skip("what docs/adding.md adds: tests/test_docs.py runs it")
    if "--test_data" in words:
        with pytest.raises(MissingFileError, match="was not found"):  # as far as it goes without the sets
            set_up([*words, "--gpus", "0"])
        return
    if "tensorboard" in words:
        pytest.importorskip("tensorboard", reason="an extra")
    if "--config" in words:
        at = words.index("--config") + 1
        if words[at].startswith("runs/"):
            pytest.skip("the configuration of a run: tests/runs/test_nothing_changes.py repeats one")
        Path("stopping.yaml").write_text(STOPPING)
        words[at] = words[at] if words[at] == "stopping.yaml" else str(ROOT / words[at])
    set_up([*words, "--gpus", "0"])


def test_commands_of_others_are_named() -> None:
    for page, words in commands():
        assert words[0] in {"relattn", *OTHERS} or "=" in words[0], (page, words)


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")], ids=name_of)
def test_blocks_of_python_are_run(page: Path) -> None:
    if (reason := ELSEWHERE.get(name_of(page))) is not None:
        pytest.skip(reason)
    scope: dict[str, object] = {"__name__": "page"}
    if page.parent.name == "attention":  # whose blocks assume that a module is imported
        exec("from relattn.attention import *", scope)
    for block in blocks(page, "python"):
        exec(compile(block, name_of(page), "exec"), scope)
