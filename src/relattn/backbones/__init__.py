"""Networks that attention is placed in."""

from relattn.backbones.build import CIFAR_NAMES, AttentionFactory, build, family, stages_of
from relattn.backbones.freezing import EarlyStages

__all__ = ["CIFAR_NAMES", "AttentionFactory", "EarlyStages", "build", "family", "stages_of"]
