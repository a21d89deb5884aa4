"""The authors' released networks, written in slow form from their description, with the names of their weights.

Relations and neighbourhoods are built node by node; no code is shared with `relattn`. RGA's widths are at least 1, so
that small images suffice.
"""

import torch
import torchvision
from torch import Tensor, nn

HALVES = ("spatial", "channel")


def embedding(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU())


class ReleasedRGA(nn.Module):
    """One attention module: spatial, then channel, as far as `halves` contains them."""

    def __init__(self, channels: int, positions: int, halves: tuple[str, ...] = HALVES, ratio: int = 8) -> None:
        super().__init__()
        self.halves = halves
        for half in halves:
            features, nodes = (channels, positions) if half == "spatial" else (positions, channels)
            width, narrow = max(1, features // ratio), max(1, nodes // ratio)
            for name in ("gx", "theta", "phi"):
                setattr(self, f"{name}_{half}", embedding(features, width))
            setattr(self, f"gg_{half}", embedding(2 * nodes, narrow))
            hidden = max(1, (1 + narrow) // ratio)
            score = (nn.Conv2d(hidden, 1, 1, bias=False), nn.BatchNorm2d(1))
            setattr(self, f"W_{half}", nn.Sequential(*embedding(1 + narrow, hidden), *score))

    def weights(self, half: str, nodes: Tensor) -> Tensor:
        """A number in (0, 1) for each of the N nodes `(B, F, N)`: `(B, N)`."""
        gx, theta, phi, gg, last = (getattr(self, f"{name}_{half}") for name in ("gx", "theta", "phi", "gg", "W"))
        column = nodes.unsqueeze(3)
        left, right = theta(column).squeeze(3), phi(column).squeeze(3)
        affinity = torch.einsum("bki,bkj->bij", left, right)
        count = affinity.shape[1]
        of_nodes = [torch.cat([affinity[:, i, :], affinity[:, :, i]], dim=1) for i in range(count)]
        related = gg(torch.stack(of_nodes, dim=2).unsqueeze(3))
        own = gx(column).mean(dim=1, keepdim=True)
        return torch.sigmoid(last(torch.cat([own, related], dim=1)))[:, 0, :, 0]

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        if "spatial" in self.halves:
            x = x * self.weights("spatial", x.reshape(batch, channels, -1)).reshape(batch, 1, height, width)
        if "channel" in self.halves:
            positions = x.reshape(batch, channels, -1).transpose(1, 2)
            x = x * self.weights("channel", positions).reshape(batch, channels, 1, 1)
        return x


class ReleasedNetwork(nn.Module):
    """The whole network: features before the norm, features after it, and logits of its classifier."""

    def __init__(self, identities: int, size: tuple[int, int] = (64, 32), halves: tuple[str, ...] = HALVES) -> None:
        super().__init__()
        self.backbone = torchvision.models.resnet50(weights=None)
        self.backbone.fc = nn.Identity()
        first = self.backbone.layer4[0]
        first.conv2.stride = first.downsample[0].stride = (1, 1)
        for stage, (channels, stride) in enumerate([(256, 4), (512, 8), (1024, 16), (2048, 16)], start=1):
            positions = (size[0] // stride) * (size[1] // stride)
            setattr(self.backbone, f"rga_att{stage}", ReleasedRGA(channels, positions, halves))
        self.feat_bn = nn.BatchNorm1d(2048)
        self.cls = nn.Linear(2048, identities, bias=False)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        trunk = self.backbone
        x = trunk.maxpool(trunk.relu(trunk.bn1(trunk.conv1(images))))
        for stage in range(1, 5):
            x = getattr(trunk, f"layer{stage}")(x)
            x = getattr(trunk, f"rga_att{stage}")(x)
        pooled = x.mean(dim=(2, 3))
        normed = self.feat_bn(pooled)
        return pooled, normed, self.cls(normed)


class ReleasedStRA(nn.Module):
    """The released attention, written in slow form from its description, with the names of its weights."""

    def __init__(self, channels: int, heads: int, kernel: int = 3) -> None:
        super().__init__()
        self.heads, self.kernel = heads, kernel
        self.mask_conv = self.two_layers(channels, channels // 4, heads * (1 + kernel**2))
        self.value_conv = nn.Conv2d(channels, channels, 1, groups=heads, bias=False)
        self.moe = nn.Module()
        self.moe.gap_weight = self.two_layers(channels, 8 * heads, heads)
        self.moe.bn, self.moe.bn2 = nn.BatchNorm2d(heads), nn.BatchNorm2d(heads)

    def two_layers(self, inputs: int, hidden: int, outputs: int) -> nn.Sequential:
        first, last = (
            (nn.Conv2d(before, after, 1, groups=self.heads), nn.BatchNorm2d(after))
            for before, after in ((inputs, hidden), (hidden, outputs))
        )
        return nn.Sequential(*first, nn.Tanh(), *last)

    def forward(self, x: Tensor) -> Tensor:
        (batch, _, height, width), heads, each = x.shape, self.heads, self.kernel**2
        maps, radius = self.mask_conv(x), self.kernel // 2
        values = self.value_conv(x).reshape(batch, heads, -1, height, width)
        local = torch.zeros_like(values)
        for head in range(heads):
            for y in range(height):
                for column in range(width):
                    logits = maps[:, heads + head * each : heads + (head + 1) * each, y, column].clone()
                    inside = {}
                    for j in range(each):
                        at = (y + j // self.kernel - radius, column + j % self.kernel - radius)
                        if 0 <= at[0] < height and 0 <= at[1] < width:
                            inside[j] = at
                            logits[:, j] += maps[:, head, at[0], at[1]]
                    weights = logits.softmax(dim=1)
                    for j, at in inside.items():
                        local[:, head, :, y, column] += weights[:, j, None] * values[:, head, :, at[0], at[1]]
        masks = self.moe.gap_weight(local.flatten(1, 2)).flatten(2).softmax(dim=2)
        z = torch.einsum("bgcn,bgn->bgc", local.flatten(3), masks)
        products = torch.einsum("bgc,bhc->bgh", z, z)
        products = products / products.norm(dim=2, keepdim=True) * heads**0.5
        for vectors, norm in ((z, self.moe.bn), (products.softmax(dim=2) @ z, self.moe.bn2)):
            gates = torch.sigmoid(norm(torch.einsum("bgc,bgchw->bghw", vectors, local)))
            local = local + gates[:, :, None] * vectors[..., None, None]
        return local.flatten(1, 2)


class ReleasedStRANetwork(nn.Module):
    """The whole network: pooled features, embeddings after their norm, and logits of its classifier."""

    def __init__(self, identities: int) -> None:
        super().__init__()
        trunk = torchvision.models.resnet50(weights=None)
        trunk.layer4[0].conv2.stride = trunk.layer4[0].downsample[0].stride = (1, 1)
        for block in trunk.layer4:
            block.conv2 = ReleasedStRA(512, 8)
        for name, child in trunk.named_children():
            if name not in ("avgpool", "fc"):
                setattr(self, name, child)
        self.global_avg_pool = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(2048, 512, 1, bias=False), nn.BatchNorm2d(512)
        )
        self.classifier = nn.Linear(512, identities)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        embedded = self.global_avg_pool(x).flatten(1)
        return x.mean(dim=(2, 3)), embedded, self.classifier(embedded)


def shake(module: nn.Module, seed: int = 0) -> nn.Module:
    """Give every batch norm non-trivial weights and statistics; set evaluation mode."""
    torch.manual_seed(seed)
    for child in module.modules():
        if isinstance(child, nn.modules.batchnorm._BatchNorm):
            nn.init.uniform_(child.weight, 0.5, 1.5)
            nn.init.uniform_(child.bias, -0.2, 0.3)
            nn.init.uniform_(child.running_mean, -0.3, 0.3)
            nn.init.uniform_(child.running_var, 0.5, 1.5)
            child.num_batches_tracked.fill_(7)
    return module.eval()
