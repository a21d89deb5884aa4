"""A short embedding between the pooled feature and the classifier: the neck of StRA's released code.

The released `stru_resnet50`, a network for torchreid 0.9.1, applies to the pooled feature a 1x1 convolution without a
bias from 2048 to 512 channels, a batch norm, and a linear classifier with a bias. Evaluation compares the embedding
after the norm. StRA's text (section 5.1) has no such layer: it compares the 2048-d pooled feature (`PlainNeck`).

A 1x1 convolution of a pooled feature is a linear layer, so this module uses one. Weights are initialised as in the
released code.
"""

from torch import Tensor, nn

from relattn.errors import InputError


class EmbeddingNeck(nn.Module):
    """A linear embedding with a batch norm, and a linear classifier on it."""

    def __init__(self, features: int, identities: int, *, dimensions: int = 512) -> None:
        """Build the layers.

        Args:
            features: Length of the pooled feature.
            identities: Outputs of the classifier.
            dimensions: Length of the embedding.

        Raises:
            InputError: If `dimensions` is below 1.
        """
        super().__init__()
        if dimensions < 1:
            raise InputError(f"EmbeddingNeck: dimensions is {dimensions}, expected at least 1; StRA's code has 512.")
        linear = nn.Linear(features, dimensions, bias=False)
        self.embedding = nn.Sequential(linear, nn.BatchNorm1d(dimensions))
        self.classifier = nn.Linear(dimensions, identities)
        nn.init.kaiming_normal_(linear.weight, mode="fan_out", nonlinearity="relu")
        nn.init.normal_(self.classifier.weight, std=0.01)
        nn.init.zeros_(self.classifier.bias)

    @property
    def feature(self) -> nn.Module:
        """Maps pooled features to the feature after the norm."""
        return self.embedding

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map pooled features `(B, features)` to embeddings `(B, dimensions)` and logits `(B, identities)`."""
        embedded = self.embedding(x)
        return embedded, self.classifier(embedded)
