"""An equal budget for all systems: the same updates, the same parameters, or the same minutes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

import numpy as np

from seq2seq_asr.commands.compare.config import CompareConfig
from seq2seq_asr.commands.compare.grid import System
from seq2seq_asr.commands.fit.targets import targets_of
from seq2seq_asr.config import FitConfig
from seq2seq_asr.console import Progress
from seq2seq_asr.data.batching import plan_epoch
from seq2seq_asr.data.loading import DataConfig, read_split, within_limits
from seq2seq_asr.data.splits import resolve_split
from seq2seq_asr.data.targets import Targets
from seq2seq_asr.data.utterance import Split, Utterance, corpus_digest
from seq2seq_asr.errors import UsageError
from seq2seq_asr.nn.classifier import build_model

TOLERANCE: Final = 0.02
"""Share by which budgets that are called equal may differ."""
_WIDEST: Final = 2**16


@dataclass(frozen=True)
class Measured:
    """What a system is before anything is trained."""

    system: System
    parameters: int
    steps_an_epoch: int
    audio_seconds: float
    """Training audio."""
    tokens: int
    """Target tokens of that audio."""
    vocabulary: int
    """Distinct tokens, or labels."""

    @property
    def tokens_a_second(self) -> float:
        """Of audio."""
        return self.tokens / max(1e-9, self.audio_seconds)


class Corpora:
    """Utterances, each split of a corpus read once."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self.known: dict[tuple[Split, DataConfig], list[Utterance]] = {}
        self.told: dict[tuple[Split, DataConfig], str] = {}

    def split(self, name: Split, data: DataConfig) -> list[Utterance]:
        """The utterances of these settings; those of training without what they leave out."""
        if (name, data) not in self.known:
            found = read_split(resolve_split(name, data, self.progress))
            self.known[name, data] = within_limits(found, data) if name == "train" else found
        return self.known[name, data]

    def digest(self, name: Split, data: DataConfig) -> str:
        """What `fit` would note of the utterances."""
        if (name, data) not in self.told:
            self.told[name, data] = corpus_digest(self.split(name, data))
        return self.told[name, data]

    def targets(self, config: FitConfig) -> Targets:
        """What `fit` would learn or take over: the pieces of a tokenizer, or the labels of a classifier."""
        return targets_of(config, self.split("train", config.data))


def measure(system: System, corpora: Corpora) -> Measured:
    """Build the model and plan an epoch, as `fit` will.

    Raises:
        AsrError: Its corpus, tokenizer or model cannot be made.
    """
    train, targets = corpora.split("train", system.config.data), corpora.targets(system.config)
    durations = np.array([one.duration for one in train])
    batching = system.config.data.batching
    try:
        parameters = count_parameters(system.config, len(targets))
    except UsageError as error:
        raise UsageError(f"system {system.name}: {error}") from error
    return Measured(
        system=system,
        parameters=parameters,
        steps_an_epoch=len(plan_epoch(durations, batching, system.config.seed, epoch=0)),
        audio_seconds=float(durations.sum()),
        tokens=sum(len(targets.encode(one.text)) for one in train),
        vocabulary=len(targets),
    )


def count_parameters(config: FitConfig, vocabulary: int) -> int:
    """Trainable numbers of the model."""
    return sum(parameter.numel() for parameter in build_model(config.model, vocabulary).parameters())


def apply_budget(config: CompareConfig, systems: Sequence[System], corpora: Corpora) -> list[Measured]:
    """Give every system its epochs and, to match parameters, its hidden sizes.

    Raises:
        UsageError: No hidden size or number of epochs comes near enough.
    """
    measured = [measure(system, corpora) for system in systems]
    if config.match == "parameters":
        target = config.parameters or measured[0].parameters
        measured = [measure(matched(one.system, target, corpora), corpora) for one in measured]
    if config.match == "time":
        return measured  # its epochs follow from timed ones
    first = measured[0]
    steps = config.steps or first.system.config.trainer.epochs * first.steps_an_epoch
    return [with_epochs(one, epochs_for(one, steps)) for one in measured]


def epochs_for(measured: Measured, steps: int) -> int:
    """Whole epochs that come nearest to these updates.

    Raises:
        UsageError: They do not come within 2 %.
    """
    an_epoch = measured.steps_an_epoch
    epochs = max(1, round(steps / an_epoch))
    if abs(epochs * an_epoch - steps) > TOLERANCE * steps:
        raise UsageError(
            f"steps: {steps} updates are no whole epochs of {measured.system.name}, of {an_epoch} each, within "
            f"{TOLERANCE:.0%}; the nearest are {epochs * an_epoch}: give other --steps, or more of them"
        )
    return epochs


def with_epochs(measured: Measured, epochs: int) -> Measured:
    """The same with this many epochs."""
    config = measured.system.config
    trainer = replace(config.trainer, epochs=epochs)
    return replace(measured, system=replace(measured.system, config=replace(config, trainer=trainer)))


def matched(system: System, target: int, corpora: Corpora) -> System:
    """The system with hidden sizes, in the same proportion to each other, that give this many parameters.

    The encoder is scaled first; the decoder's units then take up what is left, where there is a decoder.

    Raises:
        UsageError: None come within 2 %.
    """
    vocabulary, config = len(corpora.targets(system.config)), system.config
    decodes = config.model.task != "classify"
    ratio = config.model.decoder.units / config.model.encoder.units

    def count(encoder: int, decoder: int) -> int:
        return count_parameters(resized(config, encoder, decoder), vocabulary)

    def reaches(encoder: int, decoder: int) -> bool:
        return count(encoder, decoder) >= target

    wide = smallest(lambda units: reaches(units, round(units * ratio)), config.model.encoder.units)
    candidates = []
    for units in (wide, max(1, wide - 1)):
        other = smallest(partial(reaches, units), round(units * ratio)) if decodes else 1
        candidates += [(units, decoder) for decoder in (other, max(1, other - 1))]
    near = [one for one in candidates if abs(count(*one) - target) <= TOLERANCE * target]
    if not near:
        raise UsageError(f"system {system.name}: no hidden size gives {target} parameters within {TOLERANCE:.0%}")
    best = min(near, key=lambda one: abs(one[1] / one[0] / ratio - 1) if decodes else abs(count(*one) - target))
    return replace(system, config=resized(config, *best))


def smallest(enough: Callable[[int], bool], start: int) -> int:
    """The smallest number from 1 that is enough, where all larger ones are too; large ones are not tried needlessly."""
    low, high = 0, max(1, start)
    while not enough(high):
        low, high = high, 2 * high
        if high > _WIDEST:
            return high  # sizes that change nothing never reach it
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def resized(config: FitConfig, encoder: int, decoder: int) -> FitConfig:
    """The settings with other hidden sizes; a classifier has no decoder."""
    model = config.model
    speller = model.decoder if model.task == "classify" else replace(model.decoder, units=max(1, decoder))
    return replace(config, model=replace(model, encoder=replace(model.encoder, units=encoder), decoder=speller))
