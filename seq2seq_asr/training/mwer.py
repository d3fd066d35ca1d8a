"""Training towards few word errors (characters, where the run is judged by these), in place of probable tokens.

Prabhavalkar et al. 2018, "Minimum word error rate training for attention-based sequence-to-sequence models", with
n-best lists: each step searches its batch with the present weights, and lowers the errors expected over the lists.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from seq2seq_asr.data.dataset import Batch
from seq2seq_asr.data.targets import Targets
from seq2seq_asr.errors import UsageError
from seq2seq_asr.evaluation.wer import character_errors, word_errors
from seq2seq_asr.nn.losses import cross_entropy, expected_errors, shift_targets
from seq2seq_asr.nn.model import Encoded, Losses, Seq2Seq
from seq2seq_asr.nn.precision import at_least_single
from seq2seq_asr.nn.stepping import stepping
from seq2seq_asr.search.attention import AttentionScorer
from seq2seq_asr.search.beam import BeamConfig, beam_search
from seq2seq_asr.search.hypothesis import Hypothesis
from seq2seq_asr.search.scorer import joint_scorers
from seq2seq_asr.training.criterion import CER, Criterion
from seq2seq_asr.vocabulary import BLANK


@dataclass(frozen=True, kw_only=True)
class MwerConfig:
    """Minimum word error rate training (Prabhavalkar et al. 2018); it needs a trained start, from `init_from`."""

    nbest: int = 0
    """Transcripts an utterance, from a beam as wide, whose expected errors are lowered; 0 is off, 4 is usual."""
    cross_entropy: float = 0.01
    """Weight of the usual loss, which is added so that the model does not drift."""

    def __post_init__(self) -> None:
        if self.nbest < 0 or self.nbest == 1:
            raise UsageError(f"mwer.nbest: must be 0, or 2 or more, not {self.nbest}")
        if not 0 <= self.cross_entropy < float("inf"):
            raise UsageError(f"mwer.cross_entropy: must be at least 0, not {self.cross_entropy}")


class NBest(NamedTuple):
    """n-best lists of a batch; utterance ``b`` has the rows from ``b * N`` on."""

    tokens: Int[Tensor, "BN U"]
    lengths: Int[Tensor, " BN"]
    errors: Float[Tensor, "B N"]
    """Words, or characters, that each has wrong."""
    found: Bool[Tensor, "B N"]
    """False where an utterance has fewer."""


def mwer_losses(
    model: Seq2Seq, tokenizer: Targets, batch: Batch, config: MwerConfig, criterion: Criterion, sampling: float
) -> Losses:
    """Losses of a batch whose ``total`` is the expected errors and a little of the usual total.

    Search and losses see the same encoded frames, masked and with dropout as any step of training; the search's decoder
    is without dropout and noise.

    Args:
        model: The model.
        tokenizer: Turns what is found into text.
        batch: Utterances with their texts.
        config: What is added up.
        criterion: Of word errors, or of character errors: whole sentences may be written as one word.
        sampling: Scheduled-sampling probability of the usual loss.
    """
    encoded = model.encode(batch.inputs, batch.lengths)
    hypotheses = search_lists(model, encoded, config.nbest)
    lists = score_lists(hypotheses, batch.texts, tokenizer, config.nbest, criterion)
    lists = NBest(*(part.to(encoded.states.device) for part in lists))
    with model.noisy_decoder():
        usual = model.losses(encoded, batch.tokens, batch.token_lengths, sampling)
        log_probs = list_log_probs(model, encoded, lists)
    errors = expected_errors(log_probs, lists.errors, lists.found)
    return usual._replace(total=errors + config.cross_entropy * usual.total)


@torch.inference_mode()
def search_lists(model: Seq2Seq, encoded: Encoded, nbest: int) -> list[list[Hypothesis]]:
    """The attention decoder's n-best lists under the present weights."""
    # Without autocast: it would keep copies of the weights that know of no gradient, for the losses to trip over.
    with _evaluating(model.decoder), torch.autocast(encoded.states.device.type, enabled=False):
        decoder = stepping(model.decoder)
        memory = decoder.memory(at_least_single(encoded.states), encoded.lengths)
        scorers = joint_scorers(AttentionScorer(decoder, memory))
        return beam_search(scorers, encoded.lengths, BeamConfig(beam=nbest, nbest=nbest))


def score_lists(
    hypotheses: Sequence[Sequence[Hypothesis]],
    texts: Sequence[str],
    tokenizer: Targets,
    nbest: int,
    criterion: Criterion,
) -> NBest:
    """Tensors of n-best lists, with the errors of each transcript; what did not end is left out."""
    count = character_errors if criterion == CER else word_errors
    tokens, errors = [], []
    for found, text in zip(hypotheses, texts, strict=True):
        ended = [one.tokens for one in found if one.ended]
        places = [*ended, *[()] * (nbest - len(ended))]
        tokens += [torch.tensor(one, dtype=torch.long) for one in places]
        counts = [float(count(text, tokenizer.decode(one)).errors) for one in ended]
        errors.append([*counts, *[-1.0] * (nbest - len(ended))])
    counted = torch.tensor(errors)
    lengths = torch.tensor([len(one) for one in tokens])
    padded = pad_sequence(tokens, batch_first=True, padding_value=BLANK)
    return NBest(padded, lengths, counted.clamp(min=0), counted >= 0)


def list_log_probs(model: Seq2Seq, encoded: Encoded, lists: NBest) -> Float[Tensor, "B N"]:
    """Natural-log probability of each transcript by teacher forcing, through which gradients flow."""
    utterances, nbest = lists.errors.shape
    memory = model.memory(encoded)
    rows = torch.arange(utterances, device=lists.lengths.device).repeat_interleave(nbest)
    read, say = shift_targets(lists.tokens, lists.lengths)
    logits, _ = model.decoder(read, memory.select(rows))
    return -cross_entropy(logits, say, lists.lengths + 1, 0.0).view(utterances, nbest)


@contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    training = module.training
    module.eval()
    try:
        yield
    finally:
        module.train(training)
