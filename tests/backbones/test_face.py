"""Networks for faces: the last stage's size, the stem's weights, and attention placed behind the changed stem."""

import math

import pytest
import torch
from torch import Tensor, nn

from relattn.attention import RGA, StRA
from relattn.backbones import build, map_shape, stages_of
from relattn.backbones.face import use_face_stem
from relattn.backbones.stages import probe

SIZE = (112, 112)


def face(name: str, **options: object) -> nn.Module:
    with torch.device("meta"):
        return build(name, stem="face", size=SIZE, global_pool="", **options)


def count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def test_resnet50_has_a_stem_of_3x3_and_a_last_stage_of_7x7() -> None:
    with torch.device("meta"):
        model, plain = face("resnet50"), build("resnet50", size=SIZE, global_pool="")
    assert (model.conv1.kernel_size, model.conv1.stride, model.conv1.padding) == ((3, 3), (1, 1), (1, 1))
    assert map_shape(model, SIZE) == (2048, 7, 7)
    assert map_shape(plain, SIZE) == (2048, 4, 4)
    assert count(plain) == 23_508_032
    assert count(model) == 23_508_032 - 64 * 3 * (49 - 9)
    assert list(model.state_dict()) == list(plain.state_dict())
    assert stages_of(model) == [f"layer{stage}" for stage in range(1, 5)]


@pytest.mark.parametrize(
    ("name", "channels"),
    [
        ("test_resnet", 96),
        ("test_efficientnet", 256),
        ("test_convnext", 64),
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in (
                ("resnet50d", 2048),
                ("mobilenetv3_large_100", 1280),
                ("densenet121", 1024),
                ("convnext_atto", 320),
                ("regnety_002", 368),
                ("nf_resnet50", 2048),  # a convolution of its own
                ("tf_efficientnet_b0", 1280),  # pads by itself
                ("repvgg_a0", 1280),  # parallel branches
                ("dla34", 512),  # refuses images of 112x112 with its own stem
            )
        ),
    ],
)
def test_other_families(name: str, channels: int) -> None:
    assert map_shape(face(name), SIZE) == (channels, 7, 7)


def test_a_pooling_is_left_out() -> None:
    model = face("vgg11_bn")
    assert isinstance(model.features[3], nn.Identity)
    assert probe(model, ["features"], SIZE, 3)["features"].output[2:] == (7, 7)


@pytest.mark.parametrize("name", ["resnet8", "densenet_bc10"])
def test_networks_for_small_images_have_the_stem_already(name: str) -> None:
    changed, plain = build(name, stem="face", size=(32, 32)), build(name, size=(32, 32))
    assert str(changed) == str(plain)
    assert map_shape(changed, (32, 32), pools=True)[1:] == (8, 8)


def test_weights_of_the_stem_are_the_middle_of_the_wider_one() -> None:
    torch.manual_seed(0)
    plain = build("resnet18")
    torch.manual_seed(0)
    model = build("resnet18", stem="face", size=SIZE)
    torch.testing.assert_close(model.conv1.weight, plain.conv1.weight[:, :, 2:5, 2:5] * 7 / 3)
    # Kaiming's normal of the outputs, which timm gives a 3x3 convolution.
    assert float(model.conv1.weight.detach().std()) == pytest.approx(math.sqrt(2 / (64 * 9)), rel=0.1)


def test_an_image_passes() -> None:
    model = build("test_resnet", stem="face", size=SIZE, global_pool="", attention=StRA).eval()
    assert model(torch.randn(1, 3, *SIZE)).shape == (1, 96, 7, 7)


def test_stra_goes_into_the_last_stage_at_its_new_size() -> None:
    model = face("resnet50", attention=StRA)
    found = {name: module for name, module in model.named_modules() if isinstance(module, StRA)}
    assert {name.split(".")[0] for name in found} == {"layer4"}
    assert [(module.channels, module.size) for module in found.values()] == [
        (512, (14, 14)),
        (512, (7, 7)),
        (512, (7, 7)),
    ]
    assert map_shape(model, SIZE) == (2048, 7, 7)


def test_attention_that_depends_on_the_size_is_built_for_the_changed_one() -> None:
    sizes = [module.size for module in face("test_resnet", attention=RGA).attention.values()]
    assert sizes == [(56, 56), (28, 28), (14, 14), (7, 7)]
    with torch.device("meta"):
        plain = build("test_resnet", attention=RGA, size=SIZE)
    assert [module.size for module in plain.attention.values()] == [(28, 28), (14, 14), (7, 7), (4, 4)]


class Odd(nn.Module):
    """A network whose first convolution has an even kernel and stride 2."""

    def __init__(self) -> None:
        super().__init__()
        self.feature_info = [{"num_chs": 4, "reduction": 4, "module": "layer"}]
        self.stem, self.layer = nn.Conv2d(3, 4, 2, 2), nn.Conv2d(4, 4, 3, 2, 1)

    def forward_features(self, x: Tensor) -> Tensor:
        return self.layer(self.stem(x))


def test_what_cannot_be_built_is_refused() -> None:
    with pytest.raises(ValueError, match=r"stem is 'round', expected one of imagenet, face"):
        build("resnet18", stem="round")
    with pytest.raises(ValueError, match=r"odd: layer stem cannot have half its stride.*--model.stem imagenet"):
        use_face_stem(Odd(), "odd", (32, 32))
    with pytest.raises(ValueError, match=r"\(1, 512\) and not a map"):
        map_shape(build("resnet18"), SIZE)
