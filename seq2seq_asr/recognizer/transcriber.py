"""A trained recogniser as one object: ``Recognizer.load(run).transcribe(audio)``."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from seq2seq_asr.data.batching import BatchingConfig, plan_in_order
from seq2seq_asr.data.sources import Source, read_source, source_id, source_seconds
from seq2seq_asr.data.tokenizer import Tokenizer
from seq2seq_asr.data.utterance import Utterance
from seq2seq_asr.errors import AsrError, AudioError, UsageError
from seq2seq_asr.nn.device import find_device, full_precision, is_out_of_memory
from seq2seq_asr.nn.lm import LanguageModel
from seq2seq_asr.nn.model import Encoded, Seq2Seq
from seq2seq_asr.recognizer.ngram import load_ngram
from seq2seq_asr.recognizer.restoring import restore
from seq2seq_asr.recognizer.scoring import scorers_of, some_of
from seq2seq_asr.recognizer.transcript import Transcript, Word
from seq2seq_asr.search.alignment import Span, attention_spans, ctc_spans, word_places, word_spans
from seq2seq_asr.search.beam import BeamConfig, beam_search
from seq2seq_asr.search.guards import guard, listen
from seq2seq_asr.search.hotwords import HotWords
from seq2seq_asr.search.hypothesis import Hypothesis
from seq2seq_asr.search.language_model import restore_language_model
from seq2seq_asr.search.ngram import NgramModel
from seq2seq_asr.training.checkpoint import read_checkpoint
from seq2seq_asr.training.reading import input_reader

DECODING_BATCHES = BatchingConfig(batch_seconds=100.0, max_utterances=1000)
"""Nothing is kept for a backward pass: only the seconds limit a batch."""


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
        self.tokenizer = tokenizer
        self.reader = input_reader(model.features)

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
    ) -> "Recognizer":
        """The recogniser of a run folder, or of a folder that ``export`` made.

        Args:
            run: Folder such as ``checkpoints/spoken``.
            checkpoint: Which weights; ``best`` falls back to ``last`` in a run that was never validated.
            device: ``cpu``, ``cuda``, or ``auto`` for a GPU when there is one.
            lm: Language model that ``fit_lm`` made for this tokenizer.
            hotwords: Words to expect.
            ngram: n-gram model of words in an ARPA file, such as `fit_ngram` writes.

        Raises:
            CheckpointError: The folder or checkpoint is missing, damaged or not ours.
            TokenizerError: The tokenizer is damaged or not ours.
            UsageError: There is no such device.
            ManifestError: The n-gram model is no ARPA file, or not of this tokenizer's words.
        """
        chosen = find_device(device)
        model, tokenizer = restore(Path(run), checkpoint)
        language_model = None
        if lm is not None:
            language_model = restore_language_model(read_checkpoint(lm), lm, tokenizer.hash, len(tokenizer), chosen)
        words = None if ngram is None else load_ngram(ngram, tokenizer, chosen)
        return cls(model, tokenizer, chosen, language_model, hotwords, words)

    def transcribe(self, audio: Sequence[Source], search: BeamConfig | None = None) -> list[Transcript]:
        """Transcribe files, samples or utterances.

        Args:
            audio: Audio files of any format and rate that soundfile reads, samples ``(N,)`` in [-1, 1] at the model's
                rate, or manifest utterances.
            search: How to search; default `BeamConfig`.

        Returns:
            One transcript each, in the order given; the same whatever else is in the list.

        Raises:
            AudioError: A file cannot be read, is silent, too short, or too long for the memory.
            UsageError: Not a list.
        """
        if isinstance(audio, str | Path | np.ndarray | Utterance):
            raise UsageError(f"transcribe takes a list, such as [{type(audio).__name__}], even for a single one")
        found: dict[int, Transcript] = {}
        for places, results in self.stream(audio, search or BeamConfig()):
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
    ) -> Iterator[tuple[list[int], list[Transcript | AsrError]]]:
        """Transcribe batch by batch, longest first; what cannot be read, or is too long, comes back as its error.

        Args:
            audio: As `transcribe`.
            search: How to search.
            batching: Limits of a batch.
            max_seconds: What is longer is not read.

        Yields:
            Places in ``audio`` and, for each, the transcript or the error.
        """
        seconds: dict[int, float] = {}
        for place, source in enumerate(audio):
            try:
                seconds[place] = _within(source_seconds(source, self.reader), max_seconds, source_id(source, place))
            except AsrError as error:
                yield [place], [error]
        known = np.array(list(seconds), dtype=np.int64)
        for batch in plan_in_order(np.array([*seconds.values()]), batching):
            places = known[batch].tolist()
            inputs = [self._read(audio[place]) for place in places]
            ids = [source_id(audio[place], place) for place in places]
            readable = [(id, one) for id, one in zip(ids, inputs, strict=True) if isinstance(one, np.ndarray)]
            results = iter(self._decode_within_memory(readable, search))
            yield places, [one if isinstance(one, AsrError) else next(results) for one in inputs]

    def _read(self, source: Source) -> np.ndarray | AsrError:
        try:
            return read_source(source, self.reader)
        except AsrError as error:
            return error

    def _decode_within_memory(
        self, inputs: Sequence[tuple[str, np.ndarray]], search: BeamConfig
    ) -> list[Transcript | AsrError]:
        """Decode together, or in halves where the memory does not hold all; one that it cannot hold is an error."""
        if not inputs:
            return []
        try:
            return [*self._decode(inputs, search)]
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
        # Outside the handler: its traceback would keep the tensors.
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        if len(inputs) == 1:
            return [AudioError(f"{inputs[0][0]}: too long for the memory of the {self.device.type}")]
        half = len(inputs) // 2
        return [
            part for inputs in (inputs[:half], inputs[half:]) for part in self._decode_within_memory(inputs, search)
        ]

    @torch.inference_mode()
    def _decode(self, inputs: Sequence[tuple[str, np.ndarray]], search: BeamConfig) -> list[Transcript]:
        tensors = [torch.from_numpy(one) for _, one in inputs]
        padded = torch.nn.utils.rnn.pad_sequence(tensors, batch_first=True).to(self.device)
        lengths = torch.tensor([len(one) for one in tensors], device=self.device)
        with full_precision():
            encoded = self.model.encode(padded, lengths)
            found = self._search(encoded, search)
            heard = None
            if search.guards != "off" and self.model.ctc is not None:
                heard = listen(self.model.ctc_log_probs(encoded), encoded.lengths)
            more_ctc = replace(search, ctc_weight=(1 + search.ctc_weight) / 2)
            found = guard(found, heard, search.guards, lambda rows: self._search(some_of(encoded, rows), more_ctc))
            spans = [[self._spans(encoded, row, one, search) for one in nbest] for row, nbest in enumerate(found)]
        ids = [id for id, _ in inputs]
        return [self._transcript(*parts) for parts in zip(ids, found, spans, strict=True)]

    def _search(self, encoded: Encoded, search: BeamConfig) -> list[list[Hypothesis]]:
        scorers = scorers_of(self.model, encoded, search, self.language_model, self.hotwords, self.ngram)
        return beam_search(scorers, encoded.lengths, search)

    def _spans(self, encoded: Encoded, row: int, hypothesis: Hypothesis, search: BeamConfig) -> list[Span]:
        """Encoded frames of each token; the attention's where CTC has no room for the tokens."""
        if search.align == "ctc":
            log_probs = self.model.ctc_log_probs(some_of(encoded, [row]))[0]
            spans = ctc_spans(log_probs, hypothesis.tokens)
            if spans is not None:
                return spans
        return attention_spans(hypothesis.frames)

    def _transcript(self, id: str, hypotheses: Sequence[Hypothesis], spans: Sequence[Sequence[Span]]) -> Transcript:
        nbest = tuple(self._single(id, *parts) for parts in zip(hypotheses, spans, strict=True))
        return replace(nbest[0], nbest=nbest)

    def _single(self, id: str, hypothesis: Hypothesis, spans: Sequence[Span]) -> Transcript:
        pieces, shift = self.tokenizer.pieces(hypothesis.tokens), self.model.frame_shift
        return Transcript(
            id=id,
            text=self.tokenizer.decode(hypothesis.tokens),
            score=hypothesis.score,
            log_prob=hypothesis.log_prob,
            pieces=tuple(pieces),
            times=tuple(round((frame + 0.5) * shift, 3) for frame in hypothesis.frames),
            ended=hypothesis.ended,
            scores=hypothesis.scores,
            words=self._words(hypothesis.tokens, pieces, spans),
            flags=hypothesis.flags,
            fallback=hypothesis.fallback,
        )

    def _words(self, tokens: Sequence[int], pieces: Sequence[str], spans: Sequence[Span]) -> tuple[Word, ...]:
        shift, places = self.model.frame_shift, word_places(pieces)
        texts = [self.tokenizer.decode(tokens[place.start : place.stop]).strip() for place in places]
        timed = zip(texts, word_spans(spans, places), strict=True)
        return tuple(Word(text, round(a * shift, 3), round(b * shift, 3)) for text, (a, b) in timed if text)


def _within(seconds: float, limit: float, id: str) -> float:
    if seconds > limit:
        raise AudioError(f"{id}: too long: {seconds:.1f} s, max_seconds is {limit:g}")
    return seconds
