"""What ``probe_gradients`` does: a run's model, fresh and trained, on real utterances; files, a figure, words.

The files are described in `summary`.
"""

import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch

from seq2seq_asr.commands.probe_gradients.config import ProbeGradientsConfig
from seq2seq_asr.commands.probe_gradients.figure import gradients_figure
from seq2seq_asr.commands.probe_gradients.summary import (
    FORMAT,
    clipping_line,
    clipping_summary,
    csv_rows,
    lines,
    model_summary,
)
from seq2seq_asr.commands.progress import ProgressLine
from seq2seq_asr.config import FitConfig
from seq2seq_asr.data.batching import Item
from seq2seq_asr.data.dataset import Batch, SpeechDataset, collate
from seq2seq_asr.data.loading import read_split, spread_evenly
from seq2seq_asr.data.splits import resolve_split
from seq2seq_asr.data.targets import Targets
from seq2seq_asr.data.utterance import Utterance
from seq2seq_asr.nn.classifier import Model, build_model
from seq2seq_asr.nn.flow import LayerFlow, decoder_flow, encoder_flow
from seq2seq_asr.nn.model import Seq2Seq
from seq2seq_asr.recognizer import available
from seq2seq_asr.recognizer.restoring import is_classifier, restore, restore_classifier
from seq2seq_asr.strict_yaml import load_yaml
from seq2seq_asr.training.plots import save_figure
from seq2seq_asr.training.reading import input_reader
from seq2seq_asr.training.run_folder import RunFolder, chosen_run
from seq2seq_asr.whole_file import write_csv, write_whole, writing

Weights = Literal["init", "trained"]
Results = dict[Weights, dict[str, Any]]
"""What was found of each model, as plain values."""


def probe_gradients(config: ProbeGradientsConfig) -> int:
    """Probe as configured, write the files and print what was found.

    Raises:
        CheckpointError: There is no such run, it is damaged, or the folder cannot be written.
        ManifestError: The manifest cannot be read.
        AudioError: An utterance cannot be read.
    """
    run = chosen_run(config.run, config.checkpoints)
    folder = config.out or run.path / "gradients"
    with ProgressLine() as progress:
        results = probe_run(run, config, progress)
        write(folder, results)
    print(report(results), folder, sep="\n")
    return 0


def probe_run(run: RunFolder, config: ProbeGradientsConfig, progress: ProgressLine) -> Results:
    """Probe a run's model, as its seed makes it and as it was trained."""
    fit = load_yaml(run.config, FitConfig)
    choice = available(run, config.checkpoint)
    restored = restore_classifier if is_classifier(run.path) else restore
    trained, targets = restored(run.path, choice)
    models: dict[Weights, Model] = {"init": fresh_model(trained, len(targets), fit.seed), "trained": trained}
    utterances = find_utterances(config, fit, progress)
    batches = read_utterances(utterances, trained, targets)
    results: Results = {}
    for weights, model in models.items():
        results[weights] = {
            "format": FORMAT,
            "weights": weights,
            "run": run.name,
            "checkpoint": f"{choice}.ckpt" if weights == "trained" else None,
            "seed": fit.seed,
            "utterances": [one.id for one in utterances],
            "probes": config.probes,
            "layers": probe_model(model, batches, config, partial(progress, weights)),
            "clipping": clipping(run, fit.optimizer.clip_norm) if weights == "trained" else None,
        }
    return results


def fresh_model(trained: Model, size: int, seed: int) -> Model:
    """The model as its seed makes it, with the trained one's statistics of the features: both read the same."""
    torch.manual_seed(seed)
    fresh = build_model(trained.config, size)
    fresh.features.load_state_dict(trained.features.state_dict())
    return fresh


def find_utterances(config: ProbeGradientsConfig, fit: FitConfig, progress: ProgressLine) -> list[Utterance]:
    """Utterances spread evenly over the manifest, or over the run's own dev."""
    manifests = (config.manifest,) if config.manifest is not None else resolve_split("dev", fit.data, progress)
    found = read_split(manifests, root=fit.data.root if config.manifest is None else None)
    return spread_evenly(found, config.utterances)


def read_utterances(utterances: Sequence[Utterance], model: Model, targets: Targets) -> list[Batch]:
    """Every utterance as a batch of its own."""
    dataset = SpeechDataset(utterances, targets, input_reader(model.features))
    return [collate([dataset[Item(place, 0)]]) for place in range(len(dataset))]


def probe_model(
    model: Model, batches: Sequence[Batch], config: ProbeGradientsConfig, progress: Callable[[int, int], None]
) -> list[dict[str, Any]]:
    """The layers of a model, over utterances that come one at a time.

    Args:
        model: In whatever mode; it is probed without dropout and masks.
        batches: One utterance each.
        config: How many probes, from which seed.
        progress: Told how many utterances are done, and of how many.
    """
    generator = torch.Generator().manual_seed(config.seed)
    flows: list[LayerFlow] = []
    rates: dict[str, float] = {}
    model.eval()
    for done, batch in enumerate(batches, start=1):
        features, lengths = model.features(batch.inputs, batch.lengths)
        found = encoder_flow(model.encoder, features, config.probes, generator)
        if isinstance(model, Seq2Seq):
            with torch.no_grad():
                encoded, _ = model.encoder(features, lengths)
            found += decoder_flow(model.decoder, encoded, batch.tokens[0], config.probes, generator)
        for flow in found:  # the longest utterance tells best how many frames a step joins
            rates[flow.name] = max(rates.get(flow.name, 0.0), features.shape[1] / flow.frames)
        flows += found
        progress(done, len(batches))
    shift = model.features.frame_shift
    seconds = {name: shift * round(rate) if name.startswith("encoder") else None for name, rate in rates.items()}
    return model_summary(flows, seconds)


def clipping(run: RunFolder, clip_norm: float) -> dict[str, Any]:
    """What training has logged of its gradients; nothing where the log is missing."""
    from seq2seq_asr.training.metrics import read_rows  # brings Lightning, which a probe needs for nothing else

    return clipping_summary(read_rows(run.metrics) if run.metrics.is_file() else [], clip_norm)


def write(folder: Path, results: Results) -> None:
    """Write the results, each file whole or not at all.

    Raises:
        CheckpointError: The folder cannot be written.
    """
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for weights, result in results.items():
            write_whole(folder / f"gradients_{weights}.json", json.dumps(result, ensure_ascii=False, allow_nan=False))
        rows = csv_rows({weights: result["layers"] for weights, result in results.items()})
        write_csv(folder / "gradients.csv", rows)
        save_figure(gradients_figure(results), folder / "gradients.png")


def report(results: Results) -> str:
    """Both models in words, layer by layer, and the clipping of training."""
    init, trained = results["init"], results["trained"]
    text = [f"{trained['run']}: {len(trained['utterances'])} utterances, {trained['probes']} probes each"]
    for before, after in zip(init["layers"], trained["layers"], strict=True):
        step = "a token" if after["seconds_per_step"] is None else f"{1000 * after['seconds_per_step']:.0f} ms"
        text.append(f"{after['name']}: {after['cell']}, {after['units']} units, a step is {step}")
        for name, layer in (("fresh", before), ("trained", after)):
            text += [f"  {name + ':':9}{line}" for line in lines(layer)]
    return "\n".join([*text, clipping_line(trained["clipping"])])
