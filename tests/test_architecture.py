"""The house stays as it was designed: arrows point one way, files stay small, nothing heavy stands in the door."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted([*ROOT.glob("src/**/*.py"), *ROOT.glob("tasks/**/*.py")])
ROOMS = ["attention", "backbones", "heads", "losses", "metrics", "synthetic", "figures", "benchmark", "export"]

# What the files of each room may import of the project, beside `relattn.errors` and themselves.
MAY_IMPORT = {
    "attention": set(),
    "backbones": {"attention"},
    "heads": {"attention"},
    "losses": set(),
    "metrics": set(),
    "synthetic": set(),
    "figures": {"attention", "backbones", "heads", "metrics"},
    "sweeps": set(),
    "benchmark": {"attention", "backbones", "heads"},
    "export": set(),
}


def imports(path: Path) -> set[str]:
    """Every module that a file imports, inside functions as well."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def rooms_of(names: set[str]) -> set[str]:
    return {name.split(".")[1] for name in names if name.startswith("relattn.") and name.split(".")[1] in ROOMS}


@pytest.mark.parametrize("room", ROOMS)
def test_rooms_of_the_library_import_only_what_they_may(room: str) -> None:
    for path in ROOT.glob(f"src/relattn/{room}/**/*.py"):
        names = imports(path)
        assert rooms_of(names) - {room} <= MAY_IMPORT[room], path
        outside = {name.split(".")[0] for name in names}
        assert not outside & {"lightning", "pytorch_lightning", "tasks", "wandb"}, path
        assert not any(name.startswith("relattn.cli") for name in names), path


def test_tasks_do_not_import_the_command_line() -> None:
    for path in ROOT.glob("tasks/**/*.py"):
        assert not any(name.startswith("relattn.cli") for name in imports(path)), path


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_stay_small_and_say_what_they_hold(path: Path) -> None:
    text = path.read_text()
    lines = len(text.splitlines())
    assert lines <= (150 if path.name == "base.py" else 300)
    assert ast.get_docstring(ast.parse(text)), "every file says at its top what it holds"
    assert path.name not in ("utils.py", "misc.py", "helpers.py")


@pytest.mark.parametrize(
    "arguments", [[*command, "--help"] for command in ([], ["fit"], ["data"], ["sweep"])] + [["list", "attentions"]]
)
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    run = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "relattn", *arguments], capture_output=True, text=True, check=True
    )
    imported = {line.rpartition("|")[2].strip() for line in run.stderr.splitlines() if line.startswith("import time:")}
    heavy = {"torch", "lightning", "timm", "wandb", "albumentations", "matplotlib", "numpy", "jsonargparse"}
    assert not imported & heavy
    assert "relattn.cli.main" in imported
