"""The head of a drawn face: a surface, rotated and moved to its place, for `render`, in the same units."""

import math

import numpy as np
import numpy.typing as npt

from relattn.synthetic.faces.people import Appearance, Identity

PLACES = np.array([38.2946, 73.5318, 56.0252, 41.5493, 70.7299]) + 1j * np.array(
    [51.6963, 51.5014, 71.7366, 92.3655, 92.2041]
)
"""Positions of the five points in aligned faces, x + iy, in 112x112 pixels."""


class Head:
    """A head in some pose: its surface in space, and its projection."""

    LEVELS = np.array([-62, -54, -42, -24, -4, 14, 32, 46, 56, 62], dtype=np.float64)
    """Heights of the ellipses, for a face that is 62 long."""

    def __init__(self, person: Identity, look: Appearance, scale: float) -> None:
        """Find the transform that moves the five points to their positions, times `scale`."""
        self.scale = scale
        full = 1 + 0.035 * look.weight + 0.05 * look.age
        cheeks, jaw, chin = person.cheeks, (person.jaw + 3 * look.age) * full, person.chin * full
        below = np.where(self.LEVELS > 0, self.LEVELS * person.length / 62, self.LEVELS)
        self.levels = below
        widths = [9, 24, 0.88 * cheeks, 0.97 * cheeks, cheeks, 0.97 * cheeks * full]
        widths += [0.45 * cheeks + 0.55 * jaw, 0.2 * cheeks + 0.7 * jaw, 0.35 * jaw + 0.65 * chin, 0.8 * chin]
        self.widths = np.array(widths)
        self.depths = person.depth * np.array([8, 22, 34, 39, 38, 38.5, 38, 36.5, 34.5, 27])
        self.backs = np.array([10, 30, 48, 58, 60, 54, 40, 22, 4, -6])
        cos, sin = math.cos(look.yaw), math.sin(look.yaw)
        turn = np.array([[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]])
        cos, sin = math.cos(look.pitch), math.sin(look.pitch)
        self.turn = np.array([[1, 0, 0], [0, cos, sin], [0, -sin, cos]]) @ turn
        self.yaw, self.a, self.b = look.yaw, 1 + 0j, 0j
        distance, width = person.eye_distance, person.mouth_width * (1 + 0.12 * look.smile)
        self.mouth = width, person.mouth_height - 1.6 * look.smile
        self.nose = person.nose_length * (1 + 0.07 * look.age)
        points = [(-distance, 0, 0), (distance, 0, 0), (0, self.nose, person.nose_tip)]
        points += [(-width, self.mouth[1], 1), (width, self.mouth[1], 1)]
        found = self.complex(self.on(np.array(points, dtype=np.float64)))
        found = found + np.array(look.shift[:5]) + 1j * np.array(look.shift[5:])
        centred, wanted = found - found.mean(), PLACES - PLACES.mean()
        # The least-squares similarity transform in complex numbers, which cannot represent reflections.
        self.a = complex((centred.conj() @ wanted) / (centred.conj() @ centred)) * np.exp(1j * look.roll)
        self.b = complex(PLACES.mean() - self.a * found.mean())

    def on(self, points: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Points (N, 3) in space, from x, y and the height above the face's surface."""
        half = np.interp(points[:, 1], self.levels, self.widths)
        deep = np.interp(points[:, 1], self.levels, self.depths)
        z = deep * np.sqrt(np.maximum(1 - np.square(points[:, 0] / half), 0.0))
        return np.column_stack([points[:, 0], points[:, 1], z + points[:, 2]])

    def ring(
        self, y: npt.NDArray[np.float64], angles: npt.NDArray[np.float64], grow: float = 1.0
    ) -> npt.NDArray[np.float64]:
        """Points (N, 3) around the head at heights and angles, 0 to the front and pi/2 to the right in the image."""
        half, deep, back = (np.interp(y, self.levels, side) for side in (self.widths, self.depths, self.backs))
        x, z = half * np.sin(angles), np.cos(angles) * np.where(np.cos(angles) > 0, deep, back)
        return np.column_stack([grow * x, np.where(y < 0, grow, 1) * y, grow * z])

    def complex(self, points: npt.NDArray[np.float64]) -> npt.NDArray[np.complex128]:
        """Projections of points (N, 3) in space, x + iy."""
        seen = points @ self.turn[:2].T
        return self.a * (seen[:, 0] + 1j * seen[:, 1]) + self.b

    def seen(self, points: npt.NDArray[np.float64]) -> npt.NDArray[np.int32]:
        """Projections of points (N, 3) in space, (N, 2), in 1/16 of a pixel of the canvas."""
        places = self.complex(points) * (16 * self.scale)
        return np.rint(np.column_stack([places.real, places.imag])).astype(np.int32)

    def visible(self, angles: npt.NDArray[np.float64], margin: float = 0.0) -> npt.NDArray[np.float64]:
        """Angles around the head, limited to the visible side minus a margin."""
        half = math.pi / 2 - margin
        return angles.clip(-half - self.yaw, half - self.yaw)

    def faces(self, x: float, y: float = 0.0) -> float:
        """Approximate cosine of the angle between the camera's axis and the surface normal."""
        half, deep = np.interp(y, self.levels, self.widths), np.interp(y, self.levels, self.depths)
        sine = min(max(x / half, -1), 1)
        normal = np.array([sine / half, 0, math.sqrt(1 - sine**2) / deep])
        return float((self.turn @ normal)[2] / np.linalg.norm(normal))
