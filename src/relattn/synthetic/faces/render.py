"""Drawn faces, the stand-ins for face verification data (`relattn.synthetic.faces.layouts`).

An `Identity` fixes the bones, the skin, the features, the hair and the marks of a person. An `Appearance` is what
varies between photographs: age, pose, expression, light, what is worn, what is in front, and the camera. The head is a
stack of ellipses; features lie on its surface and turn with it. As in the published sets, both eyes, the tip of the
nose and the corners of the mouth are then moved to fixed positions, with small errors as from a detector.

Lengths are in pixels of a frontal face in 112x112 pixels, angles in radians, colours in RGB, 0 to 255. Coordinates are
x to the right in the image and y down, from between the eyes, and z towards the camera.
"""

import numpy as np
import numpy.typing as npt

from relattn.extras import Lazy
from relattn.synthetic.faces.canvas import Canvas
from relattn.synthetic.faces.features import beard, eye, eyebrow, face, mouth, nose, skin_marks, wrinkles
from relattn.synthetic.faces.head import Head
from relattn.synthetic.faces.people import Appearance, Identity, Image
from relattn.synthetic.faces.wear import background, behind, ear, front_hair, glasses, headwear, obstacle

cv2 = Lazy("cv2", "suite")


def render(person: Identity, look: Appearance, *, size: int = 112) -> Image:
    """Render an aligned face, `(size, size, 3)` uint8 RGB."""
    rng = np.random.default_rng(look.grain)
    head = Head(person, look, 2 * size / 112)
    canvas = Canvas(head, person, look, 2 * size, rng)
    draw(canvas)
    small = cv2.resize(canvas.pixels, (size, size), interpolation=cv2.INTER_AREA).astype(np.float32)
    soft = cv2.GaussianBlur(canvas.shade, (0, 0), 2.6 * size / 112).astype(np.float32) / np.float32(128)
    soft *= cv2.GaussianBlur(canvas.creases, (0, 0), 0.8 * size / 112).astype(np.float32) / np.float32(128)
    lit = small[..., :3] * (soft * light(head, look, small[..., 3], size))[..., None]
    lit *= np.array(look.tint, dtype=np.float32) * np.float32(look.exposure)
    if look.quality < 1:
        less = max(round(size * look.quality), 8)
        lit = cv2.resize(cv2.resize(lit, (less, less), interpolation=cv2.INTER_AREA), (size, size))
    lit = cv2.GaussianBlur(lit, (0, 0), look.blur * size / 112 + 0.05)
    draws = rng.random((2, size, size, 3), dtype=np.float32)
    seen = lit + (draws[0] - draws[1]) * np.float32(look.noise * 6**0.5)  # the difference has variance 1/6
    return np.rint(seen.clip(0, 255)).astype(np.uint8)


def light(head: Head, look: Appearance, body: npt.NDArray[np.float32], size: int) -> npt.NDArray[np.float32]:
    """The light on each pixel, 1 on average, computed as if the head were an ellipsoid."""
    centre, radius = head.complex(np.array([[0.0, 4.0, -4.0]]))[0] * (size / 112), abs(head.a) * size / 112
    ticks = np.arange(size, dtype=np.float32) + np.float32(0.5)
    x = (ticks - np.float32(centre.real)) / np.float32(48 * radius)
    y = (ticks - np.float32(centre.imag)) / np.float32(70 * radius)
    z = np.sqrt(np.maximum(1 - np.square(x)[None] - np.square(y)[:, None], np.float32(0.02)))
    direction = np.array(look.light, dtype=np.float32) / np.float32(np.linalg.norm(look.light))
    falling = np.maximum(x[None] * direction[0] + y[:, None] * direction[1] + z * direction[2], 0)
    lit = 1 + np.float32(look.contrast) * (np.float32(1.5) * falling - 1)
    return 1 + (lit - 1) * body / np.float32(255)


def draw(canvas: Canvas) -> None:
    """Draw everything, from the back to the front."""
    sides = sorted((-1, 1), key=lambda side: canvas.head.faces(30.0 * side))
    background(canvas)
    behind(canvas)
    ear(canvas, sides[0])
    face(canvas)
    ear(canvas, sides[1])
    for side in sides:
        eye(canvas, side)
        eyebrow(canvas, side)
    mouth(canvas)
    beard(canvas)
    skin_marks(canvas)
    nose(canvas)
    wrinkles(canvas)
    front_hair(canvas)
    glasses(canvas)
    headwear(canvas)
    obstacle(canvas)
