"""Networks that attention is placed in."""

from relattn.backbones.build import CIFAR_NAMES, build, family
from relattn.backbones.dilation import dilated
from relattn.backbones.face import Stem, map_shape
from relattn.backbones.freezing import EarlyStages
from relattn.backbones.placement import AttentionFactory
from relattn.backbones.stages import stages_of

__all__ = [
    "CIFAR_NAMES",
    "AttentionFactory",
    "EarlyStages",
    "Stem",
    "build",
    "dilated",
    "family",
    "map_shape",
    "stages_of",
]
