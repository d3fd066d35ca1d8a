"""What decode writes and says: every line in place, scores of what has a reference, nothing stale, nothing lost."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml

from seq2seq_asr.commands.decode import transcribing
from seq2seq_asr.commands.decode.config import DecodeConfig
from seq2seq_asr.commands.decode.results import HypothesisFile, start_results, transcript_line
from seq2seq_asr.commands.decode.run import find_utterances
from seq2seq_asr.console import exit_code_of
from seq2seq_asr.data.manifest import read_manifest, write_manifest
from seq2seq_asr.data.tokenizer import Tokenizer, TokenizerConfig
from seq2seq_asr.data.utterance import Utterance
from seq2seq_asr.decode import main
from seq2seq_asr.errors import CheckpointError, UsageError
from seq2seq_asr.evaluation.trn import read_trn
from seq2seq_asr.nn.model import ModelConfig, Seq2Seq
from seq2seq_asr.recognizer import Recognizer, Transcript
from seq2seq_asr.search.beam import BeamConfig
from seq2seq_asr.strict_yaml import from_mapping, load_yaml, to_mapping
from seq2seq_asr.training.portable import write_portable
from seq2seq_asr.training.run_folder import RunFolder

EMPTY = Transcript(
    id="a", text="", score=-1.0, log_prob=-1.0, pieces=(), times=(), ended=True, scores={"attention": -1.0}
)


def decode(*argv: object) -> int:
    return exit_code_of(main, [str(argument) for argument in argv])


def lines_of(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "hyp.jsonl").read_text().splitlines()]


def test_a_manifest_is_decoded_and_scored(tones_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    manifest, out = tones_run.parent / "test.jsonl", tmp_path / "out"
    assert decode("--run", tones_run, "--manifest", manifest, "--out", out, "--nbest", 4, "--batch_seconds", 2) == 0
    printed, said = capsys.readouterr()
    assert printed.startswith((out / "wer.txt").read_text()) and printed.endswith(f"\n{out}\n")
    assert "WER" not in said and "decoding 12 utterances" in said
    utterances, lines = read_manifest(manifest), lines_of(out)
    assert [line["id"] for line in lines] == [one.id for one in utterances]
    expected = Recognizer.load(tones_run).transcribe(utterances, BeamConfig(nbest=4))
    for line, transcript in zip(lines, expected, strict=True):
        assert (line["text"], tuple(line["pieces"]), tuple(line["times"]), line["ended"]) == (
            transcript.text,
            transcript.pieces,
            transcript.times,
            True,
        )
        assert line["score"] == pytest.approx(transcript.score, abs=1e-4)
        assert line["scores"].keys() == {"attention", "ctc"}
        assert [one["text"] for one in line["nbest"]] == [one.text for one in transcript.nbest]
        assert 1 < len(line["nbest"]) <= 4 and line["nbest"][0]["text"] == line["text"]
    assert [(one.id, one.text, one.speaker) for one in read_trn(out / "ref.trn")] == [
        (one.id, one.text, one.speaker) for one in utterances
    ]
    assert [(one.id, one.text) for one in read_trn(out / "hyp.trn")] == [(line["id"], line["text"]) for line in lines]
    scores = json.loads((out / "wer.json").read_text())
    errors = sum(one.text != line["text"] for one, line in zip(utterances, lines, strict=True))
    assert scores["wrong_utterances"] == errors and scores["utterances"] == 12
    assert 0 < scores["real_time_factor"] and scores["resampled"] == {"unit": "speaker", "units": 3}


def test_its_settings_can_be_used_again(tones_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    manifest, out = tones_run.parent / "test.jsonl", tmp_path / "out"
    flags = ["--run", tones_run, "--manifest", manifest, "--out", out, "--beam", 2, "--seed", 7, "--alpha", 0.5]
    assert decode(*flags) == 0
    settings = load_yaml(out / "decode.yaml", DecodeConfig)
    assert settings == DecodeConfig(
        run=tones_run, manifest=manifest, out=out, seed=7, search=BeamConfig(beam=2, alpha=0.5)
    )
    assert (out / "decode.yaml").read_text().startswith("# Decoded with seq2seq_asr ")
    before = {path.name: path.read_bytes() for path in out.iterdir() if path.suffix in (".trn", ".jsonl")}
    assert decode("--config", out / "decode.yaml") == 0
    assert before == {path.name: path.read_bytes() for path in out.iterdir() if path.name in before}
    capsys.readouterr()


def test_what_has_no_reference_is_not_scored(tones_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    utterances = read_manifest(tones_run.parent / "test.jsonl")
    part = [dataclasses.replace(one, text="" if place % 3 else one.text) for place, one in enumerate(utterances)]
    write_manifest(tmp_path / "part.jsonl", part)
    write_manifest(tmp_path / "none.jsonl", [dataclasses.replace(one, text="") for one in utterances])
    for name, count in (("part", 4), ("none", 0)):
        out = tmp_path / name
        assert decode("--run", tones_run, "--manifest", f"{out}.jsonl", "--out", out, "--beam", 1) == 0
        printed, said = capsys.readouterr()
        assert f"{12 - count} utterances have no reference text: transcribed, not scored" in said
        assert len(lines_of(out)) == 12 and printed.endswith(f"{out}\n")
        assert ("WER" in printed) == (out / "wer.txt").exists() == (out / "ref.trn").exists() == bool(count)
    assert json.loads((tmp_path / "part/wer.json").read_text())["utterances"] == 4


def test_a_manifest_needs_no_texts_to_be_decoded(
    tones_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    entries = [json.loads(line) for line in (tones_run.parent / "test.jsonl").read_text().splitlines()]
    for one in entries:
        del one["text"]
        one["audio_filepath"] = str(tones_run.parent / one["audio_filepath"])
    (tmp_path / "bare.jsonl").write_text("".join(json.dumps(one) + "\n" for one in entries))
    assert decode("--run", tones_run, "--manifest", tmp_path / "bare.jsonl", "--out", tmp_path, "--beam", 1) == 0
    assert len(lines_of(tmp_path)) == 12 and "12 utterances have no reference text" in capsys.readouterr().err


def test_what_is_too_long_is_skipped_unread(tones_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    long = tmp_path / "three_hours.wav"
    soundfile.write(long, np.sin(np.arange(3_600_000 * 3)), 1000)  # little room on the disk
    good = read_manifest(tones_run.parent / "test.jsonl")[0].audio
    assert decode("--run", tones_run, long, good, "--beam", 1, "--max_seconds", 600) == 1
    printed, said = capsys.readouterr()
    assert f"skipped {long}: too long: 10800.0 s, max_seconds is" in said and printed.startswith(f"{good}\t")
    assert decode("--run", tones_run, good, "--beam", 1, "--max_seconds", 0.1) == 1
    assert f"{good}: too long" in capsys.readouterr().err


def test_a_data_root_confines_manifests(tones_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    for out, given in (("a", ["--manifest", tones_run.parent / "test.jsonl"]), ("b", [])):
        flags = ["--run", tones_run, *given, "--out", tmp_path / out, "--beam", 1]
        assert decode(*flags, "--data-root", tmp_path) == 1
        said = capsys.readouterr().err
        assert ".jsonl:1: " in said and "outside of the data root" in said and not (tmp_path / out).exists()
        assert decode(*flags, "--data-root", tones_run.parent) == 0


def test_a_data_root_confines_audio_files(tones_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    flags: list[object] = ["--run", tones_run, "--beam", 1]
    audio = tones_run.parent / "test-0.wav"
    (tmp_path / "link.wav").symlink_to(audio)
    assert decode(*flags, audio, tmp_path / "link.wav", "--data_root", tones_run.parent) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2
    for elsewhere in (audio, tmp_path / "link.wav"):
        assert decode(*flags, elsewhere, "--data_root", tmp_path) == 2
        printed, said = capsys.readouterr()
        assert not printed and said.startswith(f"error: {elsewhere}: leads to") and "outside of the data root" in said


def test_references_are_normalised_as_in_training(tones_run: Path, tmp_path: Path) -> None:
    utterances = read_manifest(tones_run.parent / "test.jsonl")
    write_manifest(tmp_path / "a.jsonl", [dataclasses.replace(one, text=f"  {one.text} ") for one in utterances])
    normalise = Recognizer.load(tones_run).tokenizer.normalise
    assert decode("--run", tones_run, "--manifest", tmp_path / "a.jsonl", "--out", tmp_path / "a", "--beam", 1) == 0
    assert [one.text for one in read_trn(tmp_path / "a/ref.trn")] == [normalise(one.text) for one in utterances]


def test_skipped_utterances_are_named_and_the_others_scored(
    tones_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    utterances = read_manifest(tones_run.parent / "test.jsonl")
    bad = dataclasses.replace(utterances[5], audio=tmp_path / "missing.wav")
    far = dataclasses.replace(utterances[7], offset=900.0)
    mixed = [*utterances[:5], bad, utterances[6], far, *utterances[8:]]
    write_manifest(tmp_path / "m.jsonl", mixed)
    flags = ["--run", tones_run, "--manifest", tmp_path / "m.jsonl", "--out", tmp_path / "m", "--beam", 1]
    assert decode(*flags) == 1
    printed, said = capsys.readouterr()
    skips = [line for line in said.splitlines() if line.startswith("skipped")]
    assert skips[0].startswith(f"skipped {bad.id}: ") and "missing.wav" in skips[0]
    assert skips[1].startswith(f"skipped {far.id}: ")
    assert skips[2] == "skipped 2 of 12 utterances; results are over the others" and len(skips) == 3
    assert [line["id"] for line in lines_of(tmp_path / "m")] == [one.id for one in mixed if one not in (bad, far)]
    assert "10 utterances" in printed
    assert json.loads((tmp_path / "m/wer.json").read_text())["skipped"] == 2
    assert decode(*flags, "--allow_skips") == 0


def test_the_real_time_factor_counts_what_was_decoded(
    tones_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    utterances = read_manifest(tones_run.parent / "test.jsonl")
    endless = dataclasses.replace(utterances[0], id="endless", duration=1e6)
    write_manifest(tmp_path / "m.jsonl", [*utterances, endless])
    clock = iter([0.0, 1.0, 100.0, 100.0 + 2 * sum(one.duration for one in utterances)])
    monkeypatch.setattr("seq2seq_asr.commands.decode.transcribing.time.perf_counter", lambda: next(clock))
    decode("--run", tones_run, "--manifest", tmp_path / "m.jsonl", "--out", tmp_path / "m", "--beam", 1)
    assert json.loads((tmp_path / "m/wer.json").read_text())["real_time_factor"] == pytest.approx(2.0)


def test_nothing_decoded_is_a_failure_even_with_skips_allowed(
    tones_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    utterances = read_manifest(tones_run.parent / "test.jsonl")
    write_manifest(tmp_path / "m.jsonl", [dataclasses.replace(one, audio=tmp_path / "no.wav") for one in utterances])
    assert decode("--run", tones_run, "--manifest", tmp_path / "m.jsonl", "--out", tmp_path, "--allow_skips") == 1
    assert not (tmp_path / "wer.txt").exists() and "skipped 12 of 12" in capsys.readouterr().err


def test_cut_transcripts_are_counted(tones_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    flags = ["--run", tones_run, "--out", tmp_path, "--beam", 2, "--max_length_ratio", 0.05]
    assert decode(*flags) == 0
    (warning,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning")]
    assert warning.startswith("warning: ") and "transcripts did not end by themselves" in warning
    cut = [line["id"] for line in lines_of(tmp_path) if not line["ended"]]
    assert cut and f" {len(cut)} " in warning and cut[0] in warning


def test_an_interrupted_decoding_keeps_its_lines_and_no_old_scores(
    tones_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    flags = ["--run", tones_run, "--out", tmp_path, "--beam", 1, "--batch_seconds", 1]
    assert decode(*flags) == 0
    whole, stream = {line["id"]: line for line in lines_of(tmp_path)}, Recognizer.stream

    def interrupted(self, *arguments, **options):
        batches = stream(self, *arguments, **options)
        yield next(batches)
        yield next(batches)
        raise KeyboardInterrupt

    monkeypatch.setattr(Recognizer, "stream", interrupted)
    assert decode(*flags) == 130
    kept = lines_of(tmp_path)
    assert 0 < len(kept) < 12 and all(line == whole[line["id"]] for line in kept)
    assert {path.name for path in tmp_path.iterdir()} == {"hyp.jsonl", "decode.yaml"}
    audio = [one.audio for one in read_manifest(tones_run.parent / "test.jsonl")]
    capsys.readouterr()
    assert decode("--run", tones_run, *audio, "--beam", 1, "--batch_seconds", 1) == 130
    printed = capsys.readouterr().out.splitlines()
    assert sorted(line.split("\t")[1] for line in printed) == sorted(line["text"] for line in kept)


def test_another_corpus_does_not_write_over_the_runs_own_test_set(tones_run: Path, tmp_path: Path) -> None:
    run, manifest = RunFolder(tones_run), tones_run.parent / "test.jsonl"
    names = [find_utterances(DecodeConfig(split=split), run)[1] for split in ("train", "dev", "test")]
    assert names == ["train", "dev", "test"]
    assert find_utterances(DecodeConfig(manifest=manifest), run)[1] == f"{tones_run.parent.name}_test"
    other = tmp_path / "unseen.jsonl"
    write_manifest(other, read_manifest(manifest))
    assert find_utterances(DecodeConfig(manifest=other), run)[1] == "unseen"
    kaldi = kaldi_folder(tmp_path / "corpus" / "test", read_manifest(manifest))
    assert find_utterances(DecodeConfig(manifest=kaldi), run)[1] == "corpus_test"


def test_dev_takes_the_place_of_no_test_set(tones_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    run = shutil.copytree(tones_run, tmp_path / "run", ignore=shutil.ignore_patterns("decode_*", "plots"))
    settings = yaml.safe_load((run / "config.yaml").read_text())
    settings["data"]["test"] = []
    (run / "config.yaml").write_text(yaml.safe_dump(settings))
    utterances, name = find_utterances(DecodeConfig(), RunFolder(run))
    assert (utterances, name) == find_utterances(DecodeConfig(split="dev"), RunFolder(tones_run))
    assert "has no test set (data.test): dev takes its place\n" in capsys.readouterr().err
    assert decode("--run", run, "--beam", 1) == 0
    assert capsys.readouterr().out.endswith(f"{run}/decode_dev_beam1\n")


def test_sets_of_one_name_have_a_folder_each(tones_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    run = shutil.copytree(tones_run, tmp_path / "run", ignore=shutil.ignore_patterns("decode_*", "plots"))
    utterances = read_manifest(tones_run.parent / "test.jsonl")
    flags = ["--run", run, "--beam", 1]
    for name, some in (("a", utterances[:2]), ("b", utterances[2:5])):
        write_manifest(tmp_path / name / "manifest.jsonl", some)
        assert decode(*flags, "--manifest", tmp_path / name / "manifest.jsonl") == 0
    first, second = run / "decode_manifest_beam1", run / "decode_manifest_beam1-2"
    printed, said = capsys.readouterr()
    assert f"{first}: holds transcripts of other utterances: these go to {second.name}" in said
    assert printed.endswith(f"\n{second}\n") and (len(lines_of(first)), len(lines_of(second))) == (2, 3)
    kept = {path: path.read_bytes() for path in first.iterdir()}
    assert decode(*flags, "--manifest", tmp_path / "b/manifest.jsonl", "--resume") == 0
    assert "3 of 3 were decoded before" in capsys.readouterr().err
    assert decode(*flags, "--manifest", tmp_path / "b/manifest.jsonl", "--alpha", 0.5) == 0
    assert f"{second}: transcripts of the same utterances by other settings" in capsys.readouterr().err
    assert decode(*flags, "--manifest", tmp_path / "b/manifest.jsonl", "--alpha", 0.5) == 0
    assert "replaced" not in capsys.readouterr().err
    assert decode(*flags, "--manifest", tmp_path / "b/manifest.jsonl", "--out", first) == 2
    assert f"{first}: holds transcripts of other utterances" in capsys.readouterr().err
    assert kept == {path: path.read_bytes() for path in first.iterdir()}
    assert {path.name for path in run.glob("decode_*")} == {first.name, second.name}


def kaldi_folder(folder: Path, utterances: list[Utterance]) -> Path:
    folder.mkdir(parents=True)
    for name, values in (("wav.scp", [one.audio for one in utterances]), ("text", [one.text for one in utterances])):
        rows = [f"{one.id} {value}\n" for one, value in zip(utterances, values, strict=True)]
        (folder / name).write_text("".join(rows))
    return folder


def test_a_kaldi_folder_is_decoded(tones_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    utterances = sorted(read_manifest(tones_run.parent / "test.jsonl"), key=lambda one: one.id)
    folder = kaldi_folder(tmp_path / "test.set", utterances)
    assert decode("--run", tones_run, "--manifest", folder, "--beam", 1, "--out", tmp_path / "out") == 0
    assert [line["id"] for line in lines_of(tmp_path / "out")] == [one.id for one in utterances]
    assert find_utterances(DecodeConfig(manifest=folder), RunFolder(tones_run))[1] == "test.set"
    capsys.readouterr()


def test_a_line_is_strict_json_whatever_the_score() -> None:
    nothing = dataclasses.replace(EMPTY, score=float("-inf"), log_prob=float("-inf"), text='say "é"\n')
    line = transcript_line(dataclasses.replace(nothing, scores={"attention": float("-inf")}, nbest=(nothing,)))
    assert "\n" not in line and "é" in line
    entry = json.loads(line, parse_constant=lambda name: pytest.fail(name))
    assert (entry["score"], entry["log_prob"], entry["scores"]) == (None, None, {"attention": None})
    assert entry["text"] == nothing.text


def test_lines_stand_at_once_and_in_order_at_the_end(tmp_path: Path) -> None:
    with HypothesisFile(tmp_path) as file:
        for place in (2, 0, 1):
            file.write({place: dataclasses.replace(EMPTY, id=str(place))})
            assert lines_of(tmp_path)[-1]["id"] == str(place)
        file.sort()
    assert [line["id"] for line in lines_of(tmp_path)] == ["0", "1", "2"]
    assert [path.name for path in tmp_path.iterdir()] == ["hyp.jsonl"]


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match=r"file.*cannot be (created|written)"):
        start_results(tmp_path / "file" / "out", DecodeConfig())
    (tmp_path / "hyp.jsonl").mkdir()
    with pytest.raises(CheckpointError, match=r"hyp\.jsonl: cannot be written \(Is a directory\)"):
        HypothesisFile(tmp_path)


@pytest.mark.parametrize(
    "wrong",
    [
        {"audio": (Path("a.wav"),), "manifest": Path("m")},
        {"batch_seconds": 0.0},
        {"batch_seconds": float("nan")},
        {"batch_seconds": float("inf")},
        {"seed": -1},
    ],
)
def test_settings_that_cannot_be_used(wrong: dict) -> None:
    with pytest.raises(UsageError):
        DecodeConfig(**wrong)


def test_what_is_compiled_first_does_not_count(
    tones_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(transcribing.time, "perf_counter", lambda: now[0])
    warmed = []

    def compile_slowly(self, search) -> None:
        warmed.append(search)
        now[0] += 17.0

    monkeypatch.setattr(Recognizer, "warm_up", compile_slowly)
    given = "--run", tones_run, "--manifest", tones_run.parent / "test.jsonl"
    assert decode(*given, "--out", tmp_path / "out", "--beam", 3) == 0
    assert "prepared the search in 17 s" in capsys.readouterr().err
    assert json.loads((tmp_path / "out" / "wer.json").read_text())["real_time_factor"] == 0.0
    assert [search.beam for search in warmed] == [3]


def test_nothing_is_compiled_for_files_that_are_not_there(
    tones_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    warmed = []
    monkeypatch.setattr(Recognizer, "warm_up", lambda *_: warmed.append(True))
    given: list[object] = ["--run", tones_run, "--beam", 1, tmp_path / "gone.wav"]
    assert decode(*given) == 1 and not warmed
    assert f"skipped {tmp_path / 'gone.wav'}: cannot be read: No such file" in capsys.readouterr().err
    assert decode(*given, tones_run.parent / "test-0.wav") == 1 and warmed


def without_attention(folder: Path, ctc_weight: float) -> Path:
    """An untrained recogniser with one vector of fixed length, exported."""
    settings = {
        "features": {"rate": 8000, "bins": 5},
        "encoder": {"units": 6, "reductions": [2]},
        "attention": {"kind": "none"},
        "decoder": {"units": 7, "embedding": 3},
        "ctc_weight": ctc_weight,
    }
    tokenizer = Tokenizer.train(["ab ba"], TokenizerConfig(kind="char", vocabulary_size=16))
    model = Seq2Seq(from_mapping(ModelConfig, settings), len(tokenizer))
    model.decoder.get_parameter("output.bias").data[tokenizer.encode("ab")[1:]] = 5.0  # it says a and b
    write_portable(folder, model.state_dict(), to_mapping(model.config), tokenizer)
    return folder


@pytest.mark.parametrize("ctc_weight", [0.3, 0.0])
def test_without_attention_only_ctc_tells_times(
    ctc_weight: float, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    run, audio = without_attention(tmp_path / "run", ctc_weight), tmp_path / "noise.wav"
    soundfile.write(audio, np.random.default_rng(0).normal(0, 0.1, 8000), 8000)
    search = {"ctc_weight": 0, "guards": "off", "min_length_ratio": 0.1, "max_length_ratio": 0.2}
    flags = [audio, "--run", run, *(word for name, value in search.items() for word in (f"--{name}", value)), "--out"]
    assert decode(*flags, tmp_path / "out", "--formats", "txt") == 0
    assert decode(*flags, tmp_path / "covered", "--coverage_weight", 0.1) == 2
    assert "coverage_weight: " in capsys.readouterr().err and not (tmp_path / "covered").exists()
    with pytest.raises(UsageError, match="coverage_weight: "):
        Recognizer.load(run).transcribe([audio], BeamConfig(coverage_weight=0.1))
    (said,) = lines_of(tmp_path / "out")
    assert said["text"] and said["times"] == []
    capsys.readouterr()
    if ctc_weight == 0:
        assert said["words"] == []
        assert decode(*flags, tmp_path / "timed", "--formats", "txt", "ctm") == 2
        why = f"{run} has neither attention nor CTC: no word has a time"
        assert capsys.readouterr().err == f"error: --formats ctm: {why}\n"
        assert not (tmp_path / "timed").exists()
    else:
        assert decode(*flags, tmp_path / "timed", "--formats", "ctm", "--align", "ctc") == 0
        assert lines_of(tmp_path / "timed") == [said]
        assert " ".join(word["text"] for word in said["words"]) == said["text"]
