"""Networks that attention is placed in."""

from relattn.backbones.blocks import PlacementError
from relattn.backbones.build import CIFAR_NAMES, build, family
from relattn.backbones.dilation import dilated
from relattn.backbones.face import Stem
from relattn.backbones.freezing import EarlyStages
from relattn.backbones.last_map import map_shape, map_view, unpooled
from relattn.backbones.maps import MapView
from relattn.backbones.placement import AttentionFactory, StagePlaces, places_of
from relattn.backbones.sizes import padded, padding_step, pooled_width
from relattn.backbones.stages import stages_of

__all__ = [
    "CIFAR_NAMES",
    "AttentionFactory",
    "EarlyStages",
    "MapView",
    "PlacementError",
    "StagePlaces",
    "Stem",
    "build",
    "dilated",
    "family",
    "map_shape",
    "map_view",
    "padded",
    "padding_step",
    "places_of",
    "pooled_width",
    "stages_of",
    "unpooled",
]
