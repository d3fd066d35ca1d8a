"""What validation measures: teacher-forced loss, and errors of free-running greedy transcripts."""

from torch import Tensor

from seq2seq_asr.data.dataset import Batch
from seq2seq_asr.data.tokenizer import Tokenizer
from seq2seq_asr.evaluation.wer import character_errors, word_errors
from seq2seq_asr.nn.model import Encoded, Losses, Seq2Seq
from seq2seq_asr.search.attention import AttentionScorer
from seq2seq_asr.search.greedy import greedy_search

VALIDATION_SUMS = ("loss", "tokens", "right", "word_errors", "words", "character_errors", "characters")
"""What each rank adds up over its share of the validation utterances."""


def transcribe_greedily(model: Seq2Seq, tokenizer: Tokenizer, batch: Batch) -> list[str]:
    """Free-running transcripts of a batch."""
    encoded: Encoded = model.encode(batch.inputs, batch.lengths)
    scorer = AttentionScorer(model.decoder, model.memory(encoded))
    hypotheses = greedy_search(scorer, encoded.lengths)
    return [tokenizer.decode(list(hypothesis.tokens)) for hypothesis in hypotheses]


def add_losses(sums: dict[str, float], losses: Losses, counted: Tensor) -> None:
    """Add a batch's teacher-forced sums."""
    sums["loss"] += float((losses.total * counted).sum())
    sums["tokens"] += float((losses.tokens * counted).sum())
    sums["right"] += float((losses.right * counted).sum())


def add_errors(sums: dict[str, float], reference: str, hypothesis: str) -> None:
    """Add one utterance's word and character errors."""
    for name, counts in (
        ("word", word_errors(reference, hypothesis)),
        ("character", character_errors(reference, hypothesis)),
    ):
        sums[f"{name}_errors"] += counts.errors
        sums[f"{name}s"] += counts.reference_length


def validation_rates(sums: dict[str, float]) -> dict[str, float]:
    """Loss and accuracy a token, word and character error rate."""
    return {
        "val_loss": sums["loss"] / max(1.0, sums["tokens"]),
        "val_accuracy": sums["right"] / max(1.0, sums["tokens"]),
        "val_wer": sums["word_errors"] / max(1.0, sums["words"]),
        "val_cer": sums["character_errors"] / max(1.0, sums["characters"]),
    }
