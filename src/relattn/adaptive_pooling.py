"""Adaptive average pooling by matrix products: for ONNX at any image size, and deterministic gradients on a GPU."""

from collections.abc import Sequence

import torch
from torch import Tensor


def pool(x: Tensor, output_size: Sequence[int]) -> Tensor:
    """Adaptive average pooling of `(B, C, H, W)` as two products with matrices made from the size: `(B, C, h, w)`.

    Cell c of n along a side of length L is the mean of positions floor(c L / n) to ceil((c + 1) L / n), exclusive.
    """
    for dim, cells in zip((2, 3), output_size, strict=True):
        x = (x.transpose(dim, 3) @ cell_means(x, x.shape[dim], cells)).transpose(dim, 3)
    return x


def cell_means(x: Tensor, length: int, cells: int) -> Tensor:
    """The matrix `(length, cells)` whose columns average over cells, with the dtype of `x`."""
    cell = torch.arange(cells, device=x.device)
    start = (cell * length) // cells
    stop = ((cell + 1) * length + cells - 1) // cells
    position = torch.arange(length, device=x.device).unsqueeze(1)
    inside = ((position >= start) & (position < stop)).to(x.dtype)
    return inside / (stop - start).to(x.dtype)
