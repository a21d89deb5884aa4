"""Contact sheets: colours, positions, texts, and the content of their files."""

import re
import zlib
from pathlib import Path

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
    UNKNOWN,
    Layout,
    Row,
    Tile,
    contact_sheet,
    layout,
)
from relattn.figures.files import as_image, save
from relattn.figures.lettering import legible, shortened, text_width

BLUE = "#0a14c8"


def tile(same: bool | None = None, name: str = "0002_c1s1_000451_03.jpg", size: tuple[int, int] = (64, 128)) -> Tile:
    return Tile(Image.new("RGB", size, BLUE), name, "rank 1 · 0.1234", same)


ROWS = [
    Row(tile(), [tile(True), tile(False), tile(None)]),
    Row(tile(), [tile(False), tile(True)]),
    Row(tile(), []),
]


@pytest.fixture(scope="module")
def sheet() -> Image.Image:
    return as_image(contact_sheet(ROWS, title="Found", note="3 queries"))


def colour(sheet: Image.Image, *position: int) -> str:
    return "#{:02x}{:02x}{:02x}".format(*sheet.getpixel(position))


def test_frames_say_whether_the_identity_is_the_same(sheet: Image.Image) -> None:
    positions = layout(ROWS)
    assert sheet.size == (positions.width, positions.height)
    wanted = {(0, 0): SAME, (0, 1): OTHER, (0, 2): UNKNOWN, (1, 0): OTHER, (1, 1): SAME}
    boxes = [(positions.query(row), QUERY) for row in range(3)]
    boxes += [(positions.result(*place), frame) for place, frame in wanted.items()]
    for (left, top, right, bottom), frame in boxes:
        middle, centre = (top + bottom) // 2, (left + right) // 2
        for inset in (0, FRAME - 1):
            edges = [(left + inset, middle), (right - 1 - inset, middle), (centre, top + inset)]
            assert {colour(sheet, *edge) for edge in [*edges, (centre, bottom - 1 - inset)]} == {frame}
        assert colour(sheet, left + FRAME, middle) == colour(sheet, left - 1, middle) == PAPER
        assert colour(sheet, left + FRAME + MAT, middle) == colour(sheet, centre, middle) == BLUE
    left, top, _, bottom = positions.result(1, 2)  # there is no third result
    assert colour(sheet, left, (top + bottom) // 2) == PAPER


def test_columns_are_aligned_and_margins_even(sheet: Image.Image) -> None:
    positions = layout(ROWS)
    assert {positions.query(row)[0] for row in range(3)} == {MARGIN}
    assert positions.result(0, 1)[0] == positions.result(1, 1)[0]
    steps = {positions.result(0, column + 1)[0] - positions.result(0, column)[0] for column in range(2)}
    assert len(steps) == 1
    drawn = (np.asarray(sheet) != 255).any(axis=2)
    for side in (drawn[: MARGIN // 2], drawn[:, :MARGIN], drawn[:, -MARGIN:], drawn[-MARGIN // 2 :]):
        assert not side.any()


def test_marks_say_it_without_colour(sheet: Image.Image) -> None:
    def light(row: int, index: int) -> np.ndarray:
        left, _, _, bottom = layout(ROWS).result(row, index)
        return np.asarray(sheet.convert("L").crop((left, bottom + 28, left + 18, bottom + 46))) > 200

    assert np.array_equal(light(0, 0), light(1, 1))  # the same identity
    assert np.array_equal(light(0, 1), light(1, 0))  # another one
    different = [light(0, 0), light(0, 1), light(0, 2)]
    assert all((different[one] != different[other]).sum() > 20 for one, other in ((0, 1), (0, 2), (1, 2)))


def test_results_go_on_below_where_a_line_is_full() -> None:
    rows = [Row(tile(), [tile(True)] * 5), Row(tile(), [tile(True)])]
    positions = layout(rows, 2)
    assert positions.lines == [3, 1]
    assert positions.result(0, 2)[0] == positions.result(0, 0)[0]
    first, second, third = (positions.result(0, index)[1] for index in (0, 2, 4))
    assert second - first == third - second > HEIGHT
    assert positions.query(1)[1] > positions.result(0, 4)[3]
    assert positions.height > positions.result(1, 0)[3]


def test_images_keep_their_shape_and_missing_ones_leave_a_grey_area() -> None:
    rows = [Row(tile(size=(100, 50)), [Tile(None, "gone.jpg")])]
    positions = layout(rows, aspect=0.5)
    assert positions.size == (HEIGHT, HEIGHT // 2)
    sheet = as_image(contact_sheet(rows, title="Found", aspect=0.5))
    left, top, right, bottom = positions.query(0)
    middle, centre = (top + bottom) // 2, (left + right) // 2
    assert colour(sheet, centre, middle) == BLUE
    assert colour(sheet, centre, middle - HEIGHT // 4) not in (BLUE, PAPER)  # 120 wide, so 60 high
    left, top, *_ = positions.result(0, 0)
    assert colour(sheet, left + 20, top + 20) not in (BLUE, PAPER)


def test_texts_are_all_there_and_inside() -> None:
    name = "a very long name of a camera at the entrance, $x^2$.jpg"
    title = "A title that is longer than one query with one result is wide"
    figure = contact_sheet([Row(tile(name=name), [tile(True), Tile(None, "gone.jpg")])], title=title, note="n" * 300)
    texts = {text.get_text(): text for text in figure.axes[0].texts}
    for wanted in (title, "query", "same identity", "another identity", "0002_c1s1_000451_03.jpg", "no image"):
        assert wanted in texts
    assert "identity not known" in texts, "of the missing image it is not"
    assert any(text.startswith("a very") and text.endswith("$.jpg") and "…" in text for text in texts)
    drawn = (np.asarray(as_image(figure)) != 255).any(axis=2)
    assert drawn[: MARGIN + 20].any()
    assert not drawn[:, -MARGIN + 1 :].any()
    assert "identity not known" not in {
        text.get_text() for text in contact_sheet([Row(tile(), [tile(True)])], title="t").axes[0].texts
    }


def test_a_pdf_has_letters_and_every_image_once(tmp_path: Path) -> None:
    files = [save(contact_sheet(ROWS, title="Found"), tmp_path / str(time), "sheet") for time in range(2)]
    assert [file.name for file in files[0]] == ["sheet.png", "sheet.pdf"]
    assert [file.read_bytes() for file in files[0]] == [file.read_bytes() for file in files[1]]
    content = files[0][1].read_bytes()
    assert content.count(b"/FontFile2") == 1, "TrueType, embedded"
    assert content.count(b"/Subtype /Image") == 8
    streams = re.findall(rb"stream\r?\n(.*?)endstream", content, re.DOTALL)
    shown = b"".join(zlib.decompress(stream) for stream in streams if stream[:1] == b"x")
    assert len(re.findall(rb"T[jJ]\b", shown)) >= 5 + 2 * 8, "lines of the header and the captions"


def test_names_are_shortened_in_the_middle() -> None:
    assert shortened("0002_c1s1_000451_03.jpg", Layout([1], 1, (240, 120), 0).column, 12) == "0002_c1s1_000451_03.jpg"
    name = "a very long name of a camera at the entrance 2024.jpg"
    short = shortened(name, 152, 12)
    head, tail = short.split("…")
    assert name.startswith(head)
    assert name.endswith(tail)
    assert 130 < text_width(short, 12) <= 152
    assert shortened("anything", 1, 12) == "…"


@pytest.mark.parametrize(
    ("text", "drawn"), [("a_1-x.jpg", "a_1-x.jpg"), ("Gru\u0308n", "Grün"), ("監控\n.jpg", "???.jpg"), ("ﷺ", "ص")]
)
def test_what_the_font_lacks_is_replaced(text: str, drawn: str) -> None:
    assert legible(text) == drawn


def test_colours_of_the_frames_differ_in_lightness() -> None:
    same, other = (Image.new("RGB", (1, 1), frame).convert("L").getpixel((0, 0)) for frame in (SAME, OTHER))
    assert same - other > 25
