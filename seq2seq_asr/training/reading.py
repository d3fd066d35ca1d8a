"""A reader that gives a model's front end what it wants."""

from seq2seq_asr.data.dataset import InputReader
from seq2seq_asr.nn.features import Features


def input_reader(features: Features, memory_mb: float = 0.0) -> InputReader:
    """Reads waveforms at the model's rate, or feature arrays of its size; refuses what is shorter than a frame."""
    return InputReader(
        features.config.rate,
        features.config.bins if features.config.kind == "precomputed" else None,
        memory_mb=memory_mb,
        smallest=features.smallest_input,
    )
