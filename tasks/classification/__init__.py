"""Image classification on CIFAR-10 and CIFAR-100."""

from relattn.tasks.classification.cifar import CIFAR10, CIFAR100
from relattn.tasks.classification.module import Classification

__all__ = ["CIFAR10", "CIFAR100", "Classification"]
