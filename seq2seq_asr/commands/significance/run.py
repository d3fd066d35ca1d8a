"""What ``significance`` does: read the folders, score them, test every pair, print and write."""

from collections.abc import Sequence
from pathlib import Path

from seq2seq_asr.commands.significance.config import SignificanceConfig
from seq2seq_asr.commands.significance.pairs import Pair, compare_pairs
from seq2seq_asr.commands.significance.printing import (
    RATES,
    heading,
    pairs_table,
    remarks,
    speakers_table,
    systems_table,
)
from seq2seq_asr.commands.significance.reading import Decoding, read_decoding, same_utterances
from seq2seq_asr.commands.significance.systems import System, Unit, find_unit, score_systems
from seq2seq_asr.commands.significance.tables import write_tables
from seq2seq_asr.console import say
from seq2seq_asr.errors import UsageError
from seq2seq_asr.evaluation.layout import plural
from seq2seq_asr.whole_file import writing


def compare_decodings(config: SignificanceConfig) -> int:
    """Compare as configured; returns the exit code.

    Raises:
        AsrError: A folder cannot be used, or they are not of the same utterances, or the results cannot be written.
    """
    decodings = [read_decoding(folder) for folder in config.folders]
    scored = same_utterances(decodings, common=config.common)
    unit = find_unit(config.unit, decodings, scored[0])
    if config.by == "speaker" and not any(one.speaker for one in scored[0]):
        raise UsageError(f"by: no line of {config.folders[0] / 'ref.trn'} names a speaker")
    systems = score_systems(decodings, scored, unit, config.seed)
    pairs = compare_pairs(systems, config.seed)
    if config.out is not None:
        write_results(config.out, systems, pairs, unit)
    print("\n".join(_lines(config, decodings, systems, pairs, unit)))
    if config.out is not None:
        say(f"systems.csv, pairs.csv, speakers.csv and differences.png are in {config.out}")
    return 0


def _lines(
    config: SignificanceConfig,
    decodings: Sequence[Decoding],
    systems: Sequence[System],
    pairs: Sequence[Pair],
    unit: Unit,
) -> list[str]:
    """All that is printed."""
    lines = [heading(systems, unit), *_left_out(decodings, len(systems[0].counts)), "", *systems_table(systems, unit)]
    lines += ["", *pairs_table(pairs, unit)]
    if config.by == "speaker":
        lines += ["", *speakers_table(systems, unit)]
    return [*lines, "", *remarks(systems, pairs)]


def _left_out(decodings: Sequence[Decoding], compared: int) -> list[str]:
    """Utterances that some or all folders have not, in words."""
    lines = []
    for one in decodings:
        if more := len(one.scored) - compared:
            lines.append(f"{one.folder}: {plural(more, 'utterance')} left out, not all folders have them")
        if one.skipped:
            lines.append(f"{one.folder}: {plural(one.skipped, 'utterance')} skipped in decoding, not compared")
    return lines


def write_results(folder: Path, systems: Sequence[System], pairs: Sequence[Pair], unit: Unit) -> None:
    """Write the tables and the figure.

    Raises:
        CheckpointError: One of them cannot be written.
    """
    # Fonts and all take a second, which only a figure is worth.
    from seq2seq_asr.commands.significance.plots import differences_figure
    from seq2seq_asr.training.plots import save_figure

    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        write_tables(folder, systems, pairs, unit)
        save_figure(differences_figure(pairs, RATES[unit]), folder / "differences.png")
