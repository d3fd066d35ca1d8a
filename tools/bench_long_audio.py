"""Long recordings: error rate, peak memory and time of an hour made of a run's own test utterances.

    python tools/bench_long_audio.py --run checkpoints/spoken --minutes 60

The utterances are joined in random order, again and again in another, with short gaps, and written to a flac file. That
file is decoded as one, and the same utterances one by one. Printed is a line of JSON: word error rates of both,
their difference in points, how much the process grew above the loaded model at its peak (VmHWM, reset before the
decoding), wall time, real-time factor and the segments. ``--gap noise`` fills the gaps with noise at the level of each
utterance's own background in place of digital silence, ``--gap none`` leaves them out.
"""

import argparse
import json
import re
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import soundfile
import torch
from bench_common import machine

from seq2seq_asr.commands.decode.config import DecodeConfig
from seq2seq_asr.commands.decode.run import find_utterances
from seq2seq_asr.console import say
from seq2seq_asr.data.segmenting import SegmentConfig
from seq2seq_asr.data.utterance import Utterance
from seq2seq_asr.evaluation.wer import ErrorCounts, word_errors
from seq2seq_asr.recognizer import Recognizer
from seq2seq_asr.search.beam import BeamConfig
from seq2seq_asr.training.run_folder import open_run

BACKGROUND = 0.05
"""Seconds whose power, where it is lowest, is an utterance's background."""


def main() -> None:
    options = read_options()
    torch.set_num_threads(options.threads)
    run = open_run(options.run)
    utterances, _ = find_utterances(DecodeConfig(split=options.split), run)
    recognizer = Recognizer.load(run.path, device="cpu")
    search = BeamConfig(beam=options.beam)
    order = repeated(utterances, options.minutes * 60, options)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "long.flac"
        seconds = write_joined(path, utterances, order, recognizer, options)
        before = reset_peak()
        started = time.perf_counter()
        (found,) = recognizer.transcribe([path], search, SegmentConfig(longest=options.longest))
        wall, peak = time.perf_counter() - started, status("VmHWM")
    say(f"{seconds:.0f} s decoded in {wall:.0f} s, {(peak - before) / 1024:.0f} MiB above the model; now one by one")
    alone = recognizer.transcribe(utterances, search)  # second: what it leaves allocated must not hide the growth
    apart = sum((counted(utterances[place], alone[place].text, recognizer) for place in order), ErrorCounts())
    reference = " ".join(recognizer.tokenizer.normalise(utterances[place].text) for place in order)
    together = word_errors(reference, found.text)
    searched = [one for one in found.segments if one.flags != ("quiet",)]
    result = {
        "what": "long audio",
        "run": str(run.path),
        "seconds": round(seconds, 1),
        "utterances": len(order),
        "gap": [options.gap, options.shortest_gap, options.longest_gap],
        "longest_segment": options.longest,
        "beam": options.beam,
        "words": together.reference_length,
        "wer_one_by_one": round(100 * apart.rate, 3),
        "wer_long": round(100 * together.rate, 3),
        "difference": round(100 * (together.rate - apart.rate), 3),
        "errors_long": [together.substitutions, together.deletions, together.insertions],
        "peak_mib_above_model": round((peak - before) / 1024, 1),
        "wall_s": round(wall, 1),
        "real_time_factor": round(wall / seconds, 4),
        "segments": len(searched),
        "longest_s": max((one.end - one.start for one in searched), default=seconds),
        "flags": sorted({flag for one in searched for flag in one.flags}),
        **machine(),
    }
    print(json.dumps(result))


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--split", choices=("train", "dev", "test"), default="test")
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--beam", type=int, default=8)
    parser.add_argument("--gap", choices=("silence", "noise", "none"), default="silence")
    parser.add_argument("--shortest_gap", type=float, default=0.3)
    parser.add_argument("--longest_gap", type=float, default=1.0)
    parser.add_argument("--longest", type=float, default=SegmentConfig().longest, help="segment.longest")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def repeated(utterances: Sequence[Utterance], seconds: float, options: argparse.Namespace) -> list[int]:
    """Places of the utterances, all of them in a random order, again in another, until the time is full."""
    random, order, reached = np.random.default_rng(options.seed), [], 0.0
    gap = 0.0 if options.gap == "none" else (options.shortest_gap + options.longest_gap) / 2
    while reached < seconds:
        for place in random.permutation(len(utterances)).tolist():
            if reached < seconds:
                order.append(place)
                reached += utterances[place].duration + gap
    return order


def write_joined(
    path: Path,
    utterances: Sequence[Utterance],
    order: Sequence[int],
    recognizer: Recognizer,
    options: argparse.Namespace,
) -> float:
    """Write the long file, an utterance at a time; returns its seconds."""
    rate = recognizer.reader.rate
    with soundfile.SoundFile(path, "w", samplerate=rate, channels=1) as file:
        for part in joined(utterances, order, recognizer, options):
            file.write(part)
        return file.frames / rate


def joined(
    utterances: Sequence[Utterance], order: Sequence[int], recognizer: Recognizer, options: argparse.Namespace
) -> Iterator[np.ndarray]:
    random, rate = np.random.default_rng(options.seed), recognizer.reader.rate
    for place in order:
        samples = recognizer.reader(utterances[place])
        yield samples
        if options.gap != "none":
            size = round(random.uniform(options.shortest_gap, options.longest_gap) * rate)
            level = background(samples, round(BACKGROUND * rate)) if options.gap == "noise" else 0.0
            yield random.normal(0.0, level, size)


def background(samples: np.ndarray, size: int) -> float:
    """Root mean square of the quietest stretch."""
    whole = len(samples) // size * size
    return float(np.sqrt(np.square(samples[:whole]).reshape(-1, size).mean(1).min()))


def counted(utterance: Utterance, text: str, recognizer: Recognizer) -> ErrorCounts:
    return word_errors(recognizer.tokenizer.normalise(utterance.text), text)


def reset_peak() -> int:
    """Forget the highest memory so far (Linux); returns what is resident now, in KiB."""
    Path("/proc/self/clear_refs").write_text("5")
    return status("VmRSS")


def status(name: str) -> int:
    """A figure of this process in KiB."""
    found = re.search(rf"^{name}:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1])


if __name__ == "__main__":
    main()
