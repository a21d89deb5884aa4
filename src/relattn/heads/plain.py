"""A classifier on the pooled feature, without other layers."""

from torch import Tensor, nn


class PlainNeck(nn.Module):
    """A linear classifier with a bias; an alternative to `BNNeck`."""

    def __init__(self, features: int, identities: int) -> None:
        super().__init__()
        self.classifier = nn.Linear(features, identities)

    @property
    def feature(self) -> nn.Module:
        """Maps pooled features to the features that evaluation compares: the identity."""
        return nn.Identity()

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return pooled features `(B, features)` unchanged, and logits `(B, identities)`."""
        return x, self.classifier(x)
