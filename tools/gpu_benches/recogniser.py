"""A whole training step, a whole search and a whole decode of the base job, beside SpeechBrain's; cost against length.

The base job is 32 utterances of 15 s with 80 mel bins, 8-fold reduction, 512 units, 50 targets, a vocabulary of 1,000.
A training step starts from features in memory, a decode from waveforms: features, encoder, beam 8. Cost against length
is that of 16 utterances; "growth" sets 40 s beside 5 s: a ratio of 8 is linear, in time as in memory.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, replace
from functools import partial

import torch
from bench_common import Batch, Sizes, searched_states, training_batch
from bench_cpu import our_loss, our_model, our_search, theirs, training_step
from gpu_common import Where
from torch import Tensor

from seq2seq_asr.nn.device import full_precision
from seq2seq_asr.nn.fused import set_kernels
from seq2seq_asr.nn.model import Seq2Seq
from seq2seq_asr.search.replay import Places

Sides = Mapping[str, Callable[[], object]]
Benches = Iterator[tuple[str, Callable[[], Sides], Mapping[str, object]]]
BASE = Sizes(
    utterances=32, seconds=15.0, units=512, decoder=512, attention=512, width=201, vocabulary=1000, targets=50,
    encoded=188, steps=50, dropout=0.0,
)  # fmt: skip
TINY = Sizes(
    utterances=2, seconds=0.2, units=4, decoder=4, embedding=3, attention=4, filters=2, width=3, vocabulary=9,
    targets=2, encoded=6, steps=4, beam=2, candidates=3, dropout=0.0,
)  # fmt: skip
KINDS = ("32-true", "bf16-mixed")
SECONDS = (1.0, 2.0, 5.0, 10.0, 20.0, 40.0, 60.0)
GROWTH = (5.0, 40.0)


def trained(sizes: Sizes, where: Where, kernels: str) -> Seq2Seq:
    """Our recogniser of these sizes that reads features."""
    model = our_model(sizes, waveform=False).to(where.device)
    set_kernels(model, kernels)  # type: ignore[arg-type]
    return model


def training_sides(sizes: Sizes, where: Where, kind: str, *, alone: bool = False) -> Sides:
    """A step from features in memory: ours with kernels and, unless alone, ours without, theirs packed and not."""
    batch = _on(where, training_batch(sizes, waveform=False))
    sides = {}
    for name, kernels in (("ours", "require"), ("pytorch", "off"))[: 1 if alone else 2]:
        model = trained(sizes, where, kernels)
        sides[name] = training_step(model, our_loss(model), batch, kind)
    if theirs is not None and not alone:
        for name, packs in (("speechbrain", True), ("speechbrain_unpacked", False)):
            other = theirs.TheirRecogniser(sizes, packs=packs).to(where.device)
            sides[name] = training_step(other, other.loss, batch, kind)
    return sides


def search_sides(sizes: Sizes, where: Where, utterances: int, *, with_ctc: bool) -> Sides:
    """A search of exactly so many steps: ours, the same not recorded, PyTorch's calls recorded and not, and theirs."""
    encoded, frames = searched_states(sizes, utterances).to(where.device), sizes.encoded
    model, plain = (trained(sizes, where, kernels) for kernels in ("require", "off"))
    sides = {
        "ours": our_search(model, frames, sizes, with_ctc=with_ctc, places=Places(kernels=True)),
        "launches": our_search(model, frames, sizes, with_ctc=with_ctc),
        "pytorch_recorded": our_search(plain, frames, sizes, with_ctc=with_ctc, places=Places()),
        "pytorch": our_search(plain, frames, sizes, with_ctc=with_ctc),
    }
    if theirs is not None:
        other = theirs.TheirRecogniser(sizes).to(where.device)
        sides["speechbrain"] = theirs.their_search(other, frames, with_ctc=with_ctc)
    return {name: partial(run, encoded) for name, run in sides.items()}


def decode_sides(sizes: Sizes, where: Where, *, alone: bool = False) -> Sides:
    """From waveforms to transcripts: ours as `Recognizer` does it and, unless alone, without kernels, and theirs."""
    waves = _on(where, training_batch(sizes, waveform=True)).inputs
    sides: dict[str, Callable[[], object]] = {"ours": our_decode(sizes, where, waves, "require")}
    if not alone:
        sides["pytorch"] = our_decode(sizes, where, waves, "off")
    if theirs is not None and not alone:
        other = theirs.TheirRecogniser(sizes).to(where.device).eval()
        shares = torch.ones(len(waves), device=where.device)
        with torch.inference_mode():
            search = theirs.their_search(other, other.listen(waves, shares).shape[1], with_ctc=False)
        sides["speechbrain"] = torch.inference_mode()(lambda: search(other.listen(waves, shares)))
    return sides


def our_decode(sizes: Sizes, where: Where, waves: Tensor, kernels: str) -> Callable[[], object]:
    """Ours, with recorded searches where there are kernels."""
    model = our_model(sizes, waveform=True).to(where.device).eval()
    set_kernels(model, kernels)  # type: ignore[arg-type]
    lengths = torch.full((len(waves),), waves.shape[1], device=where.device)

    @torch.inference_mode()
    def listen() -> Tensor:
        return model.encode(waves, lengths).states

    with full_precision():
        places = Places(kernels=True) if kernels != "off" else None
        search = our_search(model, listen().shape[1], sizes, with_ctc=False, places=places)

    def run() -> object:
        with full_precision():
            return search(listen())

    return run


def of_length(sizes: Sizes, seconds: float) -> Sizes:
    """So many seconds with as many tokens a second as the base job has."""
    tokens = max(2, round(sizes.targets * seconds / sizes.seconds))
    return replace(sizes, utterances=min(16, sizes.utterances), seconds=seconds, targets=tokens, steps=tokens)


def growth(sides: Callable[[Sizes], Sides], short: Sizes, long: Sizes) -> Sides:
    """Ours at two lengths as two sides."""
    return {"ours": sides(short)["ours"], "longer": sides(long)["ours"]}


def _on(where: Where, batch: Batch) -> Batch:
    return Batch(*(one.to(where.device) for one in batch))


def length_benches(where: Where, sizes: Sizes) -> Benches:
    """Cost against length."""
    seconds, (low, high) = ((0.1, 0.2), (0.1, 0.2)) if where.tiny else (SECONDS, GROWTH)
    jobs = {f"training step, {kind}": partial(training_sides, where=where, kind=kind) for kind in KINDS}
    for name, sides in (jobs | {"decode": partial(decode_sides, where=where)}).items():
        for one in seconds:
            job = of_length(sizes, one)
            yield f"{name}, {one:g} s", partial(sides, job), asdict(job)
        jobs_of_two = [of_length(sizes, one) for one in (low, high)]
        run = partial(growth, partial(sides, alone=True), *jobs_of_two)
        yield (
            f"{name}, growth from {low:g} to {high:g} s",
            run,
            asdict(jobs_of_two[0]) | {"linear": high / low},
        )


def benches(where: Where) -> Benches:
    """All of them."""
    sizes = TINY if where.tiny else BASE
    for kind in KINDS:
        yield f"training step of the base job, {kind}", partial(training_sides, sizes, where, kind), asdict(sizes)
    for with_ctc in (False, True):
        for utterances in (1, 2) if where.tiny else (1, 16, 32):
            what = f"beam {sizes.beam}, batch {utterances}{', CTC prefix scores' if with_ctc else ''}"
            job = partial(search_sides, sizes, where, utterances, with_ctc=with_ctc)
            yield what, job, asdict(replace(sizes, utterances=utterances))
    yield "whole decode of the base job", partial(decode_sides, sizes, where), asdict(sizes)
    yield from length_benches(where, sizes)
