"""Relation-Aware Global Attention (RGA), evaluated in factored form.

Zhang, Lan, Zeng, Jin, Chen, "Relation-Aware Global Attention for Person Re-identification", CVPR 2020, Eqs. (1) to
(4); arXiv 1904.02998 for CIFAR and segmentation.

The module infers a mask over N nodes. For each node i it uses the node's own feature and its relations with all nodes:

    R = Theta^T Phi                                     (1), (4): N x N, theta and phi embed a node to k values
    y_i = [pool(psi(x_i)), varphi([R(i, :), R(:, i)])]  (2)
    a_i = sigmoid(W2 relu(W1 y_i))                      (3)

Spatial RGA takes the H W positions as nodes with C features each; channel RGA takes the C channels as nodes with H W
features each. It is the same network on the transposed input, so one class serves both.

There is no nonlinearity between R and the convolution [W_in | W_out] of varphi, so for every node

    W_in R(i, :) + W_out R(:, i) = (W_in Phi^T) theta_i + (W_out Theta^T) phi_i

with Theta and Phi stacked as k x N. So the N x N relations and their 2N-channel copy are never built. The weights and
the output stay the same, with O(N k n) operations instead of O(N^2 n). `RGA.relations` builds R, for figures.

The arXiv version notes below Eq. (2) that psi and varphi of spatial RGA may have kernels of 3x3 ("very similar
performance"); `kernel` selects this. varphi then reads the relations of a position's neighbours too, and the factored
form has a term for each of them.

Deviations: inner widths are at least 1 (the released code builds empty convolutions for narrow inputs). The paper does
not say how the parallel variant fuses its two branches; see `RGA`. `mask_init` selects how masks begin, by default as
in the released code.
"""

from typing import Literal, cast, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from relattn.attention.arguments import check_choice, check_flag, check_idle, check_odd, check_whole
from relattn.attention.base import Attention
from relattn.attention.exported_sums import neighbours
from relattn.attention.mask_init import MaskInit, begin
from relattn.attention.rematerialisation import cheap, norm_and
from relattn.errors import InputError

Embedding = Literal["asymmetric", "symmetric", "none"]
Mode = Literal["spatial", "channel", "spatial_channel", "channel_spatial", "parallel"]
Fusion = Literal["average", "product", "convolution"]


class NodeConvolution(nn.Conv1d):
    """A convolution of maps without bias, 1x1 by default, with zero padding.

    Its weight `(outputs, inputs, K K)` has three dimensions, so that `module.to(memory_format=torch.channels_last)`
    leaves it alone: a weight in that format would make the convolution transpose maps whose pixels are channels.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int = 1) -> None:
        super().__init__(inputs, outputs, kernel**2, bias=False)
        self.side = kernel

    def forward(self, x: Tensor) -> Tensor:
        """Map `(B, inputs, h, w)` to `(B, outputs, h, w)`."""
        return F.conv2d(x, self.weight.unflatten(2, (self.side, self.side)), padding=self.side // 2)


class Pointwise(nn.Sequential):
    """A convolution (1x1 by default), batch norm and (by default) ReLU."""

    def __init__(self, inputs: int, outputs: int, *, relu: bool = True, kernel: int = 1) -> None:
        super().__init__(NodeConvolution(inputs, outputs, kernel), nn.BatchNorm2d(outputs))
        self.relu = relu

    @property
    def weight(self) -> Tensor:
        """The convolution's weight, `(outputs, inputs, K K)`."""
        return cast(NodeConvolution, self[0]).weight

    def activate(self, x: Tensor) -> Tensor:
        """Apply what follows the convolution to `(B, outputs, h, w)`, the result of convolving in another way."""
        return norm_and(F.relu_, self[1], x) if self.relu else self[1](x)

    def forward(self, x: Tensor) -> Tensor:
        """Map `(B, inputs, h, w)` to `(B, outputs, h, w)`."""
        return self.activate(self[0](x))


class RelationMask(nn.Module):
    """Infers one attention value for each of N nodes: Eqs. (1) to (3).

    Nodes come as a map `(B, F, h, w)` with F features and N = h w nodes; the mask is `(B, 1, h, w)` in (0, 1).
    """

    def __init__(
        self,
        features: int,
        nodes: int,
        *,
        relation: bool,
        original: bool,
        embedding: Embedding,
        embedding_ratio: int,
        reduction_ratio: int,
        mask_init: MaskInit,
        kernel: int = 1,
    ) -> None:
        """Build the embeddings and the two-layer model; arguments as in `RGA`, with `features` F and `nodes` N."""
        super().__init__()
        self.relation, self.original, self.embedding, self.kernel = relation, original, embedding, kernel
        self.width = max(1, features // embedding_ratio)  # k
        relation_width = max(1, nodes // embedding_ratio) if relation else 0  # n
        # theta, phi and psi read the same input: one convolution and one batch norm over concatenated channels, as long
        # as they have the same kernel.
        self.embedded = {"asymmetric": 2, "symmetric": 1, "none": 0}[embedding] if relation else 0
        self.joined = original and kernel == 1
        outputs = (self.embedded + self.joined) * self.width
        self.embed = Pointwise(features, outputs) if outputs else None
        self.psi = Pointwise(features, self.width, kernel=kernel) if original and not self.joined else None
        self.relate = Pointwise(2 * nodes, relation_width, kernel=kernel) if relation else None  # varphi
        inputs = original + relation_width
        reduced = max(1, inputs // reduction_ratio)
        self.reduce = Pointwise(inputs, reduced)  # W1
        self.score = Pointwise(reduced, 1, relu=False)  # W2
        begin(cast(nn.BatchNorm2d, self.score[1]), mask_init)

    def embeddings(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """The embedded nodes `(B, k or 2k, N)`, theta before phi, and psi `(B, k, h, w)`.

        Without embedding, the nodes are the features themselves; with a symmetric one, theta and phi are the same.
        """
        apart = self.psi(x) if self.psi is not None else None
        if self.embed is None:
            return x.flatten(2), apart
        widths = [self.embedded * self.width, self.joined * self.width]
        nodes, psi = self.embed(x).split(widths, dim=1)
        return (nodes if self.embedded else x).flatten(2), psi if self.joined else apart

    def relations(self, x: Tensor) -> Tensor:
        """The affinity R = Theta^T Phi of Eqs. (1) and (4), `(B, N, N)`."""
        nodes, _ = self.embeddings(x)
        theta, phi = nodes.chunk(2, dim=1) if self.embedding == "asymmetric" else (nodes, nodes)
        return theta.mT @ phi

    def embed_relations(self, nodes: Tensor, weight: Tensor, size: torch.Size) -> Tensor:
        """W [R(i, :), R(:, i)] of Eq. (2) for every node in factored form, `(B, n, N)`; W `(n, 2N, K K)`.

        With K > 1 it is the sum over the neighbours j of node i in the map of `size`, each with its own W.
        """
        if self.kernel > 1:
            offsets = weight.shape[2]
            apart = weight.permute(2, 0, 1).flatten(0, 1).unsqueeze(2)  # (K K n, 2N, 1)
            factor = self.factor(nodes, apart).unflatten(1, (offsets, -1))
            around = neighbours(nodes.unflatten(2, size), self.kernel).flatten(3)  # (B, k or 2k, K K, N)
            return cheap(torch.matmul, factor.permute(0, 2, 3, 1).flatten(2), around.flatten(1, 2))
        return cheap(torch.matmul, self.factor(nodes, weight), nodes)

    def factor(self, nodes: Tensor, weight: Tensor) -> Tensor:
        """The factor of `nodes`, [W_in Phi^T, W_out Theta^T], `(B, n, k or 2k)`, for W `(n, 2N, 1)`."""
        row, column = weight.chunk(2, dim=1)  # W_in and W_out
        if self.embedding == "asymmetric":
            theta, phi = (half.mT for half in nodes.chunk(2, dim=1))
            return torch.cat([F.conv1d(phi, row), F.conv1d(theta, column)], dim=2)
        return F.conv1d(nodes.mT, row + column)  # R is symmetric: its rows are its columns

    def forward(self, x: Tensor) -> Tensor:
        """Return the mask `(B, 1, h, w)` of the nodes `(B, F, h, w)`."""
        nodes, psi = self.embeddings(x)
        # W1 reads [pool(psi), varphi]. Applying its two parts separately avoids a copy of varphi.
        weight, parts = self.reduce.weight, []
        if self.relate is not None:
            related = self.embed_relations(nodes, self.relate.weight, x.shape[2:])
            related = self.relate.activate(related.unflatten(2, x.shape[2:]))
            weight_related = weight[:, self.original :, 0].expand(x.shape[0], -1, -1)
            parts.append((weight_related @ related.flatten(2)).unflatten(2, x.shape[2:]))
        if psi is not None:
            parts.append(psi.mean(dim=1, keepdim=True) * weight[:, :1].transpose(0, 1).unsqueeze(3))
        mask: Tensor = torch.sigmoid(self.score(self.reduce.activate(sum(parts[1:], parts[0]))))
        return mask


class RGA(Attention):
    """Relation-aware global attention: spatial, channel, or both.

    Shapes: `(B, C, H, W)` to `(B, C, H, W)`; H and W are fixed by `size`, since the relation convolution has one
    input channel for each node. Records `spatial` `(B, 1, H, W)` and `channel` `(B, C, 1, 1)`.

    Cite: Zhang et al., "Relation-Aware Global Attention for Person Re-identification", CVPR 2020.
    """

    def __init__(
        self,
        channels: int,
        *,
        size: tuple[int, int] | None = None,
        mode: Mode = "spatial_channel",
        relation: bool = True,
        original: bool = True,
        embedding: Embedding = "asymmetric",
        embedding_ratio: int = 8,
        reduction_ratio: int = 8,
        kernel: int = 1,
        fusion: Fusion = "average",
        mask_init: MaskInit = "released",
    ) -> None:
        """Build the masks that `mode` asks for.

        Args:
            channels: Channels C of the input.
            size: Height and width of the input; required.
            mode: `"spatial"` (RGA-S), `"channel"` (RGA-C), `"spatial_channel"` (RGA-SC, the paper's best),
                `"channel_spatial"` (RGA-CS), or `"parallel"` (RGA-S//C).
            relation: Whether the mask uses the relations; False is the paper's "w/o Rel.".
            original: Whether the mask uses the node's own feature; False is the paper's "w/o Ori.".
            embedding: How nodes are embedded before they are compared (Table 4): separate theta and phi
                (`"asymmetric"`), one embedding for both (`"symmetric"`), or the features themselves (`"none"`).
            embedding_ratio: s1, ratio of the inputs to the outputs of embeddings.
            reduction_ratio: s2, ratio of the inputs to the outputs of W1.
            kernel: Side of the convolutions psi and varphi of the spatial mask; the arXiv version allows 3.
            fusion: How the parallel mode joins its branches, which the paper leaves open: the mean of both modulated
                maps (`"average"`), both masks multiplied (`"product"`), or a 1x1 convolution with batch
                norm and ReLU over both maps (`"convolution"`), which changes the features whatever the masks are.
            mask_init: How masks begin: as `"released"` by the authors, or as `"half"` or `"open"`, which this suite
                adds (`mask_init`).

        Raises:
            InputError: If `size` is missing, a name is unknown, a ratio is below 1, `kernel` is even, an argument is
                set where it has no effect, or neither `relation` nor `original` is set.
        """
        super().__init__(channels, size=size)
        for name, value, known in (
            ("mode", mode, Mode),
            ("embedding", embedding, Embedding),
            ("fusion", fusion, Fusion),
            ("mask_init", mask_init, MaskInit),
        ):
            check_choice("RGA", name, value, get_args(known))
        for name, flag in (("relation", relation), ("original", original)):
            check_flag("RGA", name, flag)
        if self.size is None:
            raise InputError(
                f"RGA compares every position with every other, so its weights depend on the input's height and "
                f"width: pass size=(height, width), for example RGA({channels}, size=(64, 32))."
            )
        check_whole("RGA", "embedding_ratio", embedding_ratio)
        check_whole("RGA", "reduction_ratio", reduction_ratio)
        check_odd("RGA", "kernel", kernel)
        if not relation and not original:
            raise InputError("RGA: relation and original are both False, so nothing is left to infer a mask from.")
        if not relation:
            check_idle("RGA", "embedding", embedding, "asymmetric", "without relations")
        if mode == "channel":
            check_idle("RGA", "kernel", kernel, 1, "without a spatial mask, since channels have no neighbours")
        if mode != "parallel":
            check_idle("RGA", "fusion", fusion, "average", f"with mode {mode!r}")
        self.mode, self.fusion, self.mask_init = mode, fusion, mask_init
        positions = self.size[0] * self.size[1]

        def mask(features: int, nodes: int, kernel: int = 1) -> RelationMask:
            return RelationMask(
                features,
                nodes,
                relation=relation,
                original=original,
                embedding=embedding,
                embedding_ratio=embedding_ratio,
                reduction_ratio=reduction_ratio,
                mask_init=mask_init,
                kernel=kernel,
            )

        self.spatial = mask(channels, positions, kernel) if mode != "channel" else None
        self.channel = mask(positions, channels) if mode != "spatial" else None
        self.fuse = Pointwise(2 * channels, channels) if mode == "parallel" and fusion == "convolution" else None

    def extra_repr(self) -> str:
        """Show what the module was built for."""
        return f"{self.channels}, size={self.size}, mode={self.mode!r}"

    def sequence(self) -> list[str]:
        """The masks of this mode, in the order in which they are computed."""
        return ["spatial", "channel"] if self.mode == "parallel" else self.mode.split("_")

    def mask(self, name: str, x: Tensor) -> Tensor:
        """One mask of `x`: `spatial`, `(B, 1, H, W)`, or `channel`, `(B, C, 1, 1)`."""
        model = getattr(self, name)
        mask: Tensor = model(x) if name == "spatial" else model(channels_as_nodes(x)).permute(0, 3, 1, 2)
        mask = mask.to(x.dtype)
        self.record(name, mask)
        return mask

    def relations(self, x: Tensor) -> dict[str, Tensor]:
        """The affinities R that the masks of `x` are inferred from, for figures; this does cost N x N memory.

        It passes `x` through the module's batch norms, which in training mode updates their running statistics.

        Returns:
            `spatial`, `(B, HW, HW)`, and `channel`, `(B, C, C)`, if the mode has them. `R[b, i, j]` is the relation
            from node i to node j, positions in raster order. In a sequential mode the second is computed from the
            features that the first has modulated, as in `forward`.
        """
        self.check(x, self.size)
        found: dict[str, Tensor] = {}
        for name in self.sequence():
            found[name] = getattr(self, name).relations(x if name == "spatial" else channels_as_nodes(x))
            x = x if self.mode == "parallel" else x * self.mask(name, x)
        return found

    def forward(self, x: Tensor) -> Tensor:
        """Modulate `(B, C, H, W)` by its masks.

        Raises:
            InputError: If `x` does not have the channels and the size that the module was built for.
        """
        self.check(x, self.size)
        if self.mode == "parallel":
            return self.join(x, self.mask("spatial", x), self.mask("channel", x))
        for name in self.sequence():
            x = cheap(torch.mul, x, self.mask(name, x))
        return x

    def join(self, x: Tensor, spatial: Tensor, channel: Tensor) -> Tensor:
        """Fuse the two branches of the parallel mode."""
        if self.fusion == "product":
            return x * (spatial * channel)
        if self.fusion == "average":
            return x * ((spatial + channel) / 2)
        assert self.fuse is not None
        fused: Tensor = self.fuse(torch.cat([x * spatial, x * channel], dim=1)).to(x.dtype)
        return fused


def channels_as_nodes(x: Tensor) -> Tensor:
    """View `(B, C, H, W)` as C nodes with H W features each, `(B, HW, C, 1)`; no copy is made here."""
    return x.flatten(2).transpose(1, 2).unsqueeze(2)
