"""Rendered faces, in the layouts of face verification data sets."""
