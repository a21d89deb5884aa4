"""Charts and pictures of a report: positions, labels that do not overlap, and file sizes."""

import itertools
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from relattn.sweeps import charts
from relattn.sweeps.pictures import MOST, ROOM, pictures
from relattn.sweeps.records import Record

SVG = "{http://www.w3.org/2000/svg}"
FALLING = [[(11, 4.0), (12, 2.0), (13, 1.0)], [(11, 3.0), (12, 2.0)]]


def paths(chart: str, colour: str) -> list[np.ndarray]:
    """The points `(N, 2)` of each line of a colour."""
    elements = [
        path for path in ElementTree.fromstring(chart).iter(f"{SVG}path") if f"var({colour})" in path.get("style")
    ]
    return [np.array(re.findall(r"[\d.]+", path.get("d")), float).reshape(-1, 2) for path in elements]


def labels(chart: str) -> dict[str, tuple[float, float]]:
    return {
        text.text: (float(text.get("x")), float(text.get("y")))
        for text in ElementTree.fromstring(chart).iter(f"{SVG}text")
    }


def test_curves_are_all_seeds_their_mean_and_the_baseline_on_one_scale() -> None:
    chart = charts.curves(FALLING, "loss", baseline=[[(11, 4.0), (12, 0.0)]], x=(11, 13), y=(0, 4))
    *seeds, mean = paths(chart, "--main")
    (baseline,) = paths(chart, "--base")
    ticks = labels(chart)
    xs = [ticks[epoch][0] for epoch in ("11", "12", "13")]
    assert np.diff(xs) == pytest.approx((xs[2] - xs[0]) / 2, abs=0.1)
    assert baseline[:, 0] == pytest.approx(xs[:2], abs=0.1)
    unit = (baseline[1, 1] - baseline[0, 1]) / 4
    assert [len(curve) for curve in (*seeds, mean)] == [3, 2, 2], "a mean is of all seeds"
    top = baseline[0, 1]
    for curve, values in (*zip(seeds, ([4, 2, 1], [3, 2]), strict=True), (mean, [3.5, 2])):
        assert curve[:, 1] == pytest.approx([top + (4 - value) * unit for value in values], abs=0.11)
    other = charts.curves([[(11, 1.0)]], "loss", x=(11, 13), y=(0, 4))
    (point,) = paths(other, "--main")
    assert point == pytest.approx(np.array([[xs[0], top + 3 * unit]] * 2), abs=0.11), "one epoch is a disc"
    assert "stroke-linecap:round" in other


def test_epochs_are_whole_numbers_however_few() -> None:
    for last in (1, 2, 3, 9):
        chart = charts.curves([[(1, 1.0), (last, 2.0)]], "loss", x=(1, last), y=(1, 2))
        names = [text for text, (_, y) in labels(chart).items() if y > 135]
        assert names, "there is a mark"
        assert all(text.isdecimal() and 1 <= int(text) <= last for text in names)


def test_charts_take_font_and_colours_of_the_page_and_are_small() -> None:
    for chart in (
        charts.curves(FALLING, "a <title>", x=(11, 13), y=(0, 4)),
        charts.scatter([charts.Dot(1, 2, "<&> $x$")], "a <title>", "parameters"),
    ):
        assert len(chart) < 3000
        assert chart.startswith("<svg ")
        assert 'aria-label="a &lt;title&gt;"' in chart
        assert not re.search(r"#|font-family| id=|<style|<metadata|url\(|nan", chart)
    assert "<&> $x$" in labels(chart)
    assert chart == charts.scatter([charts.Dot(1, 2, "<&> $x$")], "a <title>", "parameters")


@pytest.mark.parametrize("seed", range(4))
def test_names_of_points_cover_nothing_and_stay_inside(seed: int) -> None:
    generator = np.random.default_rng(seed)
    dots = [
        charts.Dot(26 + generator.normal(), 70 + 0.5 * generator.normal(), f"RGA-SC, {index}", 0.3)
        for index in range(7)
    ]
    chart = charts.scatter([*dots, charts.Dot(40, 75, "a name that is as long as this")], "t", "parameters")
    names = {name: at for name, at in labels(chart).items() if name[0] in "Ra"}
    assert len(names) == 8
    styles = {text.text: text.get("style") for text in ElementTree.fromstring(chart).iter(f"{SVG}text")}
    boxes = []
    for name, (x, y) in names.items():
        width = 5.5 * len(name)  # of the page's font
        left = x - width * (0.5 if "middle" in styles[name] else 1.0 if "text-anchor:end" in styles[name] else 0.0)
        boxes.append((left, y - 8, left + width, y + 1))
        assert left >= 0
        assert left + width <= charts.SCATTER[0]
        assert 8 <= y <= charts.SCATTER[1]
    discs = [
        (x - 3, y - 3, x + 3, y + 3)
        for x, y in (path[0] for path in paths(chart, "--main") if (path[0] == path[1]).all())
    ]
    for one, other in [*itertools.combinations(boxes, 2), *itertools.product(boxes, discs)]:
        assert one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]


def test_bars_are_the_standard_deviation() -> None:
    chart = charts.scatter([charts.Dot(1, 10, "a", 2.0), charts.Dot(2, 20, "b", None)], "t", "x")
    bar, first, second = paths(chart, "--main")
    assert abs(np.diff(bar[:, 1])) == pytest.approx((first[0, 1] - second[0, 1]) * 4 / 10, abs=0.2)
    assert bar[:, 1].mean() == pytest.approx(first[0, 1], abs=0.1)


def run_with(folder: Path, **files: bytes | np.ndarray) -> Record:
    (folder / "pictures").mkdir(parents=True)
    for name, content in files.items():
        path = folder / "pictures" / f"{name}.png"
        path.write_bytes(content) if isinstance(content, bytes) else Image.fromarray(content).save(path)
    return Record(folder, {}, None, "finished")


def test_pictures_are_shown_once_and_no_wider_than_a_page(tmp_path: Path) -> None:
    wide, other = np.zeros((30, 2000, 3), np.uint8), np.full((4, 4, 4), 9, np.uint8)
    one = run_with(tmp_path / "one", a=wide, b=b"no image", **{f"c{index}": other + index for index in range(6)})
    two = run_with(tmp_path / "two", x=wide)
    first, second = pictures([one, two, Record(tmp_path / "none", {}, None, "finished")])
    assert list(first.shown) == ["a", "c0", "c1", "c2", "c3"]
    assert (first.unreadable, first.left_out) == (["b"], 8 - MOST)
    assert (second.shown, second.same, second.left_out) == ({}, {"x": "a of one"}, 0)
    import base64
    import io

    image = Image.open(io.BytesIO(base64.b64decode(first.shown["a"].partition(",")[2])))
    assert (image.format, image.size) == ("JPEG", (900, 14))


def test_many_pictures_are_smaller_and_every_run_has_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("relattn.sweeps.pictures.ROOM", ROOM // 8)
    noise = np.random.default_rng(0).integers(0, 255, (8, 300, 600, 3), np.uint8)
    runs = [run_with(tmp_path / str(index), a=noise[index], b=noise[index, ::-1]) for index in range(8)]
    found = pictures(runs)
    assert all("a" in run.shown for run in found)
    assert sum(len(data) for run in found for data in run.shown.values()) <= ROOM // 8
    assert sum(run.left_out for run in found) > 0


def test_reports_need_no_torch() -> None:
    code = (
        "import sys; from relattn.sweeps import page; sys.exit(str({'torch', 'matplotlib'} & set(sys.modules) or ''))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stderr.strip() == ""
