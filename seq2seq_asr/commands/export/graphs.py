"""The two graphs that a runtime calls: the encoder once for a batch, the decoder's step once for every token."""

import copy

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from seq2seq_asr.commands.export.recurrence import OnnxLayer
from seq2seq_asr.nn.attention import Memory
from seq2seq_asr.nn.decoder import DecoderState
from seq2seq_asr.nn.model import Seq2Seq
from seq2seq_asr.vocabulary import BLANK, SOS

BATCH, FRAMES = "batch", "encoded_frames"
MEMORY = ("encoded", "encoded_lengths", "keys")
"""What the encoder gives to every step."""
STATE = ("hidden", "context", "trace")
"""What a step gives to the next one; the encoder gives the first."""


class EncoderGraph(nn.Module):
    """Audio, or precomputed features, to what the decoder attends to, and the state before the first token.

    Args:
        model: The recogniser; it is copied.

    Raises:
        UsageError: ONNX has no operator for its encoder's cell.
    """

    def __init__(self, model: Seq2Seq) -> None:
        super().__init__()
        self.model = copy.deepcopy(model)
        layers = (OnnxLayer(layer) for layer in model.encoder.layers)  # type: ignore[arg-type]
        self.model.encoder.layers = nn.ModuleList(layers)

    def forward(self, inputs: Float[Tensor, "B *N"], lengths: Int[Tensor, " B"]) -> tuple[Tensor, ...]:
        """The memory and the first state; the CTC posteriors where there is a CTC head."""
        encoded = self.model.encode(inputs, lengths)
        memory = self.model.memory(encoded)
        start = self.model.decoder.start(memory)
        ctc = () if self.model.ctc is None else (self.model.ctc_log_probs(encoded),)
        return *memory, start.hidden, start.context, start.trace, *ctc

    @property
    def outputs(self) -> list[str]:
        """Names of the outputs."""
        return [*MEMORY, *STATE, *(["ctc_log_probs"] if self.model.ctc is not None else [])]


class StepGraph(nn.Module):
    """One step of the decoder, its state in and out; as `AttentionScorer`, blank and start get no probability.

    Args:
        model: The recogniser.
    """

    never: Tensor

    def __init__(self, model: Seq2Seq) -> None:
        super().__init__()
        self.decoder = model.decoder
        never = torch.zeros(model.decoder.vocabulary)
        never[[BLANK, SOS]] = -torch.inf
        self.register_buffer("never", never, persistent=False)

    def forward(
        self,
        token: Int[Tensor, " B"],
        hidden: Float[Tensor, "B L K"],
        context: Float[Tensor, "B E"],
        trace: Float[Tensor, "B *X"],
        encoded: Float[Tensor, "B S E"],
        encoded_lengths: Int[Tensor, " B"],
        keys: Float[Tensor, "B *Y"],
    ) -> tuple[Tensor, ...]:
        """Natural-log probabilities of the next token, the state after ``token``, and the alignment."""
        torch._check(token.shape[0] == encoded.shape[0])  # a row of the memory for every hypothesis
        memory = Memory(encoded, encoded_lengths, keys)
        # The last output and alignment are for those who look on: no step reads them.
        output = hidden.new_zeros(hidden.shape[0], self.decoder.config.units)
        alignment = encoded.new_zeros(encoded.shape[:2])
        state = DecoderState(hidden=hidden, output=output, context=context, alignment=alignment, trace=trace)
        scores, state = self.decoder.step(token, state, memory)
        log_probs = scores.log_softmax(dim=-1) + self.never
        return log_probs, state.hidden, state.context, state.trace, state.alignment


STEP_INPUTS = ("token", *STATE, *MEMORY)
STEP_OUTPUTS = ("log_probs", *(f"next_{name}" for name in STATE), "alignment")


def step_axes(model: Seq2Seq) -> dict[str, dict[int, str]]:
    """The axes of a step's inputs that vary, by name."""
    attention = model.config.attention
    trace = {0: BATCH}
    if attention.kind != "gaussian":
        trace[2 if attention.heads > 1 else 1] = FRAMES
    keys = {0: BATCH} if attention.kind == "none" else {0: BATCH, 1: FRAMES}
    by_frame = {"trace": trace, "encoded": {0: BATCH, 1: FRAMES}, "keys": keys}
    return {name: by_frame.get(name, {0: BATCH}) for name in STEP_INPUTS}
