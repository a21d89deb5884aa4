"""Local attention of StRA: every position weights its K x K neighbourhood from its own feature (Eq. 4).

    s_i = sum_j a_ij u(x_j),   a_ij = softmax_j(omega(x_i)_j + nu(x_j)),   j in the K x K neighbourhood of i

for each of G heads, with C / G channels each. "Structure-Regularized Attention Networks", sections 4.1 and 4.3 and
supplement A. Decisions where the text is open are listed in `LocalAttention`.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from relattn.attention.shifts import Neighbourhood


def hidden_width(channels: int, heads: int, reduction: int) -> int:
    """Channels of a hidden layer: C / `reduction`, a multiple of `heads` and at least one for each."""
    return heads * max(1, channels // (heads * reduction))


class Grouped(nn.Sequential):
    """A 1x1 convolution with a group for each head, and the batch norm that follows it "by default" (supplement A)."""

    def __init__(self, inputs: int, outputs: int, heads: int, *, contiguous: bool = False) -> None:
        """Build both.

        Args:
            inputs: Channels of the input.
            outputs: Channels of the output.
            heads: Groups.
            contiguous: Whether the output is made contiguous, which sums over neighbourhoods read best. It is done
                before the batch norm: the gradient then comes in the format of its input, without which a batch norm
                on a CPU takes many times as long.
        """
        super().__init__(nn.Conv2d(inputs, outputs, 1, groups=heads, bias=False), nn.BatchNorm2d(outputs))
        self.contiguous = contiguous

    def forward(self, x: Tensor) -> Tensor:
        """Map `(B, inputs, H, W)` to `(B, outputs, H, W)`."""
        convolution, norm = self
        y = convolution(x)
        return norm(y.contiguous() if self.contiguous else y)


class TwoLayers(nn.Sequential):
    """The "two-layer 1x1 group convolutions equipped with nonlinearity" of section 4.3; contiguous output."""

    def __init__(self, inputs: int, hidden: int, outputs: int, heads: int, nonlinearity: nn.Module) -> None:
        first, second = Grouped(inputs, hidden, heads), Grouped(hidden, outputs, heads, contiguous=True)
        super().__init__(first, nonlinearity, second)


class LocalAttention(nn.Module):
    """Weights of the neighbours, predicted from the position and corrected by each neighbour, and their sum.

    Decisions:

    - u is a 1x1 convolution in G groups, so that head g sees the g-th part of the channels only: the supplement speaks
      of group convolutions throughout, and what precedes the module (the first 1x1 convolution of a bottleneck) has
      mixed the channels already.
    - Every group convolution, the last of omega and nu included, is followed by batch norm (supplement A).
    - Outside of the map u and nu are zero, and omega weights such neighbours like all others: "generates a feature map
      [...] and unfolds it to K x K feature maps" (section 4.3), with the zeros that unfolding pads. A position at the
      border therefore spends part of its attention on nothing.
    - The text gives no width of the hidden layers; it is C / `reduction`, at least one channel a head.
    """

    def __init__(
        self, channels: int, *, heads: int, kernel: int, reduction: int, nonlinearity: type[nn.Module]
    ) -> None:
        """Build the three branches.

        Args:
            channels: C, a multiple of `heads`.
            heads: G.
            kernel: K, odd.
            reduction: By how much the hidden layers of omega and nu are narrower than C.
            nonlinearity: What stands between their two layers.
        """
        super().__init__()
        hidden = hidden_width(channels, heads, reduction)
        self.omega = TwoLayers(channels, hidden, heads * kernel**2, heads, nonlinearity())
        self.nu = TwoLayers(channels, hidden, heads, heads, nonlinearity())
        self.values = Grouped(channels, channels, heads, contiguous=True)  # u
        self.neighbourhood = Neighbourhood(kernel, heads)

    def affinity(self, x: Tensor) -> Tensor:
        """The weights a_ij of the neighbours of every position of `(B, C, H, W)`: `(B, G, K K, H, W)`."""
        kernel = self.neighbourhood.kernel
        around: Tensor = F.unfold(self.nu(x), kernel, padding=kernel // 2)  # (B, G K K, H W): one value a head
        logits = self.omega(x) + around.unflatten(2, x.shape[2:])
        return self.neighbourhood.split(logits).softmax(dim=2)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return s, `(B, C, H, W)` and contiguous, and the weights of the neighbours, `(B, G, K K, H, W)`."""
        affinity = self.affinity(x)
        return self.neighbourhood.weighted_sum(self.values(x), affinity), affinity
