"""What can be chosen: tasks, attention modules, data sets, backbones. Read from files, without importing torch.

A recipe's first comment line is what the catalogue says of it; a data set is a public class in a task's folder that
derives from `Data`, and the first line of its docstring is what is said of it.
"""

import ast
import functools
from pathlib import Path

import relattn

FAMILIES = {
    "resnet20, 32, 44, 56, 110, 218": "residual networks for 32x32 images, any depth 6n + 2",
    "densenet100, densenet_bc100, densenet_bc112": "dense networks for 32x32 images, growth 12, or another: _k24",
    "any timm CNN": "resnet50, resnet50.tv_in1k (with weights), mobilenetv2_100, ...: `relattn list backbones resnet`",
}


def conf() -> Path:
    """The folder of recipes."""
    return Path(relattn.__file__).parent / "conf"


def tasks_folder() -> Path:
    """The folder of the tasks."""
    return Path(relattn.__file__).parent / "tasks"


def recipes(kind: str) -> dict[str, str]:
    """Names and first comment lines of `conf/<kind>/*.yaml`."""
    found = {}
    for path in sorted((conf() / kind).glob("*.yaml")):
        first = path.read_text().partition("\n")[0]
        found[path.stem] = first.lstrip("# ").strip()
    return found


def data_sets() -> dict[str, str]:
    """Names and summaries of the data sets of all tasks."""
    return {name: summary for name, (_, summary) in found_data_sets().items()}


def class_path(data: str) -> str:
    """The class path of a data set, `relattn.tasks.<task>.<name>`."""
    return f"relattn.tasks.{found_data_sets()[data][0]}.{data}"


@functools.cache  # one command line asks several times, and every file of the tasks is parsed
def found_data_sets() -> dict[str, tuple[str, str]]:
    """The task and the summary of each data set, by its name."""
    classes: dict[str, tuple[list[str], str, str]] = {}
    for path in sorted(tasks_folder().rglob("*.py")):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef):
                bases = [base.id for base in node.bases if isinstance(base, ast.Name)]
                summary = (ast.get_docstring(node) or "").partition("\n")[0]
                classes[node.name] = bases, path.parent.name, summary

    def is_data(name: str) -> bool:
        return name == "Data" or any(is_data(base) for base in classes.get(name, ([], "", ""))[0])

    parents = {base for bases, _, _ in classes.values() for base in bases}
    return {
        name: (task, summary) for name, (_, task, summary) in classes.items() if is_data(name) and name not in parents
    }


def sections() -> dict[str, dict[str, str]]:
    """Everything that can be chosen, by the flag that chooses it."""
    return {
        "--task": recipes("task"),
        "--attention": {"none": "the plain network", **recipes("attention")},
        "--data": data_sets(),
        "--backbone": FAMILIES,
    }


def text() -> str:
    """The catalogue as it appears in `--help`."""
    lines = []
    for flag, choices in sections().items():
        lines.append(f"{flag}:")
        lines += [f"  {name:<24} {summary}" for name, summary in choices.items()]
        lines.append("")
    return "\n".join(lines)
