"""The catalogue of attention modules: one import line each."""

from relattn.attention.base import Attention
from relattn.attention.rga import RGA

__all__ = ["RGA", "Attention"]
