"""The language model as a scorer, and its way from a checkpoint."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from seq2seq_asr.errors import CheckpointError, UsageError
from seq2seq_asr.nn.lm import LanguageModel, LanguageModelConfig, LanguageModelState
from seq2seq_asr.nn.outline import outlined
from seq2seq_asr.strict_yaml import from_mapping, to_mapping
from seq2seq_asr.vocabulary import BLANK, SOS

KIND = "language_model"


class LanguageModelScorer:
    """Log probabilities of a language model, for shallow fusion (Gulcehre et al. 2015, section 4.1).

    Blank and start get -inf; the others are not renormalised.

    Args:
        model: In evaluation mode, on the device of the search.
        utterances: Utterances of the batch.
    """

    def __init__(self, model: LanguageModel, utterances: int) -> None:
        self._model, self._utterances = model, utterances

    def start(self, beam: int = 1) -> LanguageModelState:
        """The state before the first token, ``beam`` equal rows per utterance."""
        return self._model.start(self._utterances * beam)

    def step(
        self, tokens: Int[Tensor, " BK"], state: LanguageModelState
    ) -> tuple[Float[Tensor, "BK V"], LanguageModelState]:
        """Advance every hypothesis by its last token; see ``Scorer.step``."""
        logits, state = self._model.step(tokens, state)
        log_probs = logits.log_softmax(-1, dtype=torch.promote_types(logits.dtype, torch.float32))
        log_probs[:, BLANK] = log_probs[:, SOS] = float("-inf")
        return log_probs, state


def language_model_record(model: LanguageModel, tokenizer: str) -> dict[str, Any]:
    """What a checkpoint says of a language model besides its weights; ``tokenizer`` is the tokenizer's hash."""
    return {"kind": KIND, "tokenizer": tokenizer, "config": to_mapping(model.config)}


def restore_language_model(
    contents: Mapping[str, Any], path: Path, tokenizer: str, vocabulary: int, device: torch.device | str = "cpu"
) -> LanguageModel:
    """A language model out of a checkpoint, ready to score.

    Args:
        contents: The checkpoint.
        path: Its file, for errors.
        tokenizer: Hash of the recogniser's tokenizer.
        vocabulary: Number of its ids V.
        device: Where to compute.

    Raises:
        CheckpointError: No language model, damaged, or one of another tokenizer.
    """
    record = contents["seq2seq_asr"]
    if record.get("kind") != KIND:
        raise CheckpointError(f"{path}: not a language model of seq2seq_asr.fit_lm")
    if record.get("tokenizer") != tokenizer:
        raise CheckpointError(f"{path}: a language model of another tokenizer; fit one with --run of this recogniser")
    try:
        config, weights = from_mapping(LanguageModelConfig, record["config"]), contents["state_dict"]
        if config.layers > len(weights):
            raise ValueError("more layers than weights")
        with outlined():  # no setting of a stranger's file takes more memory than its weights do
            model = LanguageModel(config, vocabulary)
        model.load_state_dict(weights, assign=True)
    except (UsageError, RuntimeError, TypeError, KeyError, ValueError, AttributeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(f"{path}: its language model cannot be built ({reason})") from error
    return model.eval().requires_grad_(False).to(device)
