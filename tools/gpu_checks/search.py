"""Checks that a search whose steps are replayed finds exactly what it finds launch by launch."""

from collections.abc import Iterator
from functools import partial

import torch
from gpu_common import Check, Failed, Where

from seq2seq_asr.nn.attention import AttentionConfig
from seq2seq_asr.nn.decoder import Decoder, DecoderConfig
from seq2seq_asr.nn.stepping import Stepping
from seq2seq_asr.search.attention import AttentionScorer
from seq2seq_asr.search.beam import BeamConfig, beam_search
from seq2seq_asr.search.ctc_prefix import CtcPrefixScorer
from seq2seq_asr.search.replay import Places
from seq2seq_asr.search.scorer import Weighted, joint_scorers


def same_hypotheses(where: Where, *, stepping: bool, ctc_weight: float) -> str:
    """Batch after batch of three shapes through the same recordings."""
    size, vocabulary = (8, 9) if where.tiny else (128, 200)
    config = DecoderConfig(units=size, embedding=size)
    plain = Decoder(config, AttentionConfig(size=size), size, vocabulary).to(where.device).eval()
    torch.nn.init.normal_(plain.get_parameter("output.weight"), std=1.0)
    decoder, places, compared = Stepping(plain) if stepping else plain, Places(), 0
    search = BeamConfig(beam=8, nbest=4, ctc_weight=ctc_weight, max_length_ratio=0.5)

    def scorers(encoded: torch.Tensor, posteriors: torch.Tensor, lengths: torch.Tensor) -> tuple[Weighted, ...]:
        attention = AttentionScorer(decoder, decoder.memory(encoded, lengths))
        return joint_scorers(attention, CtcPrefixScorer(posteriors, lengths), ctc_weight)

    with torch.inference_mode():
        for utterances, frames in [(1, 12), (4, 20), (3, 16)] * 3:
            lengths = torch.randint(1, frames + 1, (utterances,), device=where.device)
            encoded = torch.randn(utterances, frames, size, device=where.device)
            posteriors = torch.randn(utterances, frames, vocabulary, device=where.device).log_softmax(2)
            given = encoded, posteriors, lengths
            wanted = beam_search(scorers(*given), lengths, search)
            found = beam_search(scorers(*given), lengths, search, places=places)
            if found != wanted:
                raise Failed(f"{utterances} utterances of {frames} frames: other hypotheses than launch by launch")
            compared += sum(map(len, wanted))
    return f"{compared} hypotheses and their scores are the same to the bit"


def checks(where: Where) -> Iterator[Check]:
    """All of them."""
    for stepping in (True, False):
        for ctc_weight in (0.0, 0.3):
            name = f"search, {'arranged' if stepping else 'plain'} decoder, CTC weight {ctc_weight}"
            yield Check(name, partial(same_hypotheses, where, stepping=stepping, ctc_weight=ctc_weight))
