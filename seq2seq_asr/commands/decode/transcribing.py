"""Transcripts of a list of recordings, batch by batch, into a folder that an interruption leaves of use."""

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path

from seq2seq_asr.commands.claiming import claimed
from seq2seq_asr.commands.decode.config import DecodeConfig
from seq2seq_asr.commands.decode.formats import format_files, remove_formats, write_formats
from seq2seq_asr.commands.decode.marks import fingerprint, is_of_others, is_otherwise
from seq2seq_asr.commands.decode.results import HypothesisFile, require_own, start_results
from seq2seq_asr.commands.decode.resuming import KeptLine, kept_lines
from seq2seq_asr.commands.progress import ProgressLine
from seq2seq_asr.console import say
from seq2seq_asr.data.sources import Source, source_id, source_seconds
from seq2seq_asr.data.utterance import Utterance
from seq2seq_asr.errors import AsrError, UsageError
from seq2seq_asr.recognizer import DECODING_BATCHES, Recognizer, Transcriber, Transcript

_WORTH_SAYING = 3.0
"""Seconds of preparation that somebody may wonder about."""


@dataclass
class Decoded:
    """What became of a list of utterances, by place."""

    transcripts: dict[int, Transcript] = field(default_factory=dict)
    errors: dict[int, AsrError] = field(default_factory=dict)
    seconds: float = 0.0
    """Wall time of reading, features, encoder and search."""
    kept: frozenset[int] = frozenset()
    """Places whose transcripts an interrupted decoding left; `seconds` is without them."""


def decode_all(
    recognizer: Transcriber, sources: Sequence[Source], config: DecodeConfig, folder: Path | None, decoded: Decoded
) -> None:
    """Decode in batches into ``decoded``, writing every batch to the folder as soon as it is done."""
    if folder is not None:
        require_own(folder, format_files(config.formats, ids_of(sources)))
    alone = nullcontext() if folder is None else claimed(folder, "decode.yaml", "decoding", "give another --out")
    with alone:
        kept = {} if folder is None else take_up(folder, config, sources)
        decoded.transcripts = {place: one.transcript for place, one in kept.items()}
        decoded.kept = frozenset(kept)
        if any(is_there(source) for place, source in enumerate(sources) if place not in kept):
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


def seconds_of(source: Source, recognizer: Transcriber) -> float:
    """Length of a recording; without end where its file is gone, which an earlier decoding transcribed."""
    try:
        return source_seconds(source, recognizer.reader)
    except AsrError:
        return math.inf


def is_there(source: Source) -> bool:
    """Whether there is something to decode."""
    path = (source.audio or source.features) if isinstance(source, Utterance) else source
    return not isinstance(path, str | Path) or Path(path).is_file()


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


def ids_of(sources: Sequence[Source]) -> list[str]:
    """The ids that transcripts of these will have."""
    return [source_id(source, place) for place, source in enumerate(sources)]


def take_up(folder: Path, config: DecodeConfig, sources: Sequence[Source]) -> dict[int, KeptLine]:
    """Prepare the folder and, to resume, take over what stands in it."""
    mark = fingerprint(config, sources, folder)
    kept = kept_lines(folder, config, sources, mark) if config.resume else {}
    if config.resume:
        say(f"{len(kept)} of {len(sources)} were decoded before")
    elif is_of_others(folder, sources):
        raise UsageError(f"{folder}: holds transcripts of other utterances: give another --out, or remove it")
    elif is_otherwise(folder, config, mark):
        say(f"{folder}: transcripts of the same utterances by other settings, weights or files are replaced")
    start_results(folder, config, mark, anew=not config.resume)
    remove_formats(folder, ids_of(sources))
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
