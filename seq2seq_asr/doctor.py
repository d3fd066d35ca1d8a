"""Examine a corpus: ``python -m seq2seq_asr.doctor --manifest train.jsonl --against test.jsonl``."""

from seq2seq_asr.command_line import parse
from seq2seq_asr.commands.doctor.config import DoctorConfig
from seq2seq_asr.console import run_entry_point


def main(argv: list[str]) -> int:
    """Parse, examine, print the report."""
    config = parse(DoctorConfig, argv, "doctor")
    from seq2seq_asr.commands.doctor.run import doctor

    return doctor(config)


if __name__ == "__main__":
    run_entry_point(main)
