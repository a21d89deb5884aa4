"""Face verification: StRA's second task."""

from tasks.face.data_sets import Faces
from tasks.face.module import Face

__all__ = ["Face", "Faces"]
