"""Image classification: CIFAR-10, CIFAR-100, and photos in folders."""

from relattn.tasks.classification.cifar import CIFAR10, CIFAR100
from relattn.tasks.classification.image_folders import ImageFolders
from relattn.tasks.classification.module import Classification

__all__ = ["CIFAR10", "CIFAR100", "Classification", "ImageFolders"]
