"""What ``decode`` does: transcribe files, or decode a manifest, score what has a reference and write the results."""

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path

from seq2seq_asr.commands.claiming import claimed
from seq2seq_asr.commands.decode.classes import load_classifier, write_class_scores
from seq2seq_asr.commands.decode.config import DecodeConfig
from seq2seq_asr.commands.decode.formats import remove_formats, write_formats
from seq2seq_asr.commands.decode.hotwords import read_hotwords
from seq2seq_asr.commands.decode.marks import fingerprint, free_folder, is_of_others, is_otherwise
from seq2seq_asr.commands.decode.results import HypothesisFile, start_results, write_scores
from seq2seq_asr.commands.decode.resuming import KeptLine, kept_lines
from seq2seq_asr.commands.progress import ProgressLine
from seq2seq_asr.config import FitConfig
from seq2seq_asr.console import say
from seq2seq_asr.data.loading import read_split
from seq2seq_asr.data.sources import Source, source_id, source_seconds
from seq2seq_asr.data.splits import resolve_split
from seq2seq_asr.data.tokenizer import Tokenizer
from seq2seq_asr.data.utterance import Utterance
from seq2seq_asr.errors import AsrError, UsageError
from seq2seq_asr.evaluation.layout import printable
from seq2seq_asr.evaluation.report import Scored, format_report, make_report
from seq2seq_asr.nn.allocation import keep_freed_memory
from seq2seq_asr.nn.quiet_threads import start_quiet_threads
from seq2seq_asr.recognizer import (
    DECODING_BATCHES,
    Recognizer,
    SpeechClassifier,
    Transcriber,
    Transcript,
    available,
    is_classifier,
)
from seq2seq_asr.strict_yaml import load_yaml
from seq2seq_asr.training.portable import is_portable
from seq2seq_asr.training.run_folder import RunFolder, newest_run, open_run

_WORTH_SAYING = 3.0
"""Seconds of preparation that somebody may wonder about."""
NAMED = 3
"""How many utterances a warning names."""


@dataclass
class Decoded:
    """What became of a list of utterances, by place."""

    transcripts: dict[int, Transcript] = field(default_factory=dict)
    errors: dict[int, AsrError] = field(default_factory=dict)
    seconds: float = 0.0
    """Wall time of reading, features, encoder and search."""
    kept: frozenset[int] = frozenset()
    """Places whose transcripts an interrupted decoding left; `seconds` is without them."""


def decode(config: DecodeConfig) -> int:
    """Decode as configured; returns the exit code."""
    keep_freed_memory()
    start_quiet_threads()
    run = find_run(config)
    config = replace(config, run=run.path, checkpoint=available(run, config.checkpoint))
    recognizer: Transcriber = load_classifier(config) if is_classifier(run.path) else load_recognizer(config, run)
    decoded = transcribe_files(recognizer, config) if config.audio else decode_set(recognizer, config, run)
    return 0 if not decoded.errors or (config.allow_skips and decoded.transcripts) else 1


def load_recognizer(config: DecodeConfig, run: RunFolder) -> Recognizer:
    """The run's recogniser, with language models and hot words."""
    hotwords = () if config.hotwords is None else read_hotwords(config.hotwords, Tokenizer.load(run.tokenizer))
    if config.search.ilm_weight > 0 and config.lm is None and config.ngram is None:
        say("warning: ilm_weight takes the decoder's own language model away; --lm or --ngram should take its place")
    return Recognizer.load(
        run.path,
        checkpoint=config.checkpoint,
        device=config.device,
        lm=config.lm,
        hotwords=hotwords,
        ngram=config.ngram,
        tuned=False,  # it stands in the settings by now, unless flags took it out
    )


def find_run(config: DecodeConfig) -> RunFolder:
    """The run to decode with, or the folder that ``export`` made.

    Raises:
        CheckpointError: There is none.
        UsageError: An exported recogniser was given, but nothing to decode.
    """
    if config.run is None:
        return newest_run(config.checkpoints)
    if not is_portable(config.run):
        return open_run(config.run)
    if not config.audio and config.manifest is None:
        raise UsageError(f"{config.run}: an exported recogniser has no test set: give audio files or --manifest")
    return RunFolder(config.run)


def transcribe_files(recognizer: Transcriber, config: DecodeConfig) -> Decoded:
    """Print one line a file, in the order given: its path, a tab, its transcript."""
    decoded = Decoded()
    try:
        decode_all(recognizer, config.audio, config, config.out, decoded)
    finally:  # an interruption loses only what was not yet transcribed
        for _, transcript in sorted(decoded.transcripts.items()):
            print(f"{printable(transcript.id)}\t{printable(transcript.text)}")
    return decoded


def decode_set(recognizer: Transcriber, config: DecodeConfig, run: RunFolder) -> Decoded:
    """Decode a manifest or a split of the run's corpus; print its scores and the results' folder."""
    utterances, name = find_utterances(config, run)
    search, mark = f"beam {config.search.beam}", f"_beam{config.search.beam}"
    if isinstance(recognizer, SpeechClassifier):
        recognizer.tokenizer.check(utterances, str(config.manifest or f"{config.split} of {run.path}"))
        search, mark = "no search", ""
    folder = config.out or free_folder(run.path / f"decode_{name}{mark}", utterances)
    say(f"decoding {len(utterances)} utterances of {name} with {run.path}, {search}")
    decoded = Decoded()
    decode_all(recognizer, utterances, config, folder, decoded)
    report = score(folder, recognizer, utterances, decoded, config.seed)
    if report is not None:
        print(report)
    print(folder)
    return decoded


def find_utterances(config: DecodeConfig, run: RunFolder) -> tuple[list[Utterance], str]:
    """What to decode, and the name of the set; a manifest may leave texts empty, as there is no need to score."""
    manifest = config.manifest
    if manifest is None:
        fit = load_yaml(run.config, FitConfig)
        with ProgressLine() as progress:
            data = replace(fit.data, root=config.data_root or fit.data.root)
            return read_split(resolve_split(config.split, data, progress)), config.split
    utterances = read_split([manifest], allow_empty_text=True, root=config.data_root)
    name = manifest.resolve().name if manifest.is_dir() else manifest.stem
    # Another corpus's test.jsonl is not this run's test set: its results must not take their name.
    own = name in ("train", "dev", "test")
    return utterances, f"{manifest.resolve().parent.name}_{name}" if own else name


def decode_all(
    recognizer: Transcriber, sources: Sequence[Source], config: DecodeConfig, folder: Path | None, decoded: Decoded
) -> None:
    """Decode in batches into ``decoded``, writing every batch to the folder as soon as it is done."""
    alone = nullcontext() if folder is None else claimed(folder, "decode.yaml", "decoding", "give another --out")
    with alone:
        kept = {} if folder is None else take_up(folder, config, sources)
        decoded.transcripts = {place: one.transcript for place, one in kept.items()}
        decoded.kept = frozenset(kept)
        if len(kept) < len(sources):
            warm_up(recognizer, config)
        started = time.perf_counter()
        with (
            HypothesisFile(
                folder, {place: one.line for place, one in kept.items()}, references(recognizer, sources)
            ) as file,
            ProgressLine() as progress,
        ):
            for batch in batches(recognizer, sources, config, decoded, progress):
                transcripts = {place: one for place, one in batch.items() if isinstance(one, Transcript)}
                file.write(transcripts)
                decoded.transcripts |= transcripts
                decoded.errors |= {place: one for place, one in batch.items() if isinstance(one, AsrError)}
                progress("decoding", len(decoded.transcripts) + len(decoded.errors), len(sources))
            decoded.seconds = time.perf_counter() - started
            file.sort()
        if folder is not None:
            places = sorted(decoded.transcripts)
            lengths = [seconds_of(sources[place], recognizer) for place in places] if config.formats else []
            write_formats(folder, [decoded.transcripts[place] for place in places], config.formats, lengths)
    report_skips(decoded, sources)
    report_cut(decoded)
    report_flags(decoded)


def seconds_of(source: Source, recognizer: Transcriber) -> float:
    """Length of a recording; without end where its file is gone, which an earlier decoding transcribed."""
    try:
        return source_seconds(source, recognizer.reader)
    except AsrError:
        return math.inf


def warm_up(recognizer: Transcriber, config: DecodeConfig) -> None:
    """Take what is done once a machine or a process out of the time of decoding."""
    if not isinstance(recognizer, Recognizer):
        return
    started = time.perf_counter()
    recognizer.warm_up(config.search)
    seconds = time.perf_counter() - started
    if seconds > _WORTH_SAYING:
        say(f"prepared the search in {seconds:.0f} s: what was compiled is kept where a cache folder can be written")


def references(recognizer: Transcriber, sources: Sequence[Source]) -> dict[int, str]:
    """What was said, in the form that the recogniser writes, by place; of audio files nothing is known."""
    return {
        place: recognizer.tokenizer.normalise(source.text)
        for place, source in enumerate(sources)
        if isinstance(source, Utterance) and source.text
    }


def take_up(folder: Path, config: DecodeConfig, sources: Sequence[Source]) -> dict[int, KeptLine]:
    """Prepare the folder and, to resume, take over what stands in it."""
    mark = fingerprint(config, sources)
    kept = kept_lines(folder, config, sources, mark) if config.resume else {}
    if config.resume:
        say(f"{len(kept)} of {len(sources)} were decoded before")
    elif is_of_others(folder, sources):
        raise UsageError(f"{folder}: holds transcripts of other utterances: give another --out, or remove it")
    elif is_otherwise(folder, config, mark):
        say(f"{folder}: transcripts of the same utterances by other settings, weights or files are replaced")
    start_results(folder, config, mark, anew=not config.resume)
    remove_formats(folder)
    return kept


def batches(
    recognizer: Transcriber,
    sources: Sequence[Source],
    config: DecodeConfig,
    decoded: Decoded,
    progress: ProgressLine,
) -> Iterator[dict[int, Transcript | AsrError]]:
    """Results by place, batch by batch, of what was not decoded before."""
    batching = replace(DECODING_BATCHES, batch_seconds=config.batch_seconds)
    left = [place for place in range(len(sources)) if place not in decoded.kept]
    chosen = [sources[place] for place in left]
    stream = recognizer.stream(
        chosen, config.search, batching, max_seconds=config.max_seconds, segment=config.segment, progress=progress
    )
    for places, results in stream:
        yield {left[place]: result for place, result in zip(places, results, strict=True)}


def score(
    folder: Path, recognizer: Transcriber, utterances: Sequence[Utterance], decoded: Decoded, seed: int
) -> str | None:
    """Score what was decoded and has a reference, normalised as in training; None when nothing is left.

    Returns:
        The report as text.
    """
    if not decoded.transcripts:
        return None
    scored = [
        Scored(
            id=utterance.id,
            reference=recognizer.tokenizer.normalise(utterance.text),
            hypothesis=decoded.transcripts[place].text,
            speaker=utterance.speaker,
        )
        for place, utterance in enumerate(utterances)
        if place in decoded.transcripts and utterance.text
    ]
    if len(scored) < len(decoded.transcripts):
        say(f"{len(decoded.transcripts) - len(scored)} utterances have no reference text: transcribed, not scored")
    heard = sum(utterances[place].duration for place in decoded.transcripts if place not in decoded.kept)
    factor = decoded.seconds / heard if heard else None
    if not scored:
        say("real-time factor " + ("not measured" if factor is None else f"{factor:.3g}"))
        return None
    if isinstance(recognizer, SpeechClassifier):
        return write_class_scores(folder, scored, recognizer.tokenizer.names, factor, seed)
    report = make_report(scored, real_time_factor=factor, seed=seed)
    write_scores(folder, scored, report)
    return format_report(report)


def report_skips(decoded: Decoded, sources: Sequence[Source]) -> None:
    """Name everything that could not be decoded, and why."""
    for place, error in sorted(decoded.errors.items()):
        name = source_id(sources[place], place)
        reason = " ".join(str(error).splitlines())
        say(f"skipped {reason if reason.startswith(name) else f'{name}: {reason}'}")
    if decoded.errors:
        say(f"skipped {len(decoded.errors)} of {len(sources)} utterances; results are over the others")


def report_cut(decoded: Decoded) -> None:
    """Warn of transcripts that the search did not see end."""
    cut = [one.id for _, one in sorted(decoded.transcripts.items()) if not one.ended]
    if cut:
        listed = ", ".join(cut[:NAMED]) + (" …" if len(cut) > NAMED else "")
        say(f"warning: {len(cut)} transcripts did not end by themselves and were cut at maximum length: {listed}")


def report_flags(decoded: Decoded) -> None:
    """Warn of transcripts that the guards found wrong."""
    flagged = [one for _, one in sorted(decoded.transcripts.items()) if one.flags]
    if flagged:
        listed = ", ".join(f"{one.id} ({', '.join(one.flags)})" for one in flagged[:NAMED])
        replaced = sum(one.fallback is not None for one in flagged)
        more = " …" if len(flagged) > NAMED else ""
        say(f"warning: {len(flagged)} transcripts looked wrong, {replaced} of them were replaced: {listed}{more}")
