"""Mode attention of StRA: every head sums up what its mode is in the whole image, and hands it to where it belongs.

For each of G heads, with s_i the output of local attention at position i (`local_attention`):

    M^g = softmax over positions of a 1x1 convolution of s^g      (section 4.3)
    z_g = sum_i M^g_i s^g_i                                       the modal vector
    z'_g = sum_j softmax_j(<z_g, z_j>) z_j                        (6), interaction between modes
    r_ig = sigmoid(<s^g_i, z'_g>)                                 (5), or a softmax over the modes
    output = s^g_i + r_ig z'_g                                    (2), and the skip connection of supplement A

"Structure-Regularized Attention Networks", sections 3, 4.2 and 4.3.
"""

from typing import Literal

import torch
from torch import Tensor, nn

from relattn.attention.local_attention import Grouped, hidden_width

Gate = Literal["sigmoid", "softmax"]
Variant = Literal["paper", "released"]


class ModeAttention(nn.Module):
    """Modal vectors, their interaction and the gates; see `StRA` for the variants.

    Decisions:

    - "The updated Z can substitute the one in (5)": z' takes the place of z in the gate and in what is gated.
    - The mask logits pass a batch norm, as everything after a group convolution does (supplement A).
    - Scalar products are not scaled, as in the equations.
    """

    def __init__(
        self, channels: int, *, heads: int, gate: Gate, interaction: bool, variant: Variant, reduction: int
    ) -> None:
        """Build the mask convolution and, as published, its first layer and the norms; arguments as in `StRA`."""
        super().__init__()
        self.heads, self.gate, self.interaction, self.variant = heads, gate, interaction, variant
        width, self.first_layer = channels, None
        if variant == "released":
            width = hidden_width(channels, heads, reduction)
            self.first_layer = nn.Sequential(Grouped(channels, width, heads), nn.Tanh())
        self.mask = nn.Conv2d(width, heads, 1, groups=heads, bias=False)
        self.mask_norm = nn.BatchNorm2d(heads)
        # One for each gate: those of the modal vectors and, with interaction, of the interacted ones.
        gates = 1 + interaction if variant == "released" else 0
        self.similarity_norms = nn.ModuleList(nn.BatchNorm2d(heads) for _ in range(gates))

    def masks(self, s: Tensor) -> Tensor:
        """M of `(B, C, H, W)`: `(B, G, H, W)`, in every image and head with the sum 1."""
        features = s if self.first_layer is None else self.first_layer(s)
        # A product with the features as they lie, where a convolution with one output a group would reorder them.
        logits = (self.mask.weight.view(self.heads, 1, -1) @ self.split(features)).squeeze(2)
        normed: Tensor = self.mask_norm(logits.unflatten(2, s.shape[2:]))
        return normed.flatten(2).softmax(dim=2).unflatten(2, s.shape[2:])

    def split(self, s: Tensor) -> Tensor:
        """View `(B, C, H, W)` as `(B, G, C / G, N)`."""
        return s.flatten(2).unflatten(1, (self.heads, -1))

    def modes(self, s: Tensor, masks: Tensor) -> Tensor:
        """The modal vectors z of `(B, C, H, W)`: `(B, G, C / G)`."""
        return (self.split(s) @ masks.flatten(2).unsqueeze(3).to(s.dtype)).squeeze(3)

    def interact(self, modes: Tensor) -> Tensor:
        """Let the modes interact: z' of Eq. (6) from z, both `(B, G, C / G)`."""
        return (modes @ modes.mT).softmax(dim=2).to(modes.dtype) @ modes

    def gates(self, s: Tensor, modes: Tensor, norm: nn.Module | None = None) -> Tensor:
        """The coefficients r of Eq. (5), of similarities that first pass `norm`: `(B, G, H, W)`."""
        logits = (modes.unsqueeze(2) @ self.split(s)).squeeze(2).unflatten(2, s.shape[2:])
        if norm is not None:
            logits = norm(logits)
        gates = torch.sigmoid(logits) if self.gate == "sigmoid" else logits.softmax(dim=1)
        return gates.to(s.dtype)

    def contexts(self, s: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
        """Add the contexts to `s` and return the sum, `(B, C, H, W)`, and the last gates, `(B, G, H, W)`."""
        modes = self.modes(s, masks).to(s.dtype)
        steps: list[tuple[Tensor, nn.Module | None]]
        if self.variant == "paper":
            steps = [(self.interact(modes).to(s.dtype) if self.interaction else modes, None)]
        else:
            vectors = [modes, self.interact(modes).to(s.dtype)][: len(self.similarity_norms)]
            steps = list(zip(vectors, self.similarity_norms, strict=True))
        for vector, norm in steps:
            gates = self.gates(s, vector, norm)
            shape = s.shape
            s = torch.addcmul(self.split(s), vector.unsqueeze(3), gates.flatten(2).unsqueeze(2)).view(shape)
        return s, gates

    def forward(self, s: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the output for `(B, C, H, W)`, the masks M and the last gates r, both `(B, G, H, W)`."""
        masks = self.masks(s)
        return *self.contexts(s, masks), masks
