"""A trained recogniser as one object: ``Recognizer.load(run).transcribe(audio)``."""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from seq2seq_asr.console import say
from seq2seq_asr.data.batching import BatchingConfig, plan_in_order
from seq2seq_asr.data.segmenting import SegmentConfig
from seq2seq_asr.data.sources import Source, read_seconds, read_source, source_id, source_seconds
from seq2seq_asr.data.tokenizer import Tokenizer
from seq2seq_asr.data.utterance import Utterance
from seq2seq_asr.errors import AsrError, AudioError, UsageError
from seq2seq_asr.nn.device import find_device
from seq2seq_asr.nn.lm import LanguageModel
from seq2seq_asr.nn.model import Seq2Seq
from seq2seq_asr.recognizer.belonging import load_calibration, load_tuned
from seq2seq_asr.recognizer.confidence import CALIBRATION
from seq2seq_asr.recognizer.language_models import LanguageModels, load_language_models, load_tuned_models
from seq2seq_asr.recognizer.long import Progress, is_long, transcribe_long
from seq2seq_asr.recognizer.memory import within_memory
from seq2seq_asr.recognizer.restoring import restore
from seq2seq_asr.recognizer.searcher import Searcher
from seq2seq_asr.recognizer.transcript import Transcript
from seq2seq_asr.recognizer.tuned import TUNED, Tuned
from seq2seq_asr.search.beam import BeamConfig
from seq2seq_asr.search.ngram import NgramModel
from seq2seq_asr.training.reading import input_reader

DECODING_BATCHES = BatchingConfig(batch_seconds=100.0, max_utterances=1000)
"""Nothing is kept for a backward pass: only the seconds limit a batch."""

WHOLE = SegmentConfig(above=math.inf)
"""Cuts nothing."""


class Recognizer:
    """A trained model with its tokenizer.

    Args:
        model: The model; it is put into evaluation mode.
        tokenizer: The tokenizer it was trained with.
        device: Where to compute.
        language_model: Joins the search with ``BeamConfig.lm_weight``.
        hotwords: Words to expect, which the search favours by ``BeamConfig.hotword_boost``.
        ngram: n-gram model of words, which joins the search with ``BeamConfig.ngram_weight``.
    """

    tuned: Tuned | None = None
    """What `tune` found best; ``transcribe`` searches so unless told otherwise."""
    cuts = True
    """Whether long recordings may be decoded in segments."""

    def __init__(
        self,
        model: Seq2Seq,
        tokenizer: Tokenizer,
        device: torch.device | str = "cpu",
        language_model: LanguageModel | None = None,
        hotwords: Sequence[str] = (),
        ngram: NgramModel | None = None,
    ) -> None:
        self.searcher = Searcher(model, tokenizer, device, language_model, hotwords, ngram)
        self.model, self.tokenizer = self.searcher.model, tokenizer
        self.reader = input_reader(model.features)
        self._told = False  # once is enough, however many recordings there are

    @classmethod
    def load(
        cls,
        run: str | Path,
        *,
        checkpoint: Literal["best", "last"] = "best",
        device: str = "auto",
        lm: Path | None = None,
        hotwords: Sequence[str] = (),
        ngram: Path | None = None,
        tuned: bool = True,
        calibrate: bool = True,
    ) -> "Recognizer":
        """The recogniser of a run folder, or of a folder that ``export`` made.

        Args:
            run: Folder such as ``checkpoints/spoken``.
            checkpoint: Which weights; ``best`` falls back to ``last`` in a run that was never validated.
            device: ``cpu``, ``cuda``, or ``auto`` for a GPU when there is one.
            lm: Language model that ``fit_lm`` made for this tokenizer.
            hotwords: Words to expect.
            ngram: n-gram model of words in an ARPA file, such as `fit_ngram` writes.
            tuned: Search as `tune` found best, where it wrote that into the folder, with the language models of then
                unless others are given; where they cannot be had, a warning says so and the search is the usual one.
            calibrate: Map word confidences as `tune` found out, where it wrote that into the folder.

        Raises:
            CheckpointError: The folder or checkpoint is missing, damaged or not ours.
            TokenizerError: The tokenizer is damaged or not ours.
            UsageError: There is no such device.
            ManifestError: The n-gram model is no ARPA file, or not of this tokenizer's words.
        """
        chosen = find_device(device)
        model, tokenizer = restore(Path(run), checkpoint)
        best = load_tuned(Path(run) / TUNED, tokenizer.hash, checkpoint) if tuned else None
        if best is None or lm is not None or ngram is not None:
            models = load_language_models(lm, ngram, tokenizer, chosen)
        elif (own := load_tuned_models(best, tokenizer, chosen)) is not None:
            models = own
        else:
            best, models = None, LanguageModels(None, None)
        recognizer = cls(model, tokenizer, chosen, models.pieces, hotwords, models.words)
        recognizer.tuned = best
        if calibrate:
            recognizer.searcher.calibration = load_calibration(Path(run) / CALIBRATION, tokenizer.hash, checkpoint)
        return recognizer

    @property
    def default_search(self) -> BeamConfig:
        """How to search when nobody says: as `tune` found best for this run, else as `BeamConfig` says."""
        return BeamConfig() if self.tuned is None else self.tuned.search

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
        self._warn_of_raw_confidences(search)
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

    def _warn_of_raw_confidences(self, search: BeamConfig) -> None:
        line = self.searcher.calibration
        if line is not None and not self.searcher.is_calibrated(search) and not self._told:
            say(f"warning: word confidences stay raw: calibrated with ctc_weight {line.ctc_weight:g}")
            self._told = True

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
        return within_memory(inputs, lambda some: self._decode(some, search), self.searcher.device)

    def _decode(self, inputs: Sequence[tuple[str, np.ndarray]], search: BeamConfig) -> list[Transcript]:
        encoded = self.searcher.encode([samples for _, samples in inputs])
        seconds = [read_seconds(samples, self.reader) for _, samples in inputs]
        return self.searcher.transcripts([id for id, _ in inputs], encoded, search, seconds)

    def warm_up(self, search: BeamConfig | None = None) -> None:
        """Search a second of noise: what is compiled, loaded or recorded at a first search is there at the next.

        Args:
            search: How the next will be; default `default_search`.
        """
        features = self.model.config.features
        shape = (100, features.bins) if features.kind == "precomputed" else (features.rate,)
        noise = np.random.default_rng(0).standard_normal(shape, dtype=np.float32) / 10
        self.searcher.transcripts([""], self.searcher.encode([noise]), search or self.default_search, [1.0])


def _within(seconds: float, limit: float, id: str) -> float:
    if seconds > limit:
        raise AudioError(f"{id}: too long: {seconds:.1f} s, max_seconds is {limit:g}")
    return seconds
