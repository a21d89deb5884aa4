"""Face verification: StRA's second task."""

from relattn.tasks.face.data_sets import Faces
from relattn.tasks.face.module import Face

__all__ = ["Face", "Faces"]
