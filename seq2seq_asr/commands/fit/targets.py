"""What the model is to give: pieces that a tokenizer learns from the training texts, or these texts as classes."""

from collections.abc import Sequence
from pathlib import Path

from seq2seq_asr.config import FitConfig
from seq2seq_asr.data.labels import Labels
from seq2seq_asr.data.loading import read_split
from seq2seq_asr.data.targets import Targets
from seq2seq_asr.data.tokenizer import Tokenizer
from seq2seq_asr.data.utterance import Utterance
from seq2seq_asr.training.run_folder import RunFolder


def learn_targets(config: FitConfig, train: Sequence[Utterance], run: RunFolder) -> Targets:
    """Learn them from the training utterances, and write them into the run's folder."""
    texts = (utterance.text for utterance in train)
    classes = config.model.task == "classify"
    targets: Targets = Labels.of(texts) if classes else Tokenizer.train(texts, config.tokenizer)
    targets.save(run.path / targets.file)
    return targets


def load_targets(run: RunFolder) -> Targets:
    """What the run has learnt."""
    return Labels.load(run.labels) if run.targets == run.labels else Tokenizer.load(run.tokenizer)


def check_labels(train: Sequence[Utterance], manifests: Sequence[Path]) -> None:
    """A class must have been heard in training.

    Args:
        train: Training utterances.
        manifests: What the classifier is validated on.

    Raises:
        ManifestError: The text of an utterance is no class; the file and the id are named.
        TokenizerError: There are fewer than two classes.
    """
    labels = Labels.of(one.text for one in train)
    for path in manifests:
        labels.check(read_split([path]), str(path))
