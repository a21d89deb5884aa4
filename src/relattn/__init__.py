"""Attention for vision networks: modules, tasks, and the experiments that compare them."""

__version__ = "0.1.0"
