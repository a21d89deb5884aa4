"""Released checkpoints of the papers' authors in the suite's networks."""

from collections import OrderedDict
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from released_networks import HALVES, ReleasedNetwork, ReleasedRGA, released_stra, shake
from torch import Tensor, nn

from relattn.attention import RGA, StRA
from relattn.backbones import build
from relattn.errors import InputError
from relattn.released import convert_rga, convert_stra, load_released, read_released
from relattn.tasks.reid import ReID

SIZE = (64, 32)
MODES = {"rga_s": ("spatial",), "rga_c": ("channel",), "rga_sc": HALVES}


def near(actual: Tensor, expected: Tensor, tolerance: float) -> bool:
    return bool((actual - expected).abs().max() <= tolerance * expected.abs().max())


def task(identities: int = 12, **arguments) -> ReID:
    found = ReID("resnet50", attention=RGA, **arguments)
    found.assemble({"num_classes": identities, "image_size": SIZE, "feature": "after_norm"})
    return found.eval()


@pytest.fixture(scope="module")
def network() -> ReleasedNetwork:
    return shake(ReleasedNetwork(12))


@pytest.fixture(scope="module")
def file(network: ReleasedNetwork, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file as the authors' code saves it, with a score of NumPy beside the weights."""
    path = tmp_path_factory.mktemp("released") / "checkpoint_600.pth.tar"
    state = OrderedDict((f"module.{name}", value) for name, value in network.state_dict().items())
    torch.save({"state_dict": state, "epoch": 600, "best_top1": np.float64(0.81)}, path)
    return path


@pytest.mark.parametrize(("recipe", "halves"), MODES.items())
@pytest.mark.parametrize(("channels", "size"), [(16, (8, 4)), (24, (4, 4)), (8, (2, 3))], ids=str)
def test_the_module_computes_what_the_released_one_does(recipe, halves, channels, size):
    theirs = shake(ReleasedRGA(channels, size[0] * size[1], halves)).double()
    found = convert_rga({f"backbone.rga_att1.{name}": value for name, value in theirs.state_dict().items()})
    assert found.attention == recipe
    assert found.unplaced == ()
    ours = RGA(channels, size=size, mode="_".join(halves)).double().eval()
    prefix = "network.attention.stage1."
    ours.load_state_dict({name.removeprefix(prefix): value for name, value in found.state.items() if prefix in name})
    norms = [child for child in ours.modules() if isinstance(child, nn.BatchNorm2d)]
    assert {int(child.num_batches_tracked) for child in norms} == {7}
    x = torch.randn(2, channels, *size, dtype=torch.float64)
    assert near(ours(x), theirs(x), 1e-9)


def test_the_network_computes_what_the_released_one_does(network, file):
    ours = task()
    found = load_released(file, ours)
    assert (found.release, found.attention, found.unplaced, found.missing) == ("RGA", "rga_sc", (), ())
    assert len(found.state) == len(ours.state_dict())
    images = torch.randn(2, 3, *SIZE)
    with torch.no_grad():
        expected = network(images)
        pooled = ours.network(images)
        for actual, value in zip((pooled, *ours.head(pooled)), expected, strict=True):
            assert near(actual, value, 1e-4)
        assert near(ours(images), expected[1], 1e-4)


def test_a_backbone_alone_takes_its_part(network, file):
    ours = build("resnet50", attention=RGA, size=SIZE, last_stride=1).eval()
    found = load_released(file, ours)
    assert found.missing == ()
    assert set(found.unplaced) == {name for name in network.state_dict() if name.startswith(("feat_bn.", "cls."))} - {
        "feat_bn.num_batches_tracked"
    }
    images = torch.randn(1, 3, *SIZE)
    with torch.no_grad():
        assert near(ours(images), network(images)[0], 1e-4)


@pytest.mark.parametrize("wrapper", [None, "state_dict", "model"])
@pytest.mark.parametrize("prefix", ["", "module.", "module.module."])
def test_wrapping_and_prefixes_do_not_matter(wrapper, prefix):
    module = ReleasedRGA(16, 8)
    state = {f"{prefix}backbone.rga_att2.{name}": value for name, value in module.state_dict().items()}
    found = convert_rga(state if wrapper is None else {wrapper: state, "epoch": 3})
    assert found.unplaced == ()
    assert found.state["network.attention.stage2.channel.embed.0.weight"].shape == (3, 8, 1)


def test_files_without_counters_are_whole_and_what_has_no_place_is_reported(network):
    state = {name: value for name, value in network.state_dict().items() if not name.endswith("num_batches_tracked")}
    state["backbone.fc.weight"] = torch.zeros(3)
    del state["backbone.rga_att3.gg_channel.0.weight"]
    found = convert_rga(state)
    assert found.unplaced == ("backbone.fc.weight",)
    assert found.missing == ("network.attention.stage3.channel.relate.0.weight",)
    assert int(found.state["network.bn1.num_batches_tracked"]) == 0
    report = found.report()
    assert "RGA as rga_sc" in report
    assert "1 of the file found no place:\n  backbone.fc.weight" in report
    assert "1 of the network are not in the file:\n  network.attention.stage3.channel.relate.0.weight" in report
    partly = {name: value for name, value in network.state_dict().items() if "phi_spatial.0" not in name}
    assert "backbone.rga_att1.theta_spatial.0.weight" in convert_rga(partly).unplaced


def test_other_networks_are_refused_with_names_and_shapes(file):
    with pytest.raises(InputError, match=r"cls.weight is \(12, 2048\), and head.classifier.weight .* is \(9, 2048\)"):
        load_released(file, task(9))
    ours = task(9)
    before = ours.head.classifier.weight.clone()
    found = load_released(file, ours, classes="ignore")
    assert found.missing == ("head.classifier.weight",)
    assert found.unplaced == ("cls.weight",)
    assert torch.equal(ours.head.classifier.weight, before)
    larger = build("resnet50", attention=RGA, size=(128, 32), last_stride=1)
    with pytest.raises(InputError, match=r"gg_spatial.0.weight is \(16, 256, 1\), and .* \(32, 512, 1\).*256x128"):
        load_released(file, larger)
    with pytest.raises(InputError, match=r"conv1.weight is \(64, 3, 7, 7\), and conv1.weight .* is \(16, 3, 3, 3\)"):
        load_released(file, build("resnet20"))
    with pytest.raises(InputError, match=r"nothing for 1 tensors of the network: head.classifier.bias"):
        load_released(file, task(neck="plain"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"state_dict": {"conv1.weight": torch.zeros(2), "fc.bias": torch.zeros(2)}}, "found conv1.weight, fc.bias"),
        ({"epoch": 3}, "No weights were found, but a mapping of epoch"),
        ([torch.zeros(2)], "No weights were found, but list"),
        ({"rga": torch.nn.Linear(2, 2)}, "cannot be read as a checkpoint"),
        (b"no checkpoint", "cannot be read as a checkpoint"),
    ],
    ids=["plain", "empty", "list", "code", "text"],
)
def test_wrong_files_are_named(content, message):
    path = Path("file.pth")
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    with pytest.raises(InputError, match=rf"file.pth.*{message}"):
        read_released(path)
    with pytest.raises(FileNotFoundError, match="no such checkpoint"):
        read_released("nowhere.pth")


def test_a_release_is_not_taken_for_the_other(network):
    with pytest.raises(InputError, match=r"No StRA .* found backbone.conv1.weight"):
        convert_stra(network.state_dict())
    with pytest.raises(InputError, match=r"No RGA .* found conv1.weight"):
        convert_rga(released_stra())


class ReleasedStRA(nn.Module):
    """The released attention, written down slowly from its description, with the names of its weights."""

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


@pytest.mark.parametrize(("channels", "heads", "kernel"), [(32, 4, 3), (64, 8, 3), (24, 2, 5)], ids=str)
def test_stra_computes_what_the_released_one_does(channels, heads, kernel):
    theirs = shake(ReleasedStRA(channels, heads, kernel)).double()
    found = convert_stra({f"module.layer4.1.conv2.{name}": value for name, value in theirs.state_dict().items()})
    assert (found.attention, found.unplaced) == ("stra_released", ())
    ours = StRA(channels, heads=heads, kernel=kernel, variant="released").double().eval()
    prefix = "network.layer4.1.conv2."
    ours.load_state_dict({name.removeprefix(prefix): value for name, value in found.state.items() if prefix in name})
    norms = [child for child in ours.modules() if isinstance(child, nn.BatchNorm2d)]
    assert {int(child.num_batches_tracked) for child in norms} == {7}
    x = torch.randn(2, channels, 4, 3, dtype=torch.float64)
    assert near(ours(x), theirs(x), 1e-9)
    assert near(ours.train()(x), theirs.train()(x), 1e-9)


def test_stra_gives_its_trunk_and_its_attention_and_says_what_it_does_not():
    state = released_stra()
    parts = ("mask_conv.0.weight", "mask_conv.3.bias", "value_conv.weight", "moe.gap_weight.3.weight", "moe.bn2.bias")
    for name in ("layer3.2.conv2.weight", "layer4.1.conv1.weight", *(f"layer4.2.conv2.{part}" for part in parts)):
        state[name] = torch.randn(state[name].shape)
    state["layer4.0.conv2.moe.scale"] = torch.zeros(1)
    torch.save(OrderedDict((f"module.{name}", value) for name, value in state.items()), "stra.pth.tar")
    ours = build("resnet50", attention=partial(StRA, variant="released"), size=SIZE, last_stride=1)
    found = load_released("stra.pth.tar", ours)
    assert found.missing == ()
    assert set(found.unplaced) == {
        name for name in state if name.startswith(("global_avg_pool.", "classifier.")) or name.endswith("moe.scale")
    }
    assert torch.equal(ours.layer3[2].conv2.weight, state["layer3.2.conv2.weight"])
    assert torch.equal(ours.layer4[1].conv1.weight, state["layer4.1.conv1.weight"])
    attention = ours.layer4[2].conv2
    placed = (
        attention.local.logits[0][0].weight,
        attention.local.logits[2][0].bias,
        attention.local.values.weight,
        attention.mode.mask[2][0].weight,
        attention.mode.similarity_norms[1].bias,
    )
    for part, value in zip(parts, placed, strict=True):
        assert torch.equal(value, state[f"layer4.2.conv2.{part}"]), part
    del state["layer4.0.conv2.mask_conv.3.bias"]
    torch.save(state, "stra.pth.tar")
    with pytest.raises(InputError, match=r"StRA, stra_released.*nothing for 1 .*layer4.0.conv2.local.logits.2.0.bias"):
        load_released("stra.pth.tar", ours)
