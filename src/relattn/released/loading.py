"""Reading a released checkpoint into a network."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from relattn.errors import InputError, MissingFileError
from relattn.released.converted import COUNTER, Converted, some, unwrap
from relattn.released.rga import convert_rga
from relattn.released.stra import convert_stra, is_stra
from relattn.unpickle import NumberType, scalar


def read_released(path: Path | str) -> Converted:
    """Read a released checkpoint and find out which it is; nothing in the file is run.

    Raises:
        MissingFileError: If there is no such file.
        InputError: If it cannot be read, or is of no release that is known.
    """
    file = Path(path)
    if not file.is_file():
        raise MissingFileError(f"{file}: there is no such checkpoint.")
    # Scores are saved beside the weights as numbers of NumPy, under the module names of any version.
    harmless: list[Any] = [(scalar, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")]
    harmless += [(NumberType, "numpy.dtype")]
    try:
        with torch.serialization.safe_globals(harmless):
            content = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged bytes make a reader raise anything
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
        f"{file} is of no release that is known: expected backbone.rga_att1.* of RGA or layer4.0.conv2.mask_conv.* of "
        f"StRA, and found {some(state)}."
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
        target: A re-identification task whose network is built, or a network of `relattn.backbones.build`, into which
            only the backbone and its attention go.
        classes: `ignore` leaves out a classifier of another number of identities.
        partial: Whether weights of the network may be missing in the file, and so stay as they are.

    Returns:
        What was loaded; `unplaced` and `missing` are those of the target.

    Raises:
        MissingFileError: If there is no such file.
        InputError: If it is of no release that is known, a shape differs, or weights are missing.
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
            f"{some(needed)}. It found no place for {some(unplaced)}."
        )
    target.load_state_dict(state, strict=False)
    return result


def advice(name: str, found: Converted, expected: Mapping[str, Tensor]) -> str:
    """What the network must be built with, for a tensor of the file that has another shape than the network's."""
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
    """The positions of the map after stage 1 that the weights of RGA are for; None where no weight tells."""
    for half, layer, each in (("spatial", "relate", 2), ("channel", "embed", 1)):
        name = f"attention.stage1.{half}.{layer}.0.weight"
        if (weight := state.get(f"network.{name}", state.get(name))) is not None:
            return weight.shape[1] // each
    return None
