"""Mode attention of StRA: every head sums up its mode over the whole image and distributes it to matching positions.

For each of G heads, with s_i the output of local attention at position i (`local_attention`):

    M^g = softmax over positions of a 1x1 convolution of s^g      (section 4.3)
    z_g = sum_i M^g_i s^g_i                                       the modal vector
    z'_g = sum_j softmax_j(<z_g, z_j>) z_j                        (6), interaction between modes
    r_ig = sigmoid(<s^g_i, z'_g>)                                 (5), or a softmax over the modes
    output = s^g_i + r_ig z'_g                                    (2), and the skip connection of supplement A

"Structure-Regularized Attention Networks", sections 3, 4.2 and 4.3. `ReleasedModeAttention` implements what the
published code does instead.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from relattn.attention.local_attention import TwoLayers, initialise_as_released

Gate = Literal["sigmoid", "softmax"]

MASK_WIDTH = 8
"""Channels per head between the two convolutions that compute the masks in the published code."""


class Modes(nn.Module):
    """What both forms of mode attention share: modal vectors, gates, and the sum of features and gated modes."""

    def __init__(self, *, heads: int, gate: Gate, interaction: bool) -> None:
        """Keep the arguments, which are those of `StRA`."""
        super().__init__()
        self.heads, self.gate, self.interaction = heads, gate, interaction

    def logits(self, s: Tensor) -> Tensor:
        """The logits of the masks for `(B, C, H, W)`: `(B, G, H, W)`."""
        raise NotImplementedError

    def contexts(self, s: Tensor, modes: Tensor) -> tuple[Tensor, Tensor]:
        """Add the contexts to `s` and return the sum, `(B, C, H, W)`, and the last gates, `(B, G, H, W)`."""
        raise NotImplementedError

    def masks(self, s: Tensor) -> Tensor:
        """The masks M of `(B, C, H, W)`: `(B, G, H, W)`, each summing to 1 over the positions."""
        return self.logits(s).flatten(2).softmax(dim=2).unflatten(2, s.shape[2:])

    def split(self, s: Tensor) -> Tensor:
        """View `(B, C, H, W)` as `(B, G, C / G, N)`."""
        return s.flatten(2).unflatten(1, (self.heads, -1))

    def modes(self, s: Tensor, masks: Tensor) -> Tensor:
        """The modal vectors z of `(B, C, H, W)`: `(B, G, C / G)`."""
        return (self.split(s) @ masks.flatten(2).unsqueeze(3).to(s.dtype)).squeeze(3)

    def add(self, s: Tensor, modes: Tensor, norm: nn.Module | None = None) -> tuple[Tensor, Tensor]:
        """Add each mode, gated, to the positions that resemble it, Eqs. (5) and (2).

        Args:
            s: Features `(B, C, H, W)`.
            modes: `(B, G, C / G)`.
            norm: Batch norm of the similarities before they become gates; None for none.

        Returns:
            The sum of `s` and the gated modes, and the gates r, `(B, G, H, W)`.
        """
        logits = (modes.unsqueeze(2) @ self.split(s)).squeeze(2).unflatten(2, s.shape[2:])
        if norm is not None:
            logits = norm(logits)
        gates = (torch.sigmoid(logits) if self.gate == "sigmoid" else logits.softmax(dim=1)).to(s.dtype)
        total = torch.addcmul(self.split(s), modes.unsqueeze(3), gates.flatten(2).unsqueeze(2))
        return total.view(s.shape), gates

    def forward(self, s: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the output, `(B, C, H, W)` like `s`, the last gates r and the masks M, both `(B, G, H, W)`."""
        masks = self.masks(s)
        return *self.contexts(s, self.modes(s, masks).to(s.dtype)), masks


class ModeAttention(Modes):
    """Modal vectors, their interaction and the gates.

    Decisions:

    - "The updated Z can substitute the one in (5)": z' replaces z both in the gate and in the gated vector.
    - Batch norm follows the mask convolution, as it follows every group convolution (supplement A).
    - Scalar products are not scaled, as in the equations.
    """

    def __init__(self, channels: int, *, heads: int, gate: Gate, interaction: bool) -> None:
        """Build the mask convolution and its norm; arguments as in `StRA`."""
        super().__init__(heads=heads, gate=gate, interaction=interaction)
        self.mask = nn.Conv2d(channels, heads, 1, groups=heads, bias=False)
        self.mask_norm = nn.BatchNorm2d(heads)

    def logits(self, s: Tensor) -> Tensor:
        """One grouped convolution and its batch norm."""
        # A matrix product reads the features as they are; a convolution with one output per group would reorder them.
        logits = (self.mask.weight.view(self.heads, 1, -1) @ self.split(s)).squeeze(2)
        normed: Tensor = self.mask_norm(logits.unflatten(2, s.shape[2:]))
        return normed

    def interact(self, modes: Tensor) -> Tensor:
        """Let the modes interact: z' of Eq. (6) from z, both `(B, G, C / G)`."""
        return (modes @ modes.mT).softmax(dim=2).to(modes.dtype) @ modes

    def contexts(self, s: Tensor, modes: Tensor) -> tuple[Tensor, Tensor]:
        """Add one context: of z' or, without interaction, of z."""
        return self.add(s, self.interact(modes).to(s.dtype) if self.interaction else modes)


class ReleasedModeAttention(Modes):
    """As `ModeAttention`, but following the published code.

    - Two grouped convolutions, with biases and tanh between them and 8 hidden channels per head, give the mask logits.
    - Two contexts are added one after the other: y from s and z, then the output from y and z'. A batch norm over the G
      similarities precedes each gate. Without interaction, only the first context is added.
    - Each row of the G x G products <z_g, z_j> is divided by its length and multiplied by sqrt(G) before the softmax of
      Eq. (6).
    - Convolutions are initialised as in the released local attention, whose code also initialises its mode attention:
      Kaiming normal by fan-out, with biases 0, which the batch norms cancel.
    """

    def __init__(self, channels: int, *, heads: int, gate: Gate, interaction: bool) -> None:
        """Build the mask convolutions and the norms of the similarities; arguments as in `StRA`."""
        super().__init__(heads=heads, gate=gate, interaction=interaction)
        self.mask = TwoLayers(channels, MASK_WIDTH * heads, heads, heads, nn.Tanh(), bias=True)
        # One per context: for the modal vectors and, with interaction, for the interacted ones.
        self.similarity_norms = nn.ModuleList(nn.BatchNorm2d(heads) for _ in range(1 + interaction))
        initialise_as_released(self)

    def logits(self, s: Tensor) -> Tensor:
        """Two grouped convolutions, each with its batch norm."""
        logits: Tensor = self.mask(s)
        return logits

    def interact(self, modes: Tensor) -> Tensor:
        """Let the modes interact: z' from z, both `(B, G, C / G)`."""
        affinity = F.normalize(modes @ modes.mT, dim=2) * self.heads**0.5
        return affinity.softmax(dim=2).to(modes.dtype) @ modes

    def contexts(self, s: Tensor, modes: Tensor) -> tuple[Tensor, Tensor]:
        """Add the context of z and, with interaction, that of z'."""
        s, gates = self.add(s, modes, self.similarity_norms[0])
        if self.interaction:
            s, gates = self.add(s, self.interact(modes).to(s.dtype), self.similarity_norms[1])
        return s, gates
