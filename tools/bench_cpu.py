"""Time our training step and beam search on the CPU beside SpeechBrain's parts at equal sizes.

Prints one line of JSON a measurement. Both sides take turns in one process; SpeechBrain 1.1.2 comes with
``pip install -e '.[bench]'``, without it our side is timed alone. Examples::

    python tools/bench_cpu.py
    python tools/bench_cpu.py --job train --precision 32-true --threads 1 --repeats 30

What is timed: ``train`` is forward, loss, backward, clipping and AdamW, with the batch in memory as features (theirs
skips normalisation there) and as waveforms (both compute and normalise 80 mel bins), and of features of unequal
lengths; ``search`` is a beam search of exactly 20 steps over given encoder states, for 1 and 16 utterances, with and
without CTC prefix scores. Beside a search stand its matrix products alone, that of the CTC head with prefix scores:
``ceiling`` is the ratio that would be left if all else took no time.

SpeechBrain's LSTM packs where it is told lengths (``speechbrain``): then padding changes nothing, as on our side. It is
much faster without them (``speechbrain_unpacked``), as its ``CRDNN`` calls it, but its backward direction begins in the
padding, so that all but the longest utterance get other states than alone.

Wall-clock times mean little on a busy machine, above all with several threads: there, look at ``cpu_ratio`` (processor
time) with ``--threads 1``.
"""

import argparse
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import seq2seq_asr  # noqa: F401  it sets what torch's OpenMP reads when it is loaded, for both sides

# isort: split
import torch
from bench_common import Batch, Sizes, as_details, measurement, precision, searched_states, show, training_batch
from bench_products import products_alone
from torch import Tensor, nn

from seq2seq_asr.nn.allocation import keep_freed_memory
from seq2seq_asr.nn.attention import AttentionConfig
from seq2seq_asr.nn.decoder import DecoderConfig
from seq2seq_asr.nn.encoder import EncoderConfig
from seq2seq_asr.nn.features import FeaturesConfig
from seq2seq_asr.nn.model import Encoded, ModelConfig, Seq2Seq
from seq2seq_asr.nn.specaugment import SpecAugmentConfig
from seq2seq_asr.nn.stepping import stepping
from seq2seq_asr.search.attention import AttentionScorer
from seq2seq_asr.search.beam import BeamConfig, beam_search
from seq2seq_asr.search.ctc_fused import ctc_prefix_scorer
from seq2seq_asr.search.replay import Places
from seq2seq_asr.search.scorer import joint_scorers
from seq2seq_asr.training.devices import find_precision
from seq2seq_asr.training.schedule import OptimizerConfig, build_optimizer
from seq2seq_asr.training.settings import TrainerConfig

try:
    import bench_speechbrain as theirs
except ModuleNotFoundError as missing:
    if missing.name != "speechbrain":
        raise
    theirs = None  # type: ignore[assignment]

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Of inputs, tokens and the lengths of the inputs."""
SHORTEST = 0.5
"""Of utterances of unequal lengths, as a share of the longest."""


def our_model(sizes: Sizes, *, waveform: bool) -> Seq2Seq:
    """Our recogniser of these sizes; SpecAugment and layer norms are off, as on the other side."""
    config = ModelConfig(
        features=FeaturesConfig(kind="fbank" if waveform else "precomputed", bins=sizes.bins),
        specaugment=SpecAugmentConfig(frequency_masks=0, time_masks=0),
        encoder=EncoderConfig(
            units=sizes.units, reductions=(2,) * sizes.levels, dropout=sizes.dropout, layer_norm=False
        ),
        attention=AttentionConfig(size=sizes.attention, filters=sizes.filters, width=sizes.width),
        decoder=DecoderConfig(units=sizes.decoder, embedding=sizes.embedding, dropout=sizes.dropout),
        ctc_weight=sizes.ctc_weight,
        label_smoothing=sizes.smoothing,
    )
    return Seq2Seq(config, sizes.vocabulary)


def our_loss(model: Seq2Seq) -> Loss:
    """Joint loss a token of a batch."""

    def loss(inputs: Tensor, tokens: Tensor, lengths: Tensor) -> Tensor:
        losses = model(inputs, lengths, tokens, torch.full_like(lengths, tokens.shape[1]))
        return losses.total.sum() / losses.tokens.sum()

    return loss


def training_step(model: nn.Module, loss: Loss, batch: Batch, kind: str) -> Callable[[], object]:
    """One whole step, the same for both sides but for the model."""
    optimizer = build_optimizer(model, OptimizerConfig())

    def step() -> None:
        with precision(kind, batch.inputs.device.type):
            value = loss(*batch)
        value.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def training_sides(sizes: Sizes, kind: str, batch: Batch, *, waveform: bool) -> dict[str, Callable[[], object]]:
    """The training step of ours and, where it is installed, of SpeechBrain's parts with and without packing."""
    model = our_model(sizes, waveform=waveform)
    sides = {"ours": training_step(model, our_loss(model), batch, kind)}
    if theirs is not None:
        for name, packs in (("speechbrain", True), ("speechbrain_unpacked", False)):
            other = theirs.TheirRecogniser(sizes, packs=packs)
            sides[name] = training_step(other, other.loss, batch, kind)
    return sides


def our_search(
    model: Seq2Seq, frames: int, sizes: Sizes, *, with_ctc: bool, places: Places | None = None
) -> Callable[[Tensor], object]:
    """A search of exactly ``steps`` decoder steps in so many frames: the last one ends what the others made."""
    ratio, ctc_weight = (sizes.steps - 1) / frames, sizes.ctc_weight if with_ctc else 0.0
    config = BeamConfig(
        beam=sizes.beam,
        candidates=sizes.candidates,
        ctc_weight=ctc_weight,
        min_length_ratio=ratio,
        max_length_ratio=ratio,
    )
    decoder = stepping(model.eval().decoder)  # once for all searches, as a recogniser does when it is loaded

    @torch.inference_mode()
    def run(encoded: Tensor) -> object:
        lengths = torch.full((len(encoded),), frames, device=encoded.device)
        states = Encoded(encoded, lengths)
        attention = AttentionScorer(decoder, decoder.memory(encoded, lengths))
        kernels = places is not None and places.kernels
        ctc = ctc_prefix_scorer(model.ctc_log_probs(states), lengths, kernels) if with_ctc else None
        return beam_search(joint_scorers(attention, ctc, ctc_weight), lengths, config, places=places)

    return run


def search_sides(sizes: Sizes, kind: str, utterances: int, *, with_ctc: bool) -> dict[str, Callable[[], object]]:
    """The search of ours, its products alone, and, where it is installed, the search of SpeechBrain."""
    encoded = searched_states(sizes, utterances)
    model = our_model(sizes, waveform=False)
    runs: dict[str, Callable[[], object]] = {
        "ours": partial(our_search(model, sizes.encoded, sizes, with_ctc=with_ctc), encoded)
    }
    if kind == "32-true":
        runs["products"] = products_alone(model, encoded, sizes, with_ctc=with_ctc)
    if theirs is not None:
        search = theirs.their_search(theirs.TheirRecogniser(sizes), sizes.encoded, with_ctc=with_ctc)
        runs["speechbrain"] = partial(search, encoded)

    def under(run: Callable[[], object]) -> Callable[[], object]:
        def wrapped() -> object:
            with precision(kind):
                return run()

        return wrapped

    return {name: under(run) for name, run in runs.items()}


def precision_of(job: str, asked: str) -> str:
    """The precision of a job: by itself what ``fit`` trains in on this processor, and what ``decode`` searches in."""
    if asked != "auto":
        return asked
    return find_precision(TrainerConfig(accelerator="cpu")) if job == "train" else "32-true"


def measure(sizes: Sizes, job: str, asked: str, repeats: int) -> Iterator[dict[str, Any]]:
    """Every measurement of a job, one after the other."""
    torch.manual_seed(0)
    others = {"speechbrain_version": None if theirs is None else theirs.VERSION}
    if job in ("train", "all"):
        kind = precision_of("train", asked)
        details = as_details(sizes, precision=kind, **others)
        for waveform, shortest in ((False, 1.0), (True, 1.0), (False, SHORTEST)):
            batch = training_batch(sizes, waveform=waveform, shortest=shortest)
            least = f", {shortest * sizes.seconds:g} to {sizes.seconds:g} s" if shortest < 1 else ""
            what = f"training step from {'waveforms' if waveform else 'features'}{least}"
            yield measurement(what, training_sides(sizes, kind, batch, waveform=waveform), repeats, details)
    if job in ("search", "all"):
        kind = precision_of("search", asked)
        details = as_details(sizes, precision=kind, **others)
        for with_ctc in (False, True):
            for utterances in (1, sizes.utterances):
                what = f"beam search, batch {utterances}{', CTC prefix scores' if with_ctc else ''}"
                yield measurement(what, search_sides(sizes, kind, utterances, with_ctc=with_ctc), repeats, details)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--job", choices=("train", "search", "all"), default="all", help="what to time")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="threads of torch")
    parser.add_argument(
        "--precision",
        choices=("auto", "32-true", "bf16-mixed"),
        default="auto",
        help="of both sides; auto trains as fit does on this processor and searches in 32 bit, as decode does",
    )
    parser.add_argument("--repeats", type=int, default=20, help="counted runs of each side, at least 2")
    options = parser.parse_args()
    if options.repeats < 2:
        parser.error("--repeats: at least 2")
    torch.set_num_threads(options.threads)
    keep_freed_memory()  # the whole process: it serves both sides
    for result in measure(Sizes(), options.job, options.precision, options.repeats):
        show(result)


if __name__ == "__main__":
    main()
