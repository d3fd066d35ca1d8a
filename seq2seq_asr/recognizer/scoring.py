"""Which scorers join the search of a batch."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import cycle
from typing import NamedTuple

from seq2seq_asr.nn.compiled_stepping import CompiledStepping
from seq2seq_asr.nn.decoder import Decoder
from seq2seq_asr.nn.fused_stepping import FusedStepping
from seq2seq_asr.nn.lm import LanguageModel
from seq2seq_asr.nn.model import Encoded, Seq2Seq
from seq2seq_asr.nn.stepping import Stepping
from seq2seq_asr.recognizer.hearing import Hearings, marks_of, stretched_frames
from seq2seq_asr.search.attention import AttentionScorer
from seq2seq_asr.search.beam import BeamConfig
from seq2seq_asr.search.coverage import CoverageScorer
from seq2seq_asr.search.ctc_fused import ctc_prefix_scorer
from seq2seq_asr.search.hotwords import HotWords, HotWordScorer
from seq2seq_asr.search.internal_lm import InternalLanguageModelScorer
from seq2seq_asr.search.language_model import LanguageModelScorer
from seq2seq_asr.search.ngram import NgramModel, NgramScorer
from seq2seq_asr.search.scorer import Weighted, joint_scorers

StepDecoder = Decoder | Stepping | FusedStepping | CompiledStepping
"""The decoder as the model has it, or arranged for steps."""


class EnsembleModel(NamedTuple):
    """A model of an ensemble; mostly there is one."""

    model: Seq2Seq
    decoder: StepDecoder


def scorers_of(
    members: Sequence[EnsembleModel],
    hearings: Hearings,
    search: BeamConfig,
    language_model: LanguageModel | None = None,
    hotwords: HotWords | None = None,
    ngram: NgramModel | None = None,
    kernels: bool = False,
) -> tuple[Weighted, ...]:
    """What listens, each model at each speed with an equal share of the weight, and whatever else has weight.

    Args:
        members: Models with one tokenizer.
        hearings: A batch, heard by all of them.
        search: How to search.
        language_model: Of pieces.
        hotwords: Words to expect.
        ngram: Of words.
        kernels: Whether GPU kernels may score.
    """
    encoded, utterances, model = hearings[0], len(hearings[0].lengths), members[0].model
    scorers = list[Weighted]()
    marks = marks_of(len(hearings) // len(members), len(members))
    for mark, member, heard in zip(marks, cycle(members), hearings, strict=False):
        listening = _joint_scorers(*member, heard, encoded, search.ctc_weight, kernels)
        scorers += [replace(one, name=one.name + mark, weight=one.weight / len(hearings)) for one in listening]
    if search.lm_weight > 0 and language_model is not None:
        scorers.append(Weighted("lm", LanguageModelScorer(language_model, utterances), search.lm_weight))
    if search.ngram_weight > 0 and ngram is not None:
        scorers.append(Weighted("ngram", NgramScorer(ngram, utterances, search.ngram_unknown), search.ngram_weight))
    if search.ilm_weight > 0:
        ilm = InternalLanguageModelScorer(model.decoder, model.decoder.no_memory(utterances))
        scorers.append(Weighted("ilm", ilm, search.ilm_weight, ilm.max_gain))
    if search.coverage_weight > 0:
        coverage = CoverageScorer(encoded.lengths, encoded.states.shape[1], search.coverage_threshold)
        scorers.append(Weighted("coverage", coverage, search.coverage_weight, coverage.max_gain))
    if search.hotword_boost > 0 and hotwords is not None:
        hot = HotWordScorer(hotwords, utterances)
        scorers.append(Weighted("hotwords", hot, search.hotword_boost, hotwords.max_gain))
    return tuple(scorers)


def _joint_scorers(
    model: Seq2Seq, decoder: StepDecoder, heard: Encoded, own: Encoded, ctc_weight: float, kernels: bool
) -> tuple[Weighted, ...]:
    """Attention and, if it is there and has weight, CTC of one hearing, beside the utterances' own."""
    attention = AttentionScorer(decoder, decoder.memory(heard.states, heard.lengths))
    if ctc_weight == 0 or model.ctc is None:
        return joint_scorers(attention)
    log_probs, lengths = model.ctc_log_probs(heard), heard.lengths
    if heard is not own:
        log_probs, lengths = stretched_frames(log_probs, lengths, own)
    ctc = ctc_prefix_scorer(log_probs, lengths, kernels)
    return joint_scorers(attention, ctc, ctc_weight)
