"""Flags of ``decode`` over the settings that ``tune`` found best for the run that the flags name."""

import sys
from dataclasses import replace

from seq2seq_asr.command_line import parse
from seq2seq_asr.commands.decode.config import DecodeConfig
from seq2seq_asr.console import say
from seq2seq_asr.errors import AsrError, UsageError
from seq2seq_asr.search.beam import BeamConfig

_PRINTS = ("--print_config", "--print-config")
_LOOSEST = BeamConfig(beam=sys.maxsize, max_length_ratio=sys.float_info.max)
"""Refuses no setting because of another."""


def parse_for_run(argv: list[str]) -> DecodeConfig:
    """The settings: defaults, the run's tuned ones, ``--config FILE.yaml`` and flags, each overriding the one before.

    Args:
        argv: Arguments after the program's name.

    Raises:
        UsageError: As `parse`; or the tuned settings are damaged.
        CheckpointError: The tuned settings are of another tokenizer.
    """
    silent = [argument for argument in argv if argument not in _PRINTS]
    fits = True
    try:
        config = parse(DecodeConfig, silent, "decode")
    except UsageError:  # flags may fit what was tuned alone
        fits, config = False, parse(DecodeConfig, silent, "decode", base=DecodeConfig(search=_LOOSEST))
    base = tuned_defaults(config) if config.tuned else None
    if base is None and fits and silent == argv:
        return config
    return parse(DecodeConfig, argv, "decode", base=base)


def tuned_defaults(config: DecodeConfig) -> DecodeConfig | None:
    """The defaults of ``decode`` with what was tuned for the run; None where nothing was, or there is no run.

    Raises:
        UsageError: The file is damaged.
        CheckpointError: It is of another tokenizer.
    """
    from seq2seq_asr.commands.decode.run import find_run
    from seq2seq_asr.data.tokenizer import Tokenizer
    from seq2seq_asr.recognizer.belonging import load_belonging, warning_of_other_weights
    from seq2seq_asr.recognizer.tuned import TUNED, Tuned

    try:
        run = find_run(config)
    except AsrError:  # decoding says so itself, and printing the settings needs no run
        return None
    if not (run.path / TUNED).is_file():  # reading the tokenizer can wait
        return None
    tuned = load_belonging(run.path / TUNED, Tuned, Tokenizer.load(run.tokenizer).hash)
    assert tuned is not None
    rate = tuned.cer if tuned.criterion == "cer" else tuned.wer
    found = f"what was best on {tuned.dev}, {100 * rate:.2f} % {tuned.criterion.upper()}"
    if tuned.hotwords is not None and config.hotwords is None:
        found = f"{found} with --hotwords {tuned.hotwords}"
    warning = warning_of_other_weights(run.path / TUNED, tuned, config.checkpoint)
    say(f"{warning}: the defaults were {found}, there" if warning else f"{run.path / TUNED}: the defaults are {found}")
    return replace(DecodeConfig(), search=tuned.search, lm=tuned.lm, ngram=tuned.ngram)
