"""Ranked lists as a picture: queries of an evaluation with their nearest gallery images."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from PIL import Image

from relattn.figures.contact_sheet import Row, Tile, contact_sheet
from relattn.metrics.distances import FeatureDistances, nearest
from relattn.metrics.ranks import left_out
from relattn.tasks.decoding import read_image
from relattn.tasks.figure import evenly_spread
from relattn.tasks.reid.data import ReIDImages
from relattn.tasks.reid.retrieval_metric import RetrievalMetric

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def ranked_lists(
    metric: RetrievalMetric,
    people: ReIDImages,
    *,
    queries: int | Sequence[int] = 4,
    results: int = 8,
    columns: int | None = None,
) -> "Figure":
    """Draw queries and their nearest gallery images.

    Images that the scores leave out are not drawn.

    Args:
        metric: The metric after the evaluation, before it is reset.
        people: The images that were evaluated, queries first.
        queries: Indices of the queries to draw, or their number, spread evenly over the evaluation.
        results: Number of gallery images per query.
        columns: Number of them per line; by default all.
    """
    query_features, query, gallery_features, gallery = metric.gathered()
    numbers = evenly_spread(len(query_features), queries) if isinstance(queries, int) else list(queries)
    chosen = torch.tensor(numbers, device=query_features.device)
    distances = FeatureDistances(query_features[chosen], gallery_features, metric.distance)
    rows = distances.rows(0, len(chosen))
    same = query.identities[chosen, None] == gallery.identities
    junk = left_out(query.part(chosen), gallery, metric.same_camera)
    values, indices = nearest(rows.masked_fill_(junk, torch.inf), results)
    shown = distances.display(values)
    sheet = []
    for row, number in enumerate(chosen.tolist()):
        kept = int(values[row].isfinite().sum())
        tiles = [
            tile(people, people.queries + place, f"rank {rank} · {distance:.3f}", bool(same[row, place]))
            for rank, (place, distance) in enumerate(
                zip(indices[row, :kept].tolist(), shown[row, :kept].tolist(), strict=True), start=1
            )
        ]
        sheet.append(Row(tile(people, number, f"query · identity {people.display_name(number)}"), tiles))
    note = f"{len(query_features):,} queries, {len(gallery_features):,} gallery images; {metric.distance} distance"
    return contact_sheet(sheet, title="Nearest gallery images", note=note, columns=columns or results)


def tile(people: ReIDImages, index: int, note: str, same: bool | None = None) -> Tile:
    """Make a tile of an image of the evaluation with its caption."""
    path = people.images[index].path
    return Tile(Image.fromarray(read_image(people.root / path)), Path(path).name, note, same)
