"""Scores of features or distances computed elsewhere: the protocol of `relattn test`, without a network.

A table lists the images: CSV in UTF-8 with one row per image, in the order of the features.

path,identity,camera,split
a/0001.jpg,anna,entrance,query
a/0007.jpg,anna,till,gallery
"""

import csv
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from relattn.errors import InputError, MissingFileError, suggest
from relattn.inference.search import NO_ONE, Search, numbered
from relattn.metrics.distances import DistanceName, FeatureDistances
from relattn.metrics.query_expansion import expand_queries
from relattn.metrics.ranks import SameCamera, own_files
from relattn.metrics.retrieval import Retrieval, retrieval
from relattn.tasks.arrays import read_npy, read_npz
from relattn.tasks.embeddings import Embedding, Entry, compared_as

COLUMNS = ("path", "identity", "camera", "split")
SPLITS = ("query", "gallery", "train")


@dataclass(frozen=True)
class Table:
    """A table of images.

    Attributes:
        path: The file.
        entries: Its rows.
        query: Row numbers of the queries.
        gallery: Row numbers of the gallery images.
        remarks: Notes on what is left out, and on what is unknown.
    """

    path: Path
    entries: list[Entry]
    query: list[int]
    gallery: list[int]
    remarks: list[str] = field(default_factory=list)

    def part(self, rows: list[int], features: NDArray[np.floating]) -> Embedding:
        """Some rows with their features; `features` has one row for each row of the table."""
        return Embedding(features[rows], [self.entries[row] for row in rows], self.path.parent, {})


def score_features(
    features: NDArray[np.floating],
    table: Table,
    *,
    metric: DistanceName = "cosine",
    same_camera: SameCamera = "junk",
    reranking: bool = False,
    expansion: int = 0,
) -> dict[str, float]:
    """Score features as `relattn test` scores those of its network.

    Args:
        features: `(images, dimensions)`, one row for each row of the table.
        table: The table of images.
        metric: How features are compared.
        same_camera: As in `retrieval`.
        reranking: Whether to also score k-reciprocal re-ranking (`mAP_reranked`, ...).
        expansion: Number of neighbours of the query expansion to also score (`mAP_expanded`, ...); 0 for none.

    Returns:
        The scores of `Retrieval.scores` in per cent, and the numbers of `queries`, `gallery` images and `unmatched`.

    Raises:
        InputError: If features and table do not match, or no query has a match.
    """
    if features.ndim != 2 or len(features) != len(table.entries):
        swapped = features.shape == (len(table.query), len(table.gallery))
        raise InputError(
            f"The features are {features.shape}, and {table.path} has {len(table.entries):,} rows: expected (images, "
            f"dimensions), a row for each.{' A matrix of distances is scored with --matrix.' if swapped else ''}"
        )
    if features.dtype.kind != "f":
        raise InputError(f"The features are {features.dtype}, expected floating point numbers.")
    kept = compared_as(features)
    query, gallery = table.part(table.query, kept), table.part(table.gallery, kept)
    search = Search(query, gallery, metric=metric, same_camera=same_camera)
    scores = counted(search.score(), len(search.query.entries), len(search.gallery.entries))
    if reranking:
        search = Search(query, gallery, metric=metric, same_camera=same_camera, reranking=True)
        scores |= search.score().headline("reranked")
    if expansion:
        expanded = expand_queries(*search.features, neighbours=expansion, own=own_files(*search.labels))
        distances = FeatureDistances(expanded, search.features[1])
        scores |= retrieval(distances, *search.labels, same_camera=same_camera).headline("expanded")
    return scores


def score_matrix(
    distances: NDArray[np.floating], table: Table, *, same_camera: SameCamera = "junk"
) -> dict[str, float]:
    """Score distances `(queries, gallery)`, in the order of the table; otherwise like `score_features`."""
    if distances.shape != (len(table.query), len(table.gallery)):
        raise InputError(
            f"The distances are {distances.shape}, and {table.path} has {len(table.query):,} queries and "
            f"{len(table.gallery):,} gallery images: expected one for each pair, (queries, gallery)."
        )
    none = np.empty((len(table.entries), 0), np.float32)
    query, gallery = table.part(table.query, none), table.part(table.gallery, none)
    found = retrieval(distances, *numbered(query, gallery), same_camera=same_camera)
    return counted(found, len(query.entries), sum(entry.identity != NO_ONE for entry in gallery.entries))


def counted(found: Retrieval, queries: int, gallery: int) -> dict[str, float]:
    """The scores, with the numbers of images that they are based on."""
    return found.scores() | {"queries": queries, "gallery": gallery, "unmatched": len(found.unmatched)}


def read_array(file: Path, *, matrix: bool = False) -> NDArray[np.floating]:
    """Read features, or with `matrix` distances: an `.npy` file, or `features` or `distances` of an `.npz` file.

    Raises:
        MissingFileError: If the file does not exist.
        InputError: If it is damaged, or contains no such array.
    """
    if file.suffix != ".npz":
        return read_npy(file)
    name, arrays = ("distances" if matrix else "features"), read_npz(file)
    if name not in arrays:
        other = " Distances are scored with --matrix." if not matrix and "distances" in arrays else ""
        held = ", ".join(arrays) or "nothing"
        raise InputError(f"{file} has no array {name}, but {held}: save it under this name.{other}")
    return arrays[name]


def read_table(file: Path) -> Table:
    """Read a table of images: CSV in UTF-8 with the columns path (or file), identity, camera and split.

    Splits are query and gallery; rows of train are left out. If no row has a split, every image is query and gallery.
    Cameras may be unknown, identities may not; -1 shows no one.

    Raises:
        MissingFileError: If the file does not exist.
        InputError: If the table is wrong; the message names the line.
    """
    if not file.is_file():
        raise MissingFileError(f"{file}: no such table. Expected a CSV file with the header {','.join(COLUMNS)}.")
    entries: list[Entry] = []
    lines: dict[tuple[str, str], int] = {}
    try:
        with file.open(newline="", encoding="utf-8-sig") as stream:
            rows = csv.DictReader(stream, strict=True, restval="", restkey="")
            header = check_header([name.strip() for name in rows.fieldnames or []], file)
            rows.fieldnames = header
            for row in rows:
                entry, line = read_row(row, f"{file}, line {rows.line_num}"), rows.line_num
                if first := lines.setdefault((entry.split, entry.path), line) - line:
                    where = f"{file}, line {line}"
                    raise InputError(
                        f"{where}: {entry.path} is {entry.split or 'listed'} on line {line + first} already."
                    )
                entries.append(entry)
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{file} cannot be read as CSV in UTF-8: {error}. Save it as such.") from error
    return divided(file, entries)


def check_header(header: list[str], file: Path) -> list[str]:
    """Map the column names to those used here; raises as `read_table` does."""
    columns = ["path" if name == "file" else name for name in header]
    found = (",".join(header) or "nothing")[:200]
    if missing := [name for name in ("path", "identity") if name not in columns]:
        raise InputError(
            f"{file}, line 1: no column {', '.join(missing)}, but {found!r}. Expected the header {','.join(COLUMNS)}, "
            "with commas; camera and split may be left out."
        )
    if twice := [name for name in COLUMNS if columns.count(name) > 1]:
        raise InputError(f"{file}, line 1: the column {twice[0]} appears twice in {found!r}. Remove one.")
    return columns


def read_row(row: dict[str, str], where: str) -> Entry:
    """Check one row of a table and return it."""
    if row.get(""):
        raise InputError(f"{where} has more entries than the header. Put those with a comma in quotation marks.")
    values = {name: row.get(name, "").strip() for name in COLUMNS}
    for name in ("path", "identity"):
        if not values[name]:
            raise InputError(f"{where}: {name} is empty. Fill it in, or remove the row here and in the features.")
    if values["split"] and values["split"] not in SPLITS:
        split = values["split"]
        raise InputError(f"{where}: split is {split!r}, expected {', '.join(SPLITS)}. {suggest(split, SPLITS)}")
    return Entry(values["path"], values["identity"], values["camera"], values["split"])


def divided(file: Path, entries: list[Entry]) -> Table:
    """Divide a table into queries and gallery; raises as `read_table` does."""
    places = {split: [row for row, entry in enumerate(entries) if entry.split == split] for split in ("", *SPLITS)}
    everything = list(range(len(entries)))
    query, gallery, remarks = places["query"], places["gallery"], []
    if len(places[""]) == len(entries):
        query, gallery = everything, everything
        remarks.append("no row has a split: every image is query and gallery, and its own file is no match")
    elif places[""]:
        raise InputError(
            f"{file}: {len(places['']):,} rows have no split, expected {', '.join(SPLITS)} in each or none."
        )
    if empty := [name for name, rows in (("query", query), ("gallery", gallery)) if not rows]:
        raise InputError(f"{file}: no row has the split {' or '.join(empty)}, and both are needed.")
    if places["train"]:
        remarks.append(f"{len(places['train']):,} rows of the split train are left out")
    if junk := sum(entries[row].identity == NO_ONE for row in gallery):
        remarks.append(f"{junk:,} gallery images of identity {NO_ONE} show no one and are left out")
    if unknown := sum(not entries[row].camera for row in {*query, *gallery}):
        remarks.append(f"{unknown:,} images have no camera: none of these is left out as the query's own camera's")
    return Table(file, entries, query, gallery, remarks)
