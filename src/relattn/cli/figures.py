"""`relattn figures`: what a trained network looks at, and how it is built, as PNG and PDF."""

import argparse
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from relattn.errors import InputError, MissingFileError, suggest

if TYPE_CHECKING:
    from rich.console import Console

    from relattn.inference.draw import Drawn
    from relattn.inference.pictures import Pictures
    from relattn.tasks.base import Data, Task

FIGURES = {
    "architecture": "where attention sits, with map sizes, parameters and multiply-accumulates",
    "grad-cam": "evidence for the most likely class; any network",
    "masks": "spatial masks of every stage; RGA, CBAM, FC, simplified non-local",
    "relations": "what stands between positions and targets; RGA, non-local",
    "modes": "local activations, coefficients and outputs of each head; StRA",
    "ranks": "the nearest gallery images of queries; people",
    "segmentation": "image, truth, prediction, errors; streets",
    "pairs": "the hardest wrong decisions of verification; faces",
}

EXAMPLES = """examples:
  relattn figures --ckpt runs/reid/NAME/checkpoints/last.ckpt --figure masks relations
  relattn figures --ckpt plain.ckpt --beside rga.ckpt --figure grad-cam --images anna.jpg bert.jpg
  relattn figures --ckpt nl.ckpt --beside rga.ckpt --figure relations --targets 0.3,0.5 0.8,0.4
"""


def parse(arguments: list[str]) -> argparse.Namespace:
    """Read the options."""
    parser = argparse.ArgumentParser(
        prog="relattn figures",
        description="Draw figures of a trained network, as PNG and PDF; those of an earlier call are written over.\n\n"
        "figures:\n" + "\n".join(f"  {name:<13} {text}" for name, text in FIGURES.items()),
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--ckpt", "--checkpoint", type=Path, required=True, help="a checkpoint of any task")
    parser.add_argument("--figure", nargs="+", required=True, metavar="NAME", help="one or several of those above")
    parser.add_argument("--beside", type=Path, nargs="+", default=[], metavar="CKPT", help="networks to compare with")
    parser.add_argument(
        "--images",
        nargs="+",
        metavar="IMAGE",
        help="1 to 8 image files or folders, or places in the run's test set; by default four of its test images",
    )
    parser.add_argument("--count", type=int, default=4, help="how many images, if --images does not say which")
    parser.add_argument("--out", type=Path, default=Path("figures"), help="folder to write, by default figures")
    parser.add_argument("--root", type=Path, help="where the run's data are, if they have moved")
    parser.add_argument("--targets", nargs="+", type=target, metavar="Y,X", help="relations: parts of height and width")
    parser.add_argument(
        "--weights",
        choices=["relations", "connecting"],
        default="relations",
        help="relations: the values, or what RGA's relation convolution makes of them",
    )
    parser.add_argument("--module", help="relations, modes: which, by its title, such as 'stage 3'; default: the last")
    parser.add_argument("--pack", help="pairs: one pack; by default all of the run")
    parser.add_argument("--gpus", help="0 for the CPU, 1 for the first GPU, '2,' for the third; default: 1 if any")
    options = parser.parse_args(arguments)
    options.figure = [name for part in options.figure for name in part.split(",") if name]
    for name in options.figure:
        if name not in FIGURES:
            raise InputError(f"--figure: there is no figure {name!r}. {suggest(name, FIGURES)}")
    if not 1 <= options.count <= 8:
        raise InputError(f"--count is {options.count}, expected 1 to 8.")
    if options.beside and (alone := [name for name in options.figure if name in ALONE]):
        raise InputError(f"--beside compares networks, and {', '.join(alone)} draws one: leave it out for that.")
    return options


ALONE = ("architecture", "ranks", "segmentation", "pairs")
"""Figures of one network."""


def target(text: str) -> tuple[float, float]:
    """Read `0.3,0.5` as parts of the height and of the width."""
    match = re.fullmatch(r"(\d*\.?\d+),(\d*\.?\d+)", text)
    found = (float(match[1]), float(match[2])) if match else (-1.0, -1.0)
    if not all(0 <= part <= 1 for part in found):
        raise argparse.ArgumentTypeError(f"{text!r} is not two numbers from 0 to 1 with a comma, such as 0.3,0.5")
    return found


def title_of(checkpoint: Path) -> str:
    """What figures call the network of a checkpoint: its backbone and its attention."""
    import yaml

    from relattn.cli.lightning.commands import attention_name
    from relattn.inference.loading import read

    arguments = yaml.safe_load(read(checkpoint)["config"])["model"]["init_args"]
    attention = attention_name(arguments.get("attention"))
    return str(arguments["backbone"]) + ("" if attention == "none" else f" + {attention}")


def networks(options: argparse.Namespace) -> "dict[str, Task]":
    """The networks by their titles, which are made different where they are not."""
    from relattn.cli.embed import device_of
    from relattn.cli.lightning.commands import quieten
    from relattn.cli.memory import keep_freed_memory

    device = device_of(options.gpus)
    keep_freed_memory()
    quieten()
    from relattn.inference.loading import load

    found: dict[str, Task] = {}
    for checkpoint in (options.ckpt, *options.beside):
        task = load(checkpoint)
        title = title_of(checkpoint)
        if title in found:
            title = f"{title} ({len(found) + 1})"
        found[title] = task.to(device)
    return found


def pictures_of(options: argparse.Namespace, task: "Task", data: "Data") -> "Pictures":
    """The images that are asked for, or some of the run's test set."""
    from relattn.inference.pictures import evenly, from_data, from_files

    given = options.images or []
    numbers = [text for text in given if text.isdigit()]
    if numbers and len(numbers) < len(given):
        raise InputError("--images names files and places in the test set: give either.")
    if given and not numbers:
        files = [file for text in given for file in files_of(Path(text))]
        if len(files) > 8:
            raise InputError(f"--images gives {len(files)} images, and a figure shows 1 to 8.")
        return from_files(task, data, files)
    if len(numbers) > 8:
        raise InputError(f"--images gives {len(numbers)} images, and a figure shows 1 to 8.")
    set_up(data)
    return from_data(data, [int(text) for text in numbers] or evenly(data, options.count))


def set_up(data: "Data") -> None:
    """Find the run's data; what is missing can be named, or done without."""
    try:
        data.setup("test")
    except MissingFileError as error:
        raise MissingFileError(
            f"{error}\nFigures are drawn of the run's test images: say where they are with --root, or give files with "
            "--images."
        ) from error


def files_of(path: Path) -> list[Path]:
    """An image file, or the images of a folder."""
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise MissingFileError(f"--images {path}: there is no such image or folder.")
    from relattn.inference.embed import find_images

    return [path / entry.path for entry in find_images(path, "none")]


def ranks(options: argparse.Namespace, task: "Task", data: "Data", console: "Console") -> "Drawn":
    """Queries of the test set and their nearest gallery images, as `relattn search` draws them."""
    from relattn.cli.embed import say
    from relattn.cli.search import row_of, summary
    from relattn.figures.contact_sheet import contact_sheet
    from relattn.inference.draw import Drawn
    from relattn.inference.embed import Loaded, embed
    from relattn.inference.pictures import evenly
    from relattn.inference.search import Search
    from relattn.tasks.embeddings import Entry
    from relattn.tasks.reid import ReID

    if not isinstance(task, ReID):
        raise InputError(
            f"ranks draws the queries of re-identification, and this is a network of {type(task).__name__}. `relattn "
            "search` ranks folders of any images, of faces too."
        )
    if options.images and not all(text.isdigit() for text in options.images):
        raise InputError(
            "ranks draws queries of the run's test set: give their places with --images, or relattn search."
        )
    set_up(data)
    people: Any = data.sets["test"]  # type: ignore[attr-defined]
    places = [int(text) for text in options.images or evenly(data, options.count)]
    if len(places) > 8 or max(places) >= people.queries:
        raise InputError(f"--images has {places}, expected 1 to 8 queries, from 0 to {people.queries - 1}.")
    entries = [
        Entry(image.path, str(image.identity), str(image.camera), "query" if index < people.queries else "gallery")
        for index, image in enumerate(people.images)
    ]
    about = {"distance": task.metric_arguments["distance"]}
    embedding, _ = embed(Loaded(task, about), people.root, entries)
    search = Search(embedding, embedding)
    found = [search.describe(one) for one in search.rank(sorted(set(places)), 10)]
    missing: list[Path] = []
    rows = [row_of(one, search, missing) for one in found]
    scores = search.scores()
    say(console, summary(scores))
    note = f"{len(search.gallery.entries):,} gallery images; {search.metric} distance; {summary(scores)}"
    sheet = contact_sheet(rows, title="Nearest gallery images", note=note)
    return Drawn(sheet, {name: scores[name] for name in ("rank1", "mAP")} if scores else {})


def pairs(options: argparse.Namespace, task: "Task", data: "Data") -> "Drawn":
    """The hardest wrong decisions on the packs of the run, each with the threshold of its fold.

    How hard a decision is, distances minus thresholds tell, which compare across packs.
    """
    import numpy as np

    from relattn.figures.pairs import Decided, hardest, pairs_figure
    from relattn.inference.draw import Drawn
    from relattn.tasks.face import Face

    if not isinstance(task, Face):
        raise InputError(f"pairs draws face verification, and this is a network of {type(task).__name__}.")
    set_up(data)
    packs = data.packs  # type: ignore[attr-defined]
    if options.pack is not None and options.pack not in packs:
        raise InputError(f"--pack: the run has no {options.pack!r}. {suggest(options.pack, packs)}")
    chosen = {name: pack for name, pack in packs.items() if options.pack in (None, name)}
    found = {name: verified(task, data, name) for name in chosen}
    places = [(name, pair) for name, pack in chosen.items() for pair in range(len(pack.same))]
    distances, thresholds, accepted = (np.concatenate(parts) for parts in zip(*found.values(), strict=True))
    same = np.concatenate([pack.same for pack in chosen.values()])
    wrong = hardest(distances - thresholds, same, accepted, options.count)

    def decided(index: int) -> Decided:
        name, pair = places[index]
        first, second = (chosen[name].read(2 * pair + side, data.image_size) for side in range(2))
        return Decided(first, second, f"{name}, pair {pair}", float(distances[index]), float(thresholds[index]))

    accepts, rejects = ([decided(index) for index in kind] for kind in wrong)
    measures = {
        "pairs": len(same),
        "of two people, accepted": int((accepted & ~same).sum()),
        "of one person, rejected": int((~accepted & same).sum()),
    }
    counts = ", ".join(f"{what} {number:,}" for what, number in measures.items())
    note = f"Squared distances beside the thresholds of their folds. {', '.join(chosen)}: {counts}."
    return Drawn(pairs_figure(accepts, rejects, title="Hardest pairs", note=note), measures)


def verified(task: "Task", data: "Data", pack: str) -> "tuple[Any, Any, Any]":
    """Distances, thresholds and decisions of a pack's pairs."""
    import numpy as np
    import torch

    from relattn.metrics.verification import fold_sizes, pair_distances, verification
    from relattn.tasks.samplers import Draw

    images: Any = data.sets["test"]  # type: ignore[attr-defined]
    names = [one.name for one in images.packs]
    start, stop = images.starts[names.index(pack)], images.starts[names.index(pack) + 1]
    features = []
    with torch.inference_mode():
        for first in range(start, stop, 64):
            batch = type(data).collate([images[Draw(index, 0)] for index in range(first, min(first + 64, stop))])  # type: ignore[attr-defined]
            features.append(task(batch["image"].to(task.device)).float().cpu())
    distances = pair_distances(torch.cat(features))
    result = verification(distances, images.packs[names.index(pack)].same, folds=task.folds)  # type: ignore[arg-type]
    fold = np.repeat(np.arange(len(result.thresholds)), fold_sizes(len(distances), len(result.thresholds)))
    return distances.numpy(), result.thresholds[fold], result.accepted


def main(arguments: list[str]) -> int:
    """Draw and write."""
    options = parse(arguments)
    from rich.console import Console

    from relattn.cli.embed import say

    console = Console()
    tasks = networks(options)
    from relattn.figures.canvas import save
    from relattn.inference.draw import draw
    from relattn.inference.pictures import data_of

    task = next(iter(tasks.values()))
    data = data_of(options.ckpt, options.root)
    pictures: Pictures | None = None
    for name in options.figure:
        if name == "ranks":
            drawn = ranks(options, task, data, console)
        elif name == "pairs":
            drawn = pairs(options, task, data)
        else:
            pictures = pictures or pictures_of(options, task, data)
            chosen = {"module": options.module, "targets": options.targets, "weights": options.weights}
            drawn = draw(name, tasks, data, pictures, **chosen)
        for what, value in drawn.measures.items():
            say(console, f"{what}: {value:,.4f}" if isinstance(value, float) else f"{what}: {value:,}")
        files = save(drawn.figure, options.out, name)
        say(console, f"{name}: {', '.join(map(str, files))}")
    return 0
