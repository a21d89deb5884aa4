"""Checkpoints that the papers' authors released, brought into the suite's networks."""

from relattn.checkpoints.converted import Converted
from relattn.checkpoints.loading import load_released, read_released
from relattn.checkpoints.rga import convert_rga
from relattn.checkpoints.stra import convert_stra

__all__ = ["Converted", "convert_rga", "convert_stra", "load_released", "read_released"]
