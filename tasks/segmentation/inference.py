"""How an image is segmented: whole or by windows, at one scale or several, flipped or not.

The way of inference alone changes published numbers by more than many gains, so every number is reported with it:
`str(Inference(...))`. arXiv 1904.02998 and OCNet, whose setting it follows, segment whole images at one scale.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from relattn.errors import InputError

Network = Callable[[Tensor], Tensor]
"""Maps images `(B, channels, H, W)` to logits `(B, classes, H, W)`."""


@dataclass(frozen=True)
class Inference:
    """A way to segment images; printed in the form in which numbers are reported, for example `slide 769/513`.

    Attributes:
        crop: Height and width of the windows in pixels; None for whole images. If an image is smaller, so is the
            window; for a network that accepts only windows of this size, it is padded with zeros, as in training.
        stride: Step of the windows, down and across; None for two thirds of the crop, rounded up. The last window of a
            row or column is moved back into the image.
        scales: Factors by which images are resized, bilinearly, before they are segmented.
        flip: Whether the mirrored image is segmented as well.
        average: What is averaged over overlapping windows, scales and mirrored images: `"softmax"` for probabilities,
            or `"logits"`.
    """

    crop: tuple[int, int] | None = None
    stride: tuple[int, int] | None = None
    scales: tuple[float, ...] = (1.0,)
    flip: bool = False
    average: Literal["softmax", "logits"] = "softmax"

    def __post_init__(self) -> None:
        """Check the options.

        Raises:
            InputError: If a size or a scale is not positive, windows leave gaps, or `average` is unknown.
        """
        if self.crop is None:
            if self.stride is not None:
                raise InputError(f"stride is {self.stride} and there is no crop: windows need both.")
        else:
            if min(self.crop) < 1:
                raise InputError(f"crop is {self.crop}, expected (height, width), both at least 1.")
            if any(not 1 <= step <= side for step, side in zip(self.steps(), self.crop, strict=True)):
                raise InputError(f"stride is {self.stride}, expected 1 to {self.crop}: windows would leave gaps.")
        if not self.scales or min(self.scales) <= 0:
            raise InputError(f"scales is {self.scales}, expected at least one, all above 0.")
        if self.average not in ("softmax", "logits"):
            raise InputError(f"average is {self.average!r}, expected 'softmax' or 'logits'.")

    def steps(self) -> tuple[int, int]:
        """Step of the windows, down and across."""
        assert self.crop is not None
        return self.stride or (-(-2 * self.crop[0] // 3), -(-2 * self.crop[1] // 3))

    def __str__(self) -> str:
        """Format the way of inference as it is reported: `whole`, `slide 769/513`, `ms 0.75,1.0,1.25 + flip`."""
        parts = [] if self.crop is None else [f"slide {sides(self.crop)}/{sides(self.steps())}"]
        if self.scales != (1.0,):
            parts.append("ms " + ",".join(str(float(scale)) for scale in self.scales))
        text = " ".join(parts or ["whole"]) + (" + flip" if self.flip else "")
        averaged = self.crop is not None or len(self.scales) > 1 or self.flip
        return f"{text} (logits)" if averaged and self.average == "logits" else text

    @torch.no_grad()
    def scores(self, network: Network, images: Tensor) -> Tensor:
        """Average the scores of images `(B, channels, H, W)` over scales and flips.

        Args:
            network: The network in evaluation mode.
            images: Normalised as the network expects them.

        Returns:
            Probabilities or logits, `(B, classes, H, W)`, in float32 or higher precision.
        """
        total: Tensor | None = None
        for scale in self.scales:
            size = [max(1, round(side * scale)) for side in images.shape[2:]]
            for mirrored in (False, True) if self.flip else (False,):
                view = resize(images, size)
                scores = self.view(network, view.flip(3) if mirrored else view)
                scores = resize(scores.flip(3) if mirrored else scores, images.shape[2:])
                total = scores if total is None else total + scores
        assert total is not None
        views = len(self.scales) * (1 + self.flip)
        return total if views == 1 else total / views

    def view(self, network: Network, images: Tensor) -> Tensor:
        """Segment images whole, or window by window, averaging where windows overlap."""
        if self.crop is None:
            return self.call(network, images)
        (rows, height), (columns, width) = (
            places(*sizes) for sizes in zip(images.shape[2:], self.crop, self.steps(), strict=True)
        )
        if len(rows) == len(columns) == 1:
            return self.call(network, images)
        total: Tensor | None = None
        counts = images.new_zeros(images.shape[2:], dtype=torch.float32)
        for row in rows:
            for column in columns:
                window = (..., slice(row, row + height), slice(column, column + width))
                scores = self.call(network, images[window])
                if total is None:
                    total = scores.new_zeros(*scores.shape[:2], *images.shape[2:])
                total[window] += scores
                counts[window] += 1
        assert total is not None
        return total.div_(counts)

    def call(self, network: Network, images: Tensor) -> Tensor:
        """Compute probabilities or logits of one input of the network."""
        height, width = images.shape[2:]
        try:
            logits = network(images)
        except InputError:  # attention that has weights for every position of a crop
            if self.crop is None or (height, width) == self.crop:
                raise
            padding = (0, max(self.crop[1] - width, 0), 0, max(self.crop[0] - height, 0))
            logits = network(F.pad(images, padding))[..., :height, :width]
        logits = logits if logits.element_size() >= 4 else logits.float()
        return logits.softmax(dim=1) if self.average == "softmax" else logits


def places(length: int, crop: int, stride: int) -> tuple[list[int], int]:
    """Starts of the windows along a side of an image, and their length; the last one ends where the image does."""
    crop = min(crop, length)
    count = math.ceil((length - crop) / stride) + 1
    return [min(number * stride, length - crop) for number in range(count)], crop


def resize(x: Tensor, size: list[int] | torch.Size) -> Tensor:
    """Resize `(B, C, H, W)` with half-pixel centres; return an input that already has the size unchanged."""
    return x if list(x.shape[2:]) == list(size) else F.interpolate(x, size=tuple(size), mode="bilinear")


def sides(size: tuple[int, int]) -> str:
    """Format a height and width: one number for a square."""
    return str(size[0]) if size[0] == size[1] else f"{size[0]}x{size[1]}"
