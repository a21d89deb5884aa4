"""Face verification: StRA's second task."""

from relattn.tasks.face.data_sets import Faces
from relattn.tasks.face.module import Face
from relattn.tasks.face.own_folders import FaceFolders

__all__ = ["Face", "FaceFolders", "Faces"]
