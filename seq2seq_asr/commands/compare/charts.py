"""Charts as inline SVG whose colours the page's style sheet gives, so that they follow light and dark."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Final, NamedTuple

COLOURS: Final = 8
"""Colours that the style sheet knows, ``c0`` to ``c7``."""
DASHES: Final = 3
"""How it draws lines, ``d0`` to ``d2``: solid, dashed, dotted."""
WHOLE: Final = ("epochs", "words said", "characters said")
"""Labels of axes that count something."""
_WIDTH, _HEIGHT = 360.0, 230.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 46.0, 10.0, 12.0, 38.0
_TICKS = 6
"""At most about so many marks on an axis."""


class Point(NamedTuple):
    """A mean, and how far the seeds lie apart there."""

    x: float
    y: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Series:
    """A line of a chart."""

    name: str
    place: int
    """Among the names of the legend."""
    points: Sequence[Point]


@dataclass(frozen=True, kw_only=True)
class Bar:
    """A row of a forest plot, in percent."""

    name: str
    value: float
    low: float
    high: float
    seeds: Sequence[float]
    faded: bool
    """Whether the system is significantly worse than the best."""


@dataclass(frozen=True, kw_only=True)
class Scale:
    """Maps values to places."""

    low: float
    high: float
    start: float
    end: float
    logarithmic: bool = False
    whole: bool = False
    """Mark whole numbers alone."""

    def __call__(self, value: float) -> float:
        """The place of a value; what lies outside stands on the border."""
        if self.logarithmic:
            low, high, value = math.log10(self.low), math.log10(self.high), math.log10(max(value, self.low))
        else:
            low, high = self.low, self.high
        share = (min(max(value, low), high) - low) / max(1e-12, high - low)
        return round(self.start + share * (self.end - self.start), 2)

    def ticks(self) -> list[float]:
        """Round values to mark."""
        if self.logarithmic:
            first, last = math.ceil(math.log10(self.low)), math.floor(math.log10(self.high))
            every = max(1, math.ceil((last - first + 1) / _TICKS))
            return [10.0**power for power in range(first, last + 1, every)]
        ticks = round_ticks(self.low, self.high)
        return [tick for tick in ticks if tick == int(tick)] if self.whole else ticks


def round_ticks(low: float, high: float) -> list[float]:
    """At most about six multiples of 1, 2 or 5 times a power of ten within the bounds."""
    span = high - low
    if not span > 0 or not math.isfinite(span):
        return [low]
    power = 10.0 ** math.floor(math.log10(span / _TICKS))
    step = next(factor * power for factor in (1, 2, 5, 10) if span / (factor * power) <= _TICKS)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(number * step, 12) for number in range(first, last + 1)]


def line_chart(
    title: str,
    series: Sequence[Series],
    x_label: str,
    y_label: str,
    *,
    x_range: tuple[float, float] | None = None,
    y_range: tuple[float, float] | None = None,
    logarithmic: bool = False,
) -> str:
    """Lines with the range over seeds behind them.

    Args:
        title: Of the panel.
        series: Its lines.
        x_label: Under the horizontal axis.
        y_label: Beside the vertical axis.
        x_range: Ends of the horizontal axis; None takes the points'.
        y_range: Ends of the vertical axis; None takes zero, or the smallest on a logarithmic one, to the highest point.
        logarithmic: Powers of ten on the vertical axis; values not above zero are left out.
    """
    lines = [(one, [p for p in one.points if _drawable(p, logarithmic)]) for one in series]
    xs = [point.x for _, points in lines for point in points]
    ys = [y for _, points in lines for point in points for y in (point.low, point.high)]
    if not xs:
        return ""
    x_low, x_high = x_range or (min(xs), max(xs))
    y_low, y_high = y_range or (min(ys) if logarithmic else 0.0, max(ys))
    whole = x_label in WHOLE
    across = Scale(low=x_low, high=max(x_high, x_low + 1e-9), start=_LEFT, end=_WIDTH - _RIGHT, whole=whole)
    up = Scale(low=y_low, high=max(y_high, y_low + 1e-9), start=_HEIGHT - _BOTTOM, end=_TOP, logarithmic=logarithmic)
    parts = [_frame(across, up, x_label, y_label)]
    for one, points in lines:
        parts.append(_line(one, points, across, up))
    drawing = (
        f'<svg viewBox="0 0 {_WIDTH:g} {_HEIGHT:g}" role="img" aria-label="{escape(title)}">{"".join(parts)}</svg>'
    )
    return f'<figure class="panel"><figcaption>{escape(title)}</figcaption>{drawing}</figure>'


def _drawable(point: Point, logarithmic: bool) -> bool:
    return all(map(math.isfinite, point)) and (not logarithmic or point.low > 0)


def _frame(across: Scale, up: Scale, x_label: str, y_label: str) -> str:
    """Grid, numbers and names of the axes."""
    bottom = _HEIGHT - _BOTTOM
    parts = []
    for tick in up.ticks():
        y = up(tick)
        parts.append(f'<line class="grid" x1="{_LEFT:g}" x2="{_WIDTH - _RIGHT:g}" y1="{y}" y2="{y}"/>')
        parts.append(f'<text x="{_LEFT - 6:g}" y="{y + 3.5:g}" text-anchor="end">{_shown(tick)}</text>')
    for tick in across.ticks():
        parts.append(f'<text x="{across(tick)}" y="{bottom + 15:g}" text-anchor="middle">{_shown(tick)}</text>')
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    parts.append(f'<text x="{middle:g}" y="{_HEIGHT - 5:g}" text-anchor="middle">{escape(x_label)}</text>')
    place = f"translate(11 {(bottom + _TOP) / 2:g}) rotate(-90)"
    parts.append(f'<text transform="{place}" text-anchor="middle">{escape(y_label)}</text>')
    return "".join(parts)


def _line(one: Series, points: Sequence[Point], across: Scale, up: Scale) -> str:
    colour = look(one.place)
    path = " ".join(f"{across(point.x)},{up(point.y)}" for point in points)
    edge = [f"{across(p.x)},{up(p.high)}" for p in points] + [f"{across(p.x)},{up(p.low)}" for p in reversed(points)]
    # Points can be pointed at; a line of hundreds would only grow the file.
    dots = points if len(points) <= 60 else ()
    marks = "".join(
        f'<circle class="{colour}" cx="{across(p.x)}" cy="{up(p.y)}" r="2.6"><title>{escape(one.name)}: {_shown(p.y)} '
        f"({_shown(p.low)} – {_shown(p.high)}) at {_shown(p.x)}</title></circle>"
        for p in dots
    )
    band = f'<polygon class="band {colour}" points="{" ".join(edge)}"/>' if len(points) > 1 else ""
    return f'{band}<polyline class="line {colour}" points="{path}"/>{marks}'


def forest_plot(bars: Sequence[Bar], label: str, link: str) -> str:
    """Mean, interval and seeds of every system under each other, best on top.

    Args:
        bars: Best first.
        label: Under the axis.
        link: Prefix of the anchors that the names lead to.
    """
    left, width, row = 190.0, 860.0, 22.0
    height = row * len(bars) + 42
    known = [
        value for bar in bars for value in (bar.value, *bar.seeds, *([bar.high] if math.isfinite(bar.high) else []))
    ]
    across = Scale(low=0.0, high=max(max(known), 1e-9) * 1.02, start=left, end=width - 14)
    parts = []
    for tick in across.ticks():
        x = across(tick)
        parts.append(f'<line class="grid" x1="{x}" x2="{x}" y1="4" y2="{height - 34:g}"/>')
        parts.append(f'<text x="{x}" y="{height - 19:g}" text-anchor="middle">{_shown(tick)}</text>')
    parts.append(f'<text x="{(left + width) / 2:g}" y="{height - 4:g}" text-anchor="middle">{escape(label)}</text>')
    for place, bar in enumerate(bars):
        parts.append(_forest_row(bar, 16 + row * place, left, across, link))
    return f'<svg class="forest" viewBox="0 0 {width:g} {height:g}" role="img">{"".join(parts)}</svg>'


def _forest_row(bar: Bar, y: float, left: float, across: Scale, link: str) -> str:
    fade = " faded" if bar.faded else ""
    name = escape(bar.name)
    text = f'<text class="name{fade}" x="{left - 10:g}" y="{y + 4:g}" text-anchor="end">{name}</text>'
    text = f'<a href="#{link}{name}">{text}</a>'
    told = f"{name}: {bar.value:.2f}"
    whisker = ""
    if math.isfinite(bar.high):
        told += f" ({bar.low:.2f} – {bar.high:.2f})"
        whisker = f'<line class="whisker{fade}" x1="{across(bar.low)}" x2="{across(bar.high)}" y1="{y:g}" y2="{y:g}"/>'
    seeds = "".join(
        f'<line class="seed{fade}" x1="{across(value)}" x2="{across(value)}" y1="{y - 6:g}" y2="{y + 6:g}"/>'
        for value in bar.seeds
    )
    dot = f'<circle class="mean{fade}" cx="{across(bar.value)}" cy="{y:g}" r="4.5"/>'
    return f"<g><title>{told}</title>{text}{whisker}{seeds}{dot}</g>"


def look(place: int) -> str:
    """Classes of the style sheet for this line: where all colours are taken, they come again, dashed."""
    return f"c{place % COLOURS} d{place // COLOURS % DASHES}"


def legend(names: Sequence[str]) -> str:
    """Names beside the looks of their lines."""
    items = "".join(
        f'<span><i class="swatch {look(place)}"></i>{escape(name)}</span>' for place, name in enumerate(names)
    )
    return f'<p class="legend">{items}</p>'


def _shown(value: float) -> str:
    return f"{value:.3g}" if 1e-3 <= abs(value) < 1e5 or value == 0 else f"{value:.0e}"
