"""A classifier on the pooled feature, and nothing else."""

from torch import Tensor, nn


class PlainNeck(nn.Module):
    """A linear classifier with a bias; stands where `BNNeck` does."""

    def __init__(self, features: int, identities: int) -> None:
        super().__init__()
        self.classifier = nn.Linear(features, identities)

    @property
    def feature(self) -> nn.Module:
        """Maps pooled features to what is compared: themselves."""
        return nn.Identity()

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map pooled features `(B, features)` to themselves and logits `(B, identities)`."""
        return x, self.classifier(x)
