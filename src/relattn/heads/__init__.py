"""What stands on top of a backbone."""

from relattn.heads.bnneck import BNNeck
from relattn.heads.plain import PlainNeck

__all__ = ["BNNeck", "PlainNeck"]
