"""The released RGA: `ResNet50_RGA_Model` of github.com/microsoft/Relation-Aware-Global-Attention-Networks.

It is a ResNet-50 with `rga_att1` to `rga_att4` after its stages, then `feat_bn` and `cls`. It computes the same as
`RGA` and `BNNeck`; only the three embeddings of one input are joined here, because `RGA` computes them with one
convolution and one batch norm.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor

from relattn.errors import InputError, some_of
from relattn.released.converted import BLOCKS, Converted, Sources, convert, norm, trunk, unwrap


def relation_mask(ours: str, theirs: str, half: str) -> Sources:
    """The entries of one RGA mask: `half` is `spatial` or `channel`.

    The authors' theta, phi and g_x become one convolution, in this order. As here, g_g reads rows of the affinity
    before its columns, and W reads the original feature before the relations.
    """
    layers = {
        "embed.0": [f"theta_{half}.0", f"phi_{half}.0", f"gx_{half}.0"],
        "relate.0": [f"gg_{half}.0"],
        "reduce.0": [f"W_{half}.0"],
        "score.0": [f"W_{half}.3"],
    }
    norms = {
        "embed.1": [f"theta_{half}.1", f"phi_{half}.1", f"gx_{half}.1"],
        "relate.1": [f"gg_{half}.1"],
        "reduce.1": [f"W_{half}.1"],
        "score.1": [f"W_{half}.4"],
    }
    found: Sources = {
        f"{ours}.{half}.{name}.weight": tuple(f"{theirs}.{layer}.weight" for layer in parts)
        for name, parts in layers.items()
    }
    for name, parts in norms.items():
        found |= norm(f"{ours}.{half}.{name}", *(f"{theirs}.{part}" for part in parts))
    return found


def convert_rga(state_dict: Mapping[str, Any]) -> Converted:
    """Convert the weights of the released `ResNet50_RGA_Model`.

    Args:
        state_dict: The saved weights: bare or under `state_dict`, with or without `module.` before each name.

    Raises:
        InputError: If it contains no RGA, or no ratios that `RGA` supports.
    """
    state = unwrap(state_dict)
    halves = [half for half in ("spatial", "channel") if any(f".gg_{half}." in name for name in state)]
    if not halves:
        raise InputError(
            f"This is not RGA of the released code: expected backbone.rga_att1.*, and found {some_of(state)}."
        )
    sources = trunk("backbone.")
    for stage in range(1, len(BLOCKS) + 1):
        for half in halves:
            sources |= relation_mask(f"network.attention.stage{stage}", f"backbone.rga_att{stage}", half)
    sources |= {**norm("head.norm", "feat_bn"), "head.classifier.weight": ("cls.weight",)}
    return convert("RGA", f"rga_{''.join(half[0] for half in halves)}", state, sources, arguments_of(state, halves))


def arguments_of(state: Mapping[str, Tensor], halves: Iterable[str]) -> dict[str, int]:
    """Embedding and reduction ratio of the attention, from the shapes; the authors' scripts set both to 8.

    The released code has separate embedding ratios for channels and positions (`--c_ratio`, `--s_ratio`); `RGA` has one
    for both, as in the paper.

    Raises:
        InputError: If no single ratio explains the widths.
    """
    embedded: list[tuple[int, int]] = []
    reduced: list[tuple[int, int]] = []
    for stage in range(1, len(BLOCKS) + 1):
        for half in halves:
            name = f"backbone.rga_att{stage}.{{}}_{half}.0.weight"
            for layer, joined in (("theta", 1), ("gx", 1), ("gg", 2), ("W", 0)):
                if (weight := state.get(name.format(layer))) is None:
                    continue
                outputs, inputs = weight.shape[:2]
                pair = (inputs // joined, outputs) if joined else (inputs, outputs)
                (embedded if joined else reduced).append(pair)
    ratios = {"embedding_ratio": embedded, "reduction_ratio": reduced}
    return {name: ratio_of(name, widths) for name, widths in ratios.items() if widths}


def ratio_of(name: str, widths: list[tuple[int, int]]) -> int:
    """The ratio r with max(1, before // r) = after for all pairs of widths; of several, a power of two near 8.

    Raises:
        InputError: If there is no such ratio.
    """
    for ratio in (8, 4, 16, 2, 32, *range(1, 1 + max(before for before, _ in widths))):
        if all(max(1, before // ratio) == after for before, after in widths):
            return ratio
    listed = ", ".join(f"{before} to {after}" for before, after in dict.fromkeys(widths))
    raise InputError(
        f"The weights do not share one {name}, which RGA needs: widths go from {listed}. Expected one ratio "
        "for channels and positions, as in the paper."
    )
