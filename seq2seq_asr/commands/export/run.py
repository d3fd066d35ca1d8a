"""What ``export`` does: load a run as decoding does, and write it so that only data is left."""

from pathlib import Path

from seq2seq_asr.commands.export.config import ExportConfig
from seq2seq_asr.console import say
from seq2seq_asr.errors import UsageError
from seq2seq_asr.recognizer import Recognizer, SpeechClassifier, available, is_classifier
from seq2seq_asr.recognizer.confidence import CALIBRATION
from seq2seq_asr.recognizer.tuned import TUNED
from seq2seq_asr.strict_yaml import to_mapping
from seq2seq_asr.training.portable import write_portable
from seq2seq_asr.training.run_folder import newest_run, open_run


def export(config: ExportConfig) -> Path:
    """Export as configured; returns the new folder.

    Raises:
        CheckpointError: There is no such run, or the folder cannot be written.
        UsageError: The model cannot be written in this format.
    """
    run = open_run(config.run) if config.run is not None else newest_run(config.checkpoints)
    choice = available(run, config.checkpoint)
    loader = SpeechClassifier if is_classifier(run.path) else Recognizer
    recognizer = loader.load(run.path, checkpoint=choice, device="cpu")
    out = config.out if config.out is not None else run.path / "export"
    model = recognizer.model
    if config.format == "onnx":
        from seq2seq_asr.commands.export.onnx import write_onnx

        if not isinstance(recognizer, Recognizer):
            raise UsageError("format onnx: only recognisers are exported to ONNX, no classifiers")
        write_onnx(out, recognizer.model, recognizer.tokenizer)
    else:
        beside = tuned_files(run.path, recognizer) if isinstance(recognizer, Recognizer) else []
        write_portable(out, model.state_dict(), to_mapping(model.config), recognizer.tokenizer, beside)
    return out


def tuned_files(run: Path, recognizer: Recognizer) -> list[Path]:
    """What ``tune`` wrote for the run, unless it needs a language model, which stays behind."""
    tuned = recognizer.tuned
    if tuned is not None and (tuned.lm is not None or tuned.ngram is not None):
        say(f"warning: {run / TUNED}: stays behind, as does {CALIBRATION}: tuned with {tuned.lm or tuned.ngram}")
        return []
    present = {TUNED: tuned, CALIBRATION: recognizer.calibration}
    return [run / name for name, settings in present.items() if settings is not None]
