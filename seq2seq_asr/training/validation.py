"""What validation measures: loss, and how often a class is right or what errors free-running transcripts have."""

from torch import Tensor

from seq2seq_asr.data.dataset import Batch
from seq2seq_asr.data.targets import Targets
from seq2seq_asr.data.tokenizer import Tokenizer
from seq2seq_asr.evaluation.wer import character_errors, word_errors
from seq2seq_asr.nn.classifier import Classifier, ClassLosses, Model
from seq2seq_asr.nn.model import Encoded, Losses, Seq2Seq
from seq2seq_asr.search.attention import AttentionScorer
from seq2seq_asr.search.greedy import greedy_search
from seq2seq_asr.training.criterion import ACCURACY, Criterion
from seq2seq_asr.training.health import add_health, health_rates

VALIDATION_SUMS = ("loss", "tokens", "right", "word_errors", "words", "character_errors", "characters")
"""What each rank adds up over its share of the validation utterances."""


class Classification:
    """Whether the class with the highest probability is the right one.

    Args:
        model: The classifier.
    """

    criterion = ACCURACY

    def __init__(self, model: Classifier) -> None:
        self.model = model

    def add(self, sums: dict[str, float], batch: Batch) -> None:
        """Add a batch to the sums."""
        losses = self.model(batch.inputs, batch.lengths, batch.tokens, batch.token_lengths)
        add_losses(sums, losses, batch.counted)

    def rates(self, sums: dict[str, float]) -> dict[str, float]:
        """Loss and accuracy an utterance."""
        return loss_rates(sums)


class Transcription:
    """Also the errors of what the model says on its own (greedy), and the health of its attention.

    Args:
        model: The recogniser.
        tokenizer: Turns tokens into the text that is scored.
        criterion: The error rate that the model is judged by.
    """

    def __init__(self, model: Seq2Seq, tokenizer: Tokenizer, criterion: Criterion) -> None:
        self.model, self.tokenizer, self.criterion = model, tokenizer, criterion

    def add(self, sums: dict[str, float], batch: Batch) -> None:
        """Add a batch to the sums; it is encoded once for both."""
        encoded = self.model.encode(batch.inputs, batch.lengths)
        losses = self.model.losses(encoded, batch.tokens, batch.token_lengths)
        add_losses(sums, losses, batch.counted)
        add_health(sums, self.model, batch, losses.alignments)
        hypotheses = transcribe_greedily(self.model, self.tokenizer, encoded)
        for reference, hypothesis, counted in zip(batch.texts, hypotheses, batch.counted.tolist(), strict=True):
            if counted:
                add_errors(sums, reference, hypothesis)

    def rates(self, sums: dict[str, float]) -> dict[str, float]:
        """Loss and accuracy a token, word and character error rate, health of the attention."""
        return validation_rates(sums) | health_rates(sums)


def validation_of(model: Model, targets: Targets, criterion: Criterion) -> Classification | Transcription:
    """What is measured of such a model; a recogniser is judged by ``criterion``."""
    if isinstance(model, Seq2Seq):
        assert isinstance(targets, Tokenizer)
        return Transcription(model, targets, criterion)
    return Classification(model)


def transcribe_greedily(model: Seq2Seq, tokenizer: Tokenizer, encoded: Encoded) -> list[str]:
    """Free-running transcripts of a batch that is encoded."""
    scorer = AttentionScorer(model.decoder, model.memory(encoded))
    hypotheses = greedy_search(scorer, encoded.lengths)
    return [tokenizer.decode(list(hypothesis.tokens)) for hypothesis in hypotheses]


def add_losses(sums: dict[str, float], losses: Losses | ClassLosses, counted: Tensor) -> None:
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


def loss_rates(sums: dict[str, float]) -> dict[str, float]:
    """Loss and accuracy a target."""
    return {
        "val_loss": sums["loss"] / max(1.0, sums["tokens"]),
        "val_accuracy": sums["right"] / max(1.0, sums["tokens"]),
    }


def validation_rates(sums: dict[str, float]) -> dict[str, float]:
    """Loss and accuracy a token, word and character error rate."""
    return loss_rates(sums) | {
        "val_wer": sums["word_errors"] / max(1.0, sums["words"]),
        "val_cer": sums["character_errors"] / max(1.0, sums["characters"]),
    }
