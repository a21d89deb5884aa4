"""Five-point alignment against known transforms, and against a general least-squares solver."""

import numpy as np
import pytest
from scipy.optimize import least_squares

from relattn.errors import InputError
from relattn.tasks.face.alignment import FIVE, TEMPLATES, align, similarity


def transform(angle: float, scale: float, shift: tuple[float, float]) -> np.ndarray:
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return np.column_stack([scale * turn, shift])


@pytest.mark.parametrize(("angle", "scale", "shift"), [(0, 1, (0, 0)), (0.7, 2.5, (30, -4)), (3.0, 0.2, (-9, 500))])
def test_a_similarity_is_found_exactly(angle: float, scale: float, shift: tuple[float, float]) -> None:
    wanted = transform(angle, scale, shift)
    moved = FIVE @ wanted[:, :2].T + wanted[:, 2]
    np.testing.assert_allclose(similarity(FIVE, moved), wanted, atol=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_it_is_the_best_in_least_squares(seed: int) -> None:
    rng = np.random.default_rng(seed)
    points = FIVE * 3 + rng.normal(0, 6, FIVE.shape)

    def residuals(v: np.ndarray) -> np.ndarray:
        a, b, x, y = v
        return (np.column_stack([points @ (a, -b) + x, points @ (b, a) + y]) - FIVE).ravel()

    a, b, x, y = least_squares(residuals, (0.3, 0, 0, 0), xtol=1e-15, ftol=1e-15, gtol=1e-15).x
    np.testing.assert_allclose(similarity(points, FIVE), [[a, -b, x], [b, a, y]], atol=1e-6)


def test_there_is_no_reflection() -> None:
    mirrored = FIVE * (-1, 1) + (112, 0)  # as if left and right were exchanged
    found = similarity(mirrored, FIVE)
    assert np.linalg.det(found[:, :2]) > 0


@pytest.mark.parametrize(
    ("points", "message"),
    [
        (np.full((5, 2), 7.0), "all in one place"),
        (np.full((5, 2), np.nan), "finite"),
        (FIVE[:4], "of shape"),
        (FIVE.ravel(), "of shape"),
    ],
)
def test_points_that_define_nothing_are_refused(points: np.ndarray, message: str) -> None:
    with pytest.raises(InputError, match=message):
        similarity(points, FIVE)


@pytest.mark.parametrize("template", TEMPLATES)
def test_points_come_to_their_places(template: str) -> None:
    (height, width), places = TEMPLATES[template]
    wanted = transform(0.4, 2.0, (60, 20))
    points = FIVE @ wanted[:, :2].T + wanted[:, 2]
    photograph = np.zeros((420, 420, 3), np.uint8)
    for number, (x, y) in enumerate(np.rint(points).astype(int)):
        photograph[y - 3 : y + 4, x - 3 : x + 4] = 50 * (number + 1)
    face = align(photograph, points, template)
    assert face.shape == (height, width, 3)
    for number, (x, y) in enumerate(np.rint(places).astype(int)):
        assert (face[y, x] == 50 * (number + 1)).all()


def test_what_the_image_does_not_show_is_black() -> None:
    face = align(np.full((40, 40, 3), 200, np.uint8), FIVE * 0.3 + (2, 2))
    assert face[60, 56].tolist() == [200] * 3
    half = align(np.full((112, 56, 3), 200, np.uint8), FIVE)
    assert half[:, :55].min() == 200
    assert half[:, 58:].max() == 0


def test_templates_are_the_published_ones() -> None:
    assert TEMPLATES["112x96"][1][0].tolist() == pytest.approx([30.2946, 51.6963])
    assert TEMPLATES["128x128"][1][2].tolist() == pytest.approx([64.0252, 71.7366])
    with pytest.raises(InputError, match="template is '64x64', expected one of 112x112"):
        align(np.zeros((9, 9, 3), np.uint8), FIVE, "64x64")
