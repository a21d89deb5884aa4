"""Charts as inline SVG: colours are the page's, so that they follow light and dark."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

Point = tuple[float, float]


@dataclass(frozen=True)
class Line:
    """One curve: its points, its CSS class, and what is said when it is pointed at."""

    points: Sequence[Point]
    style: str
    title: str


@dataclass(frozen=True)
class Dot:
    """One point of a scatter chart."""

    x: float
    y: float
    label: str


@dataclass(frozen=True)
class Frame:
    """Where values lie on a chart: ranges of both axes, and the margins in pixels."""

    x: tuple[float, float]
    y: tuple[float, float]
    width: int
    height: int
    left: int = 44
    right: int = 10
    top: int = 8
    bottom: int = 24

    def at(self, point: Point) -> Point:
        """The position of a value in pixels."""
        across = (point[0] - self.x[0]) / ((self.x[1] - self.x[0]) or 1)
        up = (point[1] - self.y[0]) / ((self.y[1] - self.y[0]) or 1)
        inner = self.width - self.left - self.right, self.height - self.top - self.bottom
        return self.left + across * inner[0], self.top + (1 - up) * inner[1]


def ticks(low: float, high: float, count: int = 4) -> list[float]:
    """Round numbers between two values."""
    if not high > low:
        return [low]
    rough = (high - low) / count
    power = 10 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough)
    first = math.ceil(low / step)
    return [number * step for number in range(first, math.floor(high / step) + 1)]


def span(values: Sequence[float], margin: float = 0.05) -> tuple[float, float]:
    """The range of some values, with a margin."""
    low, high = min(values), max(values)
    room = (high - low) * margin or abs(high) * margin or 1.0
    return low - room, high + room


def axes(frame: Frame, x_label: str = "") -> str:
    """Grid lines with their numbers."""
    parts = []
    for value in ticks(*frame.y):
        _, y = frame.at((frame.x[0], value))
        parts.append(
            f'<line class="grid" x1="{frame.left}" x2="{frame.width - frame.right}" y1="{y:.1f}" y2="{y:.1f}"/>'
        )
        parts.append(f'<text class="tick" x="{frame.left - 6}" y="{y + 4:.1f}" text-anchor="end">{value:g}</text>')
    base = frame.height - frame.bottom
    for value in ticks(*frame.x):
        x, _ = frame.at((value, frame.y[0]))
        parts.append(f'<text class="tick" x="{x:.1f}" y="{base + 15}" text-anchor="middle">{value:g}</text>')
    if x_label:
        middle = (frame.left + frame.width - frame.right) / 2
        parts.append(f'<text class="tick" x="{middle}" y="{frame.height - 2}" text-anchor="middle">{x_label}</text>')
    return "".join(parts)


def svg(frame: Frame, title: str, body: str) -> str:
    """A chart as an element that keeps its shape at any width."""
    size = f'viewBox="0 0 {frame.width} {frame.height}"'
    return f'<svg {size} role="img" aria-label="{escape(title)}">{body}</svg>'


def curves(lines: Sequence[Line], title: str, y: tuple[float, float] | None = None) -> str:
    """A small line chart; `y` is a range that several charts share."""
    points = [point for line in lines for point in line.points if math.isfinite(point[1])]
    if not points:
        return ""
    x = (min(point[0] for point in points), max(point[0] for point in points))
    frame = Frame(x if x[1] > x[0] else span(x), y or span([value for _, value in points]), 300, 150)
    parts = [axes(frame)]
    for line in lines:
        placed = [frame.at(point) for point in line.points if math.isfinite(point[1])]
        if not placed:
            continue
        path = " ".join(f"{across:.1f},{down:.1f}" for across, down in placed)
        hint = f"<title>{escape(line.title)}</title>"
        if len(placed) == 1:
            across, down = placed[0]
            parts.append(f'<circle class="dot {line.style}" cx="{across:.1f}" cy="{down:.1f}" r="3">{hint}</circle>')
        else:
            parts.append(f'<polyline class="curve {line.style}" points="{path}">{hint}</polyline>')
    return svg(frame, title, "".join(parts))


def scatter(dots: Sequence[Dot], title: str, x_label: str) -> str:
    """A chart of labelled points; labels that would cover others are left to the pointer."""
    x, y = span([dot.x for dot in dots], 0.12), span([dot.y for dot in dots], 0.12)
    frame = Frame(x, y, 420, 280, bottom=38)
    parts = [axes(frame, x_label)]
    taken: list[tuple[float, float, float, float]] = []
    for dot in sorted(dots, key=lambda dot: -dot.y):
        across, down = frame.at((dot.x, dot.y))
        hint = f"<title>{escape(dot.label)}: {dot.x:g}, {dot.y:g}</title>"
        parts.append(f'<circle class="dot main" cx="{across:.1f}" cy="{down:.1f}" r="4">{hint}</circle>')
        width = 7.8 * len(dot.label)  # at most: capitals are wide
        beyond = across + 7 + width > frame.width  # then the label goes to the left of its point
        left = across - 7 - width if beyond else across + 7
        box = (left, down - 8, left + width, down + 5)
        free = all(box[2] < o[0] or o[2] < box[0] or box[3] < o[1] or o[3] < box[1] for o in taken)
        if free and left > frame.left:
            taken.append(box)
            place = f'x="{across - 7:.1f}" text-anchor="end"' if beyond else f'x="{left:.1f}"'
            parts.append(f'<text class="name" {place} y="{down + 4:.1f}">{escape(dot.label)}</text>')
    return svg(frame, title, "".join(parts))
