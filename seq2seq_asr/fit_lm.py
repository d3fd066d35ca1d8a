"""Train a language model for a run: ``python -m seq2seq_asr.fit_lm --text corpus.txt --run checkpoints/spoken``."""

from seq2seq_asr.command_line import parse
from seq2seq_asr.commands.fit_lm.config import FitLmConfig
from seq2seq_asr.console import run_entry_point


def main(argv: list[str]) -> int:
    """Parse, train, print the perplexity and the file."""
    config = parse(FitLmConfig, argv, "fit_lm")
    from seq2seq_asr.commands.fit_lm.run import fit_lm

    return fit_lm(config)


if __name__ == "__main__":
    run_entry_point(main)
