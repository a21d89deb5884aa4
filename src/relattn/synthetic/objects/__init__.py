"""Rendered objects, in the layouts of CIFAR-10 and CIFAR-100."""
