"""A trained recogniser as one object: ``Recognizer.load(run).transcribe(audio)``; a classifier is another."""

from seq2seq_asr.recognizer.classifier import SpeechClassifier
from seq2seq_asr.recognizer.recognizer import Recognizer
from seq2seq_asr.recognizer.restoring import available, is_classifier
from seq2seq_asr.recognizer.transcriber import DECODING_BATCHES, Transcriber
from seq2seq_asr.recognizer.transcript import Passage, Transcript, Word

__all__ = [
    "DECODING_BATCHES",
    "Passage",
    "Recognizer",
    "SpeechClassifier",
    "Transcriber",
    "Transcript",
    "Word",
    "available",
    "is_classifier",
]
