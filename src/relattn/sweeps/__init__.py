"""Sweeps: the papers' tables as files, their runs as folders, and reports of the results. Does not import torch."""
