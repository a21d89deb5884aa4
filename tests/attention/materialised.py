"""Slow, independent reference of Relation-Aware Global Attention, Eqs. (1) to (4) of the CVPR 2020 paper.

It takes its weights from an `RGA` module but does the arithmetic itself: the N x N affinity R and the 2N numbers `[R(i,
:), R(:, i)]` of every node are built image by image and node by node, and convolutions are matrix products. Like the
module, it updates running statistics, so pass it a copy.
"""

import torch
from torch import Tensor, nn

from relattn.attention import RGA
from relattn.attention.rga import RelationMask

ALL_ROWS = slice(None)


def convolve(x: Tensor, convolution: nn.Module, rows: slice = ALL_ROWS, size: tuple[int, int] = (0, 0)) -> Tensor:
    """The given output rows of a convolution of `(B, channels, N)`, nodes of a map of `size` if it is not 1x1."""
    weight = convolution.weight[rows]
    side = round(weight.shape[2] ** 0.5)
    if side == 1:
        return torch.stack([weight[:, :, 0] @ image for image in x])
    height, width = size
    nodes = []
    for node in range(height * width):
        total = torch.zeros_like(x[:, :1, 0] @ weight[:, :1, 0].T)
        for offset in range(side**2):
            row, column = node // width + offset // side - side // 2, node % width + offset % side - side // 2
            if 0 <= row < height and 0 <= column < width:
                total = total + x[:, :, row * width + column] @ weight[:, :, offset].T
        nodes.append(total)
    return torch.stack(nodes, dim=2)


def normalise(x: Tensor, norm: nn.BatchNorm2d, rows: slice = ALL_ROWS) -> Tensor:
    """Batch norm of `(B, channels, N)` with the given rows of the norm's weights; updates running statistics."""
    mean, variance = norm.running_mean[rows], norm.running_var[rows]
    if norm.training:
        count = x.shape[0] * x.shape[2]
        running_mean, running_variance = mean, variance
        mean = x.sum(dim=(0, 2)) / count
        variance = ((x - mean[:, None]) ** 2).sum(dim=(0, 2)) / count
        with torch.no_grad():
            running_mean += norm.momentum * (mean - running_mean)
            running_variance += norm.momentum * (variance * count / (count - 1) - running_variance)
    standard = (x - mean[:, None]) / (variance[:, None] + norm.eps) ** 0.5
    return norm.weight[rows, None] * standard + norm.bias[rows, None]


def rectify(x: Tensor) -> Tensor:
    return torch.where(x > 0, x, torch.zeros_like(x))


def layer(x: Tensor, layers: nn.Sequential, rows: slice = ALL_ROWS, size: tuple[int, int] = (0, 0)) -> Tensor:
    """Convolution and batch norm, the first two of `layers`."""
    return normalise(convolve(x, layers[0], rows, size), layers[1], rows)


def embed(mask: RelationMask, x: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor | None]:
    """theta(x), phi(x) and psi(x) of the nodes `(B, F, N)`, each `(B, k, N)`."""
    k = mask.width
    names = {"asymmetric": ["theta", "phi"], "symmetric": ["theta"], "none": []}[mask.embedding]
    names = (names if mask.relation else []) + (["psi"] if mask.original and mask.kernel == 1 else [])
    found = {name: rectify(layer(x, mask.embed, slice(start * k, start * k + k))) for start, name in enumerate(names)}
    if mask.original and mask.kernel > 1:
        found["psi"] = rectify(layer(x, mask.psi, size=size))
    theta = found.get("theta", x)
    return theta, found.get("phi", theta), found.get("psi")


def affinity(theta: Tensor, phi: Tensor) -> Tensor:
    """R(i, j) = theta(x_i)^T phi(x_j), Eqs. (1) and (4), `(B, N, N)`."""
    return torch.stack([theta_image.T @ phi_image for theta_image, phi_image in zip(theta, phi, strict=True)])


def stack_relations(relations: Tensor) -> Tensor:
    """r_i = [R(i, :), R(:, i)] for every node i, `(B, 2N, N)`."""
    return torch.stack([torch.stack([torch.cat([r[i, :], r[:, i]]) for i in range(len(r))], dim=1) for r in relations])


def infer(mask: RelationMask, x: Tensor, size: tuple[int, int] = (0, 0)) -> tuple[Tensor, Tensor | None]:
    """Attention `(B, N)` of the nodes `(B, F, N)`, Eqs. (2) and (3), and R where the mask is inferred from it."""
    theta, phi, psi = embed(mask, x, size)
    relations, parts = None, []
    if psi is not None:
        parts.append(psi.sum(dim=1, keepdim=True) / mask.width)  # pool over channels
    if mask.relation:
        relations = affinity(theta, phi)
        parts.append(rectify(layer(stack_relations(relations), mask.relate, size=size)))
    hidden = rectify(layer(torch.cat(parts, dim=1), mask.reduce))
    return 1 / (1 + torch.exp(-layer(hidden, mask.score)[:, 0])), relations


def modulate(module: RGA, name: str, x: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
    """Features `(B, C, H, W)` times one mask; the mask, shaped to be multiplied with them; its relations."""
    nodes = x.flatten(2)
    if name == "spatial":
        mask, relations = infer(module.spatial, nodes, tuple(x.shape[2:]))
        mask = mask.reshape(len(x), 1, *x.shape[2:])
    else:
        mask, relations = infer(module.channel, nodes.transpose(1, 2))
        mask = mask.reshape(*x.shape[:2], 1, 1)
    return x * mask, mask, relations


def reference(module: RGA, x: Tensor) -> tuple[Tensor, dict[str, Tensor], dict[str, Tensor | None]]:
    """Output of `module` for `(B, C, H, W)`, its masks and its relations, by name."""
    masks, relations = {}, {}
    if module.mode != "parallel":
        for name in module.mode.split("_"):
            x, masks[name], relations[name] = modulate(module, name, x)
        return x, masks, relations
    spatial, masks["spatial"], relations["spatial"] = modulate(module, "spatial", x)
    channel, masks["channel"], relations["channel"] = modulate(module, "channel", x)
    if module.fusion == "average":
        fused = (spatial + channel) / 2
    elif module.fusion == "product":
        fused = x * masks["spatial"] * masks["channel"]
    else:
        both = torch.cat([spatial, channel], dim=1).flatten(2)
        fused = rectify(layer(both, module.fuse)).unflatten(2, x.shape[2:])
    return fused, masks, relations
