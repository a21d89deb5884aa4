"""Local attention of StRA: every position weights its K x K neighbourhood from its own feature (Eq. 4).

    s_i = sum_j a_ij u(x_j),   a_ij = softmax_j(omega(x_i)_j + nu(x_j)),   j in the K x K neighbourhood of i

for each of G heads, with C / G channels each. "Structure-Regularized Attention Networks", sections 4.1 and 4.3 and
supplement A. `LocalAttention` lists the decisions taken where the text leaves details open; `ReleasedLocalAttention`
implements what the published code does instead.
"""

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from relattn.attention.exported_sums import neighbours
from relattn.attention.rematerialisation import norm_and
from relattn.attention.shifts import Neighbourhood


def hidden_width(channels: int, heads: int, reduction: int) -> int:
    """Channels of a hidden layer: C / `reduction`, rounded down to a multiple of `heads`, at least one per head."""
    return heads * max(1, channels // (heads * reduction))


class Grouped(nn.Sequential):
    """A 1x1 convolution with one group per head, and the batch norm that follows it "by default" (supplement A)."""

    def __init__(self, inputs: int, outputs: int, heads: int, *, contiguous: bool = False, bias: bool = False) -> None:
        """Build the convolution and the batch norm.

        Args:
            inputs: Channels of the input.
            outputs: Channels of the output.
            heads: Groups.
            contiguous: Whether to make the output contiguous, the format that sums over neighbourhoods read fastest.
                The copy comes before the batch norm, so that the batch norm's gradient has the format of its input;
                otherwise a batch norm on a CPU takes many times as long.
            bias: Whether the convolution has a bias, which the batch norm cancels.
        """
        super().__init__(nn.Conv2d(inputs, outputs, 1, groups=heads, bias=bias), nn.BatchNorm2d(outputs))
        self.contiguous = contiguous

    def forward(self, x: Tensor) -> Tensor:
        """Map `(B, inputs, H, W)` to `(B, outputs, H, W)`."""
        return self.activate(x, nn.Identity())

    def activate(self, x: Tensor, nonlinearity: nn.Module) -> Tensor:
        """Map `(B, inputs, H, W)` to `(B, outputs, H, W)` and apply a nonlinearity."""
        convolution, norm = self
        y = convolution(x)
        return norm_and(nonlinearity, norm, y.contiguous() if self.contiguous else y)


class TwoLayers(nn.Sequential):
    """The "two-layer 1x1 group convolutions equipped with nonlinearity" of section 4.3; contiguous output."""

    def __init__(
        self, inputs: int, hidden: int, outputs: int, heads: int, nonlinearity: nn.Module, *, bias: bool = False
    ) -> None:
        first = Grouped(inputs, hidden, heads, bias=bias)
        second = Grouped(hidden, outputs, heads, contiguous=True, bias=bias)
        super().__init__(first, nonlinearity, second)

    def forward(self, x: Tensor) -> Tensor:
        """Map `(B, inputs, H, W)` to `(B, outputs, H, W)`."""
        first, nonlinearity, second = self
        y: Tensor = second(cast(Grouped, first).activate(x, nonlinearity))
        return y


def initialise_as_released(module: nn.Module) -> None:
    """Draw the convolutions of a module as the published code does: Kaiming normal by fan-out, biases 0."""
    for child in module.modules():
        if isinstance(child, nn.Conv2d):
            nn.init.kaiming_normal_(child.weight, mode="fan_out", nonlinearity="relu")
            if child.bias is not None:
                nn.init.zeros_(child.bias)


class Neighbours(nn.Module):
    """Eq. (4), given omega, nu and u."""

    values: nn.Module
    """u: maps `(B, C, H, W)` to the same shape."""

    def __init__(self, kernel: int, heads: int) -> None:
        """Keep K and G; a subclass adds `values`."""
        super().__init__()
        self.neighbourhood = Neighbourhood(kernel, heads)

    def terms(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Omega, `(B, G K K, H, W)`, and nu, `(B, G, H, W)`, of `(B, C, H, W)`."""
        raise NotImplementedError

    def affinity(self, x: Tensor) -> Tensor:
        """The weights a_ij of the neighbours of every position of `(B, C, H, W)`: `(B, G, K K, H, W)`."""
        kernel = self.neighbourhood.kernel
        omega, nu = self.terms(x)
        if torch.compiler.is_exporting():
            around = neighbours(nu, kernel).flatten(1, 2)
        else:  # (B, G K K, H W): one value a head
            around = F.unfold(nu, kernel, padding=kernel // 2).unflatten(2, x.shape[2:])
        return self.neighbourhood.split(omega + around).softmax(dim=2)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return s, `(B, C, H, W)` and contiguous, and the weights of the neighbours, `(B, G, K K, H, W)`."""
        affinity = self.affinity(x)
        return self.neighbourhood.weighted_sum(self.values(x), affinity), affinity


class LocalAttention(Neighbours):
    """Weights of the neighbours, predicted from the position and corrected by each neighbour, and their sum.

    Decisions:

    - u is a 1x1 convolution in G groups, so head g sees only the g-th part of the channels: the supplement uses group
      convolutions throughout, and the layer before the module (the first 1x1 convolution of a bottleneck) has already
      mixed the channels.
    - Batch norm follows every group convolution, including the last ones of omega and nu (supplement A).
    - Outside the map u and nu are zero, and omega weights such neighbours like all others: "generates a feature map
      [...] and unfolds it to K x K feature maps" (section 4.3), with the zero padding of unfolding. A position at the
      border therefore spends part of its attention on zeros.
    - The text does not give the width of the hidden layers; it is C / `reduction`, at least one channel per head.
    """

    def __init__(self, channels: int, *, heads: int, kernel: int, reduction: int) -> None:
        """Build the three branches.

        Args:
            channels: C, a multiple of `heads`.
            heads: G.
            kernel: K, odd.
            reduction: Ratio of C to the width of the hidden layers of omega and nu.
        """
        super().__init__(kernel, heads)
        hidden = hidden_width(channels, heads, reduction)
        self.omega = TwoLayers(channels, hidden, heads * kernel**2, heads, nn.ReLU(inplace=True))
        self.nu = TwoLayers(channels, hidden, heads, heads, nn.ReLU(inplace=True))
        self.values = Grouped(channels, channels, heads, contiguous=True)  # u

    def terms(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Omega and nu, each from its own branch."""
        return self.omega(x), self.nu(x)


class ReleasedLocalAttention(Neighbours):
    """As `LocalAttention`, but following the published code.

    - One pair of grouped convolutions, with biases and tanh between them, gives G (1 + K K) maps, of which the first G
      are nu and the others omega. The groups of the second convolution are G parts of *all* of these maps. So nu of
      every head is computed from the hidden features of the first head (as long as G <= 1 + K K), and omega of a head
      from those of one or two heads, which may be other heads. The published weights were trained like this.
    - The values have no batch norm.
    """

    def __init__(self, channels: int, *, heads: int, kernel: int, reduction: int) -> None:
        """Build both branches; arguments as in `LocalAttention`."""
        super().__init__(kernel, heads)
        hidden = hidden_width(channels, heads, reduction)
        self.logits = TwoLayers(channels, hidden, heads * (1 + kernel**2), heads, nn.Tanh(), bias=True)
        self.values = nn.Conv2d(channels, channels, 1, groups=heads, bias=False)  # u
        initialise_as_released(self)

    def terms(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Omega and nu, split from the same maps."""
        maps = self.logits(x)
        heads = self.neighbourhood.heads
        return maps[:, heads:], maps[:, :heads]
