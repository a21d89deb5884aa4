"""The catalogue of tasks, attention modules, data sets and backbones, read from recipes without importing torch.

The first comment line of a recipe is its summary.
"""

import re
from pathlib import Path

import relattn
from relattn.cli.columns import table

FAMILIES = {
    "resnet20, 32, 44, 56, 110, 218": "residual networks for 32x32 images, any depth 6n + 2",
    "densenet100, densenet_bc100, densenet_bc112": "dense networks for 32x32 images, growth 12, or another: _k24",
    "any timm network": "resnet50, resnet50.tv_in1k (with weights), vit_tiny_patch16_224: `relattn list backbones`",
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
        first = path.read_text(encoding="utf-8").partition("\n")[0]
        found[path.stem] = first.lstrip("# ").strip()
    return found


def display_name(kind: str, name: str) -> str:
    """The display name of a recipe: its summary up to the first colon, or else the name itself."""
    if kind == "attention" and name == "none":
        return "plain"
    before, colon, _ = recipes(kind).get(name, "").partition(":")
    return before if colon else Path(name).stem


def class_path(kind: str, name: str) -> str:
    """The class path in a recipe for one class: a data set or an attention module."""
    content = (conf() / kind / f"{name}.yaml").read_text(encoding="utf-8")
    match = re.search(r"^class_path: *(\S+)", content, re.MULTILINE)
    return match[1] if match else ""


def task_folders(file: str) -> dict[str, Path]:
    """The folders of the suite's tasks that contain a file of that name, by task name."""
    return {path.parent.name: path for path in sorted(tasks_folder().glob(f"*/{file}"))}


def sections() -> dict[str, dict[str, str]]:
    """The names for each flag, with their summaries."""
    return {
        "--task": recipes("task"),
        "--attention": {"none": "the plain network", **recipes("attention")},
        "--data": recipes("data"),
        "--backbone": FAMILIES,
    }


def text() -> str:
    """The catalogue as it appears in `--help`."""
    lines = []
    for flag, choices in sections().items():
        lines.append(f"{flag}:")
        lines.append(table(choices.items()))
        lines.append("")
    return "\n".join(lines)
