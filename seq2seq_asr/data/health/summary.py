"""What a set is like as a whole."""

from collections import Counter
from dataclasses import dataclass
from typing import Final

import numpy as np

from seq2seq_asr.data.health.examine import ExaminedSet
from seq2seq_asr.data.health.signal import Signal

EDGES: Final = (0.0, 0.5, 1.0, 2.0, 3.0, 5.0, 8.0, 12.0, 16.0, 20.0, 30.0, 60.0)
"""Where the bars of the histogram begin, in seconds; the last has no end."""


@dataclass(frozen=True, kw_only=True)
class Summary:
    """Figures of one set."""

    name: str
    utterances: int
    readable: int
    seconds: float
    """Of what is readable, as found in the files."""
    shortest: float
    median: float
    longest: float
    histogram: dict[str, int]
    """Utterances by length, such as ``0.5-1``."""
    speakers: int
    """Known speakers."""
    without_speaker: int
    kinds: dict[str, int]
    """Utterances by sampling rate or number of feature bins."""
    clipped: float
    """Mean share of clipped samples."""
    quiet: float
    """Mean share of quiet blocks."""
    tokens: int
    unknown_rate: float
    """Share of the pieces that the tokenizer does not know."""
    texts: int
    """Different texts."""
    without_text: int


def summarise(examined: ExaminedSet) -> Summary:
    """Count, add up and average."""
    items = examined.items
    signals = [item.signal for item in items if isinstance(item.signal, Signal)]
    seconds = np.array([signal.seconds for signal in signals] or [0.0])
    tokens = sum(item.spelling.tokens for item in items)
    texts = {item.spelling.text for item in items}
    speakers = {item.utterance.speaker for item in items} - {None}
    return Summary(
        name=examined.name,
        utterances=len(items),
        readable=len(signals),
        seconds=float(seconds.sum()),
        shortest=float(seconds.min()),
        median=float(np.median(seconds)),
        longest=float(seconds.max()),
        histogram=histogram(seconds[: len(signals)]),
        speakers=len(speakers),
        without_speaker=sum(item.utterance.speaker is None for item in items),
        kinds=dict(Counter(signal.kind for signal in signals).most_common()),
        clipped=float(np.mean([signal.clipped for signal in signals] or [0.0])),
        quiet=float(np.mean([signal.quiet for signal in signals] or [0.0])),
        tokens=tokens,
        unknown_rate=sum(item.spelling.unknown for item in items) / max(1, tokens),
        texts=len(texts - {""}),
        without_text=sum(not item.spelling.text for item in items),
    )


def histogram(seconds: np.ndarray) -> dict[str, int]:
    """Utterances by length, from the first bar to the last that is not empty."""
    counts, _ = np.histogram(seconds, [*EDGES, np.inf])
    names = [f"{low:g}-{high:g}" for low, high in zip(EDGES, EDGES[1:], strict=False)] + [f"{EDGES[-1]:g}-"]
    filled = np.flatnonzero(counts)
    if len(filled) == 0:
        return {}
    return {names[place]: int(counts[place]) for place in range(filled[0], filled[-1] + 1)}
