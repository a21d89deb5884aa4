"""The architecture stays as designed: imports point one way, files stay small, and start-up imports nothing heavy."""

import ast
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = {ROOT / "src": "", ROOT / "tasks": "relattn.tasks"}  # src/relattn/tasks is a link to the other folder

TASKS = sorted(file.parent.name for file in ROOT.glob("tasks/*/module.py"))

ORDER = ("library", "tasks", "runs", "inference", "sweeps", "cli")
"""Layers from bottom to top: each may import those below it. The library consists of many packages."""

MAY_IMPORT = {
    "attention": set(),
    "backbones": {"attention"},
    "heads": {"attention"},
    "losses": set(),
    "metrics": set(),
    "synthetic": set(),
    "figures": {"attention", "backbones", "heads", "losses", "metrics"},
    "costs": {"attention", "backbones", "heads"},
    "export": set(),
    "released": {"attention", "backbones", "heads"},
}
"""Which packages of the library may import each other; all may import the modules in `BESIDE`."""

DOORS = ("relattn", "relattn.__main__")
"""The package's own files, which are the entry points."""

BESIDE = (
    *("adaptive_pooling", "errors", "extras", "cores", "preprocessing", "printable", "publish", "skeleton"),
    *("unpickle", "unread"),
)
"""Modules beside the packages, which import only each other."""


def sources() -> dict[str, Path]:
    """Every file of the package by its module's name."""
    found = {}
    for folder, prefix in FOLDERS.items():
        for path in folder.rglob("*.py"):
            relative = path.relative_to(folder)
            if relative.parts[:2] == ("relattn", "tasks"):
                continue
            parts = [part for part in (prefix, *relative.with_suffix("").parts) if part and part != "__init__"]
            found[".".join(parts)] = path
    return found


SOURCES = sources()


def imports(path: Path, *, when_imported: bool = False) -> set[str]:
    """Modules that a file imports, `relattn.a.b` for `from relattn.a import b` if b is a module.

    Args:
        path: The file.
        when_imported: Whether to leave out imports inside functions, and imports for types only.
    """
    found: set[str] = set()

    def visit(node: ast.AST) -> None:
        for child in ast.iter_child_nodes(node):
            if when_imported and isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
                continue
            if when_imported and isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
                continue
            if isinstance(child, ast.Import):
                found.update(alias.name for alias in child.names)
            elif isinstance(child, ast.ImportFrom) and child.module:
                names = {f"{child.module}.{alias.name}" for alias in child.names}
                modules = names & SOURCES.keys()
                found.update(modules)
                if len(modules) < len(names):
                    found.add(child.module)
            visit(child)

    visit(ast.parse(path.read_text()))
    return found


def room_of(module: str) -> str:
    return module.split(".")[1] if module.startswith("relattn.") else ""


def storey_of(module: str) -> int:
    room = room_of(module)
    return ORDER.index(room) if room in ORDER else 0


def test_the_rooms_are_known() -> None:
    rooms = {path.name for path in (ROOT / "src" / "relattn").iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert rooms == {*ORDER, *MAY_IMPORT, "conf"} - {"library"}


def test_arrows_point_down() -> None:
    """cli -> sweeps -> inference -> runs -> tasks -> library, imports inside functions as well."""
    for module, path in SOURCES.items():
        for name in imports(path):
            if module not in DOORS and name.startswith("relattn"):
                assert storey_of(name) <= storey_of(module), f"{module} imports {name}"


def test_rooms_of_the_library_import_only_what_they_may() -> None:
    for module, path in SOURCES.items():
        room, names = room_of(module), imports(path)
        if room in (*MAY_IMPORT, *BESIDE):
            inside = {room_of(name) for name in names if name.startswith("relattn.")}
            assert inside <= {room, *BESIDE, *MAY_IMPORT.get(room, ())}, module
            outside = {name.split(".")[0] for name in names}
            assert not outside & {"lightning", "pytorch_lightning", "jsonargparse", "wandb"}, module


def test_there_are_no_circles() -> None:
    graph = {module: imports(path, when_imported=True) & SOURCES.keys() - {module} for module, path in SOURCES.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"modules import each other: {' -> '.join(error.args[1])}")


def test_a_task_s_folder_alone_names_it() -> None:
    for module, path in SOURCES.items():
        others = [task for task in TASKS if not f"{module}.".startswith(f"relattn.tasks.{task}.")]
        text = path.read_text()
        assert not [task for task in others if f"relattn.tasks.{task}" in text], module


def test_files_stay_small_and_say_what_they_hold() -> None:
    lengths = []
    for module, path in SOURCES.items():
        text = path.read_text()
        lengths.append(len(text.splitlines()))
        assert lengths[-1] <= 520, f"{module} has {lengths[-1]} lines"
        assert ast.get_docstring(ast.parse(text)), f"{module}: every file says at its top what it holds"
        assert path.stem not in ("utils", "misc", "helpers", "common"), module
    assert sum(length > 300 for length in lengths) <= len(lengths) // 30, "most are under 300 lines"


HEAVY = {"torch", "lightning", "timm", "wandb", "albumentations", "matplotlib", "numpy", "jsonargparse", "cv2", "PIL"}

HELP = """
import contextlib, io, json, sys
from relattn.cli.main import run

for line in json.loads(sys.argv[1]):
    with contextlib.redirect_stdout(io.StringIO()) as said, contextlib.suppress(SystemExit):
        run(line)
    assert "relattn" in said.getvalue() or line[0] == "list", line
print(json.dumps([name for name in sys.modules]))
"""


def test_help_imports_nothing_heavy() -> None:
    import json

    from relattn.cli.main import COMMANDS

    lines = [
        ["--help"],
        ["fit", "--help"],
        ["fit", "--task", "reid", "--help"],
        ["list", "attentions"],
        *([name, "--help"] for name in COMMANDS),
    ]
    command = [sys.executable, "-c", HELP, json.dumps(lines)]
    answer = subprocess.run(command, capture_output=True, text=True, check=True)
    imported = set(json.loads(answer.stdout))
    assert "relattn.cli.main" in imported
    assert not imported & HEAVY
