"""Query expansion: a query moves towards its nearest gallery images before it is ranked.

Chum et al., "Total Recall: Automatic Query Expansion with a Generative Feature Model for Object Retrieval", ICCV 2007
(average query expansion), and Radenovic et al., "Fine-tuning CNN Image Retrieval with No Human Annotation", TPAMI 2018,
section 3.4 (the alpha-weighted average).
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from relattn.errors import InputError
from relattn.metrics.distances import FeatureDistances, check_features, nearest


@torch.no_grad()
def expand_queries(
    query: Tensor,
    gallery: Tensor,
    *,
    neighbours: int = 5,
    alpha: float = 3.0,
    own: Tensor | None = None,
    chunk: int = 256,
) -> Tensor:
    """Replace each query by a weighted sum of itself and its nearest gallery images.

    All features are divided by their length. A query q becomes q + sum of max(q.g, 0)^alpha g over the gallery images g
    with the smallest cosine distance, divided by its length. No labels are used, so images that a protocol ignores
    (same identity, same camera) are averaged like any others, except for a query's own file.

    Args:
        query: `(Q, D)`, floating point.
        gallery: `(G, D)` on the same device.
        neighbours: Number of gallery images to add; all if there are fewer, none for 0. Of equally near images those
            with the smaller index are taken. 5 is about the number of images per person in re-identification
            galleries; the 50 of Radenovic et al. are for landmarks.
        own: `(Q,)` int64, for each query the gallery image that is its own file, which is not added, or -1, see
            `own_files`; by default no query is in the gallery.
        alpha: 0 gives a plain average (Chum et al.); 3 is the value of Radenovic et al.
        chunk: Number of queries at a time: at most `chunk` x G similarities exist at once.

    Returns:
        `(Q, D)` float32, with length 1.

    Raises:
        InputError: A number is out of range, or `FeatureDistances` refuses the features.
    """
    if neighbours < 0 or chunk < 1:
        raise InputError(f"neighbours is {neighbours} and chunk {chunk}, expected at least 0 and 1.")
    if not 0 <= alpha < float("inf"):
        raise InputError(f"alpha of the query expansion is at least 0 and finite, not {alpha}.")
    check_features(query, gallery)
    distances = FeatureDistances(query.float(), gallery.float(), "cosine")
    if neighbours == 0:
        return distances.query
    expanded = torch.empty_like(distances.query)
    for start in range(0, len(query), chunk):
        stop = min(start + chunk, len(query))
        rows = distances.rows(start, stop)
        if own is not None:
            known = (own[start:stop] >= 0).nonzero().squeeze(1)
            rows[known, own[start:stop][known]] = torch.inf
        values, indices = nearest(rows, neighbours)
        weights = torch.where(values.isfinite(), (1 - values).clamp(min=0).pow(alpha), 0)
        total = distances.query[start:stop].clone()
        for place in range(indices.shape[1]):  # one neighbour per query at a time, to avoid (chunk, neighbours, D)
            total.addcmul_(weights[:, place, None], distances.gallery[indices[:, place]])
        expanded[start:stop] = F.normalize(total, dim=1)
    return expanded
