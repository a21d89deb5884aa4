"""Looking at what attention learned."""

from relattn.figures.capture import capture

__all__ = ["capture"]
