"""Heads on top of a backbone."""

from relattn.heads.aspp import ASPP
from relattn.heads.bnneck import BNNeck
from relattn.heads.embedding import FaceEmbedding
from relattn.heads.embedding_neck import EmbeddingNeck
from relattn.heads.fcn import FCN, AuxiliaryHead
from relattn.heads.margin import ArcFace, CosFace, IdentityClassifier, Softmax
from relattn.heads.plain import PlainNeck
from relattn.heads.ppm import PPM
from relattn.heads.relation_context import RelationContext
from relattn.heads.segmentation import SegmentationNetwork

__all__ = [
    "ASPP",
    "FCN",
    "PPM",
    "ArcFace",
    "AuxiliaryHead",
    "BNNeck",
    "CosFace",
    "EmbeddingNeck",
    "FaceEmbedding",
    "IdentityClassifier",
    "PlainNeck",
    "RelationContext",
    "SegmentationNetwork",
    "Softmax",
]
