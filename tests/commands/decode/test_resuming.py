"""Interrupted decodings go on where they stopped, never mix with others, and have their folder to themselves."""

import dataclasses
import json
import math
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seq2seq_asr.commands.claiming import claimed
from seq2seq_asr.commands.decode.config import DecodeConfig
from seq2seq_asr.commands.decode.marks import fingerprint, is_of_others, made_of
from seq2seq_asr.commands.decode.results import HEADER, start_results, transcript_line
from seq2seq_asr.commands.decode.resuming import kept_lines, read_hypotheses
from seq2seq_asr.console import exit_code_of
from seq2seq_asr.data.manifest import read_manifest, write_manifest
from seq2seq_asr.data.tokenizer import Tokenizer
from seq2seq_asr.decode import main
from seq2seq_asr.errors import CheckpointError, ManifestError, UsageError
from seq2seq_asr.recognizer import Recognizer, Transcript, Word
from seq2seq_asr.recognizer.confidence import CALIBRATION, Calibration
from seq2seq_asr.strict_yaml import to_yaml
from seq2seq_asr.whole_file import digest_of


def decode(*argv: object) -> int:
    return exit_code_of(main, [str(argument) for argument in argv])


def contents(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in ("hyp.jsonl", "hyp.trn", "ref.trn")}


@pytest.fixture
def interrupt(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Has the next decoding interrupted after so many batches, as by Ctrl-C, and no other."""

    def after(count: int) -> None:
        stream = Recognizer.stream

        def interrupted(self: Recognizer, *arguments: Any, **options: Any) -> Iterator:
            monkeypatch.undo()
            batches = stream(self, *arguments, **options)
            for _ in range(count):
                yield next(batches)
            raise KeyboardInterrupt

        monkeypatch.setattr(Recognizer, "stream", interrupted)

    return after


def test_a_resumed_decoding_ends_as_if_it_had_never_stopped(
    tones_run: Path, tmp_path: Path, interrupt: Callable[[int], None], capsys: pytest.CaptureFixture
) -> None:
    flags = ["--run", tones_run, "--beam", 1, "--batch_seconds", 1]
    assert decode(*flags, "--out", tmp_path / "whole") == 0
    again = [*flags, "--out", tmp_path / "again"]
    interrupt(3)
    assert decode(*again) == 130
    kept = (tmp_path / "again/hyp.jsonl").read_text().splitlines()
    interrupt(2)
    assert 0 < len(kept) < 12 and decode(*again, "--resume") == 130
    more = (tmp_path / "again/hyp.jsonl").read_text().splitlines()
    assert len(kept) < len(more) < 12 and set(kept) < set(more)
    capsys.readouterr()
    assert decode(*again, "--resume") == 0
    printed, said = capsys.readouterr()
    assert f"{len(more)} of 12 were decoded before" in said and "WER" in printed and "Real-time factor  0." in printed
    assert contents(tmp_path / "whole") == contents(tmp_path / "again")
    assert decode(*again, "--resume") == 0
    assert "12 of 12 were decoded before" in (ended := capsys.readouterr()).err and "not measured" in ended.out
    assert contents(tmp_path / "whole") == contents(tmp_path / "again")


def test_without_resume_a_decoding_begins_anew(
    tones_run: Path, tmp_path: Path, interrupt: Callable[[int], None], capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / "hyp.jsonl").write_text("something else\n")
    (tmp_path / "decode.yaml").write_text(f"{HEADER}0.0.1.\n")
    flags = ["--run", tones_run, "--beam", 1, "--batch_seconds", 1, "--out", tmp_path]
    interrupt(1)
    assert decode(*flags) == 130
    assert "something else" not in (tmp_path / "hyp.jsonl").read_text()
    assert decode(*flags) == 0 and "decoded before" not in capsys.readouterr().err
    assert len(read_hypotheses(tmp_path / "hyp.jsonl")) == 12


def test_a_line_that_was_being_written_is_decoded_again(tones_run: Path, tmp_path: Path) -> None:
    flags = ["--run", tones_run, "--beam", 1, "--out", tmp_path]
    assert decode(*flags) == 0
    whole = (tmp_path / "hyp.jsonl").read_bytes()
    (tmp_path / "hyp.jsonl").write_bytes(whole[:-40])
    assert decode(*flags, "--resume") == 0
    ids = [json.loads(line)["id"] for line in (tmp_path / "hyp.jsonl").read_text().splitlines()]
    assert ids == [json.loads(line)["id"] for line in whole.decode().splitlines()]


def test_what_was_skipped_is_tried_again(tones_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    utterances = read_manifest(tones_run.parent / "test.jsonl")
    late = tmp_path / "late.wav"
    write_manifest(tmp_path / "m.jsonl", [dataclasses.replace(utterances[0], audio=late), *utterances[1:]])
    flags = ["--run", tones_run, "--beam", 1, "--manifest", tmp_path / "m.jsonl", "--out", tmp_path / "out"]
    assert decode(*flags) == 1
    assert utterances[0].audio is not None
    shutil.copy(utterances[0].audio, late)
    assert decode(*flags, "--resume") == 0 and "11 of 12 were decoded before" in capsys.readouterr().err


def test_texts_that_were_corrected_take_the_place_of_the_old_ones(tones_run: Path, tmp_path: Path) -> None:
    """As if all had been decoded after the correction: one text is another, one is gone, one has come."""
    first, second, third, *others = read_manifest(tones_run.parent / "test.jsonl")
    manifest = tmp_path / "m.jsonl"
    flags = ["--run", tones_run, "--beam", 1, "--manifest", manifest, "--out"]
    write_manifest(manifest, [first, second, dataclasses.replace(third, text=""), *others])
    assert decode(*flags, tmp_path / "again") == 0
    corrected = dataclasses.replace(first, text=f"{first.text} {first.text}")
    write_manifest(manifest, [corrected, dataclasses.replace(second, text=""), third, *others])
    assert decode(*flags, tmp_path / "again", "--resume") == 0 == decode(*flags, tmp_path / "whole")
    assert contents(tmp_path / "again") == contents(tmp_path / "whole")
    told = [json.loads(line).get("reference") for line in (tmp_path / "again/hyp.jsonl").read_text().splitlines()]
    assert told[:3] == [corrected.text, None, third.text]


def other_weights(run: Path, manifest: Path) -> list[object]:
    contents = torch.load(run / "best.ckpt", weights_only=True)
    torch.save(contents | {"note": "trained further"}, run / "best.ckpt")
    for beside in run.glob("best.ckpt.*"):
        beside.unlink()  # a digest of the file as it was
    return []


def other_utterances(run: Path, manifest: Path) -> list[object]:
    utterances = read_manifest(manifest)
    write_manifest(manifest, [dataclasses.replace(utterances[0], audio=utterances[1].audio), *utterances[1:]])
    return []


def other_calibration(run: Path, manifest: Path) -> list[object]:
    line = Calibration(
        tokenizer=Tokenizer.load(run / "tokenizer.model").hash,
        weights=digest_of(run / "best.ckpt"),
        ctc_weight=0.2,
        slope=1.0,
        intercept=0.5,
        words=9,
        error_before=0.2,
        error_after=0.1,
    )
    (run / CALIBRATION).write_text(to_yaml(line))
    return []


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda run, manifest: ["--alpha", 0.25], "other search settings"),
        (other_weights, "other weights, files or utterances"),
        (other_utterances, "other weights, files or utterances"),
        (other_calibration, "other weights, files or utterances"),
    ],
)
def test_nothing_is_mixed_with_transcripts_of_another_decoding(
    tones_run: Path, tmp_path: Path, change: Callable, why: str, capsys: pytest.CaptureFixture
) -> None:
    run = shutil.copytree(tones_run, tmp_path / "run", ignore=shutil.ignore_patterns("decode_*", "plots"))
    manifest = tmp_path / "m.jsonl"
    write_manifest(manifest, read_manifest(tones_run.parent / "test.jsonl"))
    flags = ["--run", run, "--manifest", manifest, "--beam", 1, "--out", tmp_path / "out"]
    assert decode(*flags) == 0
    before = contents(tmp_path / "out")
    extra = change(run, manifest)
    capsys.readouterr()
    assert decode(*flags, *extra, "--resume") == 2
    assert why in capsys.readouterr().err and contents(tmp_path / "out") == before


@pytest.mark.parametrize("moved", ["all", "results", "nothing, an older folder", "audio"])
def test_a_project_may_be_moved(tones_run: Path, tmp_path: Path, moved: str, capsys: pytest.CaptureFixture) -> None:
    """With its audio or without; where the audio alone has moved, it may be another."""
    run = shutil.copytree(tones_run, tmp_path / "a" / "run", ignore=shutil.ignore_patterns("decode_*", "plots"))
    data = shutil.copytree(tones_run.parent, tmp_path / "a" / "data", ignore=shutil.ignore_patterns("tones", "train-*"))
    out, others = tmp_path / "a" / "out", tmp_path / "b"
    assert decode("--run", run, "--manifest", data / "test.jsonl", "--beam", 1, "--out", out) == 0
    mark = (out / "decode.yaml").read_text()
    if moved.startswith("nothing"):
        (out / "decode.yaml").write_text(re.sub(", seen .*", "", mark))
    else:
        shutil.copytree(tmp_path / "a", others)
        run, out = (others / "run", others / "out") if moved != "audio" else (run, out)
        data = others / "data" if moved != "results" else data
    capsys.readouterr()
    code = decode("--run", run, "--manifest", data / "test.jsonl", "--beam", 1, "--out", out, "--resume")
    assert code == (2 if moved == "audio" else 0)
    said = capsys.readouterr().err
    assert ("other weights, files or utterances" if moved == "audio" else "12 of 12 were decoded before") in said
    utterances = read_manifest(data / "test.jsonl")
    assert made_of(out, run, "best", utterances) == (not is_of_others(out, utterances)) == (moved != "audio")


def test_how_fast_and_where_may_change(tones_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    flags = ["--run", tones_run, "--beam", 1, "--out", tmp_path]
    assert decode(*flags) == 0
    assert decode(*flags, "--resume", "--batch_seconds", 3, "--device", "cpu", "--seed", 5, "--allow-skips") == 0
    assert "12 of 12 were decoded before" in capsys.readouterr().err


def test_audio_files_are_resumed_too(
    tones_run: Path, tmp_path: Path, interrupt: Callable[[int], None], capsys: pytest.CaptureFixture
) -> None:
    audio = [one.audio for one in read_manifest(tones_run.parent / "test.jsonl")][:6]
    flags = ["--run", tones_run, *audio, audio[0], "--beam", 1, "--batch_seconds", 0.01]
    assert decode(*flags) == 0
    whole = capsys.readouterr().out
    interrupt(2)
    assert decode(*flags, "--out", tmp_path) == 130
    capsys.readouterr()
    assert decode(*flags, "--out", tmp_path, "--resume") == 0
    printed, said = capsys.readouterr()
    assert printed == whole and "of 7 were decoded before" in said
    assert decode(*flags, "--resume") == 2 and "--out" in capsys.readouterr().err


def test_many_audio_files_are_resumed_too(tones_run: Path, tmp_path: Path) -> None:
    """Their paths take more than a file of settings may hold."""
    many = tuple(Path(*["deep" * 60] * 15, f"{place}.wav") for place in range(300))
    config = DecodeConfig(run=tones_run, audio=many, out=tmp_path)
    mark = fingerprint(config, many, tmp_path)
    start_results(tmp_path, config, mark)
    single = Transcript(id=str(many[7]), text="", score=0.0, log_prob=0.0, pieces=(), times=(), ended=True, scores={})
    (tmp_path / "hyp.jsonl").write_text(transcript_line(single) + "\n")
    assert list(kept_lines(tmp_path, config, many, mark)) == [7]
    assert "The 300 audio files are too many" in (tmp_path / "decode.yaml").read_text()


def test_two_decodings_into_one_folder_refuse_each_other(
    tones_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    flags = ["--run", tones_run, "--beam", 1, "--out", tmp_path / "out"]
    assert decode(*flags) == 0
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    capsys.readouterr()
    with claimed(tmp_path / "out", "decode.yaml", "decoding", "wait"):
        for more in ([], ["--resume"]):
            assert decode(*flags, *more) == 1
            assert f"{tmp_path / 'out'}: another decoding writes there" in capsys.readouterr().err
    assert before == {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    assert decode(*flags) == 0


@settings(max_examples=30)
@given(texts=st.lists(st.text(max_size=9), max_size=3), torn=st.binary(max_size=20))
def test_every_whole_line_is_kept_to_the_letter(
    texts: list[str], torn: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    transcripts = []
    for place, text in enumerate(texts):
        single = Transcript(
            id=f"u\u2028{place}",
            text=text,
            score=-math.inf,
            log_prob=-1.5,
            pieces=(text, "\u2581"),
            times=(0.25, 1.0),
            ended=bool(place % 2),
            scores={"attention": -1.5, "ctc": -math.inf},
            words=(Word(text, 0.25, 1.0),),
            flags=("loop",) * place,
            fallback="ctc" if place else None,
        )
        transcripts.append(dataclasses.replace(single, nbest=(single, dataclasses.replace(single, text="other"))))
    lines = [transcript_line(one) + "\n" for one in transcripts]
    path = tmp_path_factory.getbasetemp() / "hyp.jsonl"
    path.write_bytes("".join(lines).encode() + torn.replace(b"\n", b""))
    assert [tuple(kept) for kept in read_hypotheses(path)] == [*zip(lines, transcripts, strict=True)]


@settings(max_examples=30)
@given(line=st.binary(max_size=30) | st.sampled_from([b"{}", b"[1]", b'{"id": 3, "nbest": []}', b"[" * 99999, b"null"]))
def test_a_damaged_line_is_named(line: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "bad.jsonl"
    good = Transcript(id="a", text="", score=0.0, log_prob=0.0, pieces=(), times=(), ended=True, scores={})
    path.write_bytes(transcript_line(good).encode() + b"\n" + line + b"\n")
    with pytest.raises(ManifestError, match=r"bad\.jsonl:[23]: not a transcript"):
        read_hypotheses(path)


def test_a_resume_into_an_empty_folder_decodes_all(tones_run: Path, tmp_path: Path) -> None:
    assert decode("--run", tones_run, "--beam", 1, "--out", tmp_path / "new", "--resume") == 0
    assert len(read_hypotheses(tmp_path / "new/hyp.jsonl")) == 12
    assert not DecodeConfig().resume and "resume: false" in (tmp_path / "new/decode.yaml").read_text()


def test_old_transcripts_go_before_new_settings_stand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "hyp.jsonl").write_text("old\n")

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", killed)
        with pytest.raises(KeyboardInterrupt):
            start_results(tmp_path, DecodeConfig())
    assert not (tmp_path / "hyp.jsonl").exists()


def test_the_fingerprint_names_every_file(tones_run: Path, tmp_path: Path) -> None:
    (tmp_path / "words").write_text("a\n")
    config = DecodeConfig(run=tones_run, hotwords=tmp_path / "words")
    both = ["a.wav", "b.wav"]
    first = fingerprint(config, both, tmp_path)
    assert first.startswith("# ") and "\n" not in first and first == fingerprint(config, both, tmp_path)
    (tmp_path / "words").write_text("b\n")
    assert len({first, fingerprint(config, both, tmp_path), fingerprint(config, both[:1], tmp_path)}) == 3
    with pytest.raises(CheckpointError, match="gone: cannot be read"):
        fingerprint(dataclasses.replace(config, hotwords=tmp_path / "gone"), [], tmp_path)


def test_resuming_needs_something_to_go_on_with() -> None:
    with pytest.raises(UsageError, match="--out"):
        DecodeConfig(audio=(Path("a.wav"),), resume=True)
