"""Semantic segmentation of streets: the relation-aware paper's Table 6."""

from relattn.tasks.segmentation.data_sets import CamVid, Cityscapes
from relattn.tasks.segmentation.folders import Folders
from relattn.tasks.segmentation.module import Segmentation

__all__ = ["CamVid", "Cityscapes", "Folders", "Segmentation"]
