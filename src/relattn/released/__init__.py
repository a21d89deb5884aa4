"""Checkpoints released by the papers' authors, converted to the suite's networks."""

from relattn.released.converted import Converted
from relattn.released.loading import load_released, read_released
from relattn.released.rga import convert_rga
from relattn.released.stra import convert_stra

__all__ = ["Converted", "convert_rga", "convert_stra", "load_released", "read_released"]
