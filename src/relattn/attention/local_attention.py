"""Local attention of StRA: every position weights its K x K neighbourhood from its own feature (Eq. 4).

    s_i = sum_j a_ij u(x_j),   a_ij = softmax_j(omega(x_i)_j + nu(x_j)),   j in the K x K neighbourhood of i

for each of G heads, with C / G channels each. "Structure-Regularized Attention Networks", sections 4.1 and 4.3 and
supplement A. `LocalAttention` lists the decisions taken where the text leaves details open; `ReleasedLocalAttention`
implements what the published code does instead.
"""

from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from relattn.attention import exported_sums
from relattn.attention.exported_sums import neighbours
from relattn.attention.rematerialisation import norm_and
from relattn.attention.shifts import Neighbourhood


def hidden_width(channels: int, heads: int, reduction: int) -> int:
    """Channels of a hidden layer: C / `reduction`, rounded down to a multiple of `heads`, at least one per head."""
    return heads * max(1, channels // (heads * reduction))


def products(x: Tensor, convolutions: Sequence[nn.Conv2d]) -> list[Tensor]:
    """Apply 1x1 convolutions with one group per head to the same features.

    One batched matrix product does the work of all of them, so that the features are read once, which takes less time
    on a CPU than oneDNN's grouped convolutions (`docs/speed.md`).

    Args:
        x: Features `(B, C, H, W)`.
        convolutions: Convolutions of C channels, all with the same number of groups.

    Returns:
        Their outputs, contiguous: sums over neighbourhoods read this format fastest.
    """
    if exported_sums.are_needed():
        return [convolution(x) for convolution in convolutions]
    heads = convolutions[0].groups
    sizes = [one.out_channels // heads for one in convolutions]
    weights = torch.cat([one.weight.reshape(heads, -1, x.shape[1] // heads) for one in convolutions], dim=1)
    batch, inside = x.shape[0], (heads, -1)
    if x.is_contiguous():
        outputs = weights @ x.flatten(2).unflatten(1, inside)  # (B, G, outputs of a head, N)
        parts = outputs.split(sizes, dim=2)
    else:  # channels last, as are the gradients of x
        rows = x.permute(0, 2, 3, 1).flatten(0, 2).unflatten(1, inside).transpose(0, 1)  # (G, B N, C / G)
        outputs = (rows @ weights.mT).unflatten(1, (batch, -1))
        parts = [part.permute(1, 0, 3, 2) for part in outputs.split(sizes, dim=3)]
    maps = [part.reshape(batch, one.out_channels, *x.shape[2:]) for part, one in zip(parts, convolutions, strict=True)]
    return [
        one if convolution.bias is None else one + convolution.bias.view(-1, 1, 1).to(one.dtype)
        for one, convolution in zip(maps, convolutions, strict=True)
    ]


class Grouped(nn.Sequential):
    """A 1x1 convolution with one group per head, and the batch norm that follows it "by default" (supplement A)."""

    def __init__(self, inputs: int, outputs: int, heads: int, *, bias: bool = False) -> None:
        """Build the convolution, with a bias if asked, which the batch norm cancels, and the batch norm."""
        super().__init__(nn.Conv2d(inputs, outputs, 1, groups=heads, bias=bias), nn.BatchNorm2d(outputs))

    @property
    def convolution(self) -> nn.Conv2d:
        """The convolution."""
        return cast(nn.Conv2d, self[0])

    def finish(self, y: Tensor, nonlinearity: nn.Module) -> Tensor:
        """Apply the batch norm and a nonlinearity to the output of the convolution, `(B, outputs, H, W)`."""
        return norm_and(nonlinearity, self[1], y)

    def forward(self, x: Tensor) -> Tensor:
        """Map `(B, inputs, H, W)` to `(B, outputs, H, W)`, contiguous."""
        return self.finish(products(x, [self.convolution])[0], nn.Identity())


class TwoLayers(nn.Sequential):
    """The "two-layer 1x1 group convolutions equipped with nonlinearity" of section 4.3; contiguous output."""

    def __init__(
        self, inputs: int, hidden: int, outputs: int, heads: int, nonlinearity: nn.Module, *, bias: bool = False
    ) -> None:
        first = Grouped(inputs, hidden, heads, bias=bias)
        second = Grouped(hidden, outputs, heads, bias=bias)
        super().__init__(first, nonlinearity, second)

    @property
    def first(self) -> nn.Conv2d:
        """The convolution of the first layer."""
        return cast(Grouped, self[0]).convolution

    def finish(self, y: Tensor) -> Tensor:
        """Apply the rest to the output of the first convolution, `(B, hidden, H, W)`."""
        first, nonlinearity, second = self
        z: Tensor = second(cast(Grouped, first).finish(y, nonlinearity))
        return z

    def forward(self, x: Tensor) -> Tensor:
        """Map `(B, inputs, H, W)` to `(B, outputs, H, W)`."""
        return self.finish(products(x, [self.first])[0])


def initialise_as_released(module: nn.Module) -> None:
    """Draw the convolutions of a module as the published code does: Kaiming normal by fan-out, biases 0."""
    for child in module.modules():
        if isinstance(child, nn.Conv2d):
            nn.init.kaiming_normal_(child.weight, mode="fan_out", nonlinearity="relu")
            if child.bias is not None:
                nn.init.zeros_(child.bias)


class Neighbours(nn.Module):
    """Eq. (4), given omega, nu and u."""

    def __init__(self, kernel: int, heads: int) -> None:
        """Keep K and G."""
        super().__init__()
        self.neighbourhood = Neighbourhood(kernel, heads)

    def terms(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Omega, `(B, G K K, H, W)`, nu, `(B, G, H, W)`, and u, like `x`, of `(B, C, H, W)`."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return s, `(B, C, H, W)` and contiguous, and the weights of the neighbours a, `(B, G, K K, H, W)`."""
        omega, nu, values = self.terms(x)
        kernel = self.neighbourhood.kernel
        if exported_sums.are_needed():
            around = neighbours(nu, kernel).flatten(1, 2)
        else:  # (B, G K K, H, W): one value a head
            around = F.unfold(nu, kernel, padding=kernel // 2).unflatten(2, x.shape[2:])
        affinity = self.neighbourhood.split(omega + around).softmax(dim=2)
        return self.neighbourhood.weighted_sum(values, affinity), affinity


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
        self.values = Grouped(channels, channels, heads)  # u

    def terms(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Omega, nu and u, each from its own branch."""
        omega, nu, values = products(x, [self.omega.first, self.nu.first, self.values.convolution])
        return self.omega.finish(omega), self.nu.finish(nu), self.values.finish(values, nn.Identity())


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

    def terms(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Omega and nu, split from the same maps, and u."""
        hidden, values = products(x, [self.logits.first, self.values])
        maps, heads = self.logits.finish(hidden), self.neighbourhood.heads
        return maps[:, heads:], maps[:, :heads], values
