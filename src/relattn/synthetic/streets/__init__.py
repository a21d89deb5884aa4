"""Rendered street scenes with labels, in the layout of Cityscapes."""
