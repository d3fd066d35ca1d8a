"""Checks of the search's step, and that one whose steps are replayed finds exactly what it finds launch by launch."""

import copy
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from gpu_common import Check, Failed, Where, compare, poisoned
from torch import Tensor

from seq2seq_asr.kernels.best import find_best
from seq2seq_asr.nn.attention import AttentionConfig
from seq2seq_asr.nn.decoder import Decoder, DecoderConfig
from seq2seq_asr.nn.fused_stepping import FusedStepping
from seq2seq_asr.nn.stepping import Stepping
from seq2seq_asr.search.attention import AttentionScorer
from seq2seq_asr.search.beam import BeamConfig, beam_search
from seq2seq_asr.search.ctc_fused import FusedCtcPrefixScorer
from seq2seq_asr.search.ctc_prefix import CtcPrefixScorer
from seq2seq_asr.search.replay import Places
from seq2seq_asr.search.scorer import Weighted, joint_scorers
from seq2seq_asr.vocabulary import EOS

TOLERANCE = 1e-4
STEPPING: dict[str, Callable[[Decoder], Any]] = {"kernels": FusedStepping, "arranged": Stepping, "plain": lambda x: x}


def random_decoder(where: Where, units: int, size: int, encoder: int, vocabulary: int, width: int) -> Decoder:
    """One whose scores differ enough to search by."""
    attention = AttentionConfig(size=size, width=width)
    decoder = Decoder(DecoderConfig(units=units, embedding=size), attention, encoder, vocabulary).to(where.device)
    torch.nn.init.normal_(decoder.get_parameter("output.weight"), std=1.0)
    return decoder.eval()


def same_hypotheses(where: Where, *, kind: str, ctc_weight: float, rounds: int = 3) -> str:
    """Batch after batch of three shapes through the same recordings."""
    size, vocabulary = (8, 9) if where.tiny else (128, 200)
    decoder = STEPPING[kind](random_decoder(where, size, size, size, vocabulary, 2 * size - 1))
    places, compared = Places(kernels=kind == "kernels"), 0
    search = BeamConfig(beam=3 if where.tiny else 8, nbest=3, ctc_weight=ctc_weight, max_length_ratio=0.5)

    def scorers(encoded: torch.Tensor, posteriors: torch.Tensor, lengths: torch.Tensor) -> tuple[Weighted, ...]:
        attention = AttentionScorer(decoder, decoder.memory(encoded, lengths))
        ctc = FusedCtcPrefixScorer if kind == "kernels" else CtcPrefixScorer
        return joint_scorers(attention, ctc(posteriors, lengths), ctc_weight)

    with torch.inference_mode():
        for utterances, frames in ([(2, 8)] if where.tiny else [(1, 12), (4, 20), (3, 16)]) * rounds:
            lengths = torch.randint(1, frames + 1, (utterances,), device=where.device)
            encoded = torch.randn(utterances, frames, size, device=where.device)
            posteriors = torch.randn(utterances, frames, vocabulary, device=where.device).log_softmax(2)
            given = encoded, posteriors, lengths
            wanted = beam_search(scorers(*given), lengths, search)
            found = beam_search(scorers(*given), lengths, search, places=places)
            if found != wanted:
                raise Failed(f"{utterances} utterances of {frames} frames: other hypotheses than launch by launch")
            compared += sum(map(len, wanted))
    return f"{compared} hypotheses and their scores are the same to the bit"


def right(where: Where, beam: int, units: int, size: int, frames: int, vocabulary: int, width: int) -> str:
    """Steps of the kernels say what ``Decoder.step`` says in float64; beams change places in between."""
    decoder = random_decoder(where, units, size, 2 * units, vocabulary, width)
    lengths = torch.linspace(frames, 1, 3, device=where.device).long()
    encoded = torch.randn(3, frames, 2 * units, device=where.device)
    steps = [[torch.randint(n, (3 * beam,), device=where.device) for n in (vocabulary, beam)] for _ in range(4)]
    rows = torch.arange(3, device=where.device).repeat_interleave(beam) * beam
    with torch.inference_mode():
        found = [*_walk(FusedStepping(decoder), encoded, lengths, steps, rows)]
        wanted = [*_walk(copy.deepcopy(decoder).double(), encoded.double(), lengths, steps, rows)]
    return compare(dict(_named(found)), dict(_named(wanted)), TOLERANCE)


def _walk(
    decoder: Any, encoded: Tensor, lengths: Tensor, steps: list[list[Tensor]], rows: Tensor
) -> Iterator[tuple[Tensor, Tensor]]:
    memory = decoder.memory(encoded, lengths)
    state = decoder.start(memory).select(
        torch.arange(len(lengths), device=rows.device).repeat_interleave(len(rows) // 3)
    )
    for tokens, parents in steps:
        with poisoned():
            scores, state = decoder.step(tokens, state, memory)
        yield scores.log_softmax(1), state.alignment
        state = state.select(rows + parents)


def _named(found: list[tuple[Tensor, Tensor]]) -> Iterator[tuple[str, Tensor]]:
    """Every step's log probabilities and alignments, named."""
    for step, (log_probs, alignment) in enumerate(found):
        yield f"log probabilities {step}", log_probs
        yield f"alignment {step}", alignment


def same_prefixes(where: Where, batch: int, beam: int, frames: int, vocabulary: int) -> str:
    """CTC prefix scores of the kernels are those of the reference, step after step; both are in double precision."""
    lengths = torch.linspace(frames, 1, batch, device=where.device).long()
    posteriors = torch.randn(batch, frames, vocabulary, device=where.device).mul(3).log_softmax(2)
    sides = [kind(posteriors, lengths) for kind in (FusedCtcPrefixScorer, CtcPrefixScorer)]
    states: list[Any] = [side.start(beam) for side in sides]
    rows, many, worst = batch * beam, min(20, vocabulary), ""
    first = torch.arange(rows, device=where.device) // beam * beam
    for step in range(4):
        candidates = torch.rand(rows, vocabulary, device=where.device).argsort(1)[:, :many]
        candidates[:, 0] = states[1].last if step else EOS
        with poisoned():
            scored = [side.extend(candidates, state) for side, state in zip(sides, states, strict=True)]
            likely = scored[1][0].masked_fill(candidates == EOS, -torch.inf).argmax(1)
            chosen = first + torch.randint(beam, (rows,), device=where.device)
            parents = chosen * many + likely[chosen]
            states = [extension.select(parents) for _, extension in scored]
        parts = [{"gains": gains, **state._asdict()} for (gains, _), state in zip(scored, states, strict=True)]
        if not all(torch.equal(parts[0][name].isneginf(), parts[1][name].isneginf()) for name in parts[1]):
            raise Failed("other things are impossible than for the reference")
        found, wanted = ({name: part.double().nan_to_num(neginf=0.0) for name, part in side.items()} for side in parts)
        worst = compare(found, wanted, 1e-9)
    return worst


def sorted_alike(where: Where, rows: int, columns: int, count: int) -> str:
    """The best scores are those of a stable sort, also among many equals."""
    for levels in (3, 10**6):
        scores = torch.randint(levels, (rows, columns), device=where.device).double()
        scores[0, ::2] = -torch.inf
        wanted = scores.sort(dim=1, descending=True, stable=True).indices[:, :count]
        if not torch.equal(find_best(scores, count, 1e-12), wanted):
            raise Failed(f"other places than a stable sort's, {levels} different scores")
    return "as a stable sort"


def checks(where: Where) -> Iterator[Check]:
    """All of them."""
    for rows, columns, count in [(2, 9, 2)] if where.tiny else [(32, 8000, 8), (1, 40_000, 32), (256, 1000, 20)]:
        best = partial(sorted_alike, where, rows, columns, count)
        yield Check(f"the best {count} of {rows} x {columns}", best)
    shapes = (
        [(2, 5, 6, 7, 9, 5)]
        if where.tiny
        else [(8, 512, 512, 188, 1000, 201), (1, 65, 33, 1, 37, 1), (17, 96, 48, 65, 5001, 31)]
    )
    for beam, units, size, frames, vocabulary, width in shapes:
        name = f"search step K={beam} D={units} A={size} S={frames} V={vocabulary}: equals float64"
        yield Check(name, partial(right, where, beam, units, size, frames, vocabulary, width))
    for shape in [(2, 2, 5, 7)] if where.tiny else [(32, 8, 188, 1000), (3, 1, 1, 5), (2, 17, 1500, 33)]:
        batch, beam, frames, vocabulary = shape
        name = f"search CTC prefixes B={batch} K={beam} S={frames} V={vocabulary}: equals the reference"
        yield Check(name, partial(same_prefixes, where, *shape))
    for kind in STEPPING:
        for ctc_weight in (0.0, 0.3):
            name = f"search, {kind} decoder, CTC weight {ctc_weight}: a replay equals launches"
            yield Check(name, partial(same_hypotheses, where, kind=kind, ctc_weight=ctc_weight))
    rounds = 2 if where.tiny else where.launches // 100
    many = partial(same_hypotheses, where, kind="kernels", ctc_weight=0.3, rounds=rounds)
    yield Check("search, kernels decoder: many launches", many)
