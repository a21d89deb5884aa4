"""Rendered people, seen by several cameras, in the layouts of re-identification data sets."""
