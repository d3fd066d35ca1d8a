"""Recordings of any length: cut, decoded and stitched to one transcript in the recording's own time."""

import dataclasses
import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile

from seq2seq_asr.commands.decode.results import transcript_line
from seq2seq_asr.data.batching import BatchingConfig
from seq2seq_asr.data.segmenting import SegmentConfig
from seq2seq_asr.data.utterance import Utterance
from seq2seq_asr.errors import AsrError, AudioError
from seq2seq_asr.recognizer import Recognizer, Transcript
from seq2seq_asr.recognizer.long import transcribe_long
from seq2seq_asr.recognizer.stitching import QUIET, stitch
from seq2seq_asr.recognizer.transcript import Word
from seq2seq_asr.search.beam import BeamConfig

CUT = SegmentConfig(above=1.0, shortest=0.15, longest=1.5, pause=0.3, margin=0.05)


@pytest.fixture(scope="module")
def parts(recognizer: Recognizer, utterances: list[Utterance]) -> list[np.ndarray]:
    return [recognizer.reader(one) for one in utterances]


@pytest.fixture(scope="module")
def joined(parts: list[np.ndarray]) -> np.ndarray:
    """All utterances with half a second of nothing after each."""
    return np.concatenate([piece for part in parts for piece in (part, np.zeros(4000, np.float32))])


def test_a_long_recording_is_the_transcripts_of_its_segments(
    recognizer: Recognizer, joined: np.ndarray, tmp_path: Path
) -> None:
    path = tmp_path / "long.wav"
    soundfile.write(path, joined, 8000)
    (found,) = recognizer.transcribe([path], segment=CUT)
    assert [one.start for one in found.segments] == [0.0, *(one.end for one in found.segments[:-1])]
    assert found.segments[-1].end == pytest.approx(len(joined) / 8000, abs=1e-3)
    words, times, log_prob = [], [], 0.0
    for one in found.segments:
        if one.flags == ("quiet",):
            assert one.text == ""
            continue
        samples = joined[round(one.start * 8000) : round(one.end * 8000)]
        (alone,) = recognizer.transcribe([samples])
        assert alone.text == one.text and alone.score == pytest.approx(one.score, abs=1e-4)
        words += [(word.text, round(one.start + word.start, 3)) for word in alone.words]
        times += [round(one.start + time, 3) for time in alone.times]
        log_prob += alone.log_prob
    assert [(word.text, word.start) for word in found.words] == words and list(found.times) == pytest.approx(times)
    assert found.log_prob == pytest.approx(log_prob, abs=1e-3) and found.ended
    assert [word.text for word in found.words] == found.text.split()


def test_its_words_are_those_of_the_utterances_at_their_times(
    recognizer: Recognizer, utterances: list[Utterance], parts: list[np.ndarray], joined: np.ndarray
) -> None:
    alone = recognizer.transcribe(utterances)
    (found,) = recognizer.transcribe([joined], segment=CUT)
    assert found.text.split() == " ".join(one.text for one in alone).split()
    starts = np.cumsum([0, *(len(part) + 4000 for part in parts)]) / 8000
    expected = [(start + word.start) for start, one in zip(starts, alone, strict=False) for word in one.words]
    assert [word.start for word in found.words] == pytest.approx(expected, abs=0.13)


def test_what_is_not_longer_than_the_limit_is_as_before(recognizer: Recognizer, utterances: list[Utterance]) -> None:
    longest = max(one.duration for one in utterances)
    cut = recognizer.transcribe(utterances, segment=dataclasses.replace(CUT, above=longest))
    whole = recognizer.transcribe(utterances, segment=SegmentConfig(above=math.inf))
    assert cut == whole == recognizer.transcribe(utterances) and not any(one.segments for one in whole)


def test_files_parts_of_files_and_samples_are_alike(recognizer: Recognizer, joined: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / "long.wav"
    soundfile.write(path, np.concatenate([np.zeros(8000, np.float32), joined]), 8000)
    part = Utterance(id="part", text="", duration=len(joined) / 8000, audio=path, offset=1.0)
    one, other = recognizer.transcribe([part, joined], segment=CUT)
    assert (one.text, one.words) == (other.text, other.words) and (one.id, other.id) == ("part", "1")


def test_a_segment_that_stands_still_is_not_searched(recognizer: Recognizer, parts: list[np.ndarray]) -> None:
    """Even where it lasts for less than a pause; a recording of nothing else would be refused."""
    searched: list[np.ndarray] = []

    def decode(inputs: Sequence[tuple[str, np.ndarray]]) -> list[Transcript | AsrError]:
        searched.extend(samples for _, samples in inputs)
        return list(recognizer.transcribe([samples for _, samples in inputs], BeamConfig(beam=1)))

    cut = dataclasses.replace(CUT, pause=10.0)
    recording = np.concatenate([parts[3], np.full(40000, 0.5, np.float32), parts[7]])
    transcribe_long(recording, 0, recognizer.reader, decode, cut, BatchingConfig(), lambda *_: None)
    assert 0 < sum(map(len, searched)) < len(recording) - 16000


def test_batches_change_nothing_and_progress_is_told(recognizer: Recognizer, joined: np.ndarray) -> None:
    told: list[tuple[str, int, int]] = []
    results = []
    for seconds in (1.0, 1000.0):
        stream = recognizer.stream(
            [joined],
            BeamConfig(),
            BatchingConfig(batch_seconds=seconds),
            segment=CUT,
            progress=lambda *step: told.append(step),
        )
        results += [result for _, batch in stream for result in batch]
    one, other = results
    assert isinstance(one, Transcript) and isinstance(other, Transcript)
    assert (one.text, one.segments[0].end) == (other.text, other.segments[0].end) and len(told) > 4
    assert told[0] == ("0", 0, round(len(joined) / 8000))


def test_a_damaged_recording_does_not_take_others_along(
    recognizer: Recognizer, utterances: list[Utterance], joined: np.ndarray, tmp_path: Path
) -> None:
    bad = joined.copy()
    bad[-10] = np.nan
    soundfile.write(tmp_path / "bad.wav", bad, 8000, subtype="FLOAT")
    found: dict[int, Transcript | AsrError] = {}
    for places, results in recognizer.stream([tmp_path / "bad.wav", joined, utterances[0]], BeamConfig(), segment=CUT):
        found |= dict(zip(places, results, strict=True))
    assert isinstance(found[0], AudioError) and "bad.wav" in str(found[0])
    assert isinstance(found[1], Transcript) and isinstance(found[2], Transcript)


def test_a_segment_too_large_for_the_memory_fails_the_recording(
    recognizer: Recognizer, joined: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        recognizer, "_decode", lambda *_: (_ for _ in ()).throw(RuntimeError("DefaultCPUAllocator: can't allocate"))
    )
    with pytest.raises(AudioError, match=r"0 from \d+\.\d+ s: too long for the memory"):
        recognizer.transcribe([joined], segment=CUT)


def part_of(text: str, score: float, **others) -> Transcript:
    words = tuple(Word(word, 0.5 * place, 0.5 * place + 0.5, 0.9) for place, word in enumerate(text.split()))
    values = {"ended": True, "flags": (), "fallback": None, **others}
    pieces = tuple(text.split())
    times = tuple(0.5 * place for place in range(len(pieces)))
    return Transcript(
        id="", text=text, score=score, log_prob=2 * score, pieces=pieces, times=times, scores={"ctc": score},
        words=words, **values,
    )  # fmt: skip


def test_stitching_by_hand() -> None:
    one = part_of("a b", -1.0, flags=("loop",), fallback="ctc")
    two = part_of("c", -2.5, ended=False)
    found = stitch("x", [one, QUIET, two], [(0.0, 0.8), (0.8, 10.0), (10.0, 11.0)])
    assert found.text == "a b c" and found.pieces == ("a", "b", "c") and found.times == (0.0, 0.5, 10.0)
    assert [(word.text, word.start, word.end) for word in found.words] == [
        ("a", 0.0, 0.5),
        ("b", 0.5, 0.8),
        ("c", 10.0, 10.5),
    ]
    assert found.score == pytest.approx((3 * -1.0 + 2 * -2.5) / 5) and found.log_prob == -7.0
    assert found.scores == {"ctc": -3.5} and not found.ended and found.nbest == ()
    assert found.flags == ("loop",) and found.fallback == "ctc"
    assert [(p.text, p.flags, p.ended) for p in found.segments] == [
        ("a b", ("loop",), True),
        ("", ("quiet",), True),
        ("c", (), False),
    ]


@pytest.mark.parametrize(
    ("texts", "joined"),
    [
        (("今天天气", "很好"), "今天天气很好"),
        (("สวัสดี", "", "ครับ"), "สวัสดีครับ"),
        (("今天", "OK", "很好"), "今天 OK 很好"),
        (("人々", "は", "二〇", "〇年"), "人々は二〇〇年"),
        (("你好。", "再见！", "「好」", "OK"), "你好。再见！「好」 OK"),
        (("ＯＫ", "ＧＯ"), "ＯＫ ＧＯ"),
        (("안녕", "하세요"), "안녕 하세요"),
        (("", "a", "b"), "a b"),
    ],
)
def test_segments_are_joined_as_their_scripts_are_written(texts: tuple[str, ...], joined: str) -> None:
    parts = [part_of(text, -1.0) for text in texts]
    assert stitch("x", parts, [(float(i), i + 1.0) for i in range(len(parts))]).text == joined


def test_a_segment_that_ctc_said_leaves_the_probability_unknown() -> None:
    """As for one utterance: nothing is claimed of it, in particular not that it is 0."""
    by_ctc = dataclasses.replace(part_of("b", -0.5, fallback="ctc"), log_prob=-math.inf)
    for found in (by_ctc, stitch("x", [part_of("a", -1.0), by_ctc], [(0.0, 1.0), (1.0, 2.0)])):
        line = json.loads(transcript_line(found))
        assert line["log_prob"] is None and line["probability"] is None and math.isfinite(line["score"])


def test_nothing_but_quiet_says_nothing() -> None:
    found = stitch("x", [QUIET], [(0.0, 50.0)])
    assert found.text == "" and found.words == () and found.ended and math.isfinite(found.score)
