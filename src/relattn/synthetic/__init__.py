"""Rendered data sets, written to disk in the official layouts of the genuine ones."""
