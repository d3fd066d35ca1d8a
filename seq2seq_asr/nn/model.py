"""The whole recogniser: features, encoder, attention decoder and CTC head."""

import math
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, fields
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from seq2seq_asr.errors import UsageError
from seq2seq_asr.nn.attention import AttentionConfig, Memory, looks_back
from seq2seq_asr.nn.decoder import Decoder, DecoderConfig
from seq2seq_asr.nn.encoder import EncoderConfig
from seq2seq_asr.nn.features import FeaturesConfig
from seq2seq_asr.nn.fused import Kernels, set_kernels
from seq2seq_asr.nn.listener import Encoded, Listener
from seq2seq_asr.nn.losses import accuracy, cross_entropy, ctc_loss, guided_attention, shift_targets
from seq2seq_asr.nn.pooling import PoolingConfig
from seq2seq_asr.nn.precision import at_least_single
from seq2seq_asr.nn.regularisation import noisy
from seq2seq_asr.nn.specaugment import SpecAugmentConfig
from seq2seq_asr.strict_yaml import default_of

__all__ = ["Encoded", "Losses", "ModelConfig", "Seq2Seq"]

CLASSIFIER_PARTS = ("task", "features", "specaugment", "encoder", "pooling", "label_smoothing", "kernels")
"""What a classifier has of a model; the rest is a recogniser's."""


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The model from waveform to tokens, or to a class."""

    task: Literal["recognise", "classify"] = "recognise"
    """Write what was said, or choose one of the training texts, each of which then is a class."""
    features: FeaturesConfig = field(default_factory=FeaturesConfig)
    """Front end."""
    specaugment: SpecAugmentConfig = field(default_factory=SpecAugmentConfig)
    """Masks on the features while training."""
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    """Listener."""
    attention: AttentionConfig = field(default_factory=AttentionConfig)
    """Attention."""
    decoder: DecoderConfig = field(default_factory=DecoderConfig)
    """Speller."""
    pooling: PoolingConfig = field(default_factory=PoolingConfig)
    """How a classifier sums up an utterance."""
    ctc_weight: float = 0.3
    """Share of the CTC loss (Watanabe et al. 2017, equation 15); 0 trains the attention decoder alone."""
    label_smoothing: float = 0.1
    """Probability spread over the vocabulary in the decoder's targets."""
    guided_weight: float = 0.0
    """Weight of a penalty on attention far from the diagonal, added to the loss (Tachibana 2018); 0 leaves it out."""
    guided_width: float = 0.2
    """How far from the diagonal, as a share of the utterance, that penalty begins."""
    kernels: Kernels = "off"
    """Triton kernels and recorded searches on a GPU: auto, off or require. No GPU has run them yet."""

    def __post_init__(self) -> None:
        if not 0 <= self.ctc_weight < 1:
            raise UsageError("model.ctc_weight: must lie in [0, 1)")
        if not 0 <= self.label_smoothing < 1:
            raise UsageError("model.label_smoothing: must lie in [0, 1)")
        if not 0 <= self.guided_weight < math.inf or self.guided_width <= 0:
            raise UsageError("model.guided_weight: must be 0 or more, and finite, and model.guided_width above 0")
        self._refuse_parts_of_the_other_task()
        self._check_combination()

    def _check_combination(self) -> None:
        """Refuse parts that do not fit each other."""
        encoder, attention, decoder = self.encoder, self.attention, self.decoder
        found = decoder.projection or decoder.units + encoder.size
        if decoder.tied and found != decoder.embedding:
            raise UsageError(
                f"decoder.tied: the output reads {found} values, decoder.embedding has {decoder.embedding}"
            )
        if decoder.context == "parallel" and looks_back(attention):
            raise UsageError(f"decoder.context: parallel, but attention.kind {attention.kind} needs the step before")
        if attention.kind == "none" and self.guided_weight > 0:
            raise UsageError("model.guided_weight: attention.kind none has nothing to guide")
        if attention.kind == "none" and encoder.projection and encoder.bidirectional:
            raise UsageError("encoder.projection: mixes the directions whose final states attention.kind none takes")
        if self.task == "classify" and self.pooling.kind == "last" and encoder.projection and encoder.bidirectional:
            raise UsageError("encoder.projection: mixes the directions whose final states pooling.kind last takes")

    def _refuse_parts_of_the_other_task(self) -> None:
        for part in fields(self):
            own = part.name in CLASSIFIER_PARTS if self.task == "classify" else part.name != "pooling"
            if not own and getattr(self, part.name) != default_of(part):
                raise UsageError(f"model.{part.name}: has no meaning with model.task {self.task}: leave it out")


class Losses(NamedTuple):
    """What teacher forcing says of each utterance: sums over its tokens, not means."""

    total: Float[Tensor, " B"]
    attention: Float[Tensor, " B"]
    ctc: Float[Tensor, " B"]
    guided: Float[Tensor, " B"]
    """Attention weight far from the diagonal; 0 when the model is not guided."""
    right: Float[Tensor, " B"]
    tokens: Int[Tensor, " B"]
    alignments: Float[Tensor, "B U S"]


class Seq2Seq(Listener):
    """Attention encoder-decoder with a joint CTC head."""

    def __init__(self, config: ModelConfig, vocabulary: int) -> None:
        super().__init__(config.features, config.specaugment, config.encoder)
        self.config = config
        self.decoder = Decoder(
            config.decoder, config.attention, self.encoder.size, vocabulary, config.encoder.bidirectional
        )
        self.ctc = nn.Linear(self.encoder.size, vocabulary) if config.ctc_weight > 0 else None
        set_kernels(self, config.kernels)

    def memory(self, encoded: Encoded) -> Memory:
        """What the decoder attends to."""
        return self.decoder.memory(encoded.states, encoded.lengths)

    def ctc_log_probs(self, encoded: Encoded) -> Float[Tensor, "B S V"]:
        """Natural-log CTC posteriors of every encoded frame.

        Raises:
            UsageError: The model was trained without CTC.
        """
        if self.ctc is None:
            raise UsageError("this model has no CTC head: it was trained with model.ctc_weight 0")
        return at_least_single(self.ctc(encoded.states)).log_softmax(dim=-1)

    def forward(
        self,
        inputs: Float[Tensor, "B *N"],
        lengths: Int[Tensor, " B"],
        tokens: Int[Tensor, "B U"],
        token_lengths: Int[Tensor, " B"],
        sampling: float = 0.0,
    ) -> Losses:
        """Teacher-forced losses of a batch.

        Args:
            inputs: Waveforms or precomputed features, zero past the lengths.
            lengths: Samples or frames of each utterance.
            tokens: Target tokens without start and end, padded with the blank.
            token_lengths: Targets of each utterance.
            sampling: Scheduled-sampling probability.
        """
        encoded = self.encode(inputs, lengths)
        with self.noisy_decoder():
            return self.losses(encoded, tokens, token_lengths, sampling)

    def noisy_decoder(self) -> AbstractContextManager[None]:
        """A block in which the decoder's weights have one draw of their noise, while it trains."""
        return noisy(self.decoder, self.config.decoder.regularisation.weight_noise)

    def losses(
        self, encoded: Encoded, tokens: Int[Tensor, "B U"], token_lengths: Int[Tensor, " B"], sampling: float = 0.0
    ) -> Losses:
        """Teacher-forced losses of a batch that is encoded already; see ``forward``, which adds `noisy_decoder`."""
        read, say = shift_targets(tokens, token_lengths)
        logits, alignments = self.decoder(read, self.memory(encoded), sampling)
        attention = cross_entropy(logits, say, token_lengths + 1, self.config.label_smoothing)
        weight = self.config.ctc_weight
        ctc = torch.zeros_like(attention)
        if weight > 0:
            ctc = ctc_loss(self.ctc_log_probs(encoded), encoded.lengths, tokens, token_lengths)
        total = (1 - weight) * attention + weight * ctc
        guided = torch.zeros_like(attention)
        if self.config.guided_weight > 0:
            guided = guided_attention(alignments, token_lengths + 1, encoded.lengths, self.config.guided_width)
            total = total + self.config.guided_weight * guided
        return Losses(
            total=total,
            attention=attention,
            ctc=ctc,
            guided=guided,
            right=accuracy(logits, say, token_lengths + 1),
            tokens=token_lengths + 1,
            alignments=alignments,
        )
