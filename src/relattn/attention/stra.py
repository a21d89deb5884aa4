"""Structure-Regularized Attention (StRA): local attention, then mode attention, in place of a 3x3 convolution.

"Structure-Regularized Attention Networks" (anonymous submission to ECCV, no. 3180), sections 3 and 4 and supplement A.
The two halves are in `local_attention` and `mode_attention`, which also list the decisions taken for each; this file
puts them together and adds the diversity regularization of section 4.3,

    L_d = G - sum over positions of max_g M^g

which is at least 0, and 0 if and only if no two heads attend to the same position.

The published code (`variant="released"`) differs from the network in the text: `ReleasedLocalAttention` and
`ReleasedModeAttention` list the differences and follow the code. Its weights load (`relattn.released.convert_stra`).
"""

import math
from typing import ClassVar, Literal, get_args

from torch import Tensor

from relattn.attention.arguments import check_choice, check_idle, check_whole
from relattn.attention.base import Attention, Placement, memory_format_of
from relattn.attention.local_attention import LocalAttention, ReleasedLocalAttention
from relattn.attention.mode_attention import Gate, ModeAttention, ReleasedModeAttention
from relattn.attention.shifts import check_heads
from relattn.errors import InputError

Parts = Literal["full", "local", "no_interaction"]
Variant = Literal["paper", "released"]


class StRA(Attention):
    """Structure-regularized attention.

    Shapes: `(B, C, H, W)` to `(B, C, H, W)`, any H and W. Records `affinity` `(B, G, K K, H, W)`, the weights of each
    position's neighbours, and four maps `(B, G, H, W)`: `masks`, which positions each mode is computed from; `gates`,
    which positions it is added to (the attention coefficients of Fig. 4); `local` and `output`, the mean absolute
    activation of each head after local attention and at the end.

    `regularization()` is the weighted diversity term L_d of the last forward pass, a mean over its images. It is None
    after a forward pass in evaluation mode, without masks (`parts="local"`) and with a weight of 0.

    Cite: "Structure-Regularized Attention Networks", section 4.
    """

    placement: ClassVar[Placement] = "convolution"

    def __init__(
        self,
        channels: int,
        *,
        size: tuple[int, int] | None = None,
        heads: int = 8,
        kernel: int = 3,
        gate: Gate = "sigmoid",
        parts: Parts = "full",
        variant: Variant = "paper",
        reduction: int = 4,
        diversity_weight: float = 1.0,
    ) -> None:
        """Build the module.

        Args:
            channels: Channels C of the input, a multiple of `heads`.
            size: Height and width of the input; no weight depends on it.
            heads: G, heads of local attention, each of them one mode.
            kernel: K, size of the neighbourhood: 3, 5, 7 or another odd number.
            gate: Function that turns similarities into coefficients in Eq. (5) (Table 3b).
            parts: All (`"full"`), `"local"` attention only, or mode attention without the interaction of Eq. (6),
                `"no_interaction"` (Table 3a).
            variant: As in the `"paper"`, or as in the `"released"` code; see the top of this file.
            reduction: Ratio of C to the width of local attention's hidden layers; only the code gives it: 4.
            diversity_weight: Weight of L_d in `regularization`; 0 skips the computation. The paper uses 1.0 in
                re-identification and 0.1 in face recognition (supplement B). For the latter, the task multiplies the
                terms of all modules by 0.1 (`regularization_weight`), so this weight stays 1.

        Raises:
            InputError: If `heads` does not divide `channels`, `kernel` is even or below 3, `reduction` is below 1,
                `diversity_weight` is negative, a name is unknown, or `gate` is set without mode attention.
        """
        super().__init__(channels, size=size)
        check_heads("StRA", channels, heads)
        for name, value, known in (("gate", gate, Gate), ("parts", parts, Parts), ("variant", variant, Variant)):
            check_choice("StRA", name, value, get_args(known))
        check_whole("StRA", "reduction", reduction)
        if not 0 <= diversity_weight < math.inf:
            raise InputError(f"StRA: diversity_weight is {diversity_weight}, expected a number of at least 0.")
        if parts == "local":
            check_idle("StRA", "gate", gate, "sigmoid", "without mode attention (parts 'local')")
        self.heads, self.parts, self.variant = heads, parts, variant
        self.diversity_weight = diversity_weight
        local, mode = (
            (LocalAttention, ModeAttention) if variant == "paper" else (ReleasedLocalAttention, ReleasedModeAttention)
        )
        self.local = local(channels, heads=heads, kernel=kernel, reduction=reduction)
        self.mode = None if parts == "local" else mode(channels, heads=heads, gate=gate, interaction=parts == "full")

    def extra_repr(self) -> str:
        """Show what the module was built for."""
        return f"{self.channels}, heads={self.heads}, parts={self.parts!r}, variant={self.variant!r}"

    def forward(self, x: Tensor) -> Tensor:
        """Attend to `(B, C, H, W)`.

        Raises:
            InputError: If `x` is not a map with the channels that the module was built for.
        """
        self.check(x)
        features, affinity = self.local(x)
        self.record("affinity", affinity)
        self.record_activation("local", features)
        if self.mode is not None:
            features, gates, masks = self.mode(features)
            self.record("masks", masks)
            self.record("gates", gates)
            if self.training and self.diversity_weight:
                self.loss_term = self.diversity_weight * diversity(masks)
        self.record_activation("output", features)
        return features.to(x.dtype).contiguous(memory_format=memory_format_of(x))

    def record_activation(self, name: str, features: Tensor) -> None:
        """In a capture, record the mean absolute activation of each head at each position, `(B, G, H, W)`."""
        if self.recorder is not None:
            self.record(name, features.detach().unflatten(1, (self.heads, -1)).abs().mean(dim=2))


def diversity(masks: Tensor) -> Tensor:
    """L_d of section 4.3 for masks `(B, G, H, W)`, the mean over B images: G - sum over positions of max_g M^g."""
    return masks.shape[1] - masks.amax(dim=1).sum(dim=(1, 2)).mean()


__all__ = ["Gate", "Parts", "StRA", "Variant", "diversity"]
