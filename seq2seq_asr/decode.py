"""Transcribe and score: ``python -m seq2seq_asr.decode --beam 8``."""

from seq2seq_asr.commands.decode.defaults import parse_for_run
from seq2seq_asr.console import run_entry_point


def main(argv: list[str]) -> int:
    """Parse, decode, print: transcripts of files, or the report of a manifest."""
    config = parse_for_run(argv)
    from seq2seq_asr.commands.decode.run import decode

    return decode(config)


if __name__ == "__main__":
    run_entry_point(main)
