"""What a recogniser and a classifier share: from audio to the encoder's hidden states."""

from typing import NamedTuple

from jaxtyping import Float, Int
from torch import Tensor, nn

from seq2seq_asr.nn.encoder import Encoder, EncoderConfig
from seq2seq_asr.nn.features import Features, FeaturesConfig
from seq2seq_asr.nn.specaugment import SpecAugment, SpecAugmentConfig


class Encoded(NamedTuple):
    """Hidden states of a batch and their lengths."""

    states: Float[Tensor, "B S E"]
    lengths: Int[Tensor, " B"]


class Listener(nn.Module):
    """Features, their masks while training, and the encoder."""

    def __init__(self, features: FeaturesConfig, specaugment: SpecAugmentConfig, encoder: EncoderConfig) -> None:
        super().__init__()
        self.features = Features(features)
        slopes = features.normalisation != "utterance"
        self.specaugment = SpecAugment(specaugment, deltas=features.deltas, others=features.others, slopes=slopes)
        self.encoder = Encoder(encoder, features.bins, len(features.others), features.deltas)

    @property
    def frame_shift(self) -> float:
        """Seconds an encoded frame."""
        return self.features.frame_shift * self.encoder.config.reduction

    def encode(self, inputs: Float[Tensor, "B *N"], lengths: Int[Tensor, " B"]) -> Encoded:
        """Waveforms ``(B, N)`` or precomputed features ``(B, T, F)`` to hidden states."""
        return Encoded(*self.encoder(*self.specaugment(*self.features(inputs, lengths))))
