"""Find a run's best search settings: ``python -m seq2seq_asr.tune --name spoken``."""

from seq2seq_asr.command_line import parse
from seq2seq_asr.commands.tune.config import TuneConfig
from seq2seq_asr.console import run_entry_point


def main(argv: list[str]) -> int:
    """Parse, tune, print the sweeps and what was best."""
    config = parse(TuneConfig, argv, "tune")
    from seq2seq_asr.commands.tune.run import tune

    return tune(config)


if __name__ == "__main__":
    run_entry_point(main)
