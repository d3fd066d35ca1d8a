"""Flags over a YAML file over the defaults of a config dataclass."""

import contextlib
import dataclasses
import io
import math
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar, cast

import tyro

from seq2seq_asr.console import say
from seq2seq_asr.errors import UsageError
from seq2seq_asr.strict_yaml import Overrides, apply, config_fields, default_of, read_overrides, to_yaml

T = TypeVar("T")


def parse(cls: type[T], argv: list[str], name: str, *, description: str | None = None, base: T | None = None) -> T:
    """The config that defaults, ``--config FILE.yaml`` and flags give, each overriding the one before.

    Also serves ``--help`` and ``--print_config``, which end the program with exit code 0.

    Args:
        cls: Config dataclass; a field marked `tyro.conf.Positional` takes arguments without a flag.
        argv: Arguments after the program's name.
        name: Module of the program, for the help.
        description: What the program does, for the help; the docstring of ``cls`` unless given.
        base: Stands for the defaults of ``cls``.

    Raises:
        UsageError: The file is wrong, or the config's own checks refuse the values.
        SystemExit: Code 2 for an unknown flag or a value of the wrong type, told on stderr; 0 after help.
    """
    file = _config_file(argv)
    overrides = None if file is None else read_overrides(file, cls)
    options_class = _options_class(cls)
    default = _unchecked(options_class, config=file, print_config=False, settings=_draft(cls, overrides, base))
    try:
        with faults_in_one_line():
            options = tyro.cli(
                options_class,
                args=argv,
                prog=f"python -m seq2seq_asr.{name}",
                description=(cls.__doc__ or "").strip() if description is None else description,
                default=default,
                use_underscores=True,
                config=(tyro.conf.PositionalMetavarFromFieldName,),
            )
    except UsageError:
        _raise_if_the_file_is_at_fault(cls, overrides)
        raise
    if options.config != file:
        raise UsageError(f"--config: expected a YAML file, got {str(options.config)!r}")
    _refuse_nan(options.settings)
    if options.print_config:
        sys.stdout.write(to_yaml(options.settings))
        raise SystemExit(0)
    return options.settings


@contextlib.contextmanager
def faults_in_one_line() -> Iterator[None]:
    """Where tyro ends the program over wrong flags, what it says in a box is told as one of our errors."""
    told = io.StringIO()
    try:
        with contextlib.redirect_stderr(told):
            yield
    except SystemExit as stop:
        if stop.code:
            say(f"error: {unboxed(told.getvalue())}")
        raise


def unboxed(box: str) -> str:
    """A framed text as one line, its paragraphs divided by semicolons."""
    plain = re.sub(r"\x1b\[[\d;]*m", "", box)
    lines = [line.strip("│ ") for line in plain.splitlines() if not line.startswith(("╭", "╰"))]
    paragraphs = re.split(r"\s*─{3,}\s*", " ".join(" ".join(lines).split()))
    return "; ".join(paragraph.rstrip(". ") for paragraph in paragraphs if paragraph)


def _refuse_nan(config: Any, prefix: str = "--") -> None:
    """Refuse "nan", which tyro takes for a number and which passes most checks of a range; no file may hold it."""
    for name in config_fields(type(config)):
        value = getattr(config, name)
        if dataclasses.is_dataclass(value):
            _refuse_nan(value, f"{prefix}{name}.")
        for number in value if isinstance(value, tuple) else (value,):
            if isinstance(number, float) and math.isnan(number):
                raise UsageError(f"{prefix}{name}: expected a number, got nan")


def _config_file(argv: Sequence[str]) -> Path | None:
    """The last ``--config``, found before tyro runs because the file gives tyro its defaults."""
    found = None
    for argument, following in zip(argv, [*argv, ""][1:], strict=True):
        name, equals, value = argument.partition("=")
        if name == "--config":
            found = value if equals else following
    # A missing value is left to tyro, which says so.
    return Path(found) if found and not found.startswith("--") else None


def _options_class(cls: type) -> Any:
    """``cls`` beside the two options every program has."""
    config = tyro.conf.arg(help="YAML file that overrides the defaults; flags override the file.")
    print_config = tyro.conf.arg(help="Print the resolved YAML and exit.")
    return dataclasses.make_dataclass(
        "Options",
        [
            ("config", Annotated[Path | None, config], None),
            ("print_config", Annotated[bool, print_config, tyro.conf.FlagCreatePairsOff], False),
            # An empty name keeps the flags free of a prefix.
            ("settings", Annotated[cls, tyro.conf.arg(name="")]),
        ],
        frozen=True,
        kw_only=True,
    )


def _draft(cls: type, overrides: Overrides | None, base: Any) -> Any:
    """Defaults with the file's values, without the config's own checks.

    Flags may yet supply what is missing or mend what clashes, so only the final values are checked.
    """
    values = {}
    for name, (kind, field) in config_fields(cls).items():
        default = default_of(field) if base is None else getattr(base, name)
        given = default if overrides is None else overrides.values.get(name, default)
        inner = given if isinstance(given, Overrides) else None
        if dataclasses.is_dataclass(kind):
            base_inner = default if dataclasses.is_dataclass(default) else None
            given = _draft(cast(type, kind), inner, base_inner)
        values[name] = tyro.MISSING if given is dataclasses.MISSING else given
    return _unchecked(cls, **values)


def _unchecked(cls: type[T], **values: Any) -> T:
    """An instance of a frozen dataclass whose ``__post_init__`` has not run."""
    instance = object.__new__(cls)
    for name, value in values.items():
        object.__setattr__(instance, name, value)
    return instance


def _raise_if_the_file_is_at_fault(cls: type, overrides: Overrides | None) -> None:
    """Raise the file's own error, with its line, when the file is wrong without any flag."""
    if overrides is not None:
        apply(cls, overrides, None)
