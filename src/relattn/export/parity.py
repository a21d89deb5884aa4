"""Whether an exported network computes what the one that it was made of does."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from relattn.errors import InputError

TOLERANCE = 1e-4
"""Largest difference that is admitted, in units of the largest output, or of 1 where that is smaller."""

Runner = Callable[[Tensor], Tensor]


class ParityError(InputError):
    """An exported network does not compute what the original does."""


class Difference(NamedTuple):
    """How far two networks are apart on one batch."""

    images: str
    """What the batch was."""
    shape: tuple[int, ...]
    """Of the batch."""
    absolute: float
    """The largest difference."""
    relative: float
    """The largest difference over the largest output."""

    @property
    def agrees(self) -> bool:
        """Whether the difference is within the tolerance; one that is no number never is."""
        return self.absolute <= TOLERANCE or self.relative <= TOLERANCE

    def __str__(self) -> str:
        """Say it in a line."""
        shape = " x ".join(map(str, self.shape))
        return f"{self.images}, {shape}: largest difference {self.absolute:.1e}, relative {self.relative:.1e}"


def difference(images: str, batch: Tensor, found: Tensor, expected: Tensor) -> Difference:
    """Compare two outputs for a batch.

    Raises:
        ParityError: If they differ in shape.
    """
    if found.shape != expected.shape:
        raise ParityError(
            f"The exported network gives {tuple(found.shape)} where the original gives {tuple(expected.shape)}, for "
            f"{images}, {tuple(batch.shape)}."
        )
    largest = float((found.double() - expected.double()).abs().max())
    scale = float(expected.double().abs().max())
    return Difference(images, tuple(batch.shape), largest, largest / scale if scale else largest)


def check_parity(runner: Runner, network: nn.Module, batches: Mapping[str, list[Tensor]]) -> list[Difference]:
    """Run both on batches.

    Args:
        runner: The exported network.
        network: The original, in evaluation mode.
        batches: Float32 images `(B, 3, H, W)`, by what they are.

    Raises:
        ParityError: If they differ by more than the tolerance.
    """
    found = []
    with torch.no_grad():
        for images, batch in ((name, batch) for name, several in batches.items() for batch in several):
            found.append(difference(images, batch, runner(batch), network(batch)))
            if not found[-1].agrees:
                raise ParityError(
                    f"The exported network does not compute what the original does: {found[-1]}, and at most "
                    f"{TOLERANCE:g} is admitted. Nothing was written. Try the other format, and report the network."
                )
    return found
