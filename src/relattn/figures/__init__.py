"""Figures that show what attention learned."""

from relattn.figures.capture import capture

__all__ = ["capture"]
