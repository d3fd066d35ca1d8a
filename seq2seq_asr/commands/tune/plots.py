"""Figures of a tuning: error rate over each setting, and how honest confidences are."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from seq2seq_asr.commands.tune.sweep import Sweeper
from seq2seq_asr.evaluation.calibration import ReliabilityBin
from seq2seq_asr.training.plots import BLUE, GREY, ORANGE


def sweep_figure(sweeper: Sweeper) -> Figure:
    """A panel for each setting that was swept: error rate with its interval over the values, all else alike."""
    names = list(sweeper.starts)
    figure = Figure(figsize=(3.4 * len(names), 3.2), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
        mine = sweeper.along(name)
        values = [getattr(trial.search, name) for trial in mine]
        rates = 100 * np.array([trial.rate for trial in mine])
        ends = [(t.interval.low, t.interval.high) if t.interval.known else (t.rate, t.rate) for t in mine]
        reach = np.maximum(np.abs(100 * np.array(ends).T - rates), 0.0)
        ticks = list(map(str, values))
        axes.errorbar(range(len(ticks)), rates, yerr=reach, fmt="o-", color=BLUE, ecolor=GREY, capsize=3)
        axes.set_xticks(range(len(ticks)), ticks)
        axes.set(xlabel=name, ylabel=f"{mine[0].criterion.name} (%)", ylim=(0, None))
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def reliability_figure(sides: Mapping[str, Sequence[ReliabilityBin]]) -> Figure:
    """Accuracy over confidence; on the diagonal, confidences mean what they say. Below: how many words there are."""
    figure = Figure(figsize=(4.2, 5.2), layout="constrained")
    FigureCanvasAgg(figure)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    above.plot([0, 1], [0, 1], "--", color=GREY, linewidth=1)
    for (label, bins), colour in zip(sides.items(), (ORANGE, BLUE), strict=True):
        filled = [one for one in bins if one.words]
        places = [one.confidence for one in filled]
        above.plot(places, [one.accuracy for one in filled], "o-", color=colour, label=label)
        below.plot([(one.low + one.high) / 2 for one in bins], [one.words for one in bins], "o-", color=colour)
    above.set(ylabel="share of right words", xlim=(0, 1), ylim=(0, 1.02))
    above.legend(frameon=False)
    below.set(xlabel="confidence", ylabel="words", yscale="symlog")
    return figure
