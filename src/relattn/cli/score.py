"""`relattn score`: the scores of features or distances that were computed elsewhere."""

import argparse

from relattn.cli.options import own_path, say
from relattn.errors import InputError

EXAMPLES = """examples:
  relattn score features.npy people.csv
  relattn score features.npz people.csv --distance euclidean --rerank --out scores.json
  relattn score distances.npy people.csv --matrix --same_camera match

people.csv has a row for each row of the features, in the same order:
  path,identity,camera,split
  a/0001.jpg,anna,entrance,query
  a/0007.jpg,anna,till,gallery
"""


def parse(arguments: list[str]) -> argparse.Namespace:
    """Read the options."""
    parser = argparse.ArgumentParser(
        prog="relattn score",
        description="Score features from another program by the protocol of `relattn test` and `relattn search`:\n"
        "images of the query's identity by its camera, the query's own file and identity -1 are left out.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "features",
        type=own_path,
        help=".npy, or .npz with the array features: (images, dimensions), a row for each image",
    )
    parser.add_argument(
        "table", type=own_path, help="CSV of path, identity, camera, split (query, gallery; train is left out)"
    )
    parser.add_argument(
        "--matrix",
        action="store_true",
        help="the file has distances (queries, gallery), in an .npz the array distances; infinite ones rank last",
    )
    parser.add_argument(
        "--distance", choices=["cosine", "euclidean"], default="cosine", help="how features are compared"
    )
    parser.add_argument(
        "--same_camera",
        choices=["junk", "match"],
        default="junk",
        help="images of the query's identity by its camera: left out, or matches as any other",
    )
    parser.add_argument("--rerank", action="store_true", help="score k-reciprocal re-ranking as well")
    parser.add_argument(
        "--expansion", type=int, default=0, help="score query expansion by this many neighbours as well"
    )
    parser.add_argument("--out", type=own_path, help="a JSON file to write the scores to as well")
    options = parser.parse_args(arguments)
    if options.expansion < 0:
        raise InputError(f"--expansion is {options.expansion}, expected at least 0.")
    if options.matrix and (options.rerank or options.expansion):
        raise InputError("--rerank and --expansion need features, and --matrix gives only distances.")
    if options.out is not None and options.out.exists():
        raise InputError(f"--out {options.out} exists, and nothing is overwritten. Choose another --out, or remove it.")
    return options


def main(arguments: list[str]) -> int:
    """Read, score, and print."""
    options = parse(arguments)
    from rich.console import Console

    from relattn.inference.score import read_array, read_table, score_features, score_matrix
    from relattn.publish import publish_json

    table = read_table(options.table)
    array = read_array(options.features, matrix=options.matrix)
    if options.matrix:
        scores = score_matrix(array, table, same_camera=options.same_camera)
    else:
        scores = score_features(
            array,
            table,
            metric=options.distance,
            same_camera=options.same_camera,
            reranking=options.rerank,
            expansion=options.expansion,
        )
    console = Console()
    for remark in table.remarks:
        say(console, f"{options.table}: {remark}")
    width = max(map(len, scores))
    for name, value in scores.items():
        whole = name in ("queries", "gallery", "unmatched")
        say(console, f"{name:<{width}}  {f'{value:,.0f}' if whole else f'{value:.2f}':>9}")
    if options.out is not None:
        kind = {} if options.matrix else {"distance": options.distance}
        content = {
            "features": str(options.features),
            "table": str(options.table),
            **kind,
            "same_camera": options.same_camera,
            "remarks": table.remarks,
            "scores": scores,
        }
        publish_json(options.out, content)
        say(console, f"{options.out}: the scores")
    return 0
