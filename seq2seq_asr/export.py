"""Hand a recogniser on: ``python -m seq2seq_asr.export --run checkpoints/spoken --format safetensors``."""

from seq2seq_asr.command_line import parse
from seq2seq_asr.commands.export.config import ExportConfig
from seq2seq_asr.console import run_entry_point


def main(argv: list[str]) -> int:
    """Parse, export, print the folder."""
    config = parse(ExportConfig, argv, "export")
    from seq2seq_asr.commands.export.run import export

    print(export(config))
    return 0


if __name__ == "__main__":
    run_entry_point(main)
