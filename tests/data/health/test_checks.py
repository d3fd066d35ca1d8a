"""One of every flaw is planted in a corpus of real files: exactly those are found, and where they are."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from seq2seq_asr.data.health.across import check_leaks
from seq2seq_asr.data.health.examine import ExaminedSet, examine
from seq2seq_asr.data.health.findings import CHECKS
from seq2seq_asr.data.health.report import Health, diagnose, format_health, health_json
from seq2seq_asr.data.health.target import Target
from seq2seq_asr.data.labels import Labels
from seq2seq_asr.data.tokenizer import Tokenizer, TokenizerConfig
from seq2seq_asr.data.utterance import Utterance

RATE = 8000
TARGET = Target(
    targets=Tokenizer.train(["abc bca cab"], TokenizerConfig(kind="char", normaliser="basic")),
    rate=RATE,
    feature_frames=lambda samples: samples // 80,
    reduction=4,
)
"""A character each; 40 ms an encoded frame."""


def sound(number: int, seconds: float = 1.0, rate: int = RATE) -> np.ndarray:
    """A sound like no other number's."""
    random = np.random.default_rng(number)
    return random.normal(0, 0.1, round(seconds * rate)) * np.hanning(round(seconds * rate))


def utterance(folder: Path, name: str, samples: np.ndarray, text: str = "", rate: int = RATE) -> Utterance:
    path = folder / f"{name}.wav"
    soundfile.write(path, samples, rate, subtype="FLOAT")
    return Utterance(id=name, text=text or f"{name[0]} abc", duration=len(samples) / rate, audio=path, speaker=name[0])


def sick_corpus(folder: Path) -> tuple[list[Utterance], list[Utterance]]:
    """Training and test utterances, named by what is wrong with them."""
    damaged = utterance(folder, "b-unreadable", sound(1))
    assert damaged.audio is not None
    damaged.audio.write_text("no audio")
    first = utterance(folder, "a-part-1", sound(2, 3.0))
    long = utterance(folder, "c-long", sound(3, 1.5))
    short = utterance(folder, "c-short", sound(4))
    train = [
        utterance(folder, "a-well", sound(5), text="cab"),
        damaged,
        replace(first, duration=1.0),
        replace(first, id="a-part-2", offset=1.0, duration=2.0, text="bca"),
        replace(long, duration=1.0, text="acb"),
        replace(short, duration=1.01, text="bac"),
        replace(short, id="c-missing-end", duration=2.0, audio=utterance(folder, "c2", sound(18)).audio, text="cba"),
        replace(utterance(folder, "c-part-missing", sound(23, 0.8), text="acab"), duration=0.85),
        utterance(folder, "a-tight", sound(6, 0.3), text="abcabcabc"),
        utterance(folder, "a-repeats", sound(7, 0.32), text="aabbcc"),
        utterance(folder, "a-no-words", sound(8), text="?!"),
        utterance(folder, "b-double", sound(9), text="c a"),
        utterance(folder, "b-double-2", sound(9), text="c a"),
        utterance(folder, "b-contrary", sound(10), text="a b"),
        utterance(folder, "b-contrary-2", sound(10), text="b a"),
        utterance(folder, "b-rate", sound(11, rate=16000), text="b c", rate=16000),
        utterance(folder, "b-clipped", np.clip(sound(12), -0.1, 0.1), text="b c a"),
        utterance(folder, "b-loud", 30 * sound(22), text="a c b"),
        utterance(folder, "b-faint", 0.001 * sound(13), text="c b"),
        utterance(folder, "b-silence", np.concatenate([sound(14, 0.3), 1e-5 * sound(15, 5.0)]), text="c b a"),
        utterance(folder, "b-unknown", sound(16), text="ab xyz"),
    ]
    test = [
        utterance(folder, "t-heard", sound(5), text="b cab"),
        replace(utterance(folder, "t-said", sound(20), text="c a"), speaker="b"),
        utterance(folder, "t-new", sound(21), text="cab"),
    ]
    return train, test


def examined(name: str, utterances: Sequence[Utterance], target: Target = TARGET) -> ExaminedSet:
    return examine(name, utterances, target, threads=2, progress=lambda *_: None)


@pytest.fixture(scope="module")
def health(tmp_path_factory: pytest.TempPathFactory) -> Health:
    train, test = sick_corpus(tmp_path_factory.mktemp("corpus"))
    return diagnose(examined("train", train), [examined("test", test)], TARGET)


EXPECTED: dict[str, list[tuple[str, ...]]] = {
    "unreadable": [("b-unreadable",)],
    "duration": [("c-long",), ("c-missing-end",), ("c-part-missing",)],
    "ctc": [("a-tight",), ("a-repeats",)],
    "contradiction": [("b-contrary", "b-contrary-2")],
    "audio_leak": [("t-heard", "a-well")],
    "no_text": [("a-no-words",)],
    "text_leak": [("t-said", "b-double", "b-double-2")],
    "speaker_overlap": [("t-said",)],
    "duplicate_audio": [("b-double", "b-double-2")],
    "rate": [("b-rate",)],
    "clipping": [("b-clipped",)],
    "loud": [("b-loud",)],
    "silence": [("b-faint",), ("b-silence",)],
    "unknown": [("b-unknown",)],
    "duplicate_text": [("b-double", "b-double-2")],
    "text_overlap": [("t-said", "t-new")],
    "input": [],
    "label": [],
    "empty_text": [],
    "composition": [],
}


@pytest.mark.parametrize("check", CHECKS)
def test_exactly_what_was_planted_is_found(health: Health, check: str) -> None:
    assert [one.ids for one in health.findings if one.check == check] == EXPECTED[check]


def test_details_tell_what_to_do_about_it(health: Health) -> None:
    details = {one.ids[0]: one.detail for one in health.findings if CHECKS[one.check].concerns == "one"}
    assert "b-unreadable.wav: cannot be read as audio" in details["b-unreadable"]
    assert details["c-long"] == "1.000 s in the manifest, 1.500 s in the file"
    assert details["a-repeats"] == "7 tokens need 10 frames, 0.32 s give 8"
    assert details["b-loud"].startswith("samples reach ") and details["b-loud"].endswith(" where full scale is 1")
    assert details["b-unknown"] == "1 of 5 pieces: x y z"


def test_the_summary_counts(health: Health) -> None:
    train, test = health.summaries
    assert (train.utterances, train.readable, train.speakers, train.kinds) == (
        21,
        20,
        3,
        {"8000 Hz": 19, "16000 Hz": 1},
    )
    assert train.longest == pytest.approx(5.3) and train.shortest == pytest.approx(0.3)
    assert train.histogram == {"0-0.5": 2, "0.5-1": 1, "1-2": 15, "2-3": 1, "3-5": 0, "5-8": 1}
    assert train.unknown_rate == pytest.approx(1 / train.tokens) and test.unknown_rate == 0
    assert test.histogram == {"1-2": 3}
    assert train.without_text == 1


def test_text_and_json_tell_the_same(health: Health) -> None:
    values = json.loads(json.dumps(health_json(health), allow_nan=False))
    assert (values["errors"], values["warnings"], values["notes"]) == (9, 9, 2)
    assert {
        name: [tuple(one["ids"]) for one in check["findings"]] for name, check in values["checks"].items()
    } == EXPECTED
    values["checks"] = {name: check for name, check in values["checks"].items() if check["count"]}
    text = format_health(health)
    assert text.endswith("\n9 errors, 9 warnings, 2 notes\n")
    for name, check in values["checks"].items():
        assert f"{check['severity']}: " in text and f" x {name}: {check['meaning']}" in text
        assert all(one["detail"] in text for one in check["findings"])
    assert "  0-0.5 s  ######" in text


def test_a_long_list_is_cut_in_the_text_only(tmp_path: Path) -> None:
    many = [utterance(tmp_path, f"a{index}", 1e-4 * sound(index), text="abc") for index in range(9)]
    health = diagnose(examined("train", many), [], TARGET)
    assert "… and 4 more" in format_health(health) and len(health_json(health)["checks"]["silence"]["findings"]) == 9


def test_a_corpus_in_health_has_no_findings(tmp_path: Path) -> None:
    train = [utterance(tmp_path, f"a{index}", sound(index), text="abc"[: index + 1]) for index in range(3)]
    test = [utterance(tmp_path, f"b{index}", sound(9 + index), text="cab"[: index + 1]) for index in range(3)]
    health = diagnose(examined("train", train), [examined("test", test)], TARGET)
    assert health.findings == () and health.count("error") == 0
    assert format_health(health).endswith("\n\n0 errors, 0 warnings, 0 notes\n")


def test_unknown_speakers_do_not_overlap(tmp_path: Path) -> None:
    one, other = (replace(utterance(tmp_path, name, sound(n)), speaker=None) for n, name in enumerate(("a", "b")))
    assert list(check_leaks(examined("train", [one]), examined("test", [other]))) == []


def test_features_are_examined_too(tmp_path: Path) -> None:
    for name, frames in (("a", 100), ("b", 100), ("c", 20)):
        np.save(tmp_path / f"{name}.npy", np.random.default_rng(frames).normal(size=(frames, 13)).astype(np.float32))
    train = [
        Utterance(id=name, text="abc abc", duration=1.0, features=tmp_path / f"{name}.npy") for name in ("a", "b", "c")
    ]
    target = replace(TARGET, bins=13)
    found = {(one.check, one.ids) for one in diagnose(examined("train", train), [], target).findings}
    assert found == {
        ("duration", ("c",)),
        ("ctc", ("c",)),
        ("duplicate_audio", ("a", "b")),
        ("duplicate_text", ("a", "b", "c")),
    }


@pytest.mark.parametrize(
    ("bins", "wrong"), [(None, "13 bins, the model reads audio"), (40, "13 bins, the model reads 40 bins")]
)
def test_features_that_the_model_does_not_read_are_errors(tmp_path: Path, bins: int | None, wrong: str) -> None:
    np.save(tmp_path / "a.npy", np.random.default_rng(0).normal(size=(100, 13)).astype(np.float32))
    one = Utterance(id="a", text="abc", duration=1.0, features=tmp_path / "a.npy")
    (found,) = diagnose(examined("train", [one]), [], replace(TARGET, bins=bins)).findings
    assert (found.check, found.detail) == ("input", wrong)


def test_audio_for_a_model_of_features_is_an_error(tmp_path: Path) -> None:
    one = utterance(tmp_path, "a", sound(1), text="abc")
    (found,) = diagnose(examined("train", [one]), [], replace(TARGET, bins=13)).findings
    assert (found.check, found.detail) == ("input", "audio, the model reads 13 bins")


def test_audio_shorter_than_a_frame_is_an_error(tmp_path: Path) -> None:
    one = utterance(tmp_path, "a", sound(1, 0.009), text="abc")
    (found,) = [one for one in diagnose(examined("train", [one]), [], TARGET).findings if one.check != "silence"]
    assert (found.check, found.detail) == ("unreadable", "too short: 0.009 s do not fill a frame")


def test_classes_must_occur_in_training_and_may_occur_often(tmp_path: Path) -> None:
    train = [
        utterance(tmp_path, f"s{index}", sound(index), text=text) for index, text in enumerate(["one", "two", "two"])
    ]
    test = [utterance(tmp_path, f"t{index}", sound(9 + index), text=text) for index, text in enumerate(["two", "tow"])]
    target = replace(TARGET, targets=Labels.of(one.text for one in train))
    test = [replace(test[0], speaker="s"), test[1]]
    health = diagnose(examined("train", train, target), [examined("test", test, target)], target)
    assert [(one.check, one.ids) for one in health.findings] == [("label", ("t1",)), ("speaker_overlap", ("t0",))]


def test_a_text_is_missed_only_where_others_have_one(tmp_path: Path) -> None:
    train = [utterance(tmp_path, "a", sound(1), text="abc")]
    some = [utterance(tmp_path, name, sound(index), text="b a") for index, name in enumerate(("c", "d"), start=2)]
    silent = [replace(one, text="") for one in some]
    sets = [examined("some", [some[0], silent[1]]), examined("none", silent)]
    found = diagnose(examined("train", train), sets, TARGET).findings
    assert [(one.check, one.set, one.ids) for one in found] == [("empty_text", "some", ("d",))]


def test_texts_that_the_normaliser_makes_equal_contradict_nothing(tmp_path: Path) -> None:
    same, other = (
        [utterance(tmp_path, f"{name}{place}", sound(seed), text=text) for place, text in enumerate(texts)]
        for name, seed, texts in (("a", 1, ("Abc, bca!", "abc  bca")), ("b", 2, ("Abc, bca!", "abc cab")))
    )
    found = diagnose(examined("train", same), [examined("test", other)], TARGET).findings
    assert {(one.check, one.set) for one in found if one.check in ("contradiction", "duplicate_audio")} == {
        ("duplicate_audio", "train"),
        ("contradiction", "test"),
    }


def test_two_ways_to_write_a_letter_are_noticed_and_one_is_not(tmp_path: Path) -> None:
    tokenizer = Tokenizer.train(["caf\u00e9 cafe\u0301 abc"], TokenizerConfig(kind="char", normaliser="none"))
    target = replace(TARGET, targets=tokenizer)
    texts = ["caf\u00e9", "cafe\u0301", "abc"]
    composed, apart, plain = (utterance(tmp_path, f"s{n}", sound(n), text=text) for n, text in enumerate(texts))
    for train, test, expected in (
        ([composed, plain], [apart], [("test", (apart.id,))]),
        ([apart, composed], [plain], [("train", (apart.id,))]),
        ([apart, plain], [], []),
        ([composed, plain], [], []),
    ):
        health = diagnose(examined("train", train, target), [examined("test", test, target)], target)
        assert [(one.set, one.ids) for one in health.findings if one.check == "composition"] == expected


def test_progress_is_told(tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    train = [utterance(tmp_path, f"a{index}", sound(index)) for index in range(3)]
    examine("train", train, TARGET, threads=1, progress=lambda *step: told.append(step))
    assert told == [("train", 3, 3)]
