"""Monotonic chunkwise attention."""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from seq2seq_asr.nn.attention.base import Attended, Attention, Memory, by_utterance, tanh
from seq2seq_asr.nn.attention.config import AttentionConfig
from seq2seq_asr.nn.masks import valid_mask
from seq2seq_asr.nn.precision import at_least_single


class MonotonicChunkwiseAttention(Attention):
    """Stops at a frame, never before the last stop, and attends softly to a chunk that ends there.

    Chiu & Raffel 2018, "Monotonic chunkwise attention". Training and recognition differ. In training mode each frame is
    the stop with a probability (`expected_stops`; noise on the logits teaches it to decide), and the alignment is the
    mean, over all stops, of the softmax over the chunk that ends there. In evaluation mode, teacher-forced or not, the
    stop is the first frame from the last stop on whose logit is above 0; nothing behind it is looked at.

    Not the paper's: the last frame of an utterance always stops, so that alignments sum to 1. The trace is the
    probability of each frame to be the stop; in evaluation 1 at the stop.
    """

    def __init__(self, config: AttentionConfig, encoder_size: int, decoder_size: int) -> None:
        super().__init__(config, encoder_size, decoder_size)
        self.key = nn.Linear(encoder_size, 2 * config.size, bias=False)
        self.query = nn.Linear(decoder_size, 2 * config.size)
        self.direction = nn.Parameter(torch.randn(config.size))
        self.gain = nn.Parameter(torch.tensor(1.0))
        self.offset = nn.Parameter(torch.tensor(-1.0))
        """Below 0: at first it rather moves on than stops (Raffel et al. 2017), by some three frames a step."""
        self.score = nn.Linear(config.size, 1, bias=False)

    def forward(self, state: Float[Tensor, "BK D"], memory: Memory, trace: Float[Tensor, "BK S"]) -> Attended:
        """Stop, then attend to the chunk; see `AnyAttention.forward`."""
        asked = by_utterance(self.query(state), memory.keys).unsqueeze(2)  # (B, K, 1, 2A)
        stopping, inside = tanh(memory.keys.unsqueeze(1) + asked).flatten(0, 1).chunk(2, dim=-1)
        logits = at_least_single(stopping @ (self.gain * self.direction / self.direction.norm()) + self.offset)
        energies = at_least_single(self.score(inside).squeeze(-1))
        trace = trace.to(logits.dtype)
        lengths = memory.lengths.repeat_interleave(state.shape[0] // memory.lengths.shape[0])
        valid = valid_mask(lengths, logits.shape[1])
        last = valid & ~F.pad(valid, (0, 1))[:, 1:]
        if self.training:
            logits = logits + self.config.noise * torch.randn_like(logits)
            stops = expected_stops(logits, trace, last) * valid
        else:
            stops = next_stop(logits, trace, last)
        alignment = spread_over_chunks(stops, energies, self.config.chunk)
        shares = by_utterance(alignment, memory.encoded).to(memory.encoded.dtype)
        return Attended(torch.bmm(shares, memory.encoded).flatten(0, 1), alignment, stops)


def expected_stops(
    logits: Float[Tensor, "BK S"], before: Float[Tensor, "BK S"], last: Bool[Tensor, "BK S"]
) -> Float[Tensor, "BK S"]:
    """Probability of every frame to be the next stop (Raffel et al. 2017), stable at any length.

    From stop k frame j is reached with the product over k ≤ l < j of the probabilities not to stop. The sum over k runs
    in the logarithm: the cumulative products and quotients of the papers leave the range of numbers on long utterances.

    Args:
        logits: Of the probability to stop at a frame that is reached.
        before: Probability of every frame to be the stop before.
        last: Marks the frame that always stops.
    """
    passed = F.logsigmoid(-logits)
    ahead = F.pad(passed.cumsum(dim=1), (1, -1))  # logarithm of passing all frames before this one
    start = before.clamp(min=torch.finfo(torch.float32).tiny).log()
    reached = torch.exp(ahead + torch.logcumsumexp(start - ahead, dim=1))
    return torch.where(last, reached, torch.sigmoid(logits) * reached)


def next_stop(
    logits: Float[Tensor, "BK S"], before: Float[Tensor, "BK S"], last: Bool[Tensor, "BK S"]
) -> Float[Tensor, "BK S"]:
    """1 at the first frame, from the stop before on, whose logit is above 0 or which is the last."""
    frames = torch.arange(logits.shape[1], device=logits.device)
    stops = ((logits > 0) | last) & (frames >= before.argmax(dim=1, keepdim=True))
    # No one_hot: it would fix the number of frames in an ONNX graph.
    return (frames == stops.to(torch.int32).argmax(dim=1, keepdim=True)).to(logits.dtype)


def spread_over_chunks(
    stops: Float[Tensor, "BK S"], energies: Float[Tensor, "BK S"], size: int
) -> Float[Tensor, "BK S"]:
    """Share each stop's weight among the ``size`` frames that end there, by their softmax."""
    chunks = F.pad(energies, (size - 1, 0), value=-torch.inf).unfold(1, size, 1)  # (B, S, C), the stop comes last
    shares = chunks.softmax(dim=-1) * stops.unsqueeze(-1)
    back = [F.pad(shares[:, behind:, size - 1 - behind], (0, behind)) for behind in range(min(size, stops.shape[1]))]
    return torch.stack(back).sum(dim=0)
