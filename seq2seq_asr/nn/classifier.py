"""Speech classification: one of the training's labels for a whole utterance."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from seq2seq_asr.nn.fused import set_kernels
from seq2seq_asr.nn.listener import Listener
from seq2seq_asr.nn.model import ModelConfig, Seq2Seq
from seq2seq_asr.nn.pooling import build_pooling
from seq2seq_asr.nn.precision import at_least_single


class ClassLosses(NamedTuple):
    """What is known of each utterance once its class is told; named as a recogniser's `Losses`."""

    total: Float[Tensor, " B"]
    """Label-smoothed cross entropy in nats (Szegedy et al. 2016, section 7)."""
    right: Float[Tensor, " B"]
    """1 where the class with the highest probability is the true one."""
    tokens: Int[Tensor, " B"]
    """Targets of each utterance: 1."""


class Classifier(Listener):
    """Encoder, pooling and a softmax over the classes.

    Args:
        config: Features, encoder and pooling; what belongs to a decoder is not looked at.
        classes: How many there are.
    """

    def __init__(self, config: ModelConfig, classes: int) -> None:
        super().__init__(config.features, config.specaugment, config.encoder)
        self.config = config
        self.pooling = build_pooling(config.pooling, config.encoder)
        self.output = nn.Linear(self.encoder.size, classes)
        set_kernels(self, config.kernels)

    def log_probs(self, inputs: Float[Tensor, "B *N"], lengths: Int[Tensor, " B"]) -> Float[Tensor, "B V"]:
        """Natural-log probability of every class.

        Args:
            inputs: Waveforms or precomputed features.
            lengths: Samples or frames of each utterance.
        """
        encoded = self.encode(inputs, lengths)
        pooled = self.pooling(encoded.states, encoded.lengths)
        return at_least_single(self.output(pooled)).log_softmax(dim=-1)

    def forward(
        self,
        inputs: Float[Tensor, "B *N"],
        lengths: Int[Tensor, " B"],
        tokens: Int[Tensor, "B U"],
        token_lengths: Int[Tensor, " B"],
        sampling: float = 0.0,
    ) -> ClassLosses:
        """Losses of a batch; called as `Seq2Seq` is.

        Args:
            inputs: Waveforms or precomputed features, zero past the lengths.
            lengths: Samples or frames of each utterance.
            tokens: The class of each utterance, the only target (U = 1).
            token_lengths: Ones.
            sampling: Means nothing here: no class is followed by another.
        """
        log_probs, classes = self.log_probs(inputs, lengths), tokens[:, 0]
        return ClassLosses(
            total=F.cross_entropy(log_probs, classes, reduction="none", label_smoothing=self.config.label_smoothing),
            right=(log_probs.argmax(dim=-1) == classes).to(torch.float32),
            tokens=token_lengths,
        )


Model = Seq2Seq | Classifier


def build_model(config: ModelConfig, size: int) -> Model:
    """A model of the config's task.

    Args:
        config: The model.
        size: Pieces of a recogniser's vocabulary, or a classifier's classes.
    """
    return Seq2Seq(config, size) if config.task == "recognise" else Classifier(config, size)
