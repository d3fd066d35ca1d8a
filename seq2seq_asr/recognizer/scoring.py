"""Which scorers join the search of a batch."""

from collections.abc import Sequence

import torch

from seq2seq_asr.nn.compiled_stepping import CompiledStepping
from seq2seq_asr.nn.decoder import Decoder
from seq2seq_asr.nn.fused_stepping import FusedStepping
from seq2seq_asr.nn.lm import LanguageModel
from seq2seq_asr.nn.model import Encoded, Seq2Seq
from seq2seq_asr.nn.stepping import Stepping
from seq2seq_asr.search.attention import AttentionScorer
from seq2seq_asr.search.beam import BeamConfig
from seq2seq_asr.search.coverage import CoverageScorer
from seq2seq_asr.search.ctc_fused import ctc_prefix_scorer
from seq2seq_asr.search.hotwords import HotWords, HotWordScorer
from seq2seq_asr.search.internal_lm import InternalLanguageModelScorer
from seq2seq_asr.search.language_model import LanguageModelScorer
from seq2seq_asr.search.ngram import NgramModel, NgramScorer
from seq2seq_asr.search.scorer import Weighted, joint_scorers


def scorers_of(
    model: Seq2Seq,
    decoder: Decoder | Stepping | FusedStepping | CompiledStepping,
    encoded: Encoded,
    search: BeamConfig,
    language_model: LanguageModel | None = None,
    hotwords: HotWords | None = None,
    ngram: NgramModel | None = None,
    kernels: bool = False,
) -> tuple[Weighted, ...]:
    """The attention decoder, as the model has it or arranged for steps, and whatever else is there and has weight.

    Args:
        model: The recogniser.
        decoder: Its decoder.
        encoded: A batch.
        search: How to search.
        language_model: Of pieces.
        hotwords: Words to expect.
        ngram: Of words.
        kernels: Whether GPU kernels may score.
    """
    memory, utterances = decoder.memory(encoded.states, encoded.lengths), len(encoded.lengths)
    attention = AttentionScorer(decoder, memory)
    ctc = None
    if search.ctc_weight > 0 and model.ctc is not None:
        ctc = ctc_prefix_scorer(model.ctc_log_probs(encoded), encoded.lengths, kernels)
    scorers = [*joint_scorers(attention, ctc, search.ctc_weight)]
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


def some_of(encoded: Encoded, rows: Sequence[int]) -> Encoded:
    """Some utterances of a batch, without the padding that only the others need."""
    lengths = encoded.lengths[list(rows)]
    return Encoded(encoded.states[list(rows), : int(lengths.max())], lengths)


def rounded_up(encoded: Encoded, utterances: int = 8, frames: int = 32) -> Encoded:
    """The batch with padding, and utterances of one frame, up to multiples: then few shapes occur.

    Args:
        encoded: The batch; its utterances stay the first.
        utterances: Of what their number is to be a multiple.
        frames: Of what their frames are to be one.
    """
    more, longer = -len(encoded.lengths) % utterances, -encoded.states.shape[1] % frames
    states = torch.nn.functional.pad(encoded.states, (0, 0, 0, longer, 0, more))
    return Encoded(states, torch.nn.functional.pad(encoded.lengths, (0, more), value=1))
