"""The figure of a comparison: every pair's difference with its interval, and zero."""

from collections.abc import Sequence
from typing import Final

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from seq2seq_asr.commands.significance.pairs import Pair
from seq2seq_asr.evaluation.layout import display_width
from seq2seq_asr.training.plots import BLUE, GREY, literal, show_literally

MOST: Final = 100
"""Pairs that are drawn: those that differ most."""
LONGEST: Final = 32
"""Columns of a name that are shown."""
_COLOURS: Final = {"significant": BLUE, "not significant": GREY, "cannot be told": GREY}


def differences_figure(pairs: Sequence[Pair], rate: str) -> Figure:
    """Differences under each other, in points; filled where significant, without a whisker where its end is unknown.

    Args:
        pairs: Tested pairs; of more than `MOST` those with the largest differences.
        rate: Name of the error rate.
    """
    if len(pairs) > MOST:
        pairs = sorted(pairs, key=lambda pair: -abs(pair.student.difference))[:MOST]
    figure = Figure(figsize=(8.0, 1.4 + 0.36 * len(pairs)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.axvline(0.0, color="black", linewidth=1)
    for row, pair in enumerate(pairs):
        interval, colour = pair.student.interval, _COLOURS[pair.verdict]
        if interval.known:
            axes.plot([100 * interval.low, 100 * interval.high], [row, row], color=colour, linewidth=1.8)
        fill = colour if pair.verdict == "significant" else "white"
        axes.plot(100 * pair.student.difference, row, "o", color=colour, markerfacecolor=fill, markersize=6)
    labels = [f"{_cut(literal(pair.second.name))} – {_cut(literal(pair.first.name))}" for pair in pairs]
    axes.set_yticks(range(len(pairs)), labels, fontsize=9)
    for label in axes.get_yticklabels():
        show_literally(label)
    axes.set(
        xlabel=f"difference of {rate} in points, 95 % interval (filled: significant)", ylim=(len(pairs) - 0.4, -0.6)
    )
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", color="#e3e5e8")
    axes.set_axisbelow(True)
    return figure


def _cut(name: str) -> str:
    """The end of a long name, which is where names differ."""
    if display_width(name) <= LONGEST:
        return name
    while display_width(name) >= LONGEST:
        name = name[1:]
    return f"…{name}"
