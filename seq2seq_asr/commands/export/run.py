"""What ``export`` does: load a run as decoding does, and write it so that only data is left."""

from dataclasses import replace
from pathlib import Path

from seq2seq_asr.commands.export.config import ExportConfig
from seq2seq_asr.console import say
from seq2seq_asr.errors import UsageError
from seq2seq_asr.recognizer import Recognizer, SpeechClassifier, available, is_classifier
from seq2seq_asr.recognizer.belonging import load_belonging, warning_of_other_weights
from seq2seq_asr.recognizer.confidence import CALIBRATION, Calibration
from seq2seq_asr.recognizer.tuned import TUNED, Tuned
from seq2seq_asr.strict_yaml import to_mapping, to_yaml
from seq2seq_asr.training.portable import write_portable
from seq2seq_asr.training.run_folder import CheckpointChoice, chosen_run


def export(config: ExportConfig) -> Path:
    """Export as configured; returns the new folder.

    Raises:
        CheckpointError: There is no such run, or the folder cannot be written.
        UsageError: The model cannot be written in this format.
    """
    run = chosen_run(config.run, config.checkpoints)
    choice = available(run, config.checkpoint)
    if is_classifier(run.path):
        recognizer: Recognizer | SpeechClassifier = SpeechClassifier.load(run.path, checkpoint=choice, device="cpu")
    else:
        recognizer = Recognizer.load(run.path, checkpoint=choice, device="cpu", tuned=False, calibrate=False)
    out = config.out if config.out is not None else run.path / "export"
    model = recognizer.model
    if config.format == "onnx":
        from seq2seq_asr.commands.export.onnx import write_onnx

        if isinstance(recognizer, SpeechClassifier):
            raise UsageError("format onnx: only recognisers are exported to ONNX, no classifiers")
        write_onnx(out, recognizer.model, recognizer.tokenizer)
    else:
        found = {} if is_classifier(run.path) else tuned_settings(run.path, recognizer.tokenizer.hash, choice)

        def beside(digest: str) -> dict[str, str]:
            return {name: to_yaml(replace(one, weights=digest)) for name, one in found.items()}

        write_portable(out, model.state_dict(), to_mapping(model.config), recognizer.tokenizer, beside)
    return out


def tuned_settings(run: Path, tokenizer: str, checkpoint: CheckpointChoice) -> dict[str, Tuned | Calibration]:
    """What ``tune`` found for these weights, by its file; what needs a language model stays behind, as that does.

    Raises:
        UsageError: A file is damaged.
        CheckpointError: It is of another tokenizer.
    """
    tuned = load_belonging(run / TUNED, Tuned, tokenizer)
    if tuned is not None and (tuned.lm is not None or tuned.ngram is not None):
        say(f"warning: {run / TUNED}: stays behind, as does {CALIBRATION}: tuned with {tuned.lm or tuned.ngram}")
        return {}
    present = {TUNED: tuned, CALIBRATION: load_belonging(run / CALIBRATION, Calibration, tokenizer)}
    found = {name: settings for name, settings in present.items() if settings is not None}
    for name in list(found):
        if warning := warning_of_other_weights(run / name, found[name], checkpoint):
            say(f"{warning}: stays behind")
            del found[name]
    return found
