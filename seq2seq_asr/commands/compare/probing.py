"""Sections of the report on what probes have found: gradient flow and attention health."""

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any, Final

import numpy as np

from seq2seq_asr.commands.compare.charts import Point, legend
from seq2seq_asr.commands.compare.html_table import Cell, table
from seq2seq_asr.commands.compare.ranking import RankedSystem, Ranking
from seq2seq_asr.commands.compare.series import curve, epochs, panel_charts, panels, reach
from seq2seq_asr.commands.compare.stages import PROBED, read_flow
from seq2seq_asr.commands.compare.tables import mean
from seq2seq_asr.training.run_folder import CheckpointChoice

FLOOR: Final = 1e-6
"""Gradient norms below are drawn here: nothing is learnt from them."""
WEIGHTS: Final = {"init": "at initialisation", "trained": "after training"}
_HEALTH: Final = {
    "attention_monotonicity": "monotonicity",
    "attention_coverage": "coverage",
    "attention_entropy": "entropy",
    "attention_diagonal": "diagonal mass",
}
_MARGIN: Final = 0.05


def gradients_section(ranking: Ranking, checkpoint: CheckpointChoice) -> str:
    """How far back in time the gradient of every system reaches, where that was probed with this checkpoint."""
    found = {
        (one.system.name, weights): [
            layers for run in one.runs if (layers := read_flow(_probed(run.run.path, weights), checkpoint))
        ]
        for one in ranking.standings
        for weights in WEIGHTS
    }
    if not any(found.values()):
        return ""
    parts = [
        "<h2>How far the gradient reaches</h2>"
        "<p class='quiet'>Norm of the gradient of an output at a time T, with respect to the recurrent state at an "
        "earlier time t, over T − t; 1 at distance 0. Falling to nothing it has vanished, rising it explodes. "
        "Geometric mean over utterances, then over seeds; band: range over seeds.</p>"
    ]
    groups, names = panels(ranking)
    parts.append(legend(names))
    for layer in layer_names(list(found.values())):
        for weights, told in WEIGHTS.items():
            points = {one.system.name: _flow(found[one.system.name, weights], layer) for one in ranking.standings}
            unit = "tokens" if layer.startswith("decoder") else "seconds"
            y_range = (FLOOR, max(2.0, reach(points)[1]))
            if charts := panel_charts(
                groups, points, layer, f"T − t ({unit})", "norm", y_range=y_range, logarithmic=True
            ):
                parts.append(f"<h3>{escape(layer)}, {told}</h3>{charts}")
    return "".join(parts) + _gradient_table(ranking, found)


def layer_names(found: Sequence[Sequence[Sequence[dict[str, Any]]]]) -> list[str]:
    """The first encoder layer, which has the most steps, and the first decoder layer, where there are any."""
    names = {layer["name"] for runs in found for layers in runs for layer in layers}
    first = [min((name for name in names if name.startswith(part)), default="") for part in ("encoder", "decoder")]
    return [name for name in first if name]


def _probed(run: Path, weights: str) -> Path:
    return (run / PROBED).with_name(f"gradients_{weights}.json")


def _layer(layers: Sequence[dict[str, Any]], name: str) -> dict[str, Any] | None:
    return next((layer for layer in layers if layer["name"] == name), None)


def _flow(runs: Sequence[Sequence[dict[str, Any]]], name: str) -> list[Point]:
    """Mean over seeds at every distance that all of them have."""
    layers = [layer for one in runs if (layer := _layer(one, name)) is not None]
    if not layers:
        return []
    points = []
    shortest = min(len(layer["distance"]) for layer in layers)
    for place, distance in enumerate(layers[0]["distance"][:shortest]):
        norms = [max(FLOOR, layer["norm"][place]) for layer in layers]
        middle = float(np.exp(np.mean(np.log(norms))))
        points.append(Point(distance * (layers[0]["seconds_per_step"] or 1.0), middle, min(norms), max(norms)))
    return points


def _gradient_table(ranking: Ranking, found: dict[tuple[str, str], list[Any]]) -> str:
    """Figures of the first encoder layer after training."""
    names = layer_names(list(found.values()))
    heads = ["system", "seconds to 10 %", "seconds to 1 %", "spectral radius, fresh", "spectral radius, trained",
             "saturated gates %", "clipped steps %"]  # fmt: skip
    rows = []
    for one in ranking.standings:
        fresh = [layer for runs in found[one.system.name, "init"] if (layer := _layer(runs, names[0]))]
        trained = [layer for runs in found[one.system.name, "trained"] if (layer := _layer(runs, names[0]))]
        figures = [
            _reach(trained, "steps_to_10_percent"),
            _reach(trained, "steps_to_1_percent"),
            mean([max(layer["spectral_radius"].values()) for layer in fresh if layer["spectral_radius"]]),
            mean([max(layer["spectral_radius"].values()) for layer in trained if layer["spectral_radius"]]),
            mean([100 * gate["saturated"] for layer in trained for gate in layer["gates"].values()]),
            clipped(one),
        ]
        cells: list[Cell] = [(one.system.name, one.system.name)]
        cells += [("–" if value is None else f"{value:.3g}", -1.0 if value is None else value) for value in figures]
        rows.append(("", cells))
    note = f"{names[0]}; spectral radius: the largest of a gate's block of the recurrent matrix; – is never, or none."
    return table(heads, rows) + f"<p class='quiet'>{escape(note)}</p>"


def _reach(layers: Sequence[dict[str, Any]], key: str) -> float | None:
    """Mean distance in seconds, where the norm falls so far in every run."""
    if not layers or any(layer[key] is None for layer in layers):
        return None
    return mean([layer[key] * (layer["seconds_per_step"] or 1.0) for layer in layers])


def clipped(one: RankedSystem) -> float | None:
    """Percent of all updates whose gradient was clipped, where that was logged."""
    shares = [float(row["clipped_share"]) for run in one.runs for row in run.curve if row.get("clipped_share")]
    return None if not shares else 100 * sum(shares) / len(shares)


def health_section(ranking: Ranking) -> str:
    """How alignments formed over the epochs, where that was logged."""
    parts = []
    groups, names = panels(ranking)
    for figure, told in _HEALTH.items():
        points = {one.system.name: curve(one, figure, epochs) for one in ranking.standings}
        end, top = reach(points)
        y_range = (0.0, top * (1 + _MARGIN))
        if charts := panel_charts(groups, points, told, "epochs", told, x_range=(0.0, end), y_range=y_range):
            parts.append(f"<h3>{told}</h3>{charts}")
    if not parts:
        return ""
    return (
        "<h2>How attention forms</h2><p class='quiet'>Means over the validation utterances, teacher forced. Diagonal "
        "mass: weight near the straight line from the first frame to the last.</p>" + legend(names) + "".join(parts)
    )
