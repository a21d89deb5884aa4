"""Mode attention of StRA: every head sums up what its mode is in the whole image, and hands it to where it belongs.

For each of G heads, with s_i the output of local attention at position i (`local_attention`):

    M^g = softmax over positions of a 1x1 convolution of s^g      (section 4.3)
    z_g = sum_i M^g_i s^g_i                                       the modal vector
    z'_g = sum_j softmax_j(<z_g, z_j>) z_j                        (6), interaction between modes
    r_ig = sigmoid(<s^g_i, z'_g>)                                 (5), or a softmax over the modes
    output = s^g_i + r_ig z'_g                                    (2), and the skip connection of supplement A

"Structure-Regularized Attention Networks", sections 3, 4.2 and 4.3. `ReleasedModeAttention` is what the published code
has in its place.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from relattn.attention.local_attention import TwoLayers, initialise_as_released

Gate = Literal["sigmoid", "softmax"]

MASK_WIDTH = 8
"""Channels a head between the two convolutions that give the masks in the published code."""


class Modes(nn.Module):
    """What both forms of mode attention share: modal vectors, gates, and the sum of features and gated vectors."""

    def __init__(self, *, heads: int, gate: Gate, interaction: bool) -> None:
        """Keep the arguments, which are those of `StRA`."""
        super().__init__()
        self.heads, self.gate, self.interaction = heads, gate, interaction

    def logits(self, s: Tensor) -> Tensor:
        """What the masks of `(B, C, H, W)` are a softmax of: `(B, G, H, W)`."""
        raise NotImplementedError

    def contexts(self, s: Tensor, modes: Tensor) -> tuple[Tensor, Tensor]:
        """Add the contexts to `s` and return the sum, `(B, C, H, W)`, and the last gates, `(B, G, H, W)`."""
        raise NotImplementedError

    def masks(self, s: Tensor) -> Tensor:
        """M of `(B, C, H, W)`: `(B, G, H, W)`, in every image and head with the sum 1."""
        return self.logits(s).flatten(2).softmax(dim=2).unflatten(2, s.shape[2:])

    def split(self, s: Tensor) -> Tensor:
        """View `(B, C, H, W)` as `(B, G, C / G, N)`."""
        return s.flatten(2).unflatten(1, (self.heads, -1))

    def modes(self, s: Tensor, masks: Tensor) -> Tensor:
        """The modal vectors z of `(B, C, H, W)`: `(B, G, C / G)`."""
        return (self.split(s) @ masks.flatten(2).unsqueeze(3).to(s.dtype)).squeeze(3)

    def add(self, s: Tensor, modes: Tensor, norm: nn.Module | None = None) -> tuple[Tensor, Tensor]:
        """Hand the modes to where they belong, Eq. (5) and (2).

        Args:
            s: Features `(B, C, H, W)`.
            modes: `(B, G, C / G)`.
            norm: What the similarities pass before they become gates.

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
        """Return the output for `(B, C, H, W)`, the masks M and the last gates r, both `(B, G, H, W)`."""
        masks = self.masks(s)
        return *self.contexts(s, self.modes(s, masks).to(s.dtype)), masks


class ModeAttention(Modes):
    """Modal vectors, their interaction and the gates.

    Decisions:

    - "The updated Z can substitute the one in (5)": z' takes the place of z in the gate and in what is gated.
    - The mask logits pass a batch norm, as everything after a group convolution does (supplement A).
    - Scalar products are not scaled, as in the equations.
    """

    def __init__(self, channels: int, *, heads: int, gate: Gate, interaction: bool) -> None:
        """Build the mask convolution and its norm; arguments as in `StRA`."""
        super().__init__(heads=heads, gate=gate, interaction=interaction)
        self.mask = nn.Conv2d(channels, heads, 1, groups=heads, bias=False)
        self.mask_norm = nn.BatchNorm2d(heads)

    def logits(self, s: Tensor) -> Tensor:
        """One grouped convolution and its batch norm."""
        # A product with the features as they lie, where a convolution with one output a group would reorder them.
        logits = (self.mask.weight.view(self.heads, 1, -1) @ self.split(s)).squeeze(2)
        normed: Tensor = self.mask_norm(logits.unflatten(2, s.shape[2:]))
        return normed

    def interact(self, modes: Tensor) -> Tensor:
        """Let the modes interact: z' of Eq. (6) from z, both `(B, G, C / G)`."""
        return (modes @ modes.mT).softmax(dim=2).to(modes.dtype) @ modes

    def contexts(self, s: Tensor, modes: Tensor) -> tuple[Tensor, Tensor]:
        """One context, of z' or, without interaction, of z."""
        return self.add(s, self.interact(modes).to(s.dtype) if self.interaction else modes)


class ReleasedModeAttention(Modes):
    """As `ModeAttention`, but as the published code has it.

    - Mask logits come from two grouped convolutions with biases and tanh between them, 8 channels a head wide.
    - Two contexts are added one after the other: y of s and z, then the output of y and z'. The similarities of either
      pass a batch norm of the G of them. Without interaction only the first is.
    - Each row of the G x G products <z_g, z_j> is divided by its length and multiplied by the root of G before the
      softmax of Eq. (6).
    - Convolutions begin as in the released local attention, which draws those of its mode attention too: Kaiming normal
      by fan-out, their biases, which the batch norms take out, at 0.
    """

    def __init__(self, channels: int, *, heads: int, gate: Gate, interaction: bool) -> None:
        """Build the mask convolutions and the norms of the similarities; arguments as in `StRA`."""
        super().__init__(heads=heads, gate=gate, interaction=interaction)
        self.mask = TwoLayers(channels, MASK_WIDTH * heads, heads, heads, nn.Tanh(), bias=True)
        # One for each gate: those of the modal vectors and, with interaction, of the interacted ones.
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
        """The context of z and, with interaction, that of z' on top."""
        s, gates = self.add(s, modes, self.similarity_norms[0])
        if self.interaction:
            s, gates = self.add(s, self.interact(modes).to(s.dtype), self.similarity_norms[1])
        return s, gates
