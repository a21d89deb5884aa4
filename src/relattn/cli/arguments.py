"""The arguments of the suite's tasks and data sets, read from their source, so that help imports no torch."""

import ast
import inspect
import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

from relattn.cli import catalogue


class Argument(NamedTuple):
    """An argument of a class.

    Attributes:
        name: Its name.
        default: Its default as written in the source; empty if it has none.
        summary: The first sentence of its description.
    """

    name: str
    default: str
    summary: str


@cache
def sources() -> dict[str, Path]:
    """The files of all classes in the folder of the tasks, by class name."""
    found: dict[str, Path] = {}
    for path in sorted(catalogue.tasks_folder().rglob("*.py")):
        for name in re.findall(r"^class (\w+)", path.read_text(encoding="utf-8"), re.MULTILINE):
            found.setdefault(name, path)
    return found


def arguments_of(class_path: str) -> list[Argument]:
    """The arguments of a class of the suite, followed by those of its bases; empty for classes from elsewhere.

    Args:
        class_path: Path of the class.
    """
    if not class_path.startswith("relattn.tasks."):
        return []
    found: dict[str, Argument] = {}
    sought = [class_path.rpartition(".")[2]]
    while sought:
        name = sought.pop(0)
        if name not in sources():
            continue
        tree = ast.parse(sources()[name].read_text(encoding="utf-8"))
        (kind,) = (node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name)
        sought += [base.id for base in kind.bases if isinstance(base, ast.Name)]
        for function in kind.body:
            if isinstance(function, ast.FunctionDef) and function.name == "__init__":
                for argument in of_function(function):
                    found.setdefault(argument.name, argument)
    return list(found.values())


def of_function(function: ast.FunctionDef) -> list[Argument]:
    """The arguments of a method, without `self` and `**` arguments that it passes on."""
    given = function.args
    places = [*given.posonlyargs, *given.args][1:]
    defaults: list[ast.expr | None] = [None] * (len(places) - len(given.defaults))
    defaults += given.defaults[-len(places) :] if places else []
    pairs = [*zip(places, defaults, strict=True), *zip(given.kwonlyargs, given.kw_defaults, strict=True)]
    said = summaries(ast.get_docstring(function) or "")
    return [
        Argument(node.arg, ast.unparse(default) if default is not None else "", said.get(node.arg, ""))
        for node, default in pairs
    ]


def summaries(docstring: str) -> dict[str, str]:
    """The first sentence about each argument in a Google-style docstring."""
    section = inspect.cleandoc(docstring).partition("Args:\n")[2].partition("\n\n")[0]
    entries = re.findall(r"^ {4}(\w+): (.*(?:\n {8}.*)*)", section, re.MULTILINE)
    return {name: re.split(r"(?<=[.;])\s", " ".join(text.split()))[0].rstrip(".;") for name, text in entries}
