"""What follows a backbone."""

from relattn.heads.bnneck import BNNeck

__all__ = ["BNNeck"]
