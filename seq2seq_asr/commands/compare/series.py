"""Lines of the charts, learning curves and error rates by length, means over seeds; a chart a panel."""

from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np
from jaxtyping import Float

from seq2seq_asr.commands.compare.charts import Point, Series, line_chart
from seq2seq_asr.commands.compare.ranking import RankedSystem, Ranking
from seq2seq_asr.commands.compare.results import RunResult

BINS: Final = 6
"""Groups of reference lengths, at most."""


class Panel(NamedTuple):
    """Systems that share a chart."""

    title: str
    members: Sequence[tuple[int, str, RankedSystem]]
    """Place in the legend, name within the panel, and system."""


def panels(ranking: Ranking) -> tuple[list[Panel], list[str]]:
    """Systems by panel, and the names of the legend.

    The first axis gives the look of a line, all others together the panel; a comparison along one axis has one panel.
    """
    standings = ranking.standings
    order: list[str] = []
    grouped: dict[str, list[tuple[int, str, RankedSystem]]] = {}
    for one in sorted(standings, key=lambda one: ranking.order.index(one.system.name)):
        values = list(one.system.place.values()) or [one.system.name]
        if values[0] not in order:
            order.append(values[0])
        title = ", ".join(values[1:])
        grouped.setdefault(title, []).append((order.index(values[0]), values[0], one))
    return [Panel(title, members) for title, members in grouped.items()], order


def curve(
    one: RankedSystem, figure: str, along: Callable[[RunResult], Sequence[float]], factor: float = 1.0
) -> list[Point]:
    """A figure of metrics.csv over epochs or minutes, mean over seeds, where all of them have it.

    Args:
        one: The system.
        figure: Column.
        along: The horizontal place of every row of a run.
        factor: Multiplies the figure, such as 100 for percent.
    """
    found: dict[int, list[tuple[float, float]]] = {}
    for run in one.runs:
        for row, x in zip(run.curve, along(run), strict=True):
            if row.get(figure):
                found.setdefault(int(row["epoch"]), []).append((x, factor * float(row[figure])))
    points = []
    for _, pairs in sorted(found.items()):
        if len(pairs) == len(one.runs):
            xs, ys = zip(*pairs, strict=True)
            points.append(Point(float(np.mean(xs)), float(np.mean(ys)), min(ys), max(ys)))
    return points


def epochs(run: RunResult) -> list[float]:
    """Epochs done after every row."""
    return [float(row["epoch"]) + 1 for row in run.curve]


def minutes(run: RunResult) -> list[float]:
    """Minutes spent after every row."""
    return (np.cumsum([float(row["seconds"] or 0) for row in run.curve]) / 60).tolist()


def length_bins(lengths: Float[np.ndarray, " B"]) -> list[tuple[int, int]]:
    """Ranges of reference lengths, ends included: each length alone where they are few, else about equally filled."""
    ordered = sorted(int(one) for one in lengths if one > 0)
    distinct = sorted(set(ordered))
    if len(distinct) <= BINS:
        return [(one, one) for one in distinct]
    edges = sorted({ordered[len(ordered) * part // BINS] for part in range(1, BINS)})
    starts = [distinct[0], *[edge for edge in edges if edge > distinct[0]]]
    ends = [*[start - 1 for start in starts[1:]], distinct[-1]]
    return list(zip(starts, ends, strict=True))


def by_length(one: RankedSystem, bins: Sequence[tuple[int, int]]) -> list[Point]:
    """Error rate (percent) of each range of reference lengths, mean over seeds."""
    lengths = one.runs[0].test.lengths
    points = []
    for low, high in bins:
        inside = (lengths >= low) & (lengths <= high)
        rates = [100 * float(run.errors[inside].sum() / lengths[inside].sum()) for run in one.runs]
        points.append(Point((low + high) / 2, float(np.mean(rates)), min(rates), max(rates)))
    return points


def reach(points: Mapping[str, Sequence[Point]]) -> tuple[float, float]:
    """How far all lines go, to the right and, seeds included, up; 0 without points."""
    every = [point for some in points.values() for point in some]
    return max((point.x for point in every), default=0.0), max((point.high for point in every), default=0.0)


def panel_charts(
    found: Sequence[Panel],
    points: Mapping[str, Sequence[Point]],
    title: str,
    x_label: str,
    y_label: str,
    *,
    x_range: tuple[float, float] | None = None,
    y_range: tuple[float, float],
    logarithmic: bool = False,
) -> str:
    """A `line_chart` for each panel, on the same axes, named `title` where it has no title; empty without points."""
    if not any(points.values()):
        return ""
    charts = []
    for panel in found:
        lines = [Series(name=name, place=place, points=points[one.system.name]) for place, name, one in panel.members]
        own = panel.title or title
        charts.append(
            line_chart(own, lines, x_label, y_label, x_range=x_range, y_range=y_range, logarithmic=logarithmic)
        )
    return f'<div class="panels">{"".join(charts)}</div>'
