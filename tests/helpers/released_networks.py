"""The authors' released RGA network, written down slowly from its description, with the names of its weights.

The relations are built, node by node; nothing is shared with `relattn`. Widths are at least 1, so that small images do.
"""

import torch
import torchvision
from torch import Tensor, nn

HALVES = ("spatial", "channel")


def embedding(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU())


class ReleasedRGA(nn.Module):
    """One attention: spatial, then channel, as far as `halves` has them."""

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
        """A number in (0, 1) for each of N nodes `(B, F, N)`: `(B, N)`."""
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


def shake(module: nn.Module, seed: int = 0) -> nn.Module:
    """Give every batch norm weights and statistics that matter; evaluation mode."""
    torch.manual_seed(seed)
    for child in module.modules():
        if isinstance(child, nn.modules.batchnorm._BatchNorm):
            nn.init.uniform_(child.weight, 0.5, 1.5)
            nn.init.uniform_(child.bias, -0.2, 0.3)
            nn.init.uniform_(child.running_mean, -0.3, 0.3)
            nn.init.uniform_(child.running_var, 0.5, 1.5)
            child.num_batches_tracked.fill_(7)
    return module.eval()


def released_stra(identities: int = 751) -> dict[str, Tensor]:
    """Weights with the names and shapes of the released StRA, all zero and without memory of their own."""
    state: dict[str, Tensor] = {}

    def add(name: str, *shape: int) -> None:
        state[name] = torch.zeros(()).expand(shape)

    def add_norm(name: str, channels: int) -> None:
        for part in ("weight", "bias", "running_mean", "running_var"):
            add(f"{name}.{part}", channels)
        state[f"{name}.num_batches_tracked"] = torch.tensor(7)

    for name, value in torchvision.models.resnet50(weights=None).state_dict().items():
        if not name.startswith("fc.") and not (name.startswith("layer4.") and name.endswith("conv2.weight")):
            state[name] = torch.zeros((), dtype=value.dtype).expand(value.shape)
    for block in range(3):
        inside = f"layer4.{block}.conv2"
        for name, shape in {
            "mask_conv.0": (128, 64, 1, 1),
            "mask_conv.3": (80, 16, 1, 1),
            "moe.gap_weight.0": (64, 64, 1, 1),
            "moe.gap_weight.3": (8, 8, 1, 1),
        }.items():
            add(f"{inside}.{name}.weight", *shape)
            add(f"{inside}.{name}.bias", shape[0])
        norms = {"mask_conv.1": 128, "mask_conv.4": 80, "moe.gap_weight.1": 64, "moe.gap_weight.4": 8}
        for name, channels in {**norms, "moe.bn": 8, "moe.bn2": 8}.items():
            add_norm(f"{inside}.{name}", channels)
        add(f"{inside}.value_conv.weight", 512, 64, 1, 1)
    add("global_avg_pool.1.weight", 512, 2048, 1, 1)
    add_norm("global_avg_pool.2", 512)
    add("classifier.weight", identities, 512)
    add("classifier.bias", identities)
    return state
