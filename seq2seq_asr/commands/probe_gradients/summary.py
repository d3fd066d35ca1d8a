"""The figures of a probed model: what ``gradients_init.json`` and ``gradients_trained.json`` hold.

Each file is one object:

    {"format": 1,
     "weights": "init" or "trained",
     "run": "an4_seed1", "checkpoint": "best.ckpt" (null for init), "seed": 1 (of the fresh weights),
     "utterances": ["id", ...], "probes": 8,
     "layers": [
       {"name": "encoder 1" (both directions together) or "decoder 1", "cell": "lstm", "units": 192,
        "seconds_per_step": 0.02 (null in the decoder, whose steps are tokens),
        "distance": [0, 1, 2, ...]      steps T - t,
        "norm":     [1.0, 0.37, ...]    geometric mean, over probes and utterances, of the norm of v dh_T/ds_t,
        "low": [...], "high": [...]     10th and 90th percentile of the same norms,
        "samples":  [128, 128, ...]     how many norms there are,
        "steps_to_10_percent": 5, "steps_to_1_percent": 23   first distance with a norm below; null if none is,
        "gates": {"forget": {"squashing": "sigmoid", "low": 0.02, "high": 0.31, "saturated": 0.33}, ...},
        "spectral_radius": {"forget": 0.9, ...}   of each gate's block of the recurrent matrix, the larger direction},
       ...],
     "clipping": null for init, otherwise
       {"clip_norm": 5.0,
        "epochs": [{"epoch": 0, "gradient_norm": 6.6, "clipped_share": 0.41 (null in runs that did not log it)}, ...]}}

h_T is the output at the step T, s_t all that the recurrence carries at t (an LSTM's memory too), v a random unit
vector: the norm is 1 at distance 0, and its root mean square is the Jacobian's Frobenius norm over the square root of
the units.
Gates: sigmoid low below 0.05 and high above 0.95, tanh low below -0.95 and high above 0.95, relu low at 0.
``gradients.csv`` has the same norms, a row for each of weights, layer and distance.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from seq2seq_asr.nn.flow import LayerFlow, by_layer

FORMAT = 1
FEWEST = 0.25
"""Distances with less than this share of all samples are left out: few utterances are that long."""
SMALLEST = 1e-300
"""What a norm of exactly zero counts as in a geometric mean."""


def layer_summary(flows: Sequence[LayerFlow], seconds_per_step: float | None) -> dict[str, Any]:
    """One layer over all utterances and both directions, as plain values.

    Args:
        flows: Of one layer.
        seconds_per_step: Duration of a step; None where steps are tokens.
    """
    norms = _stacked(flows)
    samples = np.isfinite(norms).sum(axis=0)
    norms = norms[:, samples >= max(1.0, FEWEST * samples[0])]
    low, high = np.nanpercentile(norms, (10, 90), axis=0)
    mean = np.exp(np.nanmean(np.log(np.maximum(norms, SMALLEST)), axis=0))
    return {
        "name": flows[0].name,
        "cell": flows[0].cell,
        "units": flows[0].units,
        "seconds_per_step": seconds_per_step,
        "distance": list(range(norms.shape[1])),
        "norm": _rounded(mean),
        "low": _rounded(low),
        "high": _rounded(high),
        "samples": samples[: norms.shape[1]].tolist(),
        "steps_to_10_percent": first_below(mean, 0.1),
        "steps_to_1_percent": first_below(mean, 0.01),
        "gates": {name: _gate_summary(flows, name) for name in flows[0].gates},
        "spectral_radius": {name: round(max(flow.radii[name] for flow in flows), 4) for name in flows[0].radii},
    }


def model_summary(flows: Sequence[LayerFlow], seconds: Mapping[str, float | None]) -> list[dict[str, Any]]:
    """All layers; ``seconds`` gives each one's duration of a step."""
    return [layer_summary(own, seconds[name]) for name, own in by_layer(flows)]


def first_below(values: Float[np.ndarray, " D"], limit: float) -> int | None:
    """The first distance whose value is below the limit."""
    below = np.flatnonzero(values < limit)
    return int(below[0]) if len(below) else None


def clipping_summary(rows: Sequence[Mapping[str, str]], clip_norm: float) -> dict[str, Any]:
    """Gradient norms and clipping events, from the rows of ``metrics.csv``."""
    epochs = [
        {
            "epoch": int(row["epoch"]),
            "gradient_norm": _number(row.get("gradient_norm")),
            "clipped_share": _number(row.get("clipped_share")),
        }
        for row in rows
    ]
    return {"clip_norm": clip_norm, "epochs": epochs}


def clipping_line(clipping: Mapping[str, Any]) -> str:
    """How often training has clipped its gradient, in words."""
    epochs, limit = clipping["epochs"], clipping["clip_norm"]
    if not epochs:
        return "clipping: metrics.csv has no epoch"
    first, last = (epoch["gradient_norm"] for epoch in (epochs[0], epochs[-1]))
    norms = f"mean norm {_shown(first)} in the first epoch, {_shown(last)} in the last"
    shares = [epoch["clipped_share"] for epoch in epochs if epoch["clipped_share"] is not None]
    if not shares:
        return f"clipping above {limit:g}: not logged by this run; {norms}"
    told = f"{100 * shares[0]:.0f} % of the steps of the first epoch, {100 * float(np.mean(shares)):.1f} % of all"
    return f"clipping above {limit:g}: {told}; {norms}"


def csv_rows(summaries: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """A row for each of weights, layer and distance."""
    return [
        {
            "weights": weights,
            "layer": layer["name"],
            "cell": layer["cell"],
            "distance": distance,
            "seconds": "" if layer["seconds_per_step"] is None else round(distance * layer["seconds_per_step"], 4),
            "norm": norm,
            "low": low,
            "high": high,
            "samples": samples,
        }
        for weights, layers in summaries.items()
        for layer in layers
        for distance, norm, low, high, samples in zip(
            *(layer[name] for name in ("distance", "norm", "low", "high", "samples")), strict=True
        )
    ]


def lines(layer: Mapping[str, Any]) -> list[str]:
    """What one reads of a layer."""
    gates = [
        f"{name} {100 * gate['saturated']:.0f} % ({100 * gate['low']:.0f} low, {100 * gate['high']:.0f} high)"
        for name, gate in layer["gates"].items()
    ]
    radii = [f"{name} {radius:.2f}" for name, radius in layer["spectral_radius"].items()]
    return [
        f"the gradient {fall(layer)}",
        f"saturated gates: {', '.join(gates)}",
        f"spectral radius of the recurrent matrix: {', '.join(radii)}",
    ]


def fall(layer: Mapping[str, Any]) -> str:
    """How the gradient fades, or grows, in words."""
    last, norms = layer["distance"][-1], layer["norm"]
    largest = max(norms)
    grown = f"grows to {largest:.3g} times at {place(layer, norms.index(largest))} and " if largest > 1.5 else ""
    for percent in (1, 10):
        steps = layer[f"steps_to_{percent}_percent"]
        if steps is not None:
            return f"{grown}falls to {percent} % after {place(layer, steps)}"
    return f"{grown}is still {100 * norms[-1]:.0f} % after {place(layer, last)}"


def place(layer: Mapping[str, Any], steps: int) -> str:
    """A distance in steps, and in seconds where steps are frames."""
    seconds = layer["seconds_per_step"]
    return f"{steps} tokens" if seconds is None else f"{steps} steps ({steps * seconds:.2f} s)"


def _stacked(flows: Sequence[LayerFlow]) -> Float[np.ndarray, "N D"]:
    longest = max(flow.norms.shape[1] for flow in flows)
    rows = [flow.norms.numpy() for flow in flows]
    return np.concatenate([np.pad(row, ((0, 0), (0, longest - row.shape[1])), constant_values=np.nan) for row in rows])


def _gate_summary(flows: Sequence[LayerFlow], name: str) -> dict[str, Any]:
    """Shares over all steps of all utterances."""
    steps = np.array([flow.frames for flow in flows], dtype=np.float64)
    low, high = (
        float(np.average([flow.gates[name].saturation[side] for flow in flows], weights=steps)) for side in (0, 1)
    )
    return {
        "squashing": flows[0].gates[name].squashing,
        "low": round(low, 4),
        "high": round(high, 4),
        "saturated": round(low + high, 4),
    }


def _rounded(values: Float[np.ndarray, " D"]) -> list[float]:
    return [float(f"{value:.4g}") for value in values]


def _number(text: str | None) -> float | None:
    value = float(text) if text else math.nan
    return value if math.isfinite(value) else None


def _shown(value: float | None) -> str:
    return "not known" if value is None else f"{value:.3g}"
