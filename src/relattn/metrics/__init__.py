"""Scores of predictions, and the distances and rankings that they are computed from."""

from relattn.metrics.distances import DistanceName, Distances, FeatureDistances, MatrixDistances, nearest
from relattn.metrics.query_expansion import expand_queries
from relattn.metrics.reranking import ReRanked

__all__ = [
    "DistanceName",
    "Distances",
    "FeatureDistances",
    "MatrixDistances",
    "ReRanked",
    "expand_queries",
    "nearest",
]
