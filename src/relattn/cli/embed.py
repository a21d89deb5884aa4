"""`relattn embed`: computes the features of a folder's images with a trained network for people or faces."""

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING

from relattn.cli.options import (
    add_checkpoint,
    add_gpus,
    check_free,
    check_numbers,
    checkpoint_file,
    device_of,
    own_path,
    say,
)
from relattn.errors import InputError, some_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.console import Console

    from relattn.inference.embed import EmbeddingNetwork
    from relattn.tasks.embedding_task import Flip
    from relattn.tasks.embeddings import Embedding, Entry

EXAMPLES = """examples:
  relattn embed --ckpt_path runs/reid/NAME --images photos --out features/photos
  relattn embed --ckpt_path last.ckpt --images photos --out features/photos --pattern '(?P<identity>[^/]+)/[^/]*$'
  relattn embed --ckpt_path last.ckpt --images photos --out features/photos --manifest people.csv --gpus 1
  relattn embed --ckpt_path runs/face/NAME --images aligned_faces --out features/faces
"""


def parse(arguments: list[str]) -> argparse.Namespace:
    """Read the options."""
    parser = argparse.ArgumentParser(
        prog="relattn embed",
        description="Write the features of all images of a folder, for `relattn search` and your own programs:\n"
        "features.npy (images, dimensions), manifest.csv with a row for each, and embedding.json.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_checkpoint(parser, text="a network whose features are compared: a checkpoint, or a run's folder")
    parser.add_argument("--images", type=own_path, required=True, help="folder of images, including its subfolders")
    parser.add_argument("--out", type=own_path, required=True, help="folder to write, which must be new or empty")
    parser.add_argument("--flip", action="store_true", help="add the mirror images' features; else as in training")
    add_pattern(parser)
    parser.add_argument("--manifest", type=own_path, help="CSV of path, identity, camera, split: embed what it lists")
    add_options(parser)
    options = parser.parse_args(arguments)
    check_numbers(options, "batch_size")
    if options.manifest and options.pattern:
        raise InputError("--manifest and --pattern both give the identities. Use one of them.")
    return options


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of all commands that embed images."""
    parser.add_argument("--batch_size", type=int, default=64, help="images at a time")
    add_gpus(parser)
    parser.add_argument("--workers", type=int, help="processes that read images; by default one for each core, up to 8")
    parser.add_argument("--skip_corrupt", action="store_true", help="leave out unreadable images, and name them")


def add_pattern(parser: argparse.ArgumentParser) -> None:
    """Add `--pattern`, which reads identities from file names."""
    parser.add_argument(
        "--pattern",
        metavar="NAME|none|REGEX",
        help="how names state identity and camera: market, duke or cuhk03 for names exactly as in those sets "
        "(0002_c1s1_000451_03.jpg, the default for networks of people), none, or a regular expression for the relative "
        "path, with the groups identity and camera",
    )


def labelled_images(
    flag: str, path: Path, pattern: str | None, patterns: "Mapping[str, str]", console: "Console"
) -> "tuple[Path, list[Entry], str]":
    """The folder that paths are relative to, the images of a folder or the one image, and the pattern of their names.

    A printed line says which labels come from the names, so that no identity is assigned silently.
    """
    from relattn.inference.image_folder import find_images
    from relattn.tasks.embeddings import Entry
    from relattn.tasks.name_patterns import label_reader

    labels = pattern or next(iter(patterns), "none")
    if path.is_file():
        root, entries = path.parent, [Entry(path.name, *label_reader(labels, patterns)(path.name))]
    else:
        root, entries = path, find_images(path, labels, patterns)
    known = [entry for entry in entries if entry.identity]
    if known:
        cameras = " and cameras" if any(entry.camera for entry in known) else ""
        say(
            console,
            f"--{flag} {path}: identities{cameras} of {len(known):,} of {len(entries):,} images are read from their "
            f"names, such as {known[0].path} (--pattern {labels}; --pattern none leaves them unknown)",
        )
    elif pattern not in (None, "none"):
        say(console, f"--{flag} {path}: no name of {len(entries):,} fits --pattern {labels}, so no identity is known")
    return root, entries, labels


def network_of(options: argparse.Namespace, *, flip: "Flip | None") -> "EmbeddingNetwork":
    """Load the network of `--ckpt_path`; `flip` as in `load_network`."""
    from relattn.cli.lightning.commands import quieten
    from relattn.cli.memory import keep_freed_memory

    device = device_of(options.gpus)
    keep_freed_memory()
    quieten()
    from relattn.inference.embed import load_network

    return load_network(checkpoint_file(options), flip=flip, device=device)


def embed_images(
    network: "EmbeddingNetwork", root: Path, entries: "Sequence[Entry]", options: argparse.Namespace, console: "Console"
) -> "Embedding":
    """Embed images, showing the progress, and report how many there were and which were left out.

    Args:
        network: The network.
        root: The folder that the entries' paths are relative to.
        entries: The images.
        options: Options from `add_options`.
        console: Console for the report.
    """
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from relattn.inference.embed import embed

    columns = (*Progress.get_default_columns()[:2], MofNCompleteColumn(), TextColumn("images"), TimeRemainingColumn())
    start = time.perf_counter()
    terminal = Console(stderr=True)
    with Progress(*columns, console=terminal, transient=True, disable=not terminal.is_terminal) as bar:
        shown = bar.add_task("Embedding", total=len(entries))
        embedding, corrupt = embed(
            network,
            root,
            entries,
            batch_size=options.batch_size,
            workers=options.workers,
            skip_corrupt=options.skip_corrupt,
            progress=lambda images: bar.advance(shown, images),
        )
    seconds = time.perf_counter() - start
    count, dimensions = embedding.features.shape
    say(
        console,
        f"{root}: embedded {count:,} {'image' if count == 1 else 'images'} in {seconds:.1f} s "
        f"({count / seconds:,.0f} a second, {network.task.device}), {dimensions:,} dimensions",
    )
    if corrupt:
        count = "1 unreadable image is" if len(corrupt) == 1 else f"{len(corrupt):,} unreadable images are"
        say(console, f"{count} left out: {some_of(corrupt)}")
    return embedding


def main(arguments: list[str]) -> int:
    """Embed the images of a folder."""
    options = parse(arguments)
    check_free(options.out)
    from rich.console import Console

    from relattn.inference.image_folder import check_folder, listed_images

    if options.manifest:
        entries = listed_images(options.images, options.manifest)
    else:
        check_folder(options.images)
    console = Console()
    network = network_of(options, flip="sum" if options.flip else None)
    labels = str(options.manifest)
    if not options.manifest:
        _, entries, labels = labelled_images(
            "images", options.images, options.pattern, network.task.name_patterns, console
        )
    embedding = embed_images(network, options.images, entries, options, console)
    embedding.metadata["labels"] = labels
    embedding.save(options.out)
    identities = {entry.identity for entry in embedding.entries if entry.identity}
    unknown = sum(not entry.identity for entry in embedding.entries)
    named = "1 identity" if len(identities) == 1 else f"{len(identities):,} identities"
    people = named if identities else "no identities known"
    rest = f", {unknown:,} images without one" if identities and unknown else ""
    say(console, f"{options.out}: features.npy, manifest.csv, embedding.json ({people}{rest})")
    return 0
