"""What the model is to give: pieces that a tokenizer learns from the training texts, or these texts as classes."""

from collections.abc import Sequence

from seq2seq_asr.config import FitConfig
from seq2seq_asr.data.labels import Labels
from seq2seq_asr.data.targets import Targets
from seq2seq_asr.data.tokenizer import Tokenizer
from seq2seq_asr.data.utterance import Utterance
from seq2seq_asr.training.run_folder import RunFolder, open_run


def learn_targets(config: FitConfig, train: Sequence[Utterance], run: RunFolder) -> Targets:
    """Find them with `targets_of`, and write them into the run's folder.

    Raises:
        TokenizerError: None can be learnt, or the one to use cannot be read.
    """
    targets = targets_of(config, train)
    targets.save(run.path / targets.file)
    return targets


def targets_of(config: FitConfig, train: Sequence[Utterance]) -> Targets:
    """Learn them from the training utterances, or take those of another run or file.

    Raises:
        TokenizerError: None can be learnt, or the one to use cannot be read.
    """
    texts = (utterance.text for utterance in train)
    if config.model.task == "classify":
        return Labels.of(texts)
    if config.keep_tokenizer and config.init_from is not None:
        return Tokenizer.load(open_run(config.init_from).tokenizer)
    if config.tokenizer.model is not None:
        return Tokenizer.load(config.tokenizer.model, config.tokenizer.normaliser)
    return Tokenizer.train(texts, config.tokenizer)


def load_targets(run: RunFolder) -> Targets:
    """What the run has learnt."""
    return Labels.load(run.labels) if run.targets == run.labels else Tokenizer.load(run.tokenizer)
