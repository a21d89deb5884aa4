"""`relattn data make NAME --root DIR`: generates stand-ins for data sets, in their official layouts.

A stand-in is a function `write_<name>` in a module `relattn.synthetic.<kind>.layouts`. Its keyword arguments are the
options, and its docstring is their help.
"""

import argparse
import ast
import importlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import relattn
from relattn.cli.options import height_and_width, own_path
from relattn.errors import InputError, suggest

TYPES = {"int": int, "Literal[1, 2]": int, "tuple[int, int]": height_and_width}
"""Annotations of arguments that become options."""


@dataclass(frozen=True)
class StandIn:
    """A data set that can be generated: its function, its summary, and its options with their help."""

    module: str
    function: str
    summary: str
    options: dict[str, tuple[str, str]]
    """Annotated type and help of each option, by name."""
    has_preview: bool


def stand_ins() -> dict[str, StandIn]:
    """All stand-ins by their names, read from the source without importing it."""
    known = {}
    for file in sorted((Path(relattn.__file__).parent / "synthetic").glob("*/layouts.py")):
        content = ast.parse(file.read_text(encoding="utf-8")).body
        functions = [node for node in content if isinstance(node, ast.FunctionDef)]
        previewed = any(node.name == "preview" for node in functions)
        for node in functions:
            if node.name.startswith("write_") and [argument.arg for argument in node.args.args] == ["root"]:
                text = ast.get_docstring(node) or ""
                module = f"relattn.synthetic.{file.parent.name}.layouts"
                options = options_of(node, text)
                summary = text.partition("\n")[0].rstrip(".")
                known[node.name.removeprefix("write_")] = StandIn(module, node.name, summary, options, previewed)
    return known


def options_of(function: ast.FunctionDef, docstring: str) -> dict[str, tuple[str, str]]:
    """The keyword arguments of a function that become options, with their descriptions from its docstring."""
    entries = re.findall(r"^ {4}(\w+): (.*(?:\n {8}.*)*)", docstring, re.MULTILINE)
    texts = {name: " ".join(text.split()).rstrip(".") for name, text in entries}
    kinds = {one.arg: ast.unparse(one.annotation) for one in function.args.kwonlyargs if one.annotation is not None}
    return {name: (kind, texts.get(name, "")) for name, kind in kinds.items() if kind in TYPES}


def main(arguments: list[str]) -> int:
    """Generate a data set, or check one."""
    if arguments[:1] == ["check"]:
        from relattn.cli.data_check import main as check

        return check(arguments[1:])
    known = stand_ins()
    options, standing = parse(arguments, known)
    write = getattr(importlib.import_module(standing.module), standing.function)
    chosen = {name: vars(options)[name] for name in standing.options if vars(options)[name] is not None}
    from rich.console import Console

    console = Console(stderr=True)
    with console.status(f"Rendering {options.name} ..."):
        folder = write(options.root, **chosen)
        if options.preview:
            importlib.import_module(standing.module).preview(options.name, options.preview, **chosen)
    files = sum(1 for path in folder.rglob("*") if path.is_file())
    console.print(f"{folder}: rendered, {files:,} files", highlight=False, soft_wrap=True)
    if options.preview:
        console.print(f"{options.preview}: a contact sheet", highlight=False, soft_wrap=True)
    return 0


def parse(arguments: list[str], known: dict[str, StandIn]) -> tuple[argparse.Namespace, StandIn]:
    """Read the options.

    Raises:
        InputError: If the data set does not exist, or an option does not apply to it.
    """
    parser = argparse.ArgumentParser(
        prog="relattn data",
        description="Generate a stand-in for a data set, in its official layout: the loader of the real set reads it.\n"
        "`relattn data check` decodes every image of a set, whoever made it; see relattn data check --help.\n\n"
        "data sets:\n" + "\n".join(f"  {name:<11} {standing.summary}" for name, standing in known.items()),
        epilog="example: relattn data make cifar100 --root data",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("action", choices=["make"], metavar="make", help="or check, see above")
    parser.add_argument("name", help="one of those above")
    parser.add_argument("--root", type=own_path, required=True, help="folder that will hold the set's own folder")
    by_option: dict[str, dict[str, tuple[str, str]]] = {}
    for name, standing in known.items():
        for option, entry in standing.options.items():
            by_option.setdefault(option, {})[name] = entry
    for option, entries in by_option.items():
        kinds = {kind for kind, _ in entries.values()}
        numbers = "tuple[int, int]" not in kinds
        texts: dict[str, list[str]] = {}
        for name, (_, text) in entries.items():
            texts.setdefault(text, []).append(name)
        listed = "; ".join(f"{text} ({', '.join(names)})" for text, names in texts.items())
        text = listed if len(entries) < len(known) or len(texts) > 1 else next(iter(texts))
        parser.add_argument(
            f"--{option}", type=int if numbers else number_or_size, metavar="N" if numbers else "N|HxW", help=text
        )
    parser.add_argument(
        "--preview", type=own_path, metavar="FILE.png", help="also draw a contact sheet, where the set has one"
    )
    options = parser.parse_args(arguments)
    options.name = options.name.lower()  # so that the class name of a data set works too
    if options.name not in known:
        raise InputError(f"relattn data make: there is no {options.name!r}. {suggest(options.name, known)}")
    standing = known[options.name]
    for option in by_option:
        if vars(options)[option] is not None and option not in standing.options:
            own = ", ".join(f"--{name}" for name in standing.options)
            raise InputError(
                f"relattn data make: --{option} does not apply to {options.name}; its options are --root, {own}"
                f"{' and --preview' if standing.has_preview else ''}."
            )
        pair = standing.options.get(option, ("", ""))[0] == "tuple[int, int]"
        if vars(options)[option] is not None and pair != isinstance(vars(options)[option], tuple):
            expected = "height x width, such as 64x128" if pair else "a whole number"
            raise InputError(f"relattn data make: --{option} of {options.name} is {expected}.")
    if options.preview and not standing.has_preview:
        names = ", ".join(name for name, one in known.items() if one.has_preview)
        raise InputError(f"relattn data make: --preview is for {names}; {options.name} has no cameras.")
    if options.preview and options.preview.suffix != ".png":
        raise InputError(f"relattn data make: --preview is {options.preview}, expected a name that ends in .png.")
    return options, standing


def number_or_size(text: str) -> Any:
    """Parse a whole number, or height x width."""
    return int(text) if text.lstrip("-").isdigit() else height_and_width(text)
