"""Is the difference between decodings real: ``python -m seq2seq_asr.significance DIR DIR [DIR ...]``."""

from seq2seq_asr.command_line import parse
from seq2seq_asr.commands.significance.config import SignificanceConfig
from seq2seq_asr.console import run_entry_point


def main(argv: list[str]) -> int:
    """Parse, test every pair, print systems, pairs and verdicts."""
    config = parse(SignificanceConfig, argv, "significance")
    from seq2seq_asr.commands.significance.run import compare_decodings

    return compare_decodings(config)


if __name__ == "__main__":
    run_entry_point(main)
