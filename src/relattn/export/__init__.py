"""Trained networks as files for other programs: ONNX and `torch.export`, with everything needed to use them inside."""

from relattn.export.metadata import read_metadata
from relattn.export.parity import Difference, ParityError
from relattn.export.preparation import prepare
from relattn.export.writing import Format, export

__all__ = ["Difference", "Format", "ParityError", "export", "prepare", "read_metadata"]
