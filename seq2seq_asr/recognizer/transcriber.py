"""Recordings in, transcripts out: what recognisers and classifiers share."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

from seq2seq_asr.console import Progress
from seq2seq_asr.data.batching import BatchingConfig, plan_in_order
from seq2seq_asr.data.labels import Labels
from seq2seq_asr.data.segmenting import SegmentConfig
from seq2seq_asr.data.sources import Source, read_source, source_id, source_seconds
from seq2seq_asr.data.tokenizer import Tokenizer
from seq2seq_asr.data.utterance import Utterance
from seq2seq_asr.errors import AsrError, AudioError, UsageError
from seq2seq_asr.nn.classifier import Model
from seq2seq_asr.recognizer.long import is_long, transcribe_long
from seq2seq_asr.recognizer.memory import within_memory
from seq2seq_asr.recognizer.transcript import Transcript
from seq2seq_asr.search.beam import BeamConfig
from seq2seq_asr.training.reading import input_reader

DECODING_BATCHES = BatchingConfig(batch_seconds=100.0, max_utterances=1000)
"""Nothing is kept for a backward pass: only the seconds limit a batch."""

WHOLE = SegmentConfig(above=math.inf)
"""Cuts nothing."""


class Transcriber(ABC):
    """Reads recordings in batches; what becomes of a batch is for a subclass to say.

    Args:
        model: The model.
        tokenizer: What its outputs are called.
        device: Where to compute.
    """

    cuts = True
    """Whether long recordings may be decoded in segments."""

    def __init__(self, model: Model, tokenizer: Tokenizer | Labels, device: torch.device) -> None:
        self.model, self.tokenizer, self.device = model, tokenizer, device
        self.reader = input_reader(model.features)

    @property
    def default_search(self) -> BeamConfig:
        """How to search when nobody says."""
        return BeamConfig()

    def transcribe(
        self, audio: Sequence[Source], search: BeamConfig | None = None, segment: SegmentConfig | None = None
    ) -> list[Transcript]:
        """Transcribe files, samples or utterances of any length.

        Args:
            audio: Audio files of any format and rate that soundfile reads, samples ``(N,)`` in [-1, 1] at the model's
                rate, or manifest utterances.
            search: How to search; default `default_search`.
            segment: From which length on, and how, recordings are cut into segments; default `SegmentConfig`.

        Returns:
            One transcript each, in the order given; the same whatever else is in the list.

        Raises:
            AudioError: A file cannot be read, is silent, too short, or too long for the memory.
            UsageError: Not a list.
        """
        if isinstance(audio, str | Path | np.ndarray | Utterance):
            raise UsageError(f"transcribe takes a list, such as [{type(audio).__name__}], even for a single one")
        found: dict[int, Transcript] = {}
        for places, results in self.stream(audio, search or self.default_search, segment=segment or SegmentConfig()):
            for place, result in zip(places, results, strict=True):
                if isinstance(result, AsrError):
                    raise result
                found[place] = result
        return [found[place] for place in range(len(audio))]

    def stream(
        self,
        audio: Sequence[Source],
        search: BeamConfig,
        batching: BatchingConfig = DECODING_BATCHES,
        *,
        max_seconds: float = math.inf,
        segment: SegmentConfig = WHOLE,
        progress: Progress = lambda *_: None,
    ) -> Iterator[tuple[list[int], list[Transcript | AsrError]]]:
        """Transcribe batch by batch, longest first; what cannot be read, or is too long, comes back as its error.

        What is cut into segments comes before everything else, a recording at a time.

        Args:
            audio: As `transcribe`.
            search: How to search.
            batching: Limits of a batch.
            max_seconds: What is longer is not read.
            segment: From which length on, and how, recordings are cut into segments; none are by default.
            progress: Told how far a recording is that is cut.

        Yields:
            Places in ``audio`` and, for each, the transcript or the error.
        """
        seconds: dict[int, float] = {}
        for place, source in enumerate(audio):
            try:
                seconds[place] = _within(source_seconds(source, self.reader), max_seconds, source_id(source, place))
            except AsrError as error:
                yield [place], [error]
        for place in [one for one in seconds if self.cuts and is_long(audio[one], seconds[one], self.reader, segment)]:
            del seconds[place]
            yield [place], [self._decode_long(audio[place], place, search, segment, batching, progress)]
        known = np.array(list(seconds), dtype=np.int64)
        for batch in plan_in_order(np.array([*seconds.values()]), batching):
            places = known[batch].tolist()
            inputs = [self._read(audio[place]) for place in places]
            ids = [source_id(audio[place], place) for place in places]
            readable = [(id, one) for id, one in zip(ids, inputs, strict=True) if isinstance(one, np.ndarray)]
            results = iter(self._decode_within_memory(readable, search))
            yield places, [one if isinstance(one, AsrError) else next(results) for one in inputs]

    @abstractmethod
    def _decode(self, inputs: Sequence[tuple[str, np.ndarray]], search: BeamConfig) -> list[Transcript]:
        """The transcripts of a batch of ids and what `InputReader` gives for them."""

    def _decode_long(
        self,
        source: Source,
        place: int,
        search: BeamConfig,
        segment: SegmentConfig,
        batching: BatchingConfig,
        progress: Progress,
    ) -> Transcript | AsrError:
        try:
            return transcribe_long(
                source,
                place,
                self.reader,
                lambda inputs: self._decode_within_memory(inputs, search),
                segment,
                batching,
                progress,
            )
        except AsrError as error:
            return error

    def _read(self, source: Source) -> np.ndarray | AsrError:
        try:
            return read_source(source, self.reader)
        except AsrError as error:
            return error

    def _decode_within_memory(
        self, inputs: Sequence[tuple[str, np.ndarray]], search: BeamConfig
    ) -> list[Transcript | AsrError]:
        return within_memory(inputs, lambda some: self._decode(some, search), self.device)


def _within(seconds: float, limit: float, id: str) -> float:
    if seconds > limit:
        raise AudioError(f"{id}: too long: {seconds:.1f} s, max_seconds is {limit:g}")
    return seconds
