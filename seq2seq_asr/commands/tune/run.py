"""What ``tune`` does: encode a dev set once, sweep settings over it, keep the best, calibrate word confidences."""

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path

from seq2seq_asr.commands.decode.config import DecodeConfig
from seq2seq_asr.commands.decode.hotwords import read_hotwords
from seq2seq_asr.commands.decode.run import find_utterances
from seq2seq_asr.commands.progress import ProgressLine
from seq2seq_asr.commands.tune.cache import EncodedSet, encode_set, temporary_folder
from seq2seq_asr.commands.tune.calibrating import calibrate
from seq2seq_asr.commands.tune.config import TuneConfig
from seq2seq_asr.commands.tune.plots import sweep_figure
from seq2seq_asr.commands.tune.sweep import (
    Setting,
    Sweeper,
    Trial,
    most_speeds,
    read_settings,
    sweep_beams,
    sweep_coordinates,
    sweep_grid,
    trial_rows,
    tried,
    usual_settings,
)
from seq2seq_asr.console import say
from seq2seq_asr.data.tokenizer import Tokenizer
from seq2seq_asr.data.utterance import Utterance
from seq2seq_asr.errors import UsageError
from seq2seq_asr.recognizer import Recognizer
from seq2seq_asr.recognizer.restoring import load_tokenizer, weights_file
from seq2seq_asr.recognizer.tuned import TUNED, Tuned
from seq2seq_asr.search.beam import BeamConfig
from seq2seq_asr.strict_yaml import to_mapping, to_yaml
from seq2seq_asr.training.criterion import CER
from seq2seq_asr.training.plots import save_figure
from seq2seq_asr.training.run_folder import RunFolder, chosen_run
from seq2seq_asr.whole_file import digest_of, probe, write_csv, write_whole, writing

TABLE = "tuned.csv"
"""File of a run folder that holds every trial."""
HEADER = f"{'swept':>20} {'value':>8} {'beam':>5} {{:>5}} % {'95 % interval':>15} {'RTF':>8} {'search errors':>14}"
"""Of the printed table, where the error rate's name is to be filled in."""


def tune(config: TuneConfig) -> int:
    """Tune as configured; returns the exit code."""
    named = config.run if config.name is None else config.checkpoints / config.name
    run = chosen_run(named, config.checkpoints)
    tokenizer = load_tokenizer(run)
    start = dataclasses.replace(config.search, nbest=1)
    settings = read_settings(config.sweep, start)
    with writing(run.path):
        probe(run.path / TABLE)
    utterances, name = find_set(config, run, tokenizer)
    weights = digest_of(weights_file(run.path, config.checkpoint))
    hotwords = () if config.hotwords is None else read_hotwords(config.hotwords, tokenizer)
    recognizer = Recognizer.load(
        run.path,
        checkpoint=config.checkpoint,
        device=config.device,
        lm=config.lm,
        hotwords=hotwords,
        ngram=config.ngram,
        tuned=False,  # what was tuned before is not where this starts
        calibrate=False,
    )
    for search in tried(start, settings):
        recognizer.searcher.require_possible(search)
    say(f"tuning {run.path} on {len(utterances)} utterances of {name}")
    with temporary_folder() as folder:
        limits = {"batch_seconds": config.batch_seconds, "memory_mb": config.memory_mb, "disk_mb": config.disk_mb}
        speeds = most_speeds(start, settings)
        encoded = encode_set(recognizer, utterances, Path(folder), **limits, speeds=speeds, segment=config.segment)
        sweeper = sweep(recognizer, encoded, start, settings, config, run.path / TABLE)
        best = sweeper.best(config.slack)
        calibration = calibrate(recognizer.searcher, encoded, best.search, run.path, weights)
    write_tuned(run.path, sweeper, config, name, tokenizer.hash, weights)
    print(f"\nbest: {described(best)}\n{calibration}\n{run.path / TUNED}")
    return 0


def find_set(config: TuneConfig, run: RunFolder, tokenizer: Tokenizer) -> tuple[list[Utterance], str]:
    """The utterances to tune on, all with texts, and the name of the set.

    Raises:
        UsageError: None has a text of which the normaliser leaves a word.
    """
    found, name = find_utterances(
        DecodeConfig(manifest=config.manifest, split=config.split, data_root=config.data_root), run
    )
    utterances = [one for one in found if one.text.strip()][: config.utterances]
    if not any(tokenizer.normalise(one.text) for one in utterances):
        raise UsageError(f"{name}: no utterance has a text to tune on")
    return utterances, name


def sweep(
    recognizer: Recognizer,
    encoded: EncodedSet,
    start: BeamConfig,
    settings: Sequence[Setting],
    config: TuneConfig,
    table: Path,
) -> Sweeper:
    """Sweep the weights, then the beam, printing and writing every trial as it is done.

    Raises:
        CheckpointError: The table cannot be written.
    """
    settings = settings or usual_settings(recognizer, encoded, start)
    with ProgressLine() as progress:
        done, total = 0, _planned(settings, config)

        def tell(stage: str, trial: Trial) -> None:
            nonlocal done
            done += 1
            progress("searching", min(done, total), total)
            print(line(stage, trial), flush=True)
            with writing(table):
                write_csv(table, trial_rows(sweeper))

        sweeper = Sweeper(recognizer, encoded, config.seed, tell, config.criterion)
        header = HEADER.format(sweeper.criterion.name)
        print(header)
        if config.method == "grid":
            best = sweep_grid(sweeper, start, settings)
        else:
            best = sweep_coordinates(sweeper, start, settings, config.rounds)
        beams = sweep_beams(sweeper, best, config.beams)
    print(f"\nbeam sweep\n{header}")
    print("\n".join(line("beam", trial) for trial in beams))
    return sweeper


def _planned(settings: Sequence[Setting], config: TuneConfig) -> int:
    """Searches to come, at most."""
    weights = 1
    for _, values in settings:
        weights = weights * len(values) if config.method == "grid" else weights + config.rounds * len(values)
    return weights + len(config.beams)


def line(stage: str, trial: Trial) -> str:
    """A trial as a row below `HEADER`, with the setting that was being swept."""
    value = getattr(trial.search, stage, "")
    interval = (
        f"{100 * trial.interval.low:.2f} – {100 * trial.interval.high:.2f}" if trial.interval.known else "unknown"
    )
    missed = "unknown" if math.isnan(trial.search_errors) else f"{100 * trial.search_errors:.1f} %"
    return (
        f"{stage:>20} {value!s:>8} {trial.search.beam:>5} {100 * trial.rate:>7.2f} {interval:>15} "
        f"{trial.real_time_factor:>8.4f} {missed:>14}"
    )


def described(trial: Trial) -> str:
    """A trial in words: its error rate, and where it departs from the defaults."""
    defaults = to_mapping(BeamConfig())
    set_apart = {name: value for name, value in to_mapping(trial.search).items() if value != defaults[name]}
    changes = ", ".join(f"{name} {value}" for name, value in set_apart.items()) or "the defaults"
    counts, unit = (trial.characters, "characters") if trial.criterion == CER else (trial.words, "words")
    rate = f"{100 * counts.rate:.2f} % {trial.criterion.name}"
    return f"{rate} ({counts.errors} errors in {counts.reference_length} {unit}) with {changes}"


def write_tuned(folder: Path, sweeper: Sweeper, config: TuneConfig, name: str, tokenizer: str, weights: str) -> None:
    """Write ``tuned.csv``, ``tuned.png`` and ``decoding.yaml``.

    Raises:
        CheckpointError: One of them cannot be written.
    """
    best = sweeper.best(config.slack)
    tuned = Tuned(
        tokenizer=tokenizer,
        weights=weights,
        dev=name,
        utterances=len(sweeper.references),
        words=best.words.reference_length,
        criterion="cer" if best.criterion == CER else "wer",
        wer=best.words.rate,
        cer=best.characters.rate,
        lm=None if config.lm is None else config.lm.resolve(),
        ngram=None if config.ngram is None else config.ngram.resolve(),
        hotwords=None if config.hotwords is None else config.hotwords.resolve(),
        search=best.search,
    )
    with writing(folder):
        write_csv(folder / TABLE, trial_rows(sweeper))  # which trials stand in which sweep is known at the end
        save_figure(sweep_figure(sweeper), folder / "tuned.png")
        write_whole(folder / TUNED, to_yaml(tuned))
