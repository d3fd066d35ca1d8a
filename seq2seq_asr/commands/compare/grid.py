"""From the axes of a comparison to its systems, each with the full settings of its runs."""

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from seq2seq_asr.commands.compare.config import CompareConfig
from seq2seq_asr.commands.fit.preparation import start_of
from seq2seq_asr.config import FitConfig
from seq2seq_asr.errors import UsageError
from seq2seq_asr.strict_yaml import load_yaml, override


@dataclass(frozen=True, kw_only=True)
class Axis:
    """Settings that vary together, and their values as YAML would write them."""

    settings: tuple[str, ...]
    values: tuple[str, ...]

    def word(self, value: str) -> str:
        """What stands for a value in a name: itself, but ``pitch`` and ``no_pitch`` for true and false."""
        last = self.settings[0].rpartition(".")[2]
        return {"true": last, "false": f"no_{last}"}.get(value, value)


@dataclass(frozen=True, kw_only=True)
class System:
    """One of the things compared: settings but for the seed."""

    name: str
    """Of its runs' folders, without the seed."""
    place: Mapping[str, str]
    """Its value on each axis, by the axis's title."""
    config: FitConfig


@dataclass(frozen=True, kw_only=True)
class Run:
    """A system with a seed: one training."""

    system: str
    seed: int
    config: FitConfig

    @property
    def name(self) -> str:
        """Of the run's folder."""
        return self.config.name

    @property
    def path(self) -> Path:
        """The run's folder."""
        return self.config.checkpoints / self.config.name


def parse_axis(text: str) -> Axis:
    """An axis from ``setting + setting = value, value``; commas within brackets belong to a value.

    Raises:
        UsageError: It has another form, or a value or setting twice.
    """
    left, equals, right = text.partition("=")
    settings = tuple(part.strip() for part in left.split("+"))
    values = tuple(part.strip() for part in re.split(r",(?![^\[]*\])", right))
    if not equals or not all(settings) or not all(values):
        raise UsageError(f"axes: {text!r} is not of the form 'setting = value, value'")
    if len(set(values)) < len(values) or len(set(settings)) < len(settings):
        raise UsageError(f"axes: {text!r} names something twice")
    return Axis(settings=settings, values=values)


def titles_of(axes: Sequence[Axis]) -> list[str]:
    """What a reader calls each: the last words of its first setting, ``encoder.cell``; more where two were alike."""
    paths = [axis.settings[0].split(".") for axis in axes]
    for words in itertools.count(2):
        titles = [".".join(path[-words:]) for path in paths]
        if len(set(titles)) == len(titles):
            break
    return titles


def parse_setting(text: str) -> tuple[str, str]:
    """Name and value of ``setting = value``.

    Raises:
        UsageError: It has another form.
    """
    name, equals, value = (part.strip() for part in text.partition("="))
    if not equals or not name or not value:
        raise UsageError(f"settings: {text!r} is not of the form 'setting = value'")
    return name, value


def expand(config: CompareConfig) -> list[System]:
    """Every combination of config and axis values, in the order given.

    Raises:
        UsageError: A combination is impossible, or two have the same settings; the text names them.
        CheckpointError: The run whose tokenizer is to be kept cannot be read.
        TokenizerError: The tokenizer to use cannot be read.
    """
    axes = [parse_axis(text) for text in config.axes]
    varied = [name for axis in axes for name in axis.settings]
    shared = dict(map(parse_setting, config.settings))
    for name in (*varied, *shared):
        if name in ("name", "checkpoints", "seed", "resume"):
            raise UsageError(f"{name}: is set by the comparison itself")
        if [*varied, *shared].count(name) > 1:
            raise UsageError(f"{name}: is given twice, in axes or settings")
    systems = []
    for path in config.configs:
        base = load_yaml(path, FitConfig)
        for values in itertools.product(*(axis.values for axis in axes)):
            systems.append(_system(config, path, base, axes, values, shared))
    names = [system.name for system in systems]
    if doubled := next((name for name in names if names.count(name) > 1), None):
        raise UsageError(f"configs: two systems would be called {doubled}")
    if len(systems) < 2:
        raise UsageError("axes: a comparison takes two systems, such as two values or two configs")
    for one, other in itertools.combinations(systems, 2):
        if one.config == replace(other.config, name=one.name):
            raise UsageError(f"systems {one.name} and {other.name}: would be trained with the same settings")
    return systems


def _system(
    config: CompareConfig,
    path: Path,
    base: FitConfig,
    axes: Sequence[Axis],
    values: Sequence[str],
    shared: dict[str, str],
) -> System:
    several = len(config.configs) > 1
    words = [axis.word(value) for axis, value in zip(axes, values, strict=True)]
    name = "_".join(_slug(word) for word in [*[path.stem] * (several or not values), *words])
    chosen = {setting: value for axis, value in zip(axes, values, strict=True) for setting in axis.settings}
    try:
        made = start_of(override(base, shared | chosen))
    except UsageError as error:
        raise UsageError(f"system {name}: {error}") from error
    logging = replace(made.logging, wandb="off", examples=0)
    made = replace(
        made,
        name=name,
        checkpoints=config.checkpoints / config.name,
        resume=False,
        logging=logging,
        trainer=replace(made.trainer, progress=False),
    )
    place = {"config": path.stem} if several else {}
    return System(name=name, place=place | dict(zip(titles_of(axes), values, strict=True)), config=made)


def runs_of(systems: Sequence[System], seeds: Sequence[int]) -> list[Run]:
    """All runs, a seed of every system before the next seed, so that an early look compares all systems."""
    return [
        Run(system=one.name, seed=seed, config=replace(one.config, seed=seed, name=f"{one.name}_seed{seed}"))
        for seed in seeds
        for one in systems
    ]


def _slug(text: str) -> str:
    return re.sub(r"[^\w.-]+", "-", text).strip("-.") or "empty"
