"""Checks that an exported network computes the same as the original."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from relattn.errors import InputError

TOLERANCE = 1e-4
"""Largest allowed difference, in units of the largest output, or of 1 if that output is smaller."""

Runner = Callable[[Tensor], Tensor]


class ParityError(InputError):
    """An exported network does not compute what the original does."""


class Difference(NamedTuple):
    """The difference between two networks on one batch."""

    images: str
    """Description of the batch."""
    shape: tuple[int, ...]
    """Shape of the batch."""
    absolute: float
    """The largest absolute difference."""
    relative: float
    """The largest difference divided by the largest output."""

    @property
    def agrees(self) -> bool:
        """Whether the difference is within the tolerance; NaN never is."""
        return self.absolute <= TOLERANCE or self.relative <= TOLERANCE

    def __str__(self) -> str:
        """Describe it in one line."""
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
    """Run both networks on batches and compare their outputs.

    Args:
        runner: The exported network.
        network: The original, in evaluation mode.
        batches: Float32 images `(B, 3, H, W)`, by description.

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
