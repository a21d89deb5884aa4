"""The scores of verification as a torchmetrics metric, updated by batches; independent of the number of processes."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities.data import dim_zero_cat

from relattn.errors import InputError
from relattn.metrics.counted_once import first_of_each
from relattn.metrics.verification import FARS, Floats, Verification, pair_distances, score_names, verification


class VerificationMetric(Metric):
    """Gathers the features of the images of verification sets, and scores each set by the ten-fold protocol.

    Images carry their index in the sets, which follow one another. So the order of the pairs, from which the folds are
    cut, does not depend on the order in which images arrive, and images repeated by a distributed sampler count once.
    Each of several processes scores all features, so that the scores equal those of a single process to the last bit.

    Attributes:
        result: The scores of each set after `compute`.
        distances: Squared distances `(P,)` of each set's pairs after `compute`.
    """

    full_state_update = False
    higher_is_better = True
    needs_all_images = True  # a few images do not form pairs

    features: list[Tensor]
    indices: list[Tensor]

    def __init__(
        self,
        same: Mapping[str, NDArray[np.bool_]],
        *,
        folds: int = 10,
        fars: Sequence[float] = FARS,
        **arguments: Any,
    ) -> None:
        """Define the metric.

        Args:
            same: For each set, in order, `(P,)` bool: whether a pair shows one person.
            folds: As in `verification`.
            fars: As in `verification`.
            arguments: Passed to torchmetrics' `Metric`.
        """
        super().__init__(**arguments)
        self.same, self.folds, self.fars = dict(same), folds, tuple(fars)
        self.result: dict[str, Verification] = {}
        self.distances: dict[str, Floats] = {}
        for name in ("features", "indices"):
            self.add_state(name, default=[], dist_reduce_fx="cat")

    @property
    def score_names(self) -> list[str]:
        """Names of the scores that `compute` returns."""
        of_each = score_names(self.fars)
        return [*(f"{what}/{name}" for name in self.same for what in of_each), "accuracy", "threshold"]

    def update(self, features: Tensor, indices: Tensor) -> None:
        """Add a batch.

        Args:
            features: (B, D), any floating-point type and length; a float32 copy is kept.
            indices: (B,) int64, the images' positions; images 2i and 2i+1 of a set are its pair i.
        """
        # A copy, because the next run of a CUDA graph overwrites its output.
        self.features.append(features.detach().to(torch.float32, copy=True))
        self.indices.append(indices)

    def gathered(self) -> Tensor:
        """The features of all images `(N, D)`, in order.

        Raises:
            InputError: If images are missing.
        """
        total = 2 * sum(map(len, self.same.values()))
        indices = dim_zero_cat(self.indices) if len(self.indices) else torch.empty(0, dtype=torch.int64)
        known, first = first_of_each(indices)
        if not torch.equal(known.cpu(), torch.arange(total)):
            raise InputError(
                f"The verification sets have {total:,} images, and the features of {len(known):,} are there: each set "
                "is scored as a whole (no --trainer.limit_val_batches or limit_test_batches)."
            )
        return dim_zero_cat(self.features)[first]

    def compute(self) -> dict[str, Tensor]:
        """Compute the scores by name, float64, in per cent except for thresholds; `result` keeps the details.

        Returns:
            For each set `accuracy/<set>`, `std/<set>`, and so on as in `Verification.scores`; `accuracy`, the mean of
            the sets' accuracies; and `threshold`, the mean of their thresholds.

        Raises:
            InputError: If images are missing, or a feature is not finite or is 0; see also `verification`.
        """
        if not self.same:
            raise InputError("There are no verification sets: nothing can be scored.")
        features = self.gathered()
        sizes = [2 * len(same) for same in self.same.values()]
        scores: dict[str, float] = {}
        for (name, same), part in zip(self.same.items(), features.split(sizes), strict=True):
            try:
                distances = pair_distances(part)
                self.result[name] = verification(distances, same, folds=self.folds, fars=self.fars)
            except InputError as error:
                raise InputError(f"{name}: {error}") from error
            self.distances[name] = distances.cpu().numpy()
            scores |= {f"{what}/{name}": value for what, value in self.result[name].scores().items()}
        scores["accuracy"] = float(np.mean([result.accuracy for result in self.result.values()]))
        scores["threshold"] = float(np.mean([result.threshold for result in self.result.values()]))
        device = features.device
        return {name: torch.tensor(value, dtype=torch.float64, device=device) for name, value in scores.items()}
