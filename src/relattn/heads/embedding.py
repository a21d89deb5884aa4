"""The embedding of faces: batch norm, dropout, a fully connected layer over the whole map, batch norm.

Deng et al., "ArcFace", CVPR 2019, section 3.1 (BN-Dropout-FC-BN), which StRA adopts (section 5.2). The map is not
pooled, so the embedding keeps track of positions in the face.
"""

import torch
from torch import Tensor, nn

from relattn.errors import InputError


class FaceEmbedding(nn.Module):
    """BN-Dropout-FC-BN from a map to an embedding.

    The last norm's scale is fixed at 1, as in ArcFace's published code, so all dimensions have the same weight. The
    fully connected layer has no bias, because the norm after it would cancel one. As in that code, it is computed in
    the precision of its weights even under autocast.
    """

    def __init__(
        self,
        channels: int,
        size: tuple[int, int],
        *,
        dimensions: int = 512,
        dropout: float = 0.4,
        learn_scale: bool = False,
    ) -> None:
        """Build the head.

        Args:
            channels: Channels of the map.
            size: Height and width of the map, 7x7 for a face of 112x112 pixels.
            dimensions: Length of the embedding.
            dropout: Probability with which a value of the map is dropped; 0 for none. StRA states none; 0.4 is from the
                published code of ArcFace, whose structure StRA uses.
            learn_scale: Whether the last norm learns a scale.

        Raises:
            InputError: If `dropout` is not in [0, 1), or a size is below 1.
        """
        super().__init__()
        if not 0 <= dropout < 1:
            raise InputError(f"FaceEmbedding: dropout is {dropout}, expected a probability in [0, 1).")
        if min(channels, dimensions, *size) < 1:
            raise InputError(
                f"FaceEmbedding: channels is {channels}, size {tuple(size)} and dimensions {dimensions}, expected at "
                "least 1 each."
            )
        self.norm = nn.BatchNorm2d(channels)
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(channels * size[0] * size[1], dimensions, bias=False)
        self.last_norm = nn.BatchNorm1d(dimensions)
        self.last_norm.weight.requires_grad_(learn_scale)
        self.channels, self.size = channels, tuple(size)

    def forward(self, x: Tensor) -> Tensor:
        """Map `(B, channels, H, W)` to embeddings `(B, dimensions)` in the precision of the weights, not normalised.

        Raises:
            InputError: If the map is not of the size that the head was built for.
        """
        if x.shape[1:] != (self.channels, *self.size):
            expected = "x".join(map(str, (self.channels, *self.size)))
            raise InputError(f"FaceEmbedding was built for maps {expected} and got {'x'.join(map(str, x.shape[1:]))}.")
        dropped = self.dropout(self.norm(x)).flatten(1)
        with torch.autocast(x.device.type, enabled=False):
            return self.last_norm(self.fc(dropped.to(self.fc.weight.dtype)))
