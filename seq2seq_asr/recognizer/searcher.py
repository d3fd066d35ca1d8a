"""A model and all that joins its search: samples in, transcripts out."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from seq2seq_asr.data.augment import at_speed
from seq2seq_asr.data.tokenizer import Tokenizer
from seq2seq_asr.errors import UsageError
from seq2seq_asr.nn.device import full_precision
from seq2seq_asr.nn.fused_energies import no_place
from seq2seq_asr.nn.lm import LanguageModel
from seq2seq_asr.nn.model import Seq2Seq
from seq2seq_asr.nn.stepping import stepping
from seq2seq_asr.recognizer.assembling import assemble
from seq2seq_asr.recognizer.confidence import Calibration, calibrated, raw_confidences
from seq2seq_asr.recognizer.hearing import Hearings, rounded_up, some_of, speeds_of
from seq2seq_asr.recognizer.scoring import EnsembleModel, scorers_of
from seq2seq_asr.recognizer.transcript import Transcript
from seq2seq_asr.search.alignment import Span, attention_spans, ctc_spans, word_places
from seq2seq_asr.search.beam import BeamConfig, beam_search
from seq2seq_asr.search.guards import guard, listen
from seq2seq_asr.search.hotwords import HotWords
from seq2seq_asr.search.hypothesis import Hypothesis
from seq2seq_asr.search.ngram import NgramModel
from seq2seq_asr.search.replay import Places
from seq2seq_asr.search.rescoring import rescore
from seq2seq_asr.search.scorer import Weighted


class Searcher:
    """Encodes a batch, searches it, and says when and how surely each word was said.

    Args:
        model: The model; it is put into evaluation mode.
        tokenizer: The tokenizer it was trained with.
        device: Where to compute.
        language_model: Joins the search with ``BeamConfig.lm_weight``.
        hotwords: Words to expect, which the search favours by ``BeamConfig.hotword_boost``.
        ngram: n-gram model of words, which joins the search with ``BeamConfig.ngram_weight``.
        others: Models of the same tokenizer that read the same inputs, for an ensemble: what all say is averaged.

    Raises:
        UsageError: The hot words are a single text, or empty.
    """

    calibration: Calibration | None = None
    """Map from raw to honest word confidences; without, they are raw."""

    def __init__(
        self,
        model: Seq2Seq,
        tokenizer: Tokenizer,
        device: torch.device | str = "cpu",
        language_model: LanguageModel | None = None,
        hotwords: Sequence[str] = (),
        ngram: NgramModel | None = None,
        others: Sequence[Seq2Seq] = (),
    ) -> None:
        if isinstance(hotwords, str):  # a sequence too: of its characters
            raise UsageError("hotwords takes a list, even for a single one")
        self.device = torch.device(device)
        self.language_model, self.ngram = language_model, ngram
        pieces = tokenizer.pieces(range(len(tokenizer)))
        self.hotwords = HotWords(map(tokenizer.normalise, hotwords), pieces, self.device) if hotwords else None
        self.model = model.eval().to(self.device)
        models = [one.eval().to(self.device) for one in (model, *others)]
        self.members = tuple(EnsembleModel(one, stepping(one.decoder)) for one in models)
        records = self.device.type == "cuda" and model.config.kernels != "off"
        self.places = Places(kernels=no_place(self.model.decoder.embedding.weight) is None) if records else None
        self.tokenizer = tokenizer

    def encode(self, inputs: Sequence[np.ndarray], speeds: int = 1) -> Hearings:
        """Hidden states of samples (or feature frames) as `InputReader` gives them, heard at so many speeds."""
        return tuple(encoded for speed in speeds_of(speeds) for encoded in self.encode_at(inputs, speed))

    @torch.inference_mode()
    def encode_at(self, inputs: Sequence[np.ndarray], speed: float) -> Hearings:
        """Hidden states of every model at one speed, 1 being the utterances' own."""
        if speed != 1:
            inputs = [at_speed(one, speed, self.model.features.smallest_input) for one in inputs]
        tensors = [torch.from_numpy(one) for one in inputs]
        padded = torch.nn.utils.rnn.pad_sequence(tensors, batch_first=True).to(self.device)
        lengths = torch.tensor([len(one) for one in tensors], device=self.device)
        with full_precision():
            return tuple(member.model.encode(padded, lengths) for member in self.members)

    @torch.inference_mode()
    def transcripts(
        self, ids: Sequence[str], hearings: Hearings, search: BeamConfig, seconds: Sequence[float]
    ) -> list[Transcript]:
        """The transcripts of encoded utterances of so many seconds."""
        found = self.guarded(hearings, self.hypotheses(hearings, search), search)
        with full_precision():
            spans = [[self._spans(hearings, row, one, search) for one in nbest] for row, nbest in enumerate(found)]
        raw = self.raw_confidences(hearings, [nbest[0].tokens for nbest in found], search)
        line = self.calibration if self.is_calibrated(search) else None
        sure = [calibrated(one, line) for one in raw]
        parts, shift = zip(ids, found, spans, sure, strict=True), self.model.frame_shift
        timed = zip(parts, seconds, strict=True)
        return [assemble(*part, self.tokenizer, shift, length) for part, length in timed]

    @torch.inference_mode()
    def hypotheses(self, hearings: Hearings, search: BeamConfig) -> list[list[Hypothesis]]:
        """What the search finds, whatever the guards think of it."""
        utterances = len(hearings[0].lengths)
        if self.places is not None:
            hearings = rounded_up(hearings)
        with full_precision():
            found = beam_search(self.scorers(hearings, search), hearings[0].lengths, search, places=self.places)
        return found[:utterances]

    @torch.inference_mode()
    def guarded(
        self, hearings: Hearings, found: Sequence[list[Hypothesis]], search: BeamConfig
    ) -> list[list[Hypothesis]]:
        """What the search found, flagged and replaced as the search's settings say."""
        if search.guards == "off" or self.model.ctc is None:
            return guard(found, None, search.guards)
        with full_precision():
            heard = listen(self.model.ctc_log_probs(hearings[0]), hearings[0].lengths)
        more_ctc = replace(search, ctc_weight=(1 + search.ctc_weight) / 2)
        return guard(found, heard, search.guards, lambda rows: self.hypotheses(some_of(hearings, rows), more_ctc))

    @torch.inference_mode()
    def scorers(self, hearings: Hearings, search: BeamConfig) -> tuple[Weighted, ...]:
        """All that has a say in a search of utterances that were heard at as many speeds as it asks for, or more.

        Raises:
            ValueError: At fewer.
            UsageError: As `require_possible`.
        """
        self.require_possible(search)
        wanted = search.speeds * len(self.members)
        if len(hearings) < wanted:
            raise ValueError(f"heard at {len(hearings) // len(self.members)} speeds, the search wants {search.speeds}")
        kernels = self.places is not None and self.places.kernels
        models = self.language_model, self.hotwords, self.ngram
        return scorers_of(self.members, hearings[:wanted], search, *models, kernels)

    @torch.inference_mode()
    def raw_confidences(
        self, hearings: Hearings, tokens: Sequence[Sequence[int]], search: BeamConfig
    ) -> list[list[float]]:
        """Uncalibrated confidence of each word of one transcript an utterance."""
        scorers = self.scorers(hearings, search)
        with full_precision():
            gains = rescore(scorers, tokens, self.device)
        places = [word_places(self.tokenizer.pieces(said)) for said in tokens]
        return [raw_confidences(one, scorers, words) for one, words in zip(gains, places, strict=True)]

    def require_possible(self, search: BeamConfig) -> None:
        """Refuse what this model cannot be searched by.

        Raises:
            UsageError: Coverage is to count, but there is no attention.
        """
        if search.coverage_weight > 0 and not self.model.decoder.aligns:
            raise UsageError("coverage_weight: the model has no attention that could cover an utterance: set it to 0")

    def ctc_share(self, search: BeamConfig) -> float:
        """How much of a raw confidence is CTC's."""
        return search.ctc_weight if self.model.ctc is not None else 0.0

    def is_calibrated(self, search: BeamConfig) -> bool:
        """Whether confidences are calibrated: a line of another CTC weight, other speeds or one model says nothing."""
        line = self.calibration
        if line is None or line.speeds != search.speeds or len(self.members) > 1:
            return False
        return line.ctc_weight == self.ctc_share(search)

    @property
    def aligns(self) -> bool:
        """Whether anything tells when words were said: an attention or CTC."""
        return self.model.decoder.aligns or self.model.ctc is not None

    def _spans(self, hearings: Hearings, row: int, hypothesis: Hypothesis, search: BeamConfig) -> list[Span]:
        """Encoded frames of each token; the attention's where CTC has no room for the tokens, none without attention.

        Without attention CTC is asked in any case.
        """
        if search.align == "ctc" or (self.model.ctc is not None and not self.model.decoder.aligns):
            log_probs = self.model.ctc_log_probs(some_of(hearings[:1], [row])[0])[0]
            spans = ctc_spans(log_probs, hypothesis.tokens)
            if spans is not None:
                return spans
        return attention_spans(hypothesis.frames)
