"""Person re-identification: the papers' main task."""

from relattn.tasks.reid.data_sets import CUHK03, MSMT17, DukeMTMC, Manifest, Market1501, PeopleFolders
from relattn.tasks.reid.module import ReID

__all__ = ["CUHK03", "MSMT17", "DukeMTMC", "Manifest", "Market1501", "PeopleFolders", "ReID"]
