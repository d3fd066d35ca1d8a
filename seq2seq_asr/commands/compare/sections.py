"""The report's sections, each a piece of HTML, or nothing where there is nothing to show."""

from collections.abc import Mapping, Sequence
from html import escape

from seq2seq_asr.commands.compare.alignments import AttentionExample
from seq2seq_asr.commands.compare.budget import Measured
from seq2seq_asr.commands.compare.charts import Bar, forest_plot, legend
from seq2seq_asr.commands.compare.html_table import VERDICT, Cell, table
from seq2seq_asr.commands.compare.ranking import RankedSystem, Ranking
from seq2seq_asr.commands.compare.series import (
    by_length,
    curve,
    epochs,
    length_bins,
    minutes,
    panel_charts,
    panels,
    reach,
)
from seq2seq_asr.commands.compare.tables import cpu_minutes, mean, peak_bytes
from seq2seq_asr.commands.compare.words import (
    labels,
    measure_name,
    shown_interval,
    shown_rate,
    verdict_words,
)
from seq2seq_asr.evaluation.intervals import Interval


def ranking_section(ranking: Ranking) -> str:
    """Forest plot and table."""
    labelled = labels(ranking)
    bars = [_bar(one, labelled) for one in ranking.standings]
    note = "Dot: mean over seeds; line: 95 % interval; ticks: seeds; grey: significantly worse than the best."
    name = measure_name(ranking)
    heads = ["system", f"{name} %", "95 % interval", "seeds ±", "difference", "95 % interval", VERDICT]
    rows = [_ranking_row(one, labelled) for one in ranking.standings]
    return (
        "<h2>Ranking</h2>"
        + forest_plot(bars, f"{name} (%)", link="system-")
        + f'<p class="quiet">{note}</p>'
        + table(heads, rows)
    )


def _bar(one: RankedSystem, labelled: bool) -> Bar:
    turned = [100 * (1 - run.rate if labelled else run.rate) for run in one.runs]
    low, high = 100 * one.interval.low, 100 * one.interval.high
    if labelled and one.interval.known:
        low, high = 100 - high, 100 - low
    return Bar(
        name=one.system.name,
        value=shown_rate(one, labelled),
        low=low,
        high=high,
        seeds=turned if len(turned) > 1 else (),
        faded=one.verdict == "significantly worse",
    )


def _ranking_row(one: RankedSystem, labelled: bool) -> tuple[str, list[Cell]]:
    sign = -1 if labelled else 1
    difference = one.difference
    kind = {"best": "best", "significantly worse": "worse"}.get(one.verdict, "")
    return kind, [
        (one.system.name, one.system.name),
        (f"{shown_rate(one, labelled):.2f}", one.rate),
        (shown_interval(one.interval, labelled), one.interval.low),
        (f"{100 * one.spread:.2f}" if len(one.runs) > 1 else "–", one.spread),
        ("" if difference is None else f"{100 * sign * difference.difference + 0.0:+.2f}", one.rate),
        ("" if difference is None else _bounds(difference.interval, sign), one.rate),
        (verdict_words(one), one.p_value),
    ]


def _bounds(interval: Interval, sign: int) -> str:
    """The interval of a difference in percent."""
    if not interval.known:
        return "unknown"
    low, high = sorted((sign * interval.low, sign * interval.high))
    return f"{100 * low + 0.0:+.1f} – {100 * high + 0.0:+.1f}"


def curves_section(ranking: Ranking) -> str:
    """Validation error and loss, over epochs and over minutes."""
    found, names = panels(ranking)
    criterion = ranking.test.criterion
    parts = []
    for figure, label, factor in (
        (criterion.column, f"val {criterion.name} %", 100.0),
        ("val_loss", "val loss", 1.0),
        ("train_loss", "train loss", 1.0),
    ):
        for along, x_label in ((epochs, "epochs"), (minutes, "minutes of training")):
            if figure == "train_loss" and along is minutes:
                continue
            points = {one.system.name: curve(one, figure, along, factor) for one in ranking.standings}
            end, top = reach(points)
            y_range = (0.0, min(top, 130.0 if factor == 100 else float("inf")))
            if charts := panel_charts(found, points, label, x_label, label, x_range=(0.0, end), y_range=y_range):
                parts.append(f"<h3>{escape(label)} over {x_label}</h3>{charts}")
    if not parts:
        return ""
    return (
        f"<h2>Learning curves</h2>{legend(names)}<p class='quiet'>Line: mean over seeds; band: their range.</p>"
        + "".join(parts)
    )


def cost_section(ranking: Ranking, measured: Mapping[str, Measured], flops: Mapping[str, float]) -> str:
    """Parameters, operations, memory and time of every system."""
    heads = ["system", "parameters", "MFLOP / s of audio", "updates", "train minutes", "CPU minutes", "peak memory MB",
             "real-time factor"]  # fmt: skip
    rows = []
    for one in ranking.standings:
        factor = mean([run.real_time_factor for run in one.runs if run.real_time_factor])
        spent, cpu = mean([run.minutes for run in one.runs]), mean([cpu_minutes(run) for run in one.runs])
        parameters, peak = measured[one.system.name].parameters, max(peak_bytes(run) for run in one.runs)
        count = flops.get(one.system.name)
        cells: list[Cell] = [
            (one.system.name, one.system.name),
            (f"{parameters:,}", parameters),
            ("" if count is None else f"{count / 1e6:,.1f}", count or 0.0),
            (f"{one.runs[0].steps:,}", one.runs[0].steps),
            (f"{spent:.2f}", spent or 0.0),
            (f"{cpu:.2f}" if cpu else "", cpu or 0.0),
            (f"{peak / 2**20:,.0f}" if peak else "", peak),
            ("" if factor is None else f"{factor:.2g}", factor or 0.0),
        ]
        rows.append(("", cells))
    return "<h2>What it costs</h2><p class='quiet'>Means over seeds.</p>" + table(heads, rows)


def attention_section(looks: Sequence[AttentionExample], reference: str) -> str:
    """One utterance, seen by every system."""
    if not looks:
        return ""
    cards = []
    for seen in looks:
        picture = (
            f'<img alt="attention of {escape(seen.system)}" src="{seen.image}">'
            if seen.image
            else '<div class="none">no attention: one vector of fixed length</div>'
        )
        right = "" if seen.text == reference else " worse"
        cards.append(
            f"<figure><figcaption>{escape(seen.system)}, seed {seen.seed}</figcaption>{picture}"
            f'<p class="said{right}">{escape(seen.text) or "(nothing)"}</p></figure>'
        )
    return (
        "<h2>Where they look</h2>"
        f"<p class='quiet'>One utterance, “{escape(reference)}”, {looks[0].seconds:.1f} s from left to right, output "
        "tokens from top to bottom; a row's largest weight is brightest. Below: what a greedy search of its own "
        "recognised, with the seed that is named; the ranking's search may differ.</p>"
        f'<div class="looks">{"".join(cards)}</div>'
    )


def length_section(ranking: Ranking) -> str:
    """Error rate by the number of words, or characters, said."""
    bins = length_bins(ranking.test.lengths)
    if labels(ranking) or len(bins) < 2:
        return ""
    found, names = panels(ranking)
    points = {one.system.name: by_length(one, bins) for one in ranking.standings}
    x_range, y_range = (float(bins[0][0]), float(bins[-1][1])), (0.0, reach(points)[1])
    name, unit = measure_name(ranking), ranking.test.unit
    charts = panel_charts(found, points, name, f"{unit} said", f"{name} %", x_range=x_range, y_range=y_range)
    heads = ["system", *[f"{low}" if low == high else f"{low}–{high}" for low, high in bins]]
    rows: list[tuple[str, list[Cell]]] = [
        (
            "",
            [(one.system.name, one.system.name), *[(f"{p.y:.1f}", p.y) for p in points[one.system.name]]],
        )
        for one in ranking.standings
    ]
    return (
        f"<h2>{name} by length</h2>{legend(names)}{charts}"
        f"<details><summary class='quiet'>As a table ({name} % by {unit} said)</summary>"
        f"{table([*heads], rows)}</details>"
    )
