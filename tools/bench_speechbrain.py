"""The jobs of ``bench_cpu.py`` built of SpeechBrain's own parts (``pip install -e '.[bench]'``)."""

from collections.abc import Callable

import speechbrain
import torch
from bench_common import RATE, Sizes
from speechbrain.decoders.scorer import CTCScorer, ScorerBuilder
from speechbrain.decoders.seq2seq import S2SRNNBeamSearcher
from speechbrain.lobes.features import Fbank
from speechbrain.nnet.activations import Softmax
from speechbrain.nnet.embedding import Embedding
from speechbrain.nnet.linear import Linear
from speechbrain.nnet.losses import ctc_loss, nll_loss
from speechbrain.nnet.RNN import LSTM, AttentionalRNNDecoder
from speechbrain.processing.features import InputNormalization
from torch import Tensor, nn

VERSION = speechbrain.__version__
BLANK, SOS, EOS = 0, 2, 3


class TheirRecogniser(nn.Module):
    """The recogniser of `Sizes`.

    Args:
        sizes: Its sizes.
        packs: Whether its LSTMs are told the lengths, and pack. Its ``CRDNN``, a ``Sequential``, tells them none.
    """

    def __init__(self, sizes: Sizes, *, packs: bool = True) -> None:
        super().__init__()
        self.sizes, self.packs = sizes, packs
        self.fbank = Fbank(sample_rate=RATE, n_mels=sizes.bins)
        self.normalise = InputNormalization(norm_type="sentence")
        widths = [2 * sizes.bins] + [4 * sizes.units] * (sizes.levels - 1)
        self.levels = nn.ModuleList(LSTM(sizes.units, input_size=width, bidirectional=True) for width in widths)
        self.dropout = nn.Dropout(sizes.dropout)
        self.embedding = Embedding(sizes.vocabulary, sizes.embedding)
        self.decoder = their_decoder(sizes)
        self.output = Linear(input_size=sizes.decoder, n_neurons=sizes.vocabulary)
        self.ctc = Linear(input_size=2 * sizes.units, n_neurons=sizes.vocabulary)
        self.log_softmax = Softmax(apply_log=True)

    def encode(self, features: Tensor, shares: Tensor) -> Tensor:
        """The pyramid of bidirectional LSTMs; shares are lengths as SpeechBrain has them, of the longest."""
        states = features
        for level in self.levels:
            states = states[:, : states.shape[1] // 2 * 2]
            states = states.reshape(states.shape[0], states.shape[1] // 2, -1)
            states = self.dropout(level(states, lengths=shares if self.packs else None)[0])
        return states

    def listen(self, inputs: Tensor, shares: Tensor) -> Tensor:
        """Hidden states of features ``(B, T, F)``, taken as they are, or of waveforms ``(B, N)``."""
        features = self.normalise(self.fbank(inputs), shares) if inputs.dim() == 2 else inputs
        return self.encode(features, shares)

    def loss(self, inputs: Tensor, tokens: Tensor, lengths: Tensor) -> Tensor:
        """Joint loss of a batch of features or of waveforms, and their lengths in frames or samples."""
        shares, full = lengths / inputs.shape[1], torch.ones(len(inputs), device=inputs.device)
        encoded = self.listen(inputs, shares)
        read = nn.functional.pad(tokens, (1, 0), value=SOS)
        said = nn.functional.pad(tokens, (0, 1), value=EOS)
        hidden, _ = self.decoder(self.embedding(read), encoded, shares)
        log_probs = self.log_softmax(self.output(hidden))
        attention = nll_loss(log_probs, said, length=full, label_smoothing=self.sizes.smoothing)
        ctc = ctc_loss(self.log_softmax(self.ctc(encoded)), tokens, shares, full, BLANK)
        return (1 - self.sizes.ctc_weight) * attention + self.sizes.ctc_weight * ctc


def their_decoder(sizes: Sizes) -> AttentionalRNNDecoder:
    """Location-aware GRU decoder; its ``kernel_size`` is the reach to one side."""
    return AttentionalRNNDecoder(
        "gru",
        "location",
        sizes.decoder,
        sizes.attention,
        1,
        enc_dim=2 * sizes.units,
        input_size=sizes.embedding,
        channels=sizes.filters,
        kernel_size=sizes.width // 2,
        dropout=sizes.dropout,
    )


def their_search(model: TheirRecogniser, frames: int, *, with_ctc: bool) -> Callable[[Tensor], object]:
    """A search of exactly ``steps`` decoder steps over utterances of so many encoded frames."""
    sizes, ratio = model.sizes, (model.sizes.steps + 0.5) / frames
    scorer = None
    if with_ctc:
        scorer = ScorerBuilder(
            partial_scorers=[CTCScorer(ctc_fc=model.ctc, blank_index=BLANK, eos_index=EOS)],
            weights={"ctc": sizes.ctc_weight},
            scorer_beam_scale=sizes.candidates / sizes.beam,
        )
    search = S2SRNNBeamSearcher(
        embedding=model.embedding,
        decoder=model.decoder,
        linear=model.output,
        bos_index=SOS,
        eos_index=EOS,
        min_decode_ratio=ratio,
        max_decode_ratio=ratio,
        beam_size=sizes.beam,
        scorer=scorer,
    )
    model.eval()

    def run(encoded: Tensor) -> object:
        with torch.inference_mode():
            return search(encoded, torch.ones(len(encoded), device=encoded.device))

    return run
