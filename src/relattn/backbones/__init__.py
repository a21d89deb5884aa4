"""Networks that attention is placed in."""

from relattn.backbones.build import CIFAR_NAMES, AttentionFactory, build, family, stages_of

__all__ = ["CIFAR_NAMES", "AttentionFactory", "build", "family", "stages_of"]
