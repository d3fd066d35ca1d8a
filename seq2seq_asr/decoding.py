"""What ``decode`` does: transcribe files, or decode a manifest, score it and write the results."""

import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from seq2seq_asr.config import FitConfig
from seq2seq_asr.console import say
from seq2seq_asr.data.batching import BatchingConfig
from seq2seq_asr.data.loading import read_split
from seq2seq_asr.data.splits import resolve_splits
from seq2seq_asr.data.utterance import Utterance
from seq2seq_asr.decode_config import DecodeConfig
from seq2seq_asr.errors import AsrError, CheckpointError
from seq2seq_asr.evaluation.report import Report, Scored, format_report, make_report, report_json
from seq2seq_asr.evaluation.trn import TrnLine, write_trn
from seq2seq_asr.progress import ProgressLine
from seq2seq_asr.recognizer import Recognizer, Transcript
from seq2seq_asr.strict_yaml import load_yaml
from seq2seq_asr.training.run_folder import RunFolder, newest_run, open_run


@dataclass(frozen=True)
class Decoded:
    """What became of a list of utterances."""

    transcripts: dict[str, Transcript]
    errors: dict[str, AsrError]
    seconds: float
    """Wall time of reading, features, encoder and search."""


def decode(config: DecodeConfig) -> int:
    """Decode as configured; returns the exit code."""
    run = open_run(config.run) if config.run is not None else newest_run(config.checkpoints)
    recognizer = Recognizer.load(run.path, checkpoint=config.checkpoint, device=config.device)
    if config.audio:
        return transcribe_files(recognizer, config)
    utterances, name = find_utterances(config, run)
    folder = config.out or run.path / f"decode_{name}_beam{config.search.beam}"
    make_folder(folder)
    say(f"decoding {len(utterances)} utterances of {name} with {run.path}, beam {config.search.beam}")
    with (folder / "hyp.jsonl").open("w", encoding="utf-8") as file:
        decoded = decode_utterances(recognizer, utterances, config, file)
    report_skips(decoded.errors)
    if decoded.transcripts:
        report = write_results(folder, recognizer, utterances, decoded, config.seed)
        print(format_report(report), end="")
        print(f"\n{folder}")
    return 0 if not decoded.errors or (config.allow_skips and decoded.transcripts) else 1


def find_utterances(config: DecodeConfig, run: RunFolder) -> tuple[list[Utterance], str]:
    """What to decode, and the name of the set."""
    if config.manifest is not None:
        return read_split([config.manifest]), config.manifest.stem
    fit = load_yaml(run.config, FitConfig)
    with ProgressLine() as progress:
        return read_split(resolve_splits(fit.data, progress).named(config.split)), config.split


def transcribe_files(recognizer: Recognizer, config: DecodeConfig) -> int:
    """Print one line a file: its path, a tab, its transcript."""
    utterances: list[str | Path | Utterance] = list(config.audio)
    transcripts: dict[int, Transcript] = {}
    failed = False
    batching = BatchingConfig(batch_seconds=config.batch_seconds)
    for places, results in recognizer.stream(utterances, config.search, batching):
        for place, result in zip(places, results, strict=True):
            if isinstance(result, AsrError):
                say(f"error: {result}")
                failed = True
            else:
                transcripts[place] = result
    for place in sorted(transcripts):
        print(f"{config.audio[place]}\t{transcripts[place].text}")
    return 0 if not failed or (config.allow_skips and transcripts) else 1


def decode_utterances(
    recognizer: Recognizer, utterances: Sequence[Utterance], config: DecodeConfig, file: IO[str]
) -> Decoded:
    """Decode in batches, writing every batch to ``file`` as soon as it is done."""
    transcripts: dict[str, Transcript] = {}
    errors: dict[str, AsrError] = {}
    started, done = time.perf_counter(), 0
    batching = BatchingConfig(batch_seconds=config.batch_seconds)
    with ProgressLine() as progress:
        for places, results in recognizer.stream(list(utterances), config.search, batching):
            for place, result in zip(places, results, strict=True):
                if isinstance(result, AsrError):
                    errors[utterances[place].id] = result
                else:
                    transcripts[utterances[place].id] = result
                    file.write(json.dumps(transcript_json(result), ensure_ascii=False) + "\n")
            file.flush()
            done += len(places)
            progress("decoding", done, len(utterances))
    return Decoded(transcripts, errors, time.perf_counter() - started)


def transcript_json(transcript: Transcript) -> dict[str, Any]:
    """A line of ``hyp.jsonl``."""
    nbest = [{"text": one.text, "score": one.score, "log_prob": one.log_prob} for one in transcript.nbest]
    return {**asdict(transcript), "nbest": nbest}


def write_results(
    folder: Path, recognizer: Recognizer, utterances: Iterable[Utterance], decoded: Decoded, seed: int
) -> Report:
    """Write ``ref.trn``, ``hyp.trn``, ``wer.txt`` and ``wer.json``; references are normalised as in training."""
    scored = [
        Scored(
            id=utterance.id,
            reference=recognizer.tokenizer.normalise(utterance.text),
            hypothesis=decoded.transcripts[utterance.id].text,
            speaker=utterance.speaker,
        )
        for utterance in utterances
        if utterance.id in decoded.transcripts
    ]
    seconds = sum(utterance.duration for utterance in utterances if utterance.id in decoded.transcripts)
    report = make_report(scored, real_time_factor=decoded.seconds / seconds, seed=seed)
    write_trn(folder / "ref.trn", [TrnLine(id=one.id, text=one.reference, speaker=one.speaker) for one in scored])
    write_trn(folder / "hyp.trn", [TrnLine(id=one.id, text=one.hypothesis, speaker=one.speaker) for one in scored])
    (folder / "wer.txt").write_text(format_report(report), encoding="utf-8")
    (folder / "wer.json").write_text(json.dumps(report_json(report), ensure_ascii=False, indent=1), encoding="utf-8")
    return report


def report_skips(errors: dict[str, AsrError]) -> None:
    """Name every utterance that could not be read."""
    for id, error in errors.items():
        say(f"skipped {id}: {error}")
    if errors:
        say(f"skipped {len(errors)} utterances; the scores are over the others")


def make_folder(folder: Path) -> None:
    """Make the results' folder.

    Raises:
        CheckpointError: It cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CheckpointError(f"{folder}: cannot be created ({error.strerror})") from error
