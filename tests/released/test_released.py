"""Released checkpoints of the papers' authors in the suite's networks."""

from collections import OrderedDict
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from released_networks import HALVES, ReleasedNetwork, ReleasedRGA, ReleasedStRA, ReleasedStRANetwork, shake
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


def agree(ours: nn.Module, theirs: nn.Module, x: Tensor) -> None:
    """Whether outputs, gradients of the input, and all gradients of weights are equal.

    Weights have other names and are joined in other ways, so their gradients are compared by size. Biases before a
    batch norm, which only the released modules have, have the gradient 0.
    """
    factors, outputs, inputs, weights = torch.randn_like(x), [], [], []
    for module in (ours, theirs):
        x = x.detach().requires_grad_()
        outputs.append(module(x))
        trained = [one for one in module.parameters() if one.requires_grad]
        first, *rest = torch.autograd.grad((outputs[-1] * factors).sum(), [x, *trained], materialize_grads=True)
        inputs.append(first)
        weights.append(torch.cat([one.flatten() for one in rest]).abs().sort(descending=True).values)
    assert near(*outputs, 1e-9)
    assert near(*inputs, 1e-9)
    common = min(map(len, weights))
    assert near(*(one[:common] for one in weights), 1e-9)
    assert all((one[common:] <= 1e-9 * one[0]).all() for one in weights)


def task(identities: int = 12, **arguments) -> ReID:
    found = ReID("resnet50", attention=RGA, **arguments)
    found.assemble({"num_classes": identities, "image_size": SIZE, "feature": "after_norm"})
    return found.eval()


@pytest.fixture(scope="module")
def network() -> ReleasedNetwork:
    return shake(ReleasedNetwork(12))


@pytest.fixture(scope="module")
def stra() -> ReleasedStRANetwork:
    return shake(ReleasedStRANetwork(12))


@pytest.fixture(scope="module")
def file(network: ReleasedNetwork, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file as saved by the authors' code, with a NumPy score beside the weights."""
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
    agree(ours, theirs, x)
    agree(ours.train(), theirs.train(), x)


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


@pytest.mark.slow
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
    with pytest.raises(
        InputError,
        match=r"gg_spatial.0.weight is \(16, 256, 1\), and .* \(32, 512, 1\).* for images with 128 positions",
    ):
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


def test_a_release_is_not_taken_for_the_other(network, stra):
    with pytest.raises(InputError, match=r"not StRA .* found backbone.conv1.weight"):
        convert_stra(network.state_dict())
    with pytest.raises(InputError, match=r"not RGA .* found conv1.weight"):
        convert_rga(stra.state_dict())


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
    agree(ours, theirs, x)
    agree(ours.train(), theirs.train(), x)


def test_a_stra_network_computes_what_the_released_one_does(stra: ReleasedStRANetwork) -> None:
    torch.save(OrderedDict((f"module.{name}", value) for name, value in stra.state_dict().items()), "stra.pth.tar")
    ours = ReID("resnet50", attention=partial(StRA, variant="released"), neck="embedding")
    ours.assemble({"num_classes": 12, "image_size": SIZE, "feature": "after_norm"})
    found = load_released("stra.pth.tar", ours.eval())
    assert (found.release, found.attention, found.unplaced, found.missing) == ("StRA", "stra_released", (), ())
    assert found.arguments == {"heads": 8, "reduction": 4, "kernel": 3}
    assert len(found.state) == len(ours.state_dict())
    images = torch.randn(2, 3, *SIZE)
    with torch.no_grad():
        expected = stra(images)
        pooled = ours.network(images)
        for actual, value in zip((pooled, *ours.head(pooled)), expected, strict=True):
            assert near(actual, value, 1e-4)
        assert near(ours(images), expected[1], 1e-4)


def test_what_a_stra_file_lacks_or_has_too_much_is_named(stra: ReleasedStRANetwork) -> None:
    state = {**stra.state_dict(), "layer4.0.conv2.moe.scale": torch.zeros(1)}
    trunk = build("resnet50", attention=partial(StRA, variant="released"), size=SIZE, last_stride=1)
    torch.save(state, "stra.pth.tar")
    assert {name.partition(".")[0] for name in load_released("stra.pth.tar", trunk).unplaced} == {
        "classifier",
        "global_avg_pool",
        "layer4",
    }
    del state["layer4.0.conv2.mask_conv.3.bias"]
    torch.save(state, "stra.pth.tar")
    with pytest.raises(InputError, match=r"StRA, stra_released.*nothing for 1 .*layer4.0.conv2.local.logits.2.0.bias"):
        load_released("stra.pth.tar", trunk)
    wider = build("resnet50", attention=partial(StRA, variant="released", heads=4), size=SIZE, last_stride=1)
    with pytest.raises(
        InputError, match=r"attention has heads 8, reduction 4, kernel 3: build the network's with them"
    ):
        load_released("stra.pth.tar", wider)
    state["layer4.1.conv2.mask_conv.3.weight"] = torch.zeros(8 * 26, 16, 1, 1)
    with pytest.raises(InputError, match=r"\(block 1 3x3, block 2 5x5, block 3 3x3\).*expected a file with 3x3"):
        convert_stra(state)


@pytest.mark.parametrize("ratio", [4, 8, 16])
def test_a_file_tells_the_ratios_of_its_attention(ratio: int) -> None:
    theirs = ReleasedRGA(64, 128, ratio=ratio)
    state = {f"backbone.rga_att1.{name}": value for name, value in theirs.state_dict().items()}
    found = convert_rga(state)
    assert found.arguments == {"embedding_ratio": ratio, "reduction_ratio": ratio if ratio < 16 else 8}
    state["backbone.rga_att1.theta_channel.0.weight"] = torch.zeros(3, 128, 1, 1)
    with pytest.raises(InputError, match=r"share one embedding_ratio.*128 to 3"):
        convert_rga(state)
