"""A whole training step and a whole search of the base job, as training and decoding do them, beside SpeechBrain's.

The base job is 32 utterances of 15 s with 80 mel bins, 8-fold reduction, 512 units, 50 targets, a vocabulary of 1,000.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, replace
from functools import partial

from bench_common import Sizes, searched_states, training_batch
from bench_cpu import our_loss, our_model, our_search, theirs, training_step
from gpu_common import Where
from torch import Tensor

from seq2seq_asr.nn.fused import set_kernels
from seq2seq_asr.search.replay import Places

Sides = Mapping[str, Callable[[], object]]
BASE = Sizes(
    utterances=32, seconds=15.0, units=512, decoder=512, attention=512, width=201, vocabulary=1000, targets=50,
    encoded=188, steps=50, dropout=0.0,
)  # fmt: skip
TINY = Sizes(
    utterances=2, seconds=0.2, units=4, decoder=4, embedding=3, attention=4, filters=2, width=3, vocabulary=9,
    targets=2, encoded=6, steps=4, beam=2, candidates=3, dropout=0.0,
)  # fmt: skip


def training_sides(sizes: Sizes, where: Where, kind: str) -> Sides:
    """A step from features in memory: ours with kernels, ours without, theirs."""
    inputs, tokens = (part.to(where.device) for part in training_batch(sizes, waveform=False))
    sides = {}
    for name, kernels in (("ours", "require"), ("pytorch", "off")):
        model = our_model(sizes, waveform=False).to(where.device)
        set_kernels(model, kernels)  # type: ignore[arg-type]
        sides[name] = training_step(model, our_loss(model), (inputs, tokens), kind)
    if theirs is not None:
        other = theirs.TheirRecogniser(sizes).to(where.device)
        sides["speechbrain"] = training_step(other, other.loss, (inputs, tokens), kind)
    return sides


def search_sides(sizes: Sizes, where: Where, utterances: int, *, with_ctc: bool) -> Sides:
    """A search of exactly so many steps: ours recorded, ours one launch after the other, theirs."""
    encoded: Tensor = searched_states(sizes, utterances).to(where.device)
    model = our_model(sizes, waveform=False).to(where.device)
    sides = {
        "ours": our_search(model, encoded, sizes, with_ctc=with_ctc, places=Places()),
        "launches": our_search(model, encoded, sizes, with_ctc=with_ctc),
    }
    if theirs is not None:
        other = theirs.TheirRecogniser(sizes).to(where.device)
        sides["speechbrain"] = theirs.their_search(other, encoded, with_ctc=with_ctc)
    return sides


def benches(where: Where) -> Iterator[tuple[str, Callable[[], Sides], Mapping[str, object]]]:
    """All of them."""
    sizes = TINY if where.tiny else BASE
    for kind in ("32-true", "bf16-mixed"):
        yield f"training step of the base job, {kind}", partial(training_sides, sizes, where, kind), asdict(sizes)
    for with_ctc in (False, True):
        for utterances in (1, 2) if where.tiny else (1, 16, 32):
            what = f"beam {sizes.beam}, batch {utterances}{', CTC prefix scores' if with_ctc else ''}"
            job = partial(search_sides, sizes, where, utterances, with_ctc=with_ctc)
            yield what, job, asdict(replace(sizes, utterances=utterances))
