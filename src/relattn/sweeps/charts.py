"""Charts as inline SVG, drawn by matplotlib, with the fonts and the light and dark colours of the page."""

import re
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from io import StringIO
from typing import TYPE_CHECKING
from xml.etree import ElementTree

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.transforms import Bbox

Point = tuple[float, float]
Curve = Sequence[Point]

MAIN, BASE, SOFT, INK, LINE = "#000001", "#000002", "#000003", "#000004", "#000005"
VARIABLES = {MAIN: "--main", BASE: "--base", SOFT: "--soft", INK: "--ink", LINE: "--line"}
"""Page variables that replace the placeholder colours with which matplotlib draws."""

SVG = "http://www.w3.org/2000/svg"
UNIT = 72
"""Units of an SVG's `viewBox` per inch; fonts and lines are measured in points."""
SMALL, DIGIT = 11, 7
"""Font size, and maximum width of a digit."""
CURVES, SCATTER = (300, 150), (400, 290)
"""Width and height of curve charts and of scatter charts."""
TOP, RIGHT, BOTTOM = 8, 8, 20
"""Margins, without space for the name of an axis."""
DISC = 7
"""Diameter of a point in a scatter chart."""
MOST_LINES = 12
"""Maximum distance in lines between a name and its point, above or below."""


@dataclass(frozen=True)
class Dot:
    """One point of a scatter chart: a mean, and the standard deviation over seeds if there are several."""

    x: float
    y: float
    label: str
    spread: float | None = None


def curves(
    seeds: Sequence[Curve],
    title: str,
    *,
    baseline: Sequence[Curve] = (),
    x: tuple[float, float],
    y: tuple[float, float],
) -> str:
    """A small chart of curves over epochs: each seed as a thin line, their mean thick, the baseline's mean in grey.

    A curve with a single epoch is drawn as a point.

    Args:
        seeds: The curve of each seed.
        title: Text for screen readers.
        baseline: Curves of the baseline's seeds.
        x: First and last epoch, shared by several charts.
        y: Smallest and largest value, shared by several charts.
    """
    epochs = span(x, 0.02) if x[0] < x[1] else (x[0] - 0.5, x[0] + 0.5)
    figure, ax = blank(CURVES, epochs, span(y), whole=True)
    line(ax, mean(baseline), BASE, 1.6)
    if len(seeds) > 1:
        for curve in seeds:
            line(ax, curve, MAIN, 0.9, alpha=0.6)
    line(ax, mean(seeds), MAIN, 2.2)
    return inline(figure, title)


def scatter(dots: Sequence[Dot], title: str, x_label: str) -> str:
    """A chart of points with their names; vertical bars are the standard deviation over seeds."""
    ends = [dot.y + sign * (dot.spread or 0) for dot in dots for sign in (-1, 1)]
    figure, ax = blank(SCATTER, span([dot.x for dot in dots], 0.12), span(ends, 0.12), x_label=x_label)
    for dot in dots:
        if dot.spread:
            line(ax, [(dot.x, dot.y - dot.spread), (dot.x, dot.y + dot.spread)], MAIN, 1.4, alpha=0.6)
        line(ax, [(dot.x, dot.y)], MAIN, DISC / 3)
    name_points(figure, ax, dots)
    return inline(figure, title)


def mean(curves: Sequence[Curve]) -> list[Point]:
    """The mean of several curves, at the epochs that all of them contain."""
    values = [dict(curve) for curve in curves]
    shared = set.intersection(*(set(curve) for curve in values)) if values else set()
    return [(x, statistics.fmean(curve[x] for curve in values)) for x in sorted(shared)]


def span(values: Sequence[float], margin: float = 0.05) -> tuple[float, float]:
    """The range of some values, with a margin."""
    low, high = min(values), max(values)
    room = (high - low) * margin or abs(high) * margin or 1.0
    return low - room, high + room


def blank(
    size: tuple[int, int], x: tuple[float, float], y: tuple[float, float], *, whole: bool = False, x_label: str = ""
) -> "tuple[Figure, Axes]":
    """A chart without a frame, with horizontal grid lines.

    Args:
        size: Width and height.
        x: Range of the horizontal axis.
        y: Range of the vertical axis.
        whole: Whether to label only whole numbers on the horizontal axis.
        x_label: Name of the horizontal axis.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import FixedFormatter, FixedLocator, MaxNLocator

    width, height = size
    figure = Figure(figsize=(width / UNIT, height / UNIT), dpi=UNIT)
    figure.patch.set_visible(False)
    vertical = MaxNLocator(nbins=4)
    horizontal = MaxNLocator(nbins=6, integer=whole, min_n_ticks=1 if whole else 2)
    left = DIGIT * max(map(len, marks(vertical.tick_values(*y)))) + 5
    bottom = BOTTOM + (SMALL + 4 if x_label else 0)
    ax = figure.add_axes(
        (left / width, bottom / height, (width - left - RIGHT) / width, (height - TOP - bottom) / height), frameon=False
    )
    ax.set(xlim=x, ylim=y, autoscale_on=False)
    ax.grid(axis="y", color=LINE, linewidth=1)
    ax.tick_params(length=0, labelsize=SMALL, labelcolor=SOFT)
    ax.set_xlabel(x_label, fontsize=SMALL, color=SOFT)
    for axis, locator, limits in ((ax.xaxis, horizontal, x), (ax.yaxis, vertical, y)):
        ticks = [tick for tick in locator.tick_values(*limits) if limits[0] <= tick <= limits[1]]
        axis.set_major_locator(FixedLocator(ticks))
        axis.set_major_formatter(FixedFormatter(marks(ticks)))
    return figure, ax


def marks(ticks: Iterable[float]) -> list[str]:
    """Labels of an axis, all with as many decimal places as the longest needs."""
    shortest = [f"{tick:.6g}" for tick in ticks]
    if any("e" in text for text in shortest):
        return shortest
    decimals = max((len(text.partition(".")[2]) for text in shortest), default=0)
    return [f"{float(text):.{decimals}f}" for text in shortest]


def line(ax: "Axes", curve: Curve, colour: str, width: float, alpha: float = 1.0) -> None:
    """Draw a curve, or a disc if it has only one point."""
    if len(curve) == 1:  # a line of length 0 is drawn as its two round ends
        curve, width = [*curve, *curve], 3 * width
    xs, ys = [x for x, _ in curve], [y for _, y in curve]
    ax.plot(xs, ys, color=colour, linewidth=width, alpha=alpha, clip_on=False, solid_capstyle="round")


def name_points(figure: "Figure", ax: "Axes", dots: Sequence[Dot]) -> None:
    """Write each point's name inside the chart where it covers nothing, with a line to it unless it is adjacent.

    Points near the middle are named first. Names that must give way move up in the upper half and down in the lower
    half, so that their lines do not cross. Widths are measured in matplotlib's font, which is wider than the page's.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.transforms import Bbox

    renderer = FigureCanvasAgg(figure).get_renderer()
    inside, half = ax.get_window_extent(renderer), DISC / 2
    at, back = ax.transData.transform, ax.transData.inverted().transform
    taken = []
    for dot in dots:
        (x, y), (_, top) = at((dot.x, dot.y)), at((dot.x, dot.y + (dot.spread or 0)))
        taken.append(Bbox([[x - half, y - half], [x + half, y + half]]))
        taken.append(Bbox([[x - 1, 2 * y - top], [x + 1, top]]))
    middle = statistics.median(dot.y for dot in dots)
    for dot in sorted(dots, key=lambda dot: abs(dot.y - middle)):
        text = ax.text(dot.x, dot.y, dot.label, fontsize=SMALL, color=INK, va="center", parse_math=False)
        x, y = at((dot.x, dot.y))
        box = free_box((x, y), text.get_window_extent(renderer), inside, taken, up=dot.y >= middle)
        taken.append(box)
        align, edge = ("left", box.x0) if box.x0 > x else ("right", box.x1) if box.x1 < x else ("center", x)
        text.set(ha=align, position=back((edge, (box.y0 + box.y1) / 2)))
        if not box.y0 - half <= y <= box.y1 + half:
            end = back((min(max(x, box.x0), box.x1), box.y0 if box.y0 > y else box.y1))
            line(ax, [(dot.x, dot.y), tuple(end)], SOFT, 0.7)


def free_box(point: Point, box: "Bbox", inside: "Bbox", taken: "Sequence[Bbox]", *, up: bool) -> "Bbox":
    """The nearest place for a text where it covers nothing, or else the place where it covers least.

    Args:
        point: The point that the text names.
        box: Size of the text.
        inside: Area that the text must not leave.
        taken: Areas that the text must not cover.
        up: Whether to move it up rather than down if necessary.
    """
    from matplotlib.transforms import Bbox

    def overlap(one: Bbox, other: Bbox) -> float:
        common = Bbox.intersection(one, other)
        return 0.0 if common is None else common.width * common.height

    width, height, gap = box.width, box.height, DISC / 2 + 4
    lines = sorted(range(-MOST_LINES, MOST_LINES + 1), key=lambda number: (abs(number), (number < 0) == up))
    lefts = (point[0] + gap, point[0] - gap - width, point[0] - width / 2)
    boxes = [
        Bbox.from_bounds(left, point[1] + number * (height + 1) - height / 2, width, height)
        for number in lines
        for left in lefts
    ]
    costs = (sum(overlap(one, other) for other in taken) + width * height - overlap(one, inside) for one in boxes)
    best, least = boxes[0], float("inf")
    for one, cost in zip(boxes, costs, strict=True):
        if cost < least - 1e-6:
            best, least = one, cost
        if cost < 1e-6:
            break
    return best


def inline(figure: "Figure", title: str) -> str:
    """Convert a chart to an element of a page that keeps its aspect ratio at any width.

    Parts that only a standalone file needs are removed: size, metadata, style sheet, group names and clipping. Fonts
    are inherited, and colours are the page's variables.
    """
    import matplotlib as mpl

    file = StringIO()
    with mpl.rc_context({"svg.fonttype": "none"}):
        figure.savefig(file, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    ElementTree.register_namespace("", SVG)
    root = ElementTree.fromstring(file.getvalue())  # noqa: S314 - matplotlib wrote it
    shape = root.attrib["viewBox"]
    keep(root)
    root.attrib = {"viewBox": shape, "role": "img", "aria-label": title, "style": "stroke-linejoin:round"}
    return ElementTree.tostring(root, encoding="unicode")


def keep(element: ElementTree.Element) -> bool:
    """Reduce an element to what a page needs; return whether anything is left of it."""
    kind = element.tag.removeprefix(f"{{{SVG}}}")
    if kind not in ("svg", "g", "path", "text"):
        return False
    element[:] = [child for child in element if keep(child)]
    if kind != "text":
        element.text = None
    element.tail = None
    attributes = {name: value for name, value in element.items() if name in ("d", "x", "y", "style")}
    element.attrib = {name: SHORTER[name](value) for name, value in attributes.items()}
    return kind in ("path", "text") or len(element) > 0


def rounded(numbers: str) -> str:
    """Coordinates with one decimal place."""
    return re.sub(r"\d+\.\d+", lambda number: f"{float(number[0]):.1f}", " ".join(numbers.split()))


def adapted(style: str) -> str:
    """Convert a style to the page's font and colours."""
    text = ";".join(part.replace(": ", ":") for part in style.split("; ") if not part.startswith("font-family"))
    return re.sub(r"#00000[1-5]", lambda colour: f"var({VARIABLES[colour[0]]})", text)


SHORTER = {"d": rounded, "x": rounded, "y": rounded, "style": adapted}
"""Functions that shorten the values of attributes."""
