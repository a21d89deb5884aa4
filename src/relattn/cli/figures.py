"""`relattn figures`: figures of trained networks, as PNG and PDF."""

import argparse
import ast
import re
from pathlib import Path
from typing import TYPE_CHECKING

from relattn.cli import catalogue
from relattn.cli.options import add_checkpoint, add_gpus, checkpoint_file, device_of, own_path, say
from relattn.errors import InputError, MissingFileError, suggest
from relattn.publish import check_writable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from relattn.figures.style import Style
    from relattn.inference.figure_images import FigureImages
    from relattn.tasks.base import Task
    from relattn.tasks.data import Data

GENERAL = {
    "architecture": "where attention sits, with map sizes, parameters and multiply-accumulates",
    "grad-cam": "evidence for the most likely class; any network",
    "masks": "spatial masks of every stage; RGA, CBAM, FC, simplified non-local",
    "relations": "values between all positions and targets; RGA, non-local",
    "modes": "local activations, coefficients and outputs of each head; StRA",
}
"""Figures for any task."""

COMPARING = ("grad-cam", "masks", "relations", "modes")
"""Figures that can show several networks side by side."""

MAPS = ("module", "labels", "maps", "columns", "font", "font_size", "bare")
"""Options of figures that show maps."""

HONOURED: dict[str, tuple[str, ...]] = {
    "architecture": ("labels",),
    "grad-cam": ("images", *MAPS),
    "masks": ("images", *MAPS),
    "relations": ("images", "targets", "weights", *MAPS),
    "modes": ("images", *MAPS),
}
"""Options that each figure for any task supports; `--width`, `--out`, `--root` and `--gpus` apply to all."""

LOOKS = ("font", "font_size", "bare")
"""Text options that architecture figures and contact sheets do not support."""

OF_ONE = ("images", "targets", "weights", "set")
"""Options that may apply to only some of the figures drawn."""

MOST, COUNT = 8, 4
"""Maximum and default number of images in a figure."""

EXAMPLES = """examples:
  relattn figures --ckpt_path runs/reid/NAME --figure masks relations
  relattn figures --ckpt_path plain.ckpt --beside rga.ckpt --figure grad-cam --images anna.jpg bert.jpg
  relattn figures --ckpt_path nl.ckpt --beside rga.ckpt --figure relations --targets 0.3,0.5 0.8,0.4
  relattn figures --ckpt_path cbam.ckpt --beside rga.ckpt --labels CBAM RGA-SC --figure masks --module 'stage 4' \\
    --maps over --columns 2 --width 3.25 --font_size 7 --font serif --bare
"""


def figures_of_tasks() -> dict[str, str]:
    """The figures that belong to a single task, with the first line of their docstrings; nothing is imported."""
    summaries = {}
    for file in catalogue.task_folders("figures.py").values():
        tree = ast.parse(file.read_text(encoding="utf-8"))
        functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
        for node in tree.body:
            if isinstance(node, ast.AnnAssign) and getattr(node.target, "id", "") == "FIGURES":
                assert isinstance(node.value, ast.Dict)
                for key, value in zip(node.value.keys, node.value.values, strict=True):
                    if isinstance(key, ast.Constant) and isinstance(value, ast.Name):
                        text = ast.get_docstring(functions[value.id]) or ""
                        summaries[str(key.value)] = text.partition("\n")[0].rstrip(".")
    return summaries


def parse(arguments: list[str]) -> argparse.Namespace:
    """Read the options."""
    known = {**GENERAL, **figures_of_tasks()}
    parser = argparse.ArgumentParser(
        prog="relattn figures",
        description="Draw figures of a trained network, as PNG and PDF; those of an earlier call are overwritten.\n\n"
        "figures:\n" + "\n".join(f"  {name:<13} {text}" for name, text in known.items()),
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_checkpoint(parser)
    parser.add_argument("--figure", nargs="+", required=True, metavar="NAME", help="one or several of those above")
    parser.add_argument("--beside", nargs="+", default=[], metavar="FILE|RUN", help="networks to compare with")
    parser.add_argument(
        "--images",
        nargs="+",
        metavar="IMAGE",
        help="1 to 8 image files or folders, or numbers of images of the run's test set; by default four of those",
    )
    parser.add_argument("--count", type=int, help="how many images, if --images does not say which; default 4")
    parser.add_argument("--out", type=own_path, default=Path("figures"), help="folder to write, by default figures")
    parser.add_argument("--root", type=own_path, help="where the run's data are, if they have moved")
    parser.add_argument(
        "--targets", nargs="+", type=target, metavar="Y,X", help="relations: fractions of height and width"
    )
    parser.add_argument(
        "--weights",
        choices=["relations", "connecting"],
        help="relations: the values (default), or what RGA's relation convolution makes of them",
    )
    parser.add_argument(
        "--module", help="figures of maps: of which module, by its title, such as 'stage 3'; default: all, or the last"
    )
    parser.add_argument("--set", help="pairs: one verification set; by default all of the run")
    looks = parser.add_argument_group("looks")
    looks.add_argument("--labels", nargs="+", metavar="TEXT", help="names of the networks, that of --ckpt_path first")
    looks.add_argument(
        "--maps", choices=["over", "beside"], help="maps over their image, or beside; default: over for grad-cam alone"
    )
    looks.add_argument("--columns", type=int, help="images side by side, each with all its maps; default 1")
    looks.add_argument("--width", type=float, help="inches of the whole figure, such as 3.25 for a column of a paper")
    looks.add_argument("--font", metavar="FAMILY", help="such as serif or 'Times New Roman'; default sans-serif")
    looks.add_argument("--font_size", type=float, metavar="POINTS", help="default 9")
    looks.add_argument("--bare", action="store_true", help="without title and note, for a paper that has a caption")
    add_gpus(parser)
    options = parser.parse_args(arguments)
    options.figure = [name for part in options.figure for name in part.split(",") if name]
    if not options.figure:
        raise InputError(f"--figure names no figure. {suggest('', known)}")
    if options.count is not None and not 1 <= options.count <= MOST:
        raise InputError(f"--count is {options.count}, expected 1 to {MOST}.")
    if options.beside and (alone := [name for name in options.figure if name not in COMPARING]):
        raise InputError(f"--beside compares networks, and {', '.join(alone)} draws one: leave it out for that.")
    check_honoured(options, HONOURED)
    if options.labels is not None:
        check_labels(options.labels, 1 + len(options.beside))
    return options


def check_honoured(options: argparse.Namespace, honoured: "Mapping[str, Sequence[str]]") -> None:
    """Refuse options that a figure would silently ignore.

    Options of a single figure, and the images, may be ignored by some figures if at least one that is drawn uses them.

    Args:
        options: The options.
        honoured: Options that each figure supports; figures that are not listed are not checked.

    Raises:
        InputError: If an option does not apply; the message has the figures that it applies to.
    """
    judged = [name for name in options.figure if name in honoured]
    for option in ("targets", "weights", "module", "set", "labels", "maps", "columns", *LOOKS, "images"):
        without = [name for name in judged if option not in honoured[name]]
        if not getattr(options, option) or not without or (option in OF_ONE and without != options.figure):
            continue
        applies = [name for name in honoured if option in honoured[name]]
        where = f"it applies to {', '.join(applies)}" if applies else "no figure of this task has it"
        raise InputError(f"--{option} does not apply to {', '.join(without)}: leave it out for that; {where}.")


def check_labels(labels: "Sequence[str]", networks: int) -> None:
    """Refuse labels that do not name each network once."""
    if len(labels) != networks:
        raise InputError(f"--labels has {len(labels)} for {networks} networks: one for --ckpt_path, then for --beside.")
    for label in labels:
        if not label.strip() or labels.count(label) > 1:
            what = "an empty one" if not label.strip() else f"{label!r} twice"
            raise InputError(f"--labels has {what}: each network needs a name of its own.")


def target(text: str) -> tuple[float, float]:
    """Parse `0.3,0.5` as fractions of the height and of the width."""
    match = re.fullmatch(r"(\d*\.?\d+),(\d*\.?\d+)", text)
    parts = (float(match[1]), float(match[2])) if match else (-1.0, -1.0)
    if not all(0 <= part <= 1 for part in parts):
        raise argparse.ArgumentTypeError(f"{text!r} is not two numbers from 0 to 1 with a comma, such as 0.3,0.5")
    return parts


def networks(options: argparse.Namespace) -> "dict[str, Task]":
    """The networks by their titles, which are numbered if they would be equal."""
    from relattn.cli.lightning.commands import attention_name, quieten
    from relattn.cli.memory import keep_freed_memory

    device = device_of(options.gpus)
    keep_freed_memory()
    quieten()
    from relattn.inference.figure_images import check_alike
    from relattn.inference.loading import load_task
    from relattn.runs.checkpoints import config_of

    loaded: dict[str, Task] = {}
    for checkpoint in (options.checkpoint, *(checkpoint_file(options, other) for other in options.beside)):
        task, config = load_task(checkpoint), config_of(checkpoint)
        recipe = (config.get("recipes") or {}).get("attention")
        attention = attention_name(config["model"]["init_args"].get("attention"), recipe)
        title = str(task.backbone) + ("" if attention == "none" else f" + {attention}")
        title = options.labels[len(loaded)] if options.labels else title
        loaded[f"{title} ({len(loaded) + 1})" if title in loaded else title] = task.to(device)
    check_alike(loaded)
    return loaded


def set_up(data: "Data") -> None:
    """Find the run's data; the error about missing files says how to give their location, or to do without them."""
    try:
        data.setup("test")
    except MissingFileError as error:
        raise MissingFileError(
            f"{error}\nFigures are drawn of the run's test images: say where they are with --root, or give files with "
            "--images."
        ) from error


def image_files(path: Path) -> list[Path]:
    """An image file, or the images of a folder."""
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise MissingFileError(f"--images {path}: there is no such image or folder.")
    from relattn.inference.image_folder import find_images

    return [path / entry.path for entry in find_images(path)]


def chosen_images(options: argparse.Namespace) -> tuple[list[int] | None, list[Path] | None]:
    """The indices of test images, or the files, that `--images` names; None for both by default."""
    texts: list[str] = options.images or []
    numbers = [int(text) for text in texts if text.isdigit()]
    if numbers and len(numbers) < len(texts):
        raise InputError("--images mixes files and indices of test images: give one or the other.")
    files = None if numbers or not texts else [file for text in texts for file in image_files(Path(text))]
    count = len(numbers) if files is None else len(files)
    if count > MOST:
        raise InputError(f"--images gives {count} images, and a figure shows 1 to {MOST}.")
    return numbers or None, files


def style_of(options: argparse.Namespace) -> "Style":
    """The style that the options specify."""
    from relattn.figures.style import SIZE, Style

    return Style(
        width=options.width,
        size=SIZE if options.font_size is None else options.font_size,
        family=options.font,
        columns=options.columns,
        over=None if options.maps is None else options.maps == "over",
        bare=options.bare,
    )


def main(arguments: list[str]) -> int:
    """Draw and write."""
    options = parse(arguments)
    options.checkpoint = checkpoint_file(options)
    check_writable(options.out)
    numbers, files = chosen_images(options)
    style = style_of(options)
    from rich.console import Console

    tasks = networks(options)
    from relattn.figures.files import save, scale_to
    from relattn.inference.figure_images import images_of_data, images_of_files, of_one_size
    from relattn.inference.figures import draw_any
    from relattn.inference.loading import load_data
    from relattn.tasks.figure import FigureOptions, evenly_spread, options_of

    console = Console()
    task = next(iter(tasks.values()))
    own = task.figures()
    known = [*GENERAL, *own]
    for name in options.figure:
        if name not in known:
            raise InputError(f"--figure: a network of {task.name} has no figure {name!r}. {suggest(name, known)}")
    check_honoured(options, {**HONOURED, **{name: options_of(figure) for name, figure in own.items()}})
    choices = {"module": options.module, "targets": options.targets, "set": options.set}
    choices["weights"] = options.weights or "relations"
    count = options.count or COUNT
    data = None if options.figure == ["architecture"] else load_data(options.checkpoint, options.root)
    if data is not None and files is None:
        set_up(data)
    images: FigureImages | None = None
    if data is not None and any(name in COMPARING for name in options.figure):
        if files is not None:
            images = images_of_files(data, files)
        else:
            chosen = numbers or of_one_size(data, "test", evenly_spread(data.count("test"), count))
            images = images_of_data(data, "test", chosen)
    drawing = FigureOptions("test", numbers, count, files, choices, style)
    for name in options.figure:
        drawn = draw_any(name, tasks, data, images, drawing)
        for label, value in drawn.measures.items():
            say(console, f"{label}: {value:,.4f}" if isinstance(value, float) else f"{label}: {value:,}")
        if style.width is not None and abs(drawn.figure.get_figwidth() - style.width) > 1e-6:
            scale_to(drawn.figure, style.width)  # a figure with a fixed layout, such as a contact sheet
        written = save(drawn.figure, options.out, name, width=style.width)
        say(console, f"{name}: {', '.join(map(str, written))}")
    return 0
