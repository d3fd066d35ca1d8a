"""Compile the decoder's kernels for an H200 and print what they take; no GPU is needed. One line of JSON a kernel.

    python tools/decoder_kernel_resources.py
    python tools/decoder_kernel_resources.py --quick

registers are those of a thread (255 is the limit) and spilled_bytes what had to go to memory instead; shared_bytes is
what a program takes of its multiprocessor's 227 KB. odd is a launch none of whose sizes 16 divides. Exit code 1 when
anything is spilled.
"""

import argparse
import itertools
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import triton
from bench_common import show
from kernel_resources import nvidia, registers
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from seq2seq_asr.kernels.attention import scores
from seq2seq_asr.kernels.attention_back import keys_back, scores_back
from seq2seq_asr.kernels.best import best_of_chunk
from seq2seq_asr.kernels.ctc_prefix import grow, score
from seq2seq_asr.kernels.mixing import recur
from seq2seq_asr.kernels.mixing_back import recur_back
from seq2seq_asr.kernels.products import filters_back, linear, linear_back
from seq2seq_asr.kernels.search_step import WIDE, advance, log_softmax, mix
from seq2seq_asr.kernels.tiles import TILES, channel_tile

SIZES = {
    "batch": 32, "steps": 56, "frames": 192, "units": 512, "size": 512, "channels": 10, "width": 201, "heads": 1,
    "rows": 8, "vocabulary": 1000, "never": 0, "nor": 2,
    "columns": 8000, "asked": 512, "gated": 1536, "outputs": 2048, "inner": 512, "tiles": 6, "count": 32,
    "query_stride": 2048, "step_stride": 32, "batch_stride": 1,
}  # fmt: skip
"""Of the base job, batch and frames rounded up as on a GPU; all that matters of them is whether 16 divides them."""
STORED = ("keys", "frames_gates")
INTEGERS = ("last", "utterance", "candidates", "lengths", "parents", "tokens_before", "utterances_before")
"""Of the CTC prefix scores, all else in double precision."""
OTHERS = {
    "scale": "fp32",
    "lengths": "*i32",
    "tokens": "*i64",
    "best": "*fp64",
    "best_places": "*i32",
    "places": "*i32",
}


class Variant(NamedTuple):
    """A kernel and its compile-time choices."""

    kernel: Any
    choices: dict[str, Any]


def variants() -> Iterator[Variant]:
    """All that the decoder launches."""
    tiles, wide = {"TS": TILES.frames, "TA": TILES.size, "TC": channel_tile(SIZES["channels"])}, {"TW": TILES.taps}
    for kind in ({"LOCATED": True, "DOT": False}, {"LOCATED": False, "DOT": False}, {"LOCATED": False, "DOT": True}):
        yield Variant(scores, kind | tiles | wide)
        yield Variant(scores_back, kind | tiles | {"SOFTMAX": True})
        yield Variant(keys_back, kind | tiles | {"TA": TILES.summed})
    for first in (True, False):
        yield Variant(recur, {"FIRST": first, "TS": TILES.mixed, "TD": TILES.units})
    for mixed, located in ((True, True), (True, False), (False, False)):
        back = {"MIXED": mixed, "LOCATED": located, "SPLITS": TILES.splits, "TS": TILES.frames, "TD": TILES.units}
        yield Variant(recur_back, back | wide)
    product = {"TB": TILES.batch, "TK": TILES.inner}
    yield Variant(linear, product | {"TN": TILES.outputs})
    yield Variant(linear, {"TB": WIDE.batch, "TN": WIDE.outputs, "TK": WIDE.inner})
    yield Variant(linear_back, product | {"TD": TILES.outputs, "SPLITS": TILES.splits})
    yield Variant(filters_back, {"TS": TILES.frames, "TC": channel_tile(SIZES["channels"])} | wide)
    yield Variant(advance, {"TD": 4 * TILES.units})
    for cut, beams in ((TILES, 16), (WIDE, 16), (WIDE, 32)):
        yield Variant(mix, {"TK": beams, "TS": cut.mixed, "TX": cut.units})
    yield Variant(log_softmax, {"TV": 1024})
    yield Variant(score, {"BLANK": 0, "SOS": 2, "EOS": 3, "TM": 32, "TS": 64})
    for frames in (256, 2048):
        yield Variant(grow, {"TS": frames})
    for first in (True, False):
        yield Variant(best_of_chunk, {"TIE": 1e-12, "FIRST": first, "COUNT": 8, "TC": 1024})


def resources(variant: Variant, storage: str, odd: bool) -> dict[str, int]:
    """What a kernel takes, compiled for an H200 as a launch of the base job, or of one with odd sizes, would be."""
    types, fixed, aligned = {}, dict(variant.choices), {}
    others = OTHERS | ({"scores": "*fp64"} if "best" in variant.kernel.arg_names else {})
    if "onsets" in variant.kernel.arg_names:
        others = dict.fromkeys(variant.kernel.arg_names, "*fp64") | dict.fromkeys(INTEGERS, "*i64")
    for place, name in enumerate(variant.kernel.arg_names):
        size = SIZES.get(name)
        if name in fixed or size == 1:
            types[name], fixed[name] = "constexpr", fixed.get(name, 1)
        elif size is None:
            types[name] = others.get(name, "*fp32")
            types[name] = f"*{storage}" if name in STORED else types[name]
        else:
            types[name] = "i32"
        if types[name].startswith("*") or (types[name] == "i32" and SIZES[name] % 16 == 0 and not odd):
            aligned[(place,)] = [["tt.divisibility", 16]]
    source = ASTSource(variant.kernel, types, constexprs=fixed, attrs=aligned)
    binary = triton.compile(source, target=GPUTarget("cuda", 90, 32), options={"num_warps": 4})
    with tempfile.NamedTemporaryFile("w", suffix=".ptx") as file:
        file.write(binary.asm["ptx"])
        file.flush()
        said = nvidia("ptxas", "-v", "--gpu-name=sm_90a", file.name, "-o", os.devnull).stderr
    return registers(said) | {"shared_bytes": binary.metadata.shared}


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="float32 and the base job's sizes alone")
    quick, spilled = parser.parse_args(argv).quick, 0
    for storage, variant, odd in itertools.product(("fp32", "bf16"), variants(), (False, True)):
        if quick and (storage == "bf16" or odd):
            continue
        if storage == "bf16" and not set(STORED) & set(variant.kernel.arg_names):
            continue
        choices = {name: value for name, value in variant.choices.items() if not name.startswith("T")}
        used = resources(variant, storage, odd)
        show({"kernel": variant.kernel.__name__, "storage": storage, "odd": odd} | choices | used)
        spilled += used["spilled_bytes"]
    return 1 if spilled else 0


if __name__ == "__main__":
    sys.exit(main())
