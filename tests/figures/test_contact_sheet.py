"""Contact sheets: colours, places and texts."""

import numpy as np
import pytest
from PIL import Image

from relattn.figures.contact_sheet import (
    FRAME,
    HEIGHT,
    MARGIN,
    MAT,
    OTHER,
    PAPER,
    QUERY,
    SAME,
    TEXT,
    UNKNOWN,
    Row,
    Tile,
    contact_sheet,
    font,
    layout,
    legible,
    mark,
    shortened,
)

BLUE = (10, 20, 200)


def tile(same: bool | None = None, name: str = "0002_c1s1_000451_03.jpg", size: tuple[int, int] = (64, 128)) -> Tile:
    return Tile(Image.new("RGB", size, BLUE), name, "rank 1 · 0.1234", same)


ROWS = [
    Row(tile(), [tile(True), tile(False), tile(None)]),
    Row(tile(), [tile(False), tile(True)]),
    Row(tile(), []),
]


def test_frames_say_whether_the_identity_is_the_same() -> None:
    sheet, place = contact_sheet(ROWS, title="Found"), layout(ROWS)
    wanted = {(0, 0): SAME, (0, 1): OTHER, (0, 2): UNKNOWN, (1, 0): OTHER, (1, 1): SAME}
    boxes = [(place.query(row), QUERY) for row in range(3)]
    boxes += [(place.result(*position), colour) for position, colour in wanted.items()]
    for (left, top, right, bottom), colour in boxes:
        middle, centre = (top + bottom) // 2, (left + right) // 2
        for inset in (0, FRAME - 1):
            edges = [(left + inset, middle), (right - 1 - inset, middle), (centre, top + inset)]
            assert {sheet.getpixel(edge) for edge in [*edges, (centre, bottom - 1 - inset)]} == {colour}
        assert sheet.getpixel((left + FRAME, middle)) == sheet.getpixel((left - 1, middle)) == PAPER
        assert sheet.getpixel((left + FRAME + MAT, middle)) == sheet.getpixel((centre, middle)) == BLUE
    box = place.result(1, 2)  # there is no third result
    assert sheet.getpixel((box[0], (box[1] + box[3]) // 2)) == PAPER


def test_columns_are_aligned_and_margins_even() -> None:
    sheet, place = np.asarray(contact_sheet(ROWS, title="Found")), layout(ROWS)
    assert {place.query(row)[0] for row in range(3)} == {MARGIN}
    assert place.result(0, 1)[0] == place.result(1, 1)[0]
    steps = {place.result(0, column + 1)[0] - place.result(0, column)[0] for column in range(2)}
    assert len(steps) == 1
    drawn = (sheet != 255).any(axis=2)
    for side in (drawn[:MARGIN], drawn[:, :MARGIN], drawn[:, -MARGIN:], drawn[-MARGIN // 2 :]):
        assert not side.any()


def test_results_go_on_below_where_a_line_is_full() -> None:
    rows = [Row(tile(), [tile(True)] * 5), Row(tile(), [tile(True)])]
    place = layout(rows, 2)
    assert place.lines == [3, 1]
    assert place.result(0, 2)[0] == place.result(0, 0)[0]
    assert place.result(0, 2)[1] - place.result(0, 0)[1] == place.result(0, 4)[1] - place.result(0, 2)[1] > HEIGHT
    assert place.query(1)[1] > place.result(0, 4)[3]
    assert contact_sheet(rows, title="Found", columns=2).height > place.result(1, 0)[3]


def test_images_keep_their_shape_and_missing_ones_leave_a_grey_area() -> None:
    rows = [Row(tile(size=(100, 50)), [Tile(None, "gone.jpg")])]
    place = layout(rows, aspect=0.5)
    assert place.size == (HEIGHT, HEIGHT // 2)
    sheet = contact_sheet(rows, title="Found", aspect=0.5)
    left, top, right, bottom = place.query(0)
    middle, centre = (top + bottom) // 2, (left + right) // 2
    assert sheet.getpixel((centre, middle)) == BLUE
    assert sheet.getpixel((centre, middle - HEIGHT // 4)) not in (BLUE, PAPER)  # 120 wide, so 60 high
    left, top, right, bottom = place.result(0, 0)
    assert sheet.getpixel((left + 20, top + 20)) not in (BLUE, PAPER)


def test_marks_say_it_without_colour() -> None:
    light = {same: np.asarray(mark(same, 16).convert("L")) > 200 for same in (True, False, None)}
    assert not np.array_equal(light[True], light[False])
    assert not np.array_equal(light[True], light[None])
    assert not np.array_equal(light[False], light[None])


def test_names_are_shortened_in_the_middle() -> None:
    assert shortened("0002_c1s1_000451_03.jpg", 152, TEXT) == "0002_c1s1_000451_03.jpg"
    name = "a very long name of a camera at the entrance 2024.jpg"
    short = shortened(name, 152, TEXT)
    head, tail = short.split("…")
    assert name.startswith(head)
    assert name.endswith(tail)
    assert 130 < font(TEXT).getlength(short) <= 152
    assert shortened("anything", 1, TEXT) == "…"


@pytest.mark.parametrize(("text", "drawn"), [("a_1-x.jpg", "a_1-x.jpg"), ("Grün", "Grun"), ("监控.jpg", "??.jpg")])
def test_what_the_font_lacks_is_replaced(text: str, drawn: str) -> None:
    assert legible(text) == drawn


def test_a_narrow_sheet_has_room_for_its_title() -> None:
    title = "A title that is longer than one query with one result is wide"
    sheet = contact_sheet([Row(tile(), [tile(True)])], title=title, note="and a note " * 3)
    drawn = (np.asarray(sheet) != 255).any(axis=2)
    assert drawn[:, MARGIN:-MARGIN].any()
    assert not drawn[:, -MARGIN:].any()
