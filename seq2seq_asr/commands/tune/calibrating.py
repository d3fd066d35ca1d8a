"""Fits the map from raw word confidences to probabilities, and says what it is worth."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from seq2seq_asr.commands.tune.cache import EncodedSet, Part
from seq2seq_asr.commands.tune.plots import reliability_figure
from seq2seq_asr.evaluation.calibration import expected_calibration_error, fit_platt, fit_platt_apart, reliability
from seq2seq_asr.evaluation.wer import align
from seq2seq_asr.recognizer.confidence import CALIBRATION, Calibration
from seq2seq_asr.recognizer.searcher import Searcher
from seq2seq_asr.search.alignment import word_places
from seq2seq_asr.search.beam import BeamConfig
from seq2seq_asr.strict_yaml import to_yaml
from seq2seq_asr.training.plots import save_figure
from seq2seq_asr.whole_file import write_whole, writing


def calibrate(searcher: Searcher, encoded: EncodedSet, search: BeamConfig, folder: Path, weights: str) -> str:
    """Fit on an encoded set; write ``confidence.yaml`` and ``reliability.png``, and say what came of it.

    Args:
        searcher: The recogniser's.
        encoded: The set.
        search: How to search it.
        folder: Where to write.
        weights: SHA-256 of the recogniser's file of weights.

    Raises:
        CheckpointError: A file cannot be written.
    """
    raw, right, speakers = collect(searcher, encoded, search)
    if len(raw) == 0:
        return "word confidences: not calibrated, no word was recognised"
    apart = fit_platt_apart(raw, right, speakers)
    slope, intercept = fit_platt(raw, right)
    calibration = Calibration(
        tokenizer=searcher.tokenizer.hash,
        weights=weights,
        ctc_weight=searcher.ctc_share(search),
        speeds=search.speeds,
        slope=slope,
        intercept=intercept,
        words=len(raw),
        error_before=expected_calibration_error(raw, right),
        error_after=expected_calibration_error(apart, right),
    )
    sides = {"raw": reliability(raw, right), "calibrated": reliability(apart, right)}
    write_whole(folder / CALIBRATION, to_yaml(calibration))
    with writing(folder):
        save_figure(reliability_figure(sides), folder / "reliability.png")
    return (
        f"word confidences: expected calibration error {calibration.error_before:.4f} raw, "
        f"{calibration.error_after:.4f} calibrated without the word's own speaker "
        f"({len(raw)} words, {len(raw) - int(right.sum())} of them wrong)"
    )


def collect(searcher: Searcher, encoded: EncodedSet, search: BeamConfig) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Raw confidence of every recognised word, whether it is right, and who said it (or in which utterance)."""
    raw: list[float] = []
    right: list[bool] = []
    speakers: list[str] = []
    heard: dict[Part, list[tuple[str, float]]] = {}
    for parts, hearings in encoded:
        found = searcher.guarded(hearings, searcher.hypotheses(hearings, search), search)
        tokens = [nbest[0].tokens for nbest in found]
        for part, said, sure in zip(parts, tokens, searcher.raw_confidences(hearings, tokens, search), strict=True):
            heard[part] = recognised_words(searcher, said, sure)
    for utterance, segments in zip(encoded.utterances, encoded.by_utterance(heard), strict=True):
        words = [word for segment in segments for word in segment]
        reference = searcher.tokenizer.normalise(utterance.text).split()
        raw += [confidence for _, confidence in words]
        right += right_words(reference, [word for word, _ in words])
        speakers += [utterance.speaker or utterance.id] * len(words)
    return np.array(raw, dtype=float), np.array(right, dtype=bool), np.array(speakers, dtype=str)


def recognised_words(searcher: Searcher, tokens: Sequence[int], sure: Sequence[float]) -> list[tuple[str, float]]:
    """The words of a transcript with their confidences; pieces that write nothing are left out."""
    places = word_places(searcher.tokenizer.pieces(tokens))
    texts = [searcher.tokenizer.decode(tokens[place.start : place.stop]).strip() for place in places]
    return [(text, confidence) for text, confidence in zip(texts, sure, strict=True) if text]


def right_words(reference: Sequence[str], words: Sequence[str]) -> list[bool]:
    """For each recognised word whether the alignment with the reference has it as correct."""
    return [edit.kind == "correct" for edit in align(reference, words) if edit.hypothesis is not None]
