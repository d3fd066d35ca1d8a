"""What the model is to give: pieces that a tokenizer learns from the training texts, or these texts as classes."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from seq2seq_asr.config import FitConfig
from seq2seq_asr.data.labels import Labels
from seq2seq_asr.data.targets import Targets
from seq2seq_asr.data.tokenizer import Tokenizer, TokenizerConfig
from seq2seq_asr.data.utterance import Utterance
from seq2seq_asr.errors import UsageError
from seq2seq_asr.strict_yaml import load_yaml
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


def with_tokenizer_of(run: RunFolder, config: FitConfig) -> FitConfig:
    """The configuration with another run's tokenizer settings.

    Raises:
        UsageError: A normaliser is asked for that this tokenizer has not.
    """
    kept = replace(load_yaml(run.config, FitConfig).tokenizer, model=None)  # the run has a copy of its own
    _check_normaliser(config.tokenizer, kept, run.tokenizer)
    return replace(config, tokenizer=kept)


def with_settings_that_hold(config: FitConfig, targets: Targets) -> FitConfig:
    """The configuration with what is true of a tokenizer out of a file, which is not learnt as the settings say.

    Raises:
        UsageError: A normaliser is asked for that this tokenizer has not.
    """
    asked = config.tokenizer
    if asked.model is None or not isinstance(targets, Tokenizer):
        return config
    found = TokenizerConfig(model=asked.model, normaliser=targets.normaliser, vocabulary_size=len(targets))
    _check_normaliser(asked, found, asked.model)
    return replace(config, tokenizer=found)


def _check_normaliser(asked: TokenizerConfig, found: TokenizerConfig, path: Path) -> None:
    if asked.normaliser not in (TokenizerConfig.normaliser, found.normaliser):
        raise UsageError(f"tokenizer.normaliser: {asked.normaliser}, but {path} was made with {found.normaliser}")
