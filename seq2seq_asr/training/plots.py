"""Figures of a run: attention over time, learning curves, and what a classifier confuses.

Figures are made without pyplot: no global state, no window, safe from any thread or process.
"""

import math
import textwrap
import unicodedata
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np
from jaxtyping import Real
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, fontManager, get_font
from matplotlib.text import Text
from matplotlib.ticker import MaxNLocator

from seq2seq_asr.training.criterion import WER, Criterion
from seq2seq_asr.whole_file import replacing

BLUE: Final = "#1f5fa8"
ORANGE: Final = "#d9722e"
GREY: Final = "#5f6670"
_LONGEST_LABEL: Final = 18
_MOST_LABELS: Final = 80
_MOST_NUMBERED: Final = 40
_CHARACTERS_PER_INCH: Final = 11
_TITLE_LINES: Final = 3
# DejaVu comes with matplotlib; the others are usual fonts of Linux, macOS and Windows for Han, kana and Hangul.
_FONTS: Final = (
    "DejaVu Sans",
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",
    "Noto Sans SC",
    "Source Han Sans SC",
    "WenQuanYi Micro Hei",
    "WenQuanYi Zen Hei",
    "Droid Sans Fallback",
    "IPAGothic",
    "Hiragino Sans",
    "Arial Unicode MS",
    "Microsoft YaHei",
    "Malgun Gothic",
)


def attention_figure(
    alignment: Real[np.ndarray, "U S"], pieces: Sequence[str], seconds_per_frame: float, title: str = ""
) -> Figure:
    r"""Attention of every token over time: tokens from top to bottom, as text is read, seconds from left to right.

    Characters that no font on the machine can draw are shown by their code point, such as ``\u4f60``.

    Args:
        alignment: Attention weights of each token over the encoded frames.
        pieces: The tokens' pieces, one a row; may be empty.
        seconds_per_frame: Duration of one encoded frame.
        title: Heading, such as what was said; it may have several lines.

    Raises:
        ValueError: There is not one piece for each row.
    """
    rows, frames = alignment.shape
    if len(pieces) != rows:
        raise ValueError(f"{len(pieces)} pieces for an alignment of {rows} tokens")
    seconds = max(frames, 1) * seconds_per_frame
    figure, (axes,) = _figure(
        width=min(16.0, max(6.0, 3.5 + 0.8 * seconds)), height=min(14.0, max(2.6, 1.4 + 0.2 * rows))
    )
    _heading(axes, figure, title)
    axes.set_xlabel("time (s)")
    if alignment.size == 0:
        axes.set(xlim=(0, seconds), yticks=[])
        axes.text(0.5, 0.5, "no tokens", transform=axes.transAxes, ha="center", va="center", color=GREY)
        return figure
    weights = np.nan_to_num(alignment.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    image = axes.imshow(
        weights,
        aspect="auto",
        cmap="Blues",
        interpolation="nearest",
        vmin=0.0,
        vmax=max(float(weights.max()), 1e-6),
        extent=(0.0, seconds, rows - 0.5, -0.5),
    )
    _label_rows(axes, pieces)
    bar = figure.colorbar(image, ax=axes, label="attention weight", pad=0.015, fraction=0.04, aspect=30)
    bar.outline.set_visible(False)
    return figure


def learning_curves_figure(rows: Sequence[Mapping[str, Any]], criterion: Criterion = WER) -> Figure:
    """Losses on the left and error rate or accuracy on the right, over epochs; the best epoch is marked.

    Args:
        rows: Rows of ``metrics.csv``: ``epoch`` with any of ``train_loss``, ``val_loss`` and the criterion's
            column (a fraction), as numbers or text. What is missing or blank is left out; of several values in one
            epoch the last counts.
        criterion: What stands on the right.
    """
    figure, (losses, errors) = _figure(width=10.0, height=3.8, columns=2)
    for key, label, colour in (("train_loss", "training", ORANGE), ("val_loss", "validation", BLUE)):
        _curve(losses, _by_epoch(rows, key), colour, label)
    rates = {epoch: 100 * rate for epoch, rate in _by_epoch(rows, criterion.column).items()}
    _curve(errors, rates, BLUE, "validation")
    sign = -1 if criterion.more_is_better else 1
    best = min(rates, key=lambda epoch: sign * rates[epoch]) if rates else None
    if best is not None:
        errors.plot([best], [rates[best]], "o", markersize=9, markerfacecolor="none", markeredgecolor=ORANGE, zorder=3)
        errors.set_ylim(bottom=0)
    _heading(losses, figure, "Loss")
    summary = "" if best is None else f", best {rates[best]:.2f} in epoch {best:g}"
    _heading(errors, figure, f"Validation {criterion.name} (%){summary}")
    if losses.lines:
        losses.legend(frameon=False)
    for axes in (losses, errors):
        axes.set_xlabel("epoch")
        axes.grid(axis="y", color="#e3e5e8")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure


def confusion_figure(matrix: Real[np.ndarray, "classes classes"], names: Sequence[str]) -> Figure:
    """Share of each true class (row) that was taken for each class (column); numbers are utterances.

    Args:
        matrix: Utterances by true and predicted class.
        names: The classes.
    """
    count = len(names)
    figure, (axes,) = _figure(width=min(24.0, 3.5 + 0.42 * count), height=min(22.0, 2.8 + 0.36 * count))
    shares = matrix / np.maximum(1, matrix.sum(axis=1, keepdims=True))
    axes.imshow(shares, aspect="auto", cmap="Blues", interpolation="nearest", vmin=0.0, vmax=1.0)
    _heading(axes, figure, f"{int(np.trace(matrix))} of {int(matrix.sum())} right")
    axes.set(xlabel="predicted", ylabel="true")
    _label_rows(axes, names)
    _label_columns(axes, names)
    if count <= _MOST_NUMBERED:
        for row, column in np.argwhere(matrix):
            colour = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, str(matrix[row, column]), ha="center", va="center", fontsize=8, color=colour)
    return figure


def health_figure(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Attention health over epochs: mass on the diagonal beside what uniform weights have, and the other shares.

    Args:
        rows: Rows of ``metrics.csv``, as for `learning_curves_figure`.
    """
    figure, (diagonal, others) = _figure(width=10.0, height=3.8, columns=2)
    _curve(diagonal, _by_epoch(rows, "attention_diagonal"), BLUE, "attention")
    uniform = _by_epoch(rows, "attention_diagonal_uniform")
    diagonal.plot(list(uniform), list(uniform.values()), "--", color=GREY, label="uniform weights")
    for name, label, colour in (
        ("attention_monotonicity", "monotonic steps", BLUE),
        ("attention_coverage", "frames covered", ORANGE),
        ("attention_focus", "largest weight", "#3a8f5c"),
        ("attention_entropy_share", "entropy / log S", GREY),
    ):
        _curve(others, _by_epoch(rows, name), colour, label)
    _heading(diagonal, figure, "Attention within the diagonal band")
    _heading(others, figure, "Shares, 0 to 1")
    for axes in (diagonal, others):
        axes.set(xlabel="epoch", ylim=(-0.02, 1.05))
        axes.grid(axis="y", color="#e3e5e8")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.legend(frameon=False)
    return figure


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as PNG; the file appears whole or not at all.

    Raises:
        OSError: The folder is missing or cannot be written.
    """
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=140)


def _figure(width: float, height: float, columns: int = 1) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    panels: list[Axes] = list(figure.subplots(1, columns, squeeze=False)[0])
    for axes in panels:
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[["left", "bottom"]].set_color(GREY)
        axes.tick_params(colors=GREY, labelcolor="black")
    return figure, panels


def _heading(axes: Axes, figure: Figure, title: str) -> None:
    columns = int(_CHARACTERS_PER_INCH * figure.get_figwidth() / len(figure.axes))
    lines = [
        line
        for part in title.split("\n")
        for line in textwrap.wrap(literal(part), columns, max_lines=_TITLE_LINES, placeholder=" …")
    ]
    show_literally(axes.set_title("\n".join(lines), loc="left", fontsize=11))


def _label_rows(axes: Axes, pieces: Sequence[str]) -> None:
    shown, short = _labels(pieces)
    axes.set_yticks(shown, labels=short, fontsize=9)
    axes.tick_params(axis="y", length=0)
    for label in axes.get_yticklabels():
        show_literally(label)


def _label_columns(axes: Axes, names: Sequence[str]) -> None:
    shown, short = _labels(names)
    axes.set_xticks(shown, labels=short, fontsize=9, rotation=90)
    axes.tick_params(axis="x", length=0)
    for label in axes.get_xticklabels():
        show_literally(label)


def _labels(texts: Sequence[str]) -> tuple[list[int], list[str]]:
    """Places that get a label, and the labels, cut where they are long."""
    shown = list(range(0, len(texts), math.ceil(len(texts) / _MOST_LABELS)))
    labels = [literal(texts[place]) for place in shown]
    return shown, [text if len(text) <= _LONGEST_LABEL else text[: _LONGEST_LABEL - 1] + "…" for text in labels]


def show_literally(text: Text) -> None:
    """A dollar sign starts no formula, and every character finds its font."""
    text.set_parse_math(False)
    text.set_fontfamily([name for name, _ in _fonts()])


def literal(content: str) -> str:
    """The text with each character that no font can draw written as its code point: drawing it would warn."""
    return "".join(char if _drawable(char) else ascii(char)[1:-1] for char in content)


def _drawable(char: str) -> bool:
    return unicodedata.category(char)[0] != "C" and any(font.get_char_index(ord(char)) for _, font in _fonts())


@cache
def _fonts() -> tuple[tuple[str, Any], ...]:
    """The fonts of ``_FONTS`` that are installed, opened."""
    known = {entry.name for entry in fontManager.ttflist}
    return tuple((name, get_font(fontManager.findfont(FontProperties(name)))) for name in _FONTS if name in known)


def _by_epoch(rows: Sequence[Mapping[str, Any]], key: str) -> dict[float, float]:
    """Values by epochs done, which the rows count from 0: after the first it is 1, as in the log."""
    points: dict[float, float] = {}
    for row in rows:
        epoch, value = row.get("epoch"), row.get(key)
        if epoch in (None, "") or value in (None, ""):
            continue
        if math.isfinite(float(value)):
            points[float(epoch) + 1] = float(value)
    return dict(sorted(points.items()))


def _curve(axes: Axes, points: Mapping[float, float], colour: str, label: str) -> None:
    if points:
        axes.plot(list(points), list(points.values()), "o-", color=colour, label=label, linewidth=1.8, markersize=3.5)
