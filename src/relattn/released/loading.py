"""Loads a released checkpoint into a network."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from relattn.errors import InputError, MissingFileError, some_of
from relattn.released.converted import COUNTER, Converted, unwrap
from relattn.released.rga import convert_rga
from relattn.released.stra import convert_stra, is_stra
from relattn.unpickle import NumberType, scalar


def read_released(path: Path | str) -> Converted:
    """Read a released checkpoint and identify the release; nothing in the file is executed.

    Raises:
        MissingFileError: If the file does not exist.
        InputError: If it cannot be read, or is not from a known release.
    """
    file = Path(path)
    if not file.is_file():
        raise MissingFileError(f"{file}: there is no such checkpoint.")
    # Scores are saved with the weights as NumPy numbers, with the module names of any NumPy version.
    harmless: list[Any] = [(scalar, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")]
    harmless += [(NumberType, "numpy.dtype")]
    try:
        with torch.serialization.safe_globals(harmless):
            content = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # a reader may raise anything on damaged bytes
        raise InputError(f"{file} cannot be read as a checkpoint: {error or type(error).__name__}") from error
    try:
        state = unwrap(content)
        if is_stra(state):
            return convert_stra(state)
        if any(".rga_att" in f".{name}" for name in state):
            return convert_rga(state)
    except InputError as error:
        raise InputError(f"{file}: {error}") from error
    raise InputError(
        f"{file} is from no known release: expected backbone.rga_att1.* of RGA or layer4.0.conv2.mask_conv.* of "
        f"StRA, and found {some_of(state)}."
    )


def load_released(
    path: Path | str,
    target: nn.Module,
    *,
    classes: Literal["check", "ignore"] = "check",
    partial: bool = False,
) -> Converted:
    """Load a released checkpoint into a network.

    Args:
        path: The authors' file.
        target: A re-identification task with a built network, or a network from `relattn.backbones.build`, which gets
            only the backbone and its attention.
        classes: `ignore` leaves out a classifier for another number of identities.
        partial: Whether weights of the network may be missing in the file; they then stay unchanged.

    Returns:
        The converted checkpoint; `unplaced` and `missing` are relative to the target.

    Raises:
        MissingFileError: If the file does not exist.
        InputError: If it is not from a known release, a shape differs, or weights are missing.
    """
    found = read_released(path)
    expected = target.state_dict()
    prefix = "" if any(name.startswith("network.") for name in expected) else "network."
    state, left_out = {}, []
    for ours, value in found.state.items():
        name = ours.removeprefix(prefix)
        theirs = [source for source in found.sources[ours] if not source.endswith(COUNTER)]
        if name not in expected or (prefix and name == ours):
            left_out += theirs
        elif value.shape == expected[name].shape:
            state[name] = value
        elif classes == "ignore" and name.startswith("head.classifier."):
            left_out += theirs
        else:
            raise InputError(
                f"{path}: {' + '.join(theirs)} is {tuple(value.shape)}, and {name} of the network is "
                f"{tuple(expected[name].shape)}.{advice(ours, found, expected)}"
            )
    missing = tuple(name for name in expected if name not in state)
    unplaced = (*found.unplaced, *left_out)
    result = Converted(found.release, found.attention, state, unplaced, missing, found.sources, found.arguments)
    needed = [name for name in missing if not (classes == "ignore" and name.startswith("head.classifier."))]
    if needed and not partial:
        raise InputError(
            f"{path} ({found.release}, {found.attention}) has nothing for {len(needed):,} tensors of the network: "
            f"{some_of(needed)}. Not placed from the file: {some_of(unplaced)}."
        )
    target.load_state_dict(state, strict=False)
    return result


def advice(name: str, found: Converted, expected: Mapping[str, Tensor]) -> str:
    """How to build the network, for a tensor in the file whose shape differs from the network's."""
    if name.startswith("head.classifier."):
        identities = len(found.state[name])
        return f" The file has {identities:,} identities; a classifier can be left out (classes='ignore')."
    if not re.search(r"attention\.|\.(local|mode)\.", name):
        return ""
    theirs, ours = positions_of(found.state), positions_of(expected)
    if theirs is not None and ours is not None and theirs != ours:
        return (
            f" The file is for images with {theirs:,} positions after stage 1, and the network for {ours:,}: build it "
            "for the file's images, 256x128 (2,048 positions) in the paper."
        )
    needed = ", ".join(f"{argument} {value}" for argument, value in found.arguments.items())
    return f" The file's attention has {needed}: build the network's with them." if needed else ""


def positions_of(state: Mapping[str, Tensor]) -> int | None:
    """The number of positions after stage 1 that RGA's weights are built for; None if no weight shows it."""
    for half, layer, each in (("spatial", "relate", 2), ("channel", "embed", 1)):
        name = f"attention.stage1.{half}.{layer}.0.weight"
        if (weight := state.get(f"network.{name}", state.get(name))) is not None:
            return weight.shape[1] // each
    return None
