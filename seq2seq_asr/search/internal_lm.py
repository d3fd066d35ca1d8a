"""The language model within the decoder, to be taken from the sum where another one is added.

An attention decoder learns the texts it is trained on; beside an external language model they count twice, and wrongly
where the texts to come are others. Taking an estimate of the first from the score follows Bayes' rule (McDermott et al.
2019, "A density ratio approach to language model fusion in end-to-end automatic speech recognition"). The estimate here
is the decoder's own scores with the attention's context set to zero (Meng et al. 2021, "Internal language model
estimation for domain-adaptive end-to-end speech recognition", section 3.3).
"""

from jaxtyping import Float, Int
from torch import Tensor

from seq2seq_asr.search.attention import AttentionScorer, AttentionState, Decoder, Memory

LOWEST = -10.0
"""A token less probable than this (in natural logs) is rewarded as this: the search cannot stop without a bound."""


class InternalLanguageModelScorer:
    """Minus the log probabilities of the decoder without context.

    Args:
        decoder: The recogniser's decoder.
        memory: One that gives it a context of zeros, with a row for each utterance.
    """

    max_gain = -LOWEST

    def __init__(self, decoder: Decoder, memory: Memory) -> None:
        self._scorer = AttentionScorer(decoder, memory)

    def start(self, beam: int = 1) -> AttentionState:
        """The state before the first token, ``beam`` equal rows per utterance."""
        return self._scorer.start(beam)

    def step(self, tokens: Int[Tensor, " BK"], state: AttentionState) -> tuple[Float[Tensor, "BK V"], AttentionState]:
        """Advance every hypothesis by its last token; rewards from 0 to ``max_gain``, see ``Scorer.step``."""
        log_probs, state = self._scorer.step(tokens, state)
        return -log_probs.clamp(min=LOWEST), state
