"""A trained classifier as one object: ``SpeechClassifier.load(run).transcribe(audio)``."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from seq2seq_asr.data.labels import Labels
from seq2seq_asr.nn.classifier import Classifier
from seq2seq_asr.nn.device import find_device, full_precision
from seq2seq_asr.recognizer.restoring import restore_classifier
from seq2seq_asr.recognizer.transcriber import Transcriber
from seq2seq_asr.recognizer.transcript import Transcript
from seq2seq_asr.search.beam import BeamConfig
from seq2seq_asr.training.run_folder import CheckpointChoice

LISTED = 5
"""Classes that a transcript lists in ``nbest``."""


class SpeechClassifier(Transcriber):
    """A trained classifier, which gives one of its labels for a whole utterance.

    Args:
        model: The model; it is put into evaluation mode.
        labels: The classes it was trained with.
        device: Where to compute.
    """

    model: Classifier
    tokenizer: Labels
    cuts = False  # one label for the whole

    def __init__(self, model: Classifier, labels: Labels, device: torch.device | str = "cpu") -> None:
        super().__init__(model.eval().to(device), labels, torch.device(device))

    @classmethod
    def load(
        cls, run: str | Path, *, checkpoint: CheckpointChoice = "best", device: str = "auto"
    ) -> "SpeechClassifier":
        """The classifier of a run folder, or of a folder that ``export`` made.

        Args:
            run: Folder such as ``checkpoints/words_classify``.
            checkpoint: Which weights; ``best`` falls back to ``last`` in a run that was never validated.
            device: ``cpu``, ``cuda``, or ``auto`` for a GPU when there is one.

        Raises:
            CheckpointError: The folder or checkpoint is missing, damaged or not ours, or holds a recogniser.
            TokenizerError: The labels are damaged or not ours.
            UsageError: There is no such device.
        """
        chosen = find_device(device)
        model, labels = restore_classifier(Path(run), checkpoint)
        return cls(model, labels, chosen)

    @torch.inference_mode()
    def _decode(self, inputs: Sequence[tuple[str, np.ndarray]], search: BeamConfig) -> list[Transcript]:
        tensors = [torch.from_numpy(one) for _, one in inputs]
        padded = torch.nn.utils.rnn.pad_sequence(tensors, batch_first=True).to(self.device)
        lengths = torch.tensor([len(one) for one in tensors], device=self.device)
        with full_precision():
            log_probs, classes = self.model.log_probs(padded, lengths).sort(dim=-1, descending=True, stable=True)
        ids, kept = [id for id, _ in inputs], min(LISTED, len(self.tokenizer))
        rows = zip(ids, log_probs[:, :kept].tolist(), classes[:, :kept].tolist(), strict=True)
        return [self._ranked(*row) for row in rows]

    def _ranked(self, id: str, log_probs: Sequence[float], classes: Sequence[int]) -> Transcript:
        nbest = tuple(self._labelled(id, *one) for one in zip(log_probs, classes, strict=True))
        return replace(nbest[0], nbest=nbest)

    def _labelled(self, id: str, log_prob: float, label: int) -> Transcript:
        name = self.tokenizer.decode([label])
        scores = {"class": log_prob}
        return Transcript(
            id=id, text=name, score=log_prob, log_prob=log_prob, pieces=(name,), times=(), ended=True, scores=scores
        )
