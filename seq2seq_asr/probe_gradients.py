"""Look at gradient flow: ``python -m seq2seq_asr.probe_gradients --run checkpoints/spoken``."""

from seq2seq_asr.command_line import parse
from seq2seq_asr.commands.probe_gradients.config import ProbeGradientsConfig
from seq2seq_asr.console import run_entry_point


def main(argv: list[str]) -> int:
    """Parse, probe, print what was found."""
    config = parse(ProbeGradientsConfig, argv, "probe_gradients")
    from seq2seq_asr.commands.probe_gradients.run import probe_gradients

    return probe_gradients(config)


if __name__ == "__main__":
    run_entry_point(main)
