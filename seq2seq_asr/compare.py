"""Compare systems fairly: ``python -m seq2seq_asr.compare configs/compare/NAME.yaml [--flags]``."""

from collections.abc import Sequence
from pathlib import Path

from seq2seq_asr.command_line import parse
from seq2seq_asr.commands.compare.config import CompareConfig
from seq2seq_asr.console import run_entry_point, say
from seq2seq_asr.errors import UsageError

DESCRIPTION = """Train a grid of systems under an equal budget, decode the same test set with each, and say who is
better, by how much, and whether that is significant.

  python -m seq2seq_asr.compare configs/compare/connected_words.yaml --jobs 2

Files come first; several are several comparisons, one after the other, and flags hold for all. Every run is an
ordinary run folder, checkpoints/NAME/SYSTEM_seedN: what is finished is skipped and what was interrupted goes on, so
the same command resumes. Results: checkpoints/NAME/comparison.html (all in one file), comparison.csv (a row a system)
and runs.csv (a row a run); comparison_dev.html and so on with --split dev. Exit code 1 means that a run has failed;
the others are done all the same.

  --axes "model.encoder.cell + model.decoder.cell = elman, gru" "model.attention.kind = none, additive"
  --only "gru_*_seed1"      does a part alone; with --again even if it is finished
  --dry_run                 shows parameters and updates of each system
"""


def main(argv: list[str]) -> int:
    """Parse, compare, print; the exit code is the highest of all comparisons."""
    files = leading_files(argv)
    flags = argv[len(files) :]
    comparisons = [(Path(file), parse_compare(["--config", file, *flags])) for file in files]
    if not files:
        comparisons = [(Path("COMPARISON.yaml"), parse_compare(flags))]
    check_folders_differ(comparisons)
    from seq2seq_asr.commands.compare.run import compare

    codes = []
    for file, config in comparisons:
        if len(files) > 1:
            say(f"{file}:")
        codes.append(compare(config, file if files else None))
    return max(codes)


def check_folders_differ(comparisons: Sequence[tuple[Path, CompareConfig]]) -> None:
    """Every comparison writes to a folder of its own.

    Raises:
        UsageError: Two would write to one.
    """
    written: dict[Path, Path] = {}
    for file, config in comparisons:
        folder = (config.checkpoints / config.name).resolve()
        if folder in written:
            raise UsageError(f"name: {written[folder]} and {file} would both write to {folder}")
        written[folder] = file


def leading_files(argv: list[str]) -> list[str]:
    """The arguments before the first flag: files of comparisons."""
    count = next((place for place, word in enumerate(argv) if word.startswith("-")), len(argv))
    return argv[:count]


def parse_compare(argv: list[str]) -> CompareConfig:
    """The comparison that file and flags give."""
    return parse(CompareConfig, argv, "compare", description=DESCRIPTION)


if __name__ == "__main__":
    run_entry_point(main)
