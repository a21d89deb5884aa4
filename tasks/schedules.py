"""Learning-rate schedules, defined independently of the length of the run.

A schedule returns the factor on the optimizer's learning rate at a step of a run with a known number of steps, so that
a run of five epochs sees the same shape as one of 164.
"""

import math
from abc import ABC, abstractmethod
from typing import Literal

from relattn.errors import InputError

LONGEST_WARMUP = 10
"""A warm-up given in steps takes at most one tenth of a run, 1 / `LONGEST_WARMUP`."""


class Schedule(ABC):
    """The learning rate over a run, in steps of the optimizer."""

    @abstractmethod
    def factor(self, step: int, total: int) -> float:
        """Return the factor on the learning rate at `step`, counted from 0, of `total` steps."""

    def adaptation(self, total: int) -> str:
        """Describe in a sentence what is adapted to a run of `total` steps; empty if nothing is."""
        return ""


class Constant(Schedule):
    """The learning rate as given."""

    def factor(self, step: int, total: int) -> float:
        return 1.0


class MultiStep(Schedule):
    """Multiply by `gamma` at fixed fractions of the run, after a warm-up that ends at the full learning rate.

    The warm-up affects no step after its end: chaining a lowered starting rate into torch's MultiStepLR, as some public
    code does, leaves the rate low for the whole first phase.
    """

    def __init__(
        self,
        milestones: list[float] | None = None,
        gamma: float = 0.1,
        *,
        of: float = 1.0,
        warmup: float = 0.0,
        warmup_steps: int = 0,
        warmup_factor: float = 0.1,
        warmup_shape: Literal["constant", "linear"] = "constant",
    ) -> None:
        """Define the schedule.

        Args:
            milestones: Where the rate falls, in the unit of `of`; by default after 0.5 and 0.75 of the run: 32k and 48k
                of He et al.'s 64k iterations, or epochs 150 and 225 of Huang et al.'s 300.
            gamma: Factor on the rate at each milestone.
            of: Length of the run in the unit of `milestones` and `warmup`: 1 for fractions, or the recipe's number of
                epochs, so that its own numbers can be used. A longer or shorter run keeps the shape.
            warmup: Length of the warm-up, in the unit of `of`.
            warmup_steps: Length of the warm-up in steps instead; at most a tenth of the run.
            warmup_factor: Factor at the first step.
            warmup_shape: Whether the factor stays constant during the warm-up or rises linearly to 1.

        Raises:
            InputError: If a milestone is not inside the run, a factor or a length is negative, or the warm-up has two
                lengths.
        """
        self.milestones = [0.5 * of, 0.75 * of] if milestones is None else milestones
        if any(not 0 < milestone < of for milestone in self.milestones):
            raise InputError(f"MultiStep: milestones are {self.milestones}, expected between 0 and {of:g}.")
        if min(gamma, warmup_factor, warmup_steps, warmup) < 0:
            raise InputError(
                f"MultiStep: gamma is {gamma}, warmup_factor {warmup_factor}, warmup_steps {warmup_steps} and warmup "
                f"{warmup}, expected none below 0."
            )
        if warmup and warmup_steps:
            raise InputError(f"MultiStep: warmup is {warmup} and warmup_steps {warmup_steps}: leave one of them out.")
        self.gamma, self.of, self.warmup, self.warmup_steps = gamma, of, warmup, warmup_steps
        self.warmup_factor, self.warmup_shape = warmup_factor, warmup_shape

    def factor(self, step: int, total: int) -> float:
        factor = self.gamma ** sum(step >= round(milestone / self.of * total) for milestone in self.milestones)
        length = self.warmup_of(total)
        if step >= length:
            return factor
        progress = step / length if self.warmup_shape == "linear" else 0.0
        return factor * (self.warmup_factor + (1 - self.warmup_factor) * progress)

    def warmup_of(self, total: int) -> int:
        """Number of warm-up steps in a run of `total` steps; a length given in steps is at most a tenth of the run."""
        if self.warmup_steps:
            return min(self.warmup_steps, total // LONGEST_WARMUP)
        return round(self.warmup / self.of * total)

    def adaptation(self, total: int) -> str:
        if self.warmup_of(total) >= self.warmup_steps:
            return ""
        return (
            f"The warm-up is {self.warmup_of(total)} steps long instead of {self.warmup_steps}: at most a tenth of the "
            f"run's {total} steps."
        )


class Polynomial(Schedule):
    """Fall from the full rate as (1 - step / total) ** power; Liu, Rabinovich, Berg, "ParseNet", arXiv 1506.04579."""

    def __init__(self, power: float = 0.9, end: float = 0.0) -> None:
        """Define the schedule.

        Args:
            power: Exponent; 1 falls linearly, and 0.9 is usual in segmentation.
            end: Lower limit of the factor.

        Raises:
            InputError: If `power` is not positive or `end` is not in [0, 1).
        """
        if power <= 0 or not 0 <= end < 1:
            raise InputError(f"Polynomial: power is {power} and end {end}, expected above 0 and in [0, 1).")
        self.power, self.end = power, end

    def factor(self, step: int, total: int) -> float:
        return max(self.end, (1 - min(step, total) / total) ** self.power)


class OneCycle(Schedule):
    """Rise linearly to the full rate, then fall to zero as a half cosine: for runs that must learn in few epochs.

    Smith and Topin, "Super-Convergence", 2018; the momentum is not changed.
    """

    def __init__(self, warmup: float = 0.25, start: float = 0.04) -> None:
        """Define the schedule.

        Args:
            warmup: The fraction of the run over which the rate rises.
            start: The factor that it rises from.

        Raises:
            InputError: If either is not in [0, 1).
        """
        if not 0 <= warmup < 1 or not 0 <= start < 1:
            raise InputError(f"OneCycle: warmup is {warmup} and start {start}, expected both in [0, 1).")
        self.warmup, self.start = warmup, start

    def factor(self, step: int, total: int) -> float:
        rise = self.warmup * total
        if step < rise:
            return self.start + (1 - self.start) * step / rise
        return 0.5 * (1 + math.cos(math.pi * (step - rise) / (total - rise)))
