"""Scores of predictions, and what they are computed from."""

from relattn.metrics.distances import Distances, FeatureDistances, MatrixDistances, Metric, nearest
from relattn.metrics.query_expansion import expand_queries
from relattn.metrics.reranking import ReRanked

__all__ = ["Distances", "FeatureDistances", "MatrixDistances", "Metric", "ReRanked", "expand_queries", "nearest"]
