"""Identity classifiers for training: plain softmax, and the margins of CosFace and ArcFace.

With theta_j the angle between a feature and the weight vector of class j, both of length 1, and y the feature's class:

    CosFace   logit_y = s (cos theta_y - m)       Wang et al., "CosFace", CVPR 2018, Eq. 4
    ArcFace   logit_y = s cos(theta_y + m)        Deng et al., "ArcFace", CVPR 2019, Eq. 3
    others    logit_j = s cos theta_j

The defaults are StRA's (supplement, face recognition): s = 20, m = 0.2 for CosFace and 0.15 for ArcFace. ArcFace's
margin is an angle in RADIANS, as in the papers; some libraries take degrees (0.15 radians are 8.6 degrees).

ArcFace is evaluated as cos theta cos m - sin theta sin m. The slope of sin theta = sqrt(1 - cos^2 theta) is infinite at
cos theta = +-1, so the cosine under the root is clamped to +-(1 - 1e-7). Everything is computed in at least float32,
even under autocast, because in half precision 1 - 1e-7 is 1.
"""

import math
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from relattn.errors import InputError

PastPi = Literal["linear", "easy", "none"]
Gradient = Literal["exact", "straight_through"]

LARGEST_COSINE = 1 - 1e-7


class IdentityClassifier(nn.Module):
    """Base class of the classifiers for training.

    `forward` maps features `(B, features)` to logits `(B, identities)` without a margin, for classification;
    `with_margin` gives the logits for the cross entropy.
    """

    def with_margin(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Add the margin to logits `(B, identities)` of images with labels `(B,)`; the shape stays the same."""
        raise NotImplementedError


class Softmax(IdentityClassifier):
    """A linear classifier with a bias and without a margin."""

    def __init__(self, features: int, identities: int) -> None:
        """Build the classifier for features of that length."""
        super().__init__()
        self.linear = nn.Linear(features, identities)

    def forward(self, features: Tensor) -> Tensor:
        """Map features `(B, features)` to logits `(B, identities)`."""
        logits: Tensor = self.linear(features)
        return logits

    def with_margin(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the logits unchanged."""
        return logits


class CosineClassifier(IdentityClassifier):
    """Scaled cosines between features and the identities' weight vectors; a subclass defines the margin."""

    def __init__(self, features: int, identities: int, *, s: float = 20.0) -> None:
        """Build the classifier, with normal weights of standard deviation 0.01, as in ArcFace's published code.

        Args:
            features: Length of a feature.
            identities: Number of identities.
            s: Scale of the logits.

        Raises:
            InputError: If `s` is not positive.
        """
        super().__init__()
        if not 0 < s < math.inf:
            raise InputError(f"{type(self).__name__}: s is {s}, expected a positive scale such as 20 or 64.")
        self.s = s
        self.weight = nn.Parameter(torch.empty(identities, features))
        nn.init.normal_(self.weight, std=0.01)

    def extra_repr(self) -> str:
        """Show what the classifier was built for."""
        identities, features = self.weight.shape
        return f"{features}, {identities}, s={self.s:g}"

    def forward(self, features: Tensor) -> Tensor:
        """Map features `(B, features)`, of any norm, to s cos theta `(B, identities)`, at least float32."""
        with torch.autocast(features.device.type, enabled=False):
            precise = torch.promote_types(features.dtype, torch.float32)
            return self.s * F.linear(F.normalize(features.to(precise)), F.normalize(self.weight.to(precise)))

    def penalised(self, cosines: Tensor) -> Tensor:
        """The cosines `(B,)` between images and their own identities, after the margin."""
        raise NotImplementedError

    def with_margin(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Add the margin.

        Args:
            logits: `(B, identities)`, the output of `forward`.
            labels: `(B,)` int64, the identities of the images.

        Returns:
            `(B, identities)`, the logits for the cross entropy.
        """
        with torch.autocast(logits.device.type, enabled=False):
            own = labels[:, None]
            return logits.scatter(1, own, self.s * self.penalised(logits.gather(1, own) / self.s))


class CosFace(CosineClassifier):
    """Large margin cosine loss: subtracts a margin from the cosine with the image's own identity."""

    def __init__(self, features: int, identities: int, *, s: float = 20.0, m: float = 0.2) -> None:
        """Build the classifier.

        Args:
            features: Length of a feature.
            identities: Number of identities.
            s: Scale of the logits.
            m: Margin, subtracted from the cosine.

        Raises:
            InputError: If the margin is not in [0, 1) or the scale not positive.
        """
        super().__init__(features, identities, s=s)
        if not 0 <= m < 1:
            raise InputError(f"CosFace: m is {m}, expected a difference of cosines in [0, 1), such as 0.2.")
        self.m = m

    def extra_repr(self) -> str:
        """Show what the classifier was built for."""
        return f"{super().extra_repr()}, m={self.m:g}"

    def penalised(self, cosines: Tensor) -> Tensor:
        return cosines - self.m


class ArcFace(CosineClassifier):
    """Additive angular margin loss: adds a margin in radians to the angle between an image and its own identity."""

    def __init__(
        self,
        features: int,
        identities: int,
        *,
        s: float = 20.0,
        m: float = 0.15,
        past_pi: PastPi = "linear",
        gradient: Gradient = "exact",
    ) -> None:
        """Build the classifier.

        Args:
            features: Length of a feature.
            identities: Number of identities.
            s: Scale of the logits.
            m: Margin in radians.
            past_pi: What replaces cos(theta + m) where theta + m exceeds pi, beyond which the cosine would rise again.
                `linear`: cos theta - m sin m, as in ArcFace's first code; it is lower than all values before it, so
                that a wider angle always costs more. `easy`: only angles below pi / 2 get the margin; beyond, cos theta
                stays. `none`: no replacement, as in the authors' later code. With m = 0.15 this concerns only angles
                above 171 degrees.
            gradient: `exact`, or `straight_through`: the margin counts in the loss, but the gradient is that of cos
                theta, as in the authors' later code. The exact one has the factor sin(theta + m) / sin theta, which
                grows without bound as theta goes to 0.

        Raises:
            InputError: If the margin is not in [0, pi / 2) radians, the scale is not positive, or a name is unknown.
        """
        super().__init__(features, identities, s=s)
        if not 0 <= m < math.pi / 2:
            hint = f"; {m} degrees are {math.radians(m):.4g} radians" if m > 0 else ""
            raise InputError(f"ArcFace: m is {m}, expected an angle in radians, in [0, pi / 2){hint}.")
        for name, value, known in (("past_pi", past_pi, PastPi), ("gradient", gradient, Gradient)):
            if value not in get_args(known):
                raise InputError(f"ArcFace: {name} is {value!r}, expected one of {', '.join(get_args(known))}.")
        self.m, self.past_pi, self.gradient = m, past_pi, gradient

    def extra_repr(self) -> str:
        """Show what the classifier was built for."""
        return f"{super().extra_repr()}, m={self.m:g}, past_pi={self.past_pi!r}, gradient={self.gradient!r}"

    def penalised(self, cosines: Tensor) -> Tensor:
        clamped = cosines.clamp(-LARGEST_COSINE, LARGEST_COSINE)
        sines = ((1 - clamped) * (1 + clamped)).sqrt()
        widened = cosines * math.cos(self.m) - sines * math.sin(self.m)
        if self.past_pi == "linear":
            widened = torch.where(cosines > -math.cos(self.m), widened, cosines - self.m * math.sin(self.m))
        elif self.past_pi == "easy":
            widened = torch.where(cosines > 0, widened, cosines)
        return cosines + (widened - cosines).detach() if self.gradient == "straight_through" else widened
