"""`relattn search`: the nearest gallery images of each query, on contact sheets and as JSON."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from relattn.cli.embed import add_options, add_pattern, embed_images, labelled_images, network_of
from relattn.cli.options import add_checkpoint, check_free, check_numbers, own_path, say
from relattn.errors import InputError, MissingFileError, some_of
from relattn.printable import printable

if TYPE_CHECKING:
    from rich.console import Console

    from relattn.figures.contact_sheet import Row
    from relattn.inference.search import Search
    from relattn.tasks.embeddings import Embedding

EXAMPLES = """examples:
  relattn search --query runs/reid/NAME/predict/embedding --gallery runs/reid/NAME/predict/embedding --out found
  relattn search --query anna.jpg --gallery features/photos --ckpt_path last.ckpt --out found/anna
"""

ROWS, COLUMNS = 8, 10
"""Number of lines of results on a sheet, and of results in a line."""
SHOWN = 50
"""Default number of queries to show."""


def parse(arguments: list[str]) -> argparse.Namespace:
    """Read the options."""
    parser = argparse.ArgumentParser(
        prog="relattn search",
        description="Rank a gallery for each query; write contact sheets (PNG) and ranking.json.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--query", type=own_path, required=True, help="an image, a folder of images, or an embedding")
    parser.add_argument("--gallery", type=own_path, required=True, help="a folder of images, or an embedding")
    parser.add_argument("--out", type=own_path, required=True, help="folder to write, which must be new or empty")
    add_checkpoint(parser, required=False, text="the network that embeds images; embeddings need none")
    parser.add_argument("--top", type=int, default=10, help="gallery images of each query")
    parser.add_argument("--queries", type=int, help=f"how many queries are shown; by default all, up to {SHOWN}")
    parser.add_argument("--seed", type=int, help="choose them at random with this seed; by default the first ones")
    parser.add_argument("--distance", choices=["cosine", "euclidean"], help="by default that of the network's run")
    parser.add_argument(
        "--same_camera",
        choices=["junk", "match"],
        default="junk",
        help="images of the query's identity by its camera: left out, as in evaluation, or matches like any other",
    )
    parser.add_argument("--rerank", action="store_true", help="re-rank by k-reciprocal neighbours")
    add_pattern(parser)
    add_options(parser)
    options = parser.parse_args(arguments)
    check_numbers(options, "batch_size", "top", "queries")
    if options.seed is not None and options.seed < 0:
        raise InputError(f"--seed is {options.seed}, expected at least 0.")
    return options


def is_embedding(folder: Path) -> bool:
    """Whether a folder seems to be an embedding."""
    return any((folder / name).is_file() for name in ("embedding.json", "features.npy"))


def check_sources(given: dict[str, Path], checkpoint: str | None) -> None:
    """Refuse missing or invalid sources before anything is embedded."""
    for flag, path in given.items():
        if not path.exists():
            raise MissingFileError(f"--{flag} {path}: there is no such image, folder or embedding.")
        if flag == "gallery" and path.is_file():
            raise InputError(f"--gallery {path} is a file. Expected a folder of images, or an embedding.")
        if checkpoint is None and not is_embedding(path):
            raise InputError(
                f"--{flag} {path} contains images and no features. Name the network that embeds them with --ckpt_path."
            )


def sources(options: argparse.Namespace, console: "Console") -> "tuple[Embedding, Embedding]":
    """Query and gallery: embeddings are loaded, images are embedded.

    Raises:
        InputError: If something is missing, or query and gallery come from different networks.
    """
    given: dict[str, Path] = {"query": options.query, "gallery": options.gallery}
    check_sources(given, options.ckpt_path)
    from relattn.inference.image_folder import check_folder
    from relattn.tasks.embeddings import Embedding, check_comparable

    found = {flag: Embedding.load(path) for flag, path in given.items() if is_embedding(path)}
    metadata = {flag: embedding.metadata for flag, embedding in found.items()}
    folders = [flag for flag in given if flag not in found]
    for flag in folders:
        if given[flag].is_dir():
            check_folder(given[flag])
    network, images = None, {}
    if folders:
        flip = next((one["flip"] for one in metadata.values() if "flip" in one), None)
        network = network_of(options, flip=flip)
        metadata |= dict.fromkeys(folders, network.metadata)
        patterns = network.task.name_patterns
        images = {flag: labelled_images(flag, given[flag], options.pattern, patterns, console) for flag in folders}
    elif options.pattern is not None:
        raise InputError("--pattern is for names of images, and query and gallery are embeddings. Leave it out.")
    elif options.ckpt_path is not None:
        say(console, f"--ckpt_path {options.ckpt_path} is not needed: query and gallery are embeddings")
    check_comparable(metadata["query"], metadata["gallery"])
    silent = [flag for flag, one in metadata.items() if "sha256" not in one]
    if len(silent) == 1:
        say(console, f"--{silent[0]} {given[silent[0]]} does not say which checkpoint it is from: it must be the same")
    for flag, (root, entries, labels) in images.items():
        assert network is not None
        if flag == "gallery" and "query" in images and given["query"] == given["gallery"]:
            found[flag] = found["query"]
            continue
        found[flag] = embed_images(network, root, entries, options, console)
        found[flag].metadata["labels"] = labels
    return found["query"], found["gallery"]


def row_of(entry: dict[str, Any], search: "Search", missing: list[Path]) -> "Row":
    """The row of a sheet for a query; images that cannot be read are added to `missing`."""
    from PIL import Image

    from relattn.figures.contact_sheet import HEIGHT, Row, Tile
    from relattn.tasks.decoding import decode_image

    def image(embedding: "Embedding", path: str) -> Image.Image | None:
        try:
            content = embedding.content_of(embedding.entry_of[path])
            read = Image.fromarray(decode_image(content, path))
        except InputError:
            missing.append(embedding.root / path)
            return None
        read.thumbnail((4 * HEIGHT, 4 * HEIGHT))
        return read

    note = f"query · identity {entry['identity']}" if entry["identity"] else "query"
    query = Tile(image(search.query, entry["path"]), Path(entry["path"]).name, note)
    results = []
    for found in entry["ranking"]:
        note = f"rank {found['rank']} · {found['distance']:.4f}"
        path = found["path"]
        results.append(Tile(image(search.gallery, path), Path(path).name, note, found["match"]))
    return Row(query, results)


def draw(entries: list[dict[str, Any]], search: "Search", note: str, folder: Path) -> list[Path]:
    """Write the sheets, note in each entry which sheet it is on, and return the images that could not be read."""
    from relattn.figures.contact_sheet import contact_sheet, layout
    from relattn.figures.files import save

    lines = max(max(1, -(-len(entry["ranking"]) // COLUMNS)) for entry in entries)
    each = max(1, ROWS // lines)
    pages = [entries[start : start + each] for start in range(0, len(entries), each)]
    missing: list[Path] = []
    aspect = None
    for number, page in enumerate(pages, start=1):
        rows = [row_of(entry, search, missing) for entry in page]
        if aspect is None:
            height, width = layout(rows, COLUMNS).size
            aspect = width / height
        numbered = f"{note}; sheet {number} of {len(pages)}" if len(pages) > 1 else note
        sheet = contact_sheet(rows, title="Nearest gallery images", note=numbered, columns=COLUMNS, aspect=aspect)
        name = f"sheet-{number:0{max(2, len(str(len(pages))))}}"
        save(sheet, folder, name, ("png",))
        for entry in page:
            entry["sheet"] = f"{name}.png"
    return missing


def show(entry: dict[str, Any]) -> None:
    """Print the results of a query as a table."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    who = ", ".join(f"{name} {entry[name]}" for name in ("identity", "camera") if entry[name])
    table = Table(title=escape(printable(f"{entry['path']}{f' ({who})' if who else ''}")))
    for name in ("rank", "image", "identity", "camera", "distance", "match"):
        table.add_column(name, justify="right" if name in ("rank", "distance") else "left", overflow="fold")
    words = {True: "[green]yes", False: "[red]no", None: ""}
    for found in entry["ranking"]:
        texts = (escape(printable(found[name] or "")) for name in ("path", "identity", "camera"))
        table.add_row(str(found["rank"]), *texts, f"{found['distance']:.4f}", words[found["match"]])
    Console(width=None if Console().is_terminal else 150).print(table)


def summary(scores: dict[str, float]) -> str:
    """The scores in one line."""
    unmatched = f", {scores['unmatched']:,} without a match left out" if scores["unmatched"] else ""
    queries = f"{scores['queries']:,} {'query' if scores['queries'] == 1 else 'queries'}"
    return f"rank-1 {scores['rank1']:.2f} %, mAP {scores['mAP']:.2f} % ({queries}{unmatched})"


def remarks(search: "Search", entries: list[dict[str, Any]]) -> list[str]:
    """Remarks needed to read the rankings and scores: images of unknown identity, empty rankings."""
    lines = []
    unknown = sum(not entry.identity for entry in search.gallery.entries)
    if unknown and all(entry.identity for entry in search.query.entries):
        images = "image of unknown identity counts" if unknown == 1 else "images of unknown identity count"
        lines.append(f"{unknown:,} gallery {images} as other people in the scores")
    if empty := [entry for entry in entries if not entry["ranking"]]:
        lines.append(
            f"{len(empty):,} {'query has' if len(empty) == 1 else 'queries have'} an empty ranking, such as "
            f"{empty[0]['path']}: everything in the gallery is of its identity by its camera, or itself (--same_camera "
            "match, or --pattern none where names were misread)"
        )
    return lines


def main(arguments: list[str]) -> int:
    """Search, draw and write."""
    options = parse(arguments)
    check_free(options.out)
    from rich.console import Console

    console = Console()
    query, gallery = sources(options, console)
    from relattn.inference.search import Search, choose
    from relattn.publish import publish_json

    search = Search(query, gallery, metric=options.distance, same_camera=options.same_camera, reranking=options.rerank)
    count = len(search.query.entries)
    chosen = choose(count, options.queries or SHOWN, options.seed)
    entries = [search.describe(found) for found in search.rank(chosen, options.top)]
    try:
        scores, unscored = search.scores(), ""
    except InputError as error:
        scores, unscored = None, str(error)
    options.out.mkdir(parents=True, exist_ok=True)
    images = len(search.gallery.entries)
    distance = f"{search.metric} distance{', re-ranked' if options.rerank else ''}"
    junk = "; without images of the query's identity by its camera" if options.same_camera == "junk" else ""
    missing = draw(entries, search, f"{images:,} gallery images; {distance}{junk}", options.out)
    content = {
        "query": {"root": str(search.query.root.resolve()), "images": count},
        "gallery": {"root": str(search.gallery.root.resolve()), "images": images},
        "distance": search.metric,
        "reranked": options.rerank,
        "same_camera": options.same_camera,
        "scores": scores,
        "queries": entries,
    }
    publish_json(options.out / "ranking.json", content)
    show(entries[0])
    if len(entries) < count:
        say(console, f"{len(entries):,} of {count:,} queries are shown; --queries {count} shows all")
    if missing:
        missing = list(dict.fromkeys(missing))
        what = "cannot be read or are not those that were embedded"
        say(console, f"{len(missing):,} images {what}, and are shown in grey: {some_of(missing)}")
    for line in remarks(search, entries):
        say(console, line)
    say(console, summary(scores) if scores else f"no scores: {unscored}")
    sheets = len({entry["sheet"] for entry in entries})
    say(console, f"{options.out}: {sheets:,} {'sheet' if sheets == 1 else 'sheets'}, ranking.json")
    return 0
