"""A trained recogniser as one object: ``Recognizer.load(run).transcribe(audio)``."""

from seq2seq_asr.recognizer.restoring import available
from seq2seq_asr.recognizer.transcriber import DECODING_BATCHES, Recognizer
from seq2seq_asr.recognizer.transcript import Transcript, Word

__all__ = ["DECODING_BATCHES", "Recognizer", "Transcript", "Word", "available"]
