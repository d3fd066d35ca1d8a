"""A trained recogniser as one object: ``Recognizer.load(run).transcribe(audio)``."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
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
from seq2seq_asr.nn.device import find_device, full_precision
from seq2seq_asr.nn.fused_energies import no_place
from seq2seq_asr.nn.lm import LanguageModel
from seq2seq_asr.nn.model import Encoded, Seq2Seq
from seq2seq_asr.nn.stepping import stepping
from seq2seq_asr.recognizer.assembling import assemble
from seq2seq_asr.recognizer.belonging import load_calibration, load_tuned
from seq2seq_asr.recognizer.confidence import CALIBRATION, Calibration, calibrated, raw_confidences
from seq2seq_asr.recognizer.language_models import LanguageModels, load_language_models, load_tuned_models
from seq2seq_asr.recognizer.long import Progress, is_long, transcribe_long
from seq2seq_asr.recognizer.memory import within_memory
from seq2seq_asr.recognizer.restoring import restore
from seq2seq_asr.recognizer.scoring import rounded_up, scorers_of, some_of
from seq2seq_asr.recognizer.transcript import Transcript
from seq2seq_asr.recognizer.tuned import TUNED, Tuned
from seq2seq_asr.search.alignment import Span, attention_spans, ctc_spans, word_places
from seq2seq_asr.search.beam import BeamConfig, beam_search
from seq2seq_asr.search.guards import guard, listen
from seq2seq_asr.search.hotwords import HotWords
from seq2seq_asr.search.hypothesis import Hypothesis
from seq2seq_asr.search.ngram import NgramModel
from seq2seq_asr.search.replay import Places
from seq2seq_asr.search.rescoring import rescore
from seq2seq_asr.search.scorer import Weighted
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
    calibration: Calibration | None = None
    """Map from raw to honest word confidences; without, they are raw."""
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
        self.device = torch.device(device)
        self.language_model, self.ngram = language_model, ngram
        pieces = tokenizer.pieces(range(len(tokenizer)))
        self.hotwords = HotWords(map(tokenizer.normalise, hotwords), pieces, self.device) if hotwords else None
        self.model = model.eval().to(self.device)
        self.decoder = stepping(self.model.decoder)
        records = self.device.type == "cuda" and model.config.kernels != "off"
        self.places = Places(kernels=no_place(self.model.decoder.embedding.weight) is None) if records else None
        self.tokenizer = tokenizer
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
            recognizer.calibration = load_calibration(Path(run) / CALIBRATION, tokenizer.hash, checkpoint)
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
        if self.calibration is not None and not self.is_calibrated(search) and not self._told:
            say(f"warning: word confidences stay raw: calibrated with ctc_weight {self.calibration.ctc_weight:g}")
            self._told = True
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

    def _decode(self, inputs: Sequence[tuple[str, np.ndarray]], search: BeamConfig) -> list[Transcript]:
        encoded = self.encode([samples for _, samples in inputs])
        seconds = [read_seconds(samples, self.reader) for _, samples in inputs]
        return self.search_encoded([id for id, _ in inputs], encoded, search, seconds)

    def warm_up(self, search: BeamConfig | None = None) -> None:
        """Search a second of noise: what is compiled, loaded or recorded at a first search is there at the next.

        Args:
            search: How the next will be; default `default_search`.
        """
        features = self.model.config.features
        shape = (100, features.bins) if features.kind == "precomputed" else (features.rate,)
        noise = np.random.default_rng(0).standard_normal(shape, dtype=np.float32) / 10
        self.search_encoded([""], self.encode([noise]), search or self.default_search, [1.0])

    @torch.inference_mode()
    def encode(self, inputs: Sequence[np.ndarray]) -> Encoded:
        """Hidden states of samples (or feature frames) as `InputReader` gives them."""
        tensors = [torch.from_numpy(one) for one in inputs]
        padded = torch.nn.utils.rnn.pad_sequence(tensors, batch_first=True).to(self.device)
        lengths = torch.tensor([len(one) for one in tensors], device=self.device)
        with full_precision():
            return self.model.encode(padded, lengths)

    @torch.inference_mode()
    def search_encoded(
        self, ids: Sequence[str], encoded: Encoded, search: BeamConfig, seconds: Sequence[float]
    ) -> list[Transcript]:
        """The transcripts of encoded utterances of so many seconds."""
        found = self.guarded(encoded, self.hypotheses(encoded, search), search)
        with full_precision():
            spans = [[self._spans(encoded, row, one, search) for one in nbest] for row, nbest in enumerate(found)]
        raw = self.raw_confidences(encoded, [nbest[0].tokens for nbest in found], search)
        line = self.calibration if self.is_calibrated(search) else None
        sure = [calibrated(one, line) for one in raw]
        parts, shift = zip(ids, found, spans, sure, strict=True), self.model.frame_shift
        timed = zip(parts, seconds, strict=True)
        return [assemble(*part, self.tokenizer, shift, length) for part, length in timed]

    @torch.inference_mode()
    def hypotheses(self, encoded: Encoded, search: BeamConfig) -> list[list[Hypothesis]]:
        """What the search finds, whatever the guards think of it."""
        if self.places is not None:
            encoded, utterances = rounded_up(encoded), len(encoded.lengths)
        with full_precision():
            found = beam_search(self.scorers(encoded, search), encoded.lengths, search, places=self.places)
        return found if self.places is None else found[:utterances]

    @torch.inference_mode()
    def guarded(
        self, encoded: Encoded, found: Sequence[list[Hypothesis]], search: BeamConfig
    ) -> list[list[Hypothesis]]:
        """What the search found, flagged and replaced as the search's settings say."""
        if search.guards == "off" or self.model.ctc is None:
            return guard(found, None, search.guards)
        with full_precision():
            heard = listen(self.model.ctc_log_probs(encoded), encoded.lengths)
        more_ctc = replace(search, ctc_weight=(1 + search.ctc_weight) / 2)
        return guard(found, heard, search.guards, lambda rows: self.hypotheses(some_of(encoded, rows), more_ctc))

    @torch.inference_mode()
    def scorers(self, encoded: Encoded, search: BeamConfig) -> tuple[Weighted, ...]:
        """All that has a say in a search of encoded utterances."""
        kernels = self.places is not None and self.places.kernels
        models = self.language_model, self.hotwords, self.ngram
        return scorers_of(self.model, self.decoder, encoded, search, *models, kernels)

    @torch.inference_mode()
    def raw_confidences(
        self, encoded: Encoded, tokens: Sequence[Sequence[int]], search: BeamConfig
    ) -> list[list[float]]:
        """Uncalibrated confidence of each word of one transcript an utterance."""
        scorers = self.scorers(encoded, search)
        with full_precision():
            gains = rescore(scorers, tokens, self.device)
        places = [word_places(self.tokenizer.pieces(said)) for said in tokens]
        return [raw_confidences(one, scorers, words) for one, words in zip(gains, places, strict=True)]

    def ctc_share(self, search: BeamConfig) -> float:
        """How much of a raw confidence is CTC's."""
        return search.ctc_weight if self.model.ctc is not None else 0.0

    def is_calibrated(self, search: BeamConfig) -> bool:
        """Whether confidences are calibrated: a line fitted to those of another CTC weight says nothing of them."""
        return self.calibration is not None and self.calibration.ctc_weight in (None, self.ctc_share(search))

    def _spans(self, encoded: Encoded, row: int, hypothesis: Hypothesis, search: BeamConfig) -> list[Span]:
        """Encoded frames of each token; the attention's where CTC has no room for the tokens."""
        if search.align == "ctc":
            log_probs = self.model.ctc_log_probs(some_of(encoded, [row]))[0]
            spans = ctc_spans(log_probs, hypothesis.tokens)
            if spans is not None:
                return spans
        return attention_spans(hypothesis.frames)


def _within(seconds: float, limit: float, id: str) -> float:
    if seconds > limit:
        raise AudioError(f"{id}: too long: {seconds:.1f} s, max_seconds is {limit:g}")
    return seconds
