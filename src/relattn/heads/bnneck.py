"""The batch-norm neck of person re-identification.

Luo et al., "Bag of Tricks and a Strong Baseline for Deep Person Re-identification", CVPR workshops 2019; used by RGA
(supplement, section 1). The triplet loss reads the feature before the norm, the classifier the feature after it.
"""

from torch import Tensor, nn


class BNNeck(nn.Module):
    """Batch norm with a frozen bias, and a linear classifier without one (normal weights, standard deviation 0.001)."""

    def __init__(self, features: int, identities: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(features)
        self.norm.bias.requires_grad_(False)
        self.classifier = nn.Linear(features, identities, bias=False)
        nn.init.normal_(self.classifier.weight, std=0.001)

    @property
    def feature(self) -> nn.Module:
        """Maps pooled features to the feature after the norm."""
        return self.norm

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map pooled features `(B, features)` to normed features of that shape and logits `(B, identities)`."""
        normed = self.norm(x)
        return normed, self.classifier(normed)
