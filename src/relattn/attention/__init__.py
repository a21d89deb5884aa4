"""The catalogue of attention modules: one import line each."""

from relattn.attention.base import Attention
from relattn.attention.cbam import CBAM
from relattn.attention.chain import Chain
from relattn.attention.fade_in import FadeIn
from relattn.attention.fc import FC
from relattn.attention.fixed_size import FixedSize
from relattn.attention.non_local import NonLocal, OriginalNonLocal, SimplifiedNonLocal
from relattn.attention.rga import RGA
from relattn.attention.sasa import SASA
from relattn.attention.squeeze_excitation import SqueezeExcitation, StageSqueezeExcitation
from relattn.attention.stra import StRA
from relattn.attention.timm_attention import Timm

__all__ = [
    "CBAM",
    "FC",
    "RGA",
    "SASA",
    "Attention",
    "Chain",
    "FadeIn",
    "FixedSize",
    "NonLocal",
    "OriginalNonLocal",
    "SimplifiedNonLocal",
    "SqueezeExcitation",
    "StRA",
    "StageSqueezeExcitation",
    "Timm",
]
