"""Make an n-gram model out of text: ``python -m seq2seq_asr.fit_ngram --text corpus.txt --run checkpoints/spoken``."""

from seq2seq_asr.command_line import parse
from seq2seq_asr.commands.fit_ngram.config import FitNgramConfig
from seq2seq_asr.console import run_entry_point


def main(argv: list[str]) -> int:
    """Parse, count, print the perplexity and the file."""
    config = parse(FitNgramConfig, argv, "fit_ngram")
    from seq2seq_asr.commands.fit_ngram.run import fit_ngram

    return fit_ngram(config)


if __name__ == "__main__":
    run_entry_point(main)
