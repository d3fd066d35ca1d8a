"""The figure of gradient flow: one curve a layer, fresh and trained."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from seq2seq_asr.training.plots import BLUE, GREY, ORANGE

COLOURS: Final = (BLUE, ORANGE, "#3a8f5c", "#8458a6", "#b0324b", "#7a6a2f")
FLOOR: Final = 1e-8
"""Norms below are not drawn: nothing is learnt from them."""


def gradients_figure(results: Mapping[Any, Mapping[str, Any]]) -> Figure:
    """Log norm over the distance: encoder layers in seconds, the same in steps, and the decoder in tokens.

    Args:
        results: What ``summary`` describes, by weights: ``init`` is dashed, ``trained`` solid.
    """
    figure = Figure(figsize=(13.0, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    decodes = any(layer["seconds_per_step"] is None for result in results.values() for layer in result["layers"])
    seconds, steps, *tokens = figure.subplots(1, 3 if decodes else 2, sharey=True)
    for weights, result in results.items():
        encoder = [layer for layer in result["layers"] if layer["seconds_per_step"] is not None]
        decoder = [layer for layer in result["layers"] if layer["seconds_per_step"] is None]
        dashed = weights == "init"
        _curves(seconds, encoder, [layer["seconds_per_step"] for layer in encoder], dashed)
        _curves(steps, encoder, [1.0] * len(encoder), dashed)
        for axes in tokens:
            _curves(axes, decoder, [1.0] * len(decoder), dashed)
    seconds.set_ylabel("norm of v ∂h(T) / ∂s(t)")
    labels = ("T − t (s)", "T − t (steps of the layer)", "T − t (tokens)")
    for axes, label in zip((seconds, steps, *tokens), labels, strict=False):
        _finish(axes, label)
    seconds.set_ylim(_lowest(results), None)
    run = next(iter(results.values()))["run"]
    figure.suptitle(f"Gradient flow of {run}: dashed at initialisation, solid after training", x=0.01, ha="left")
    return figure


def _curves(axes: Axes, layers: Sequence[Mapping[str, Any]], scales: Sequence[float], dashed: bool) -> None:
    for place, (layer, scale) in enumerate(zip(layers, scales, strict=True)):
        colour = COLOURS[place % len(COLOURS)]
        where = [scale * distance for distance in layer["distance"]]
        label = None if dashed else f"{layer['name']} ({layer['cell']})"
        norms = [max(FLOOR / 10, value) for value in layer["norm"]]
        axes.plot(where, norms, "--" if dashed else "-", color=colour, label=label, linewidth=1.6)
        if not dashed:
            low = [max(FLOOR / 10, value) for value in layer["low"]]
            axes.fill_between(where, low, layer["high"], color=colour, alpha=0.12, linewidth=0)


def _finish(axes: Axes, label: str) -> None:
    axes.set_yscale("log")
    axes.set_xlabel(label)
    axes.grid(color="#e3e5e8", linewidth=0.6)
    axes.axhline(0.01, color=GREY, linewidth=0.8, linestyle=":")
    axes.spines[["top", "right"]].set_visible(False)
    if axes.lines and any(not str(line.get_label()).startswith("_") for line in axes.lines):
        axes.legend(frameon=False, fontsize=9)


def _lowest(results: Mapping[Any, Mapping[str, Any]]) -> float:
    smallest = min(min(layer["norm"]) for result in results.values() for layer in result["layers"])
    return max(FLOOR, 0.5 * smallest)
