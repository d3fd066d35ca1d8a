"""Tuning: the best is the lowest of what was printed, and decoding starts from it."""

import collections
import contextlib
import csv
import dataclasses
import hashlib
import io
import json
import math
import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from seq2seq_asr import decode, fit_ngram, tune
from seq2seq_asr.commands.decode.config import DecodeConfig
from seq2seq_asr.commands.decode.defaults import parse_for_run
from seq2seq_asr.commands.tune.cache import encode_set, temporary_folder
from seq2seq_asr.commands.tune.calibrating import collect
from seq2seq_asr.commands.tune.config import TuneConfig
from seq2seq_asr.commands.tune.plots import sweep_figure
from seq2seq_asr.commands.tune.run import described, find_set
from seq2seq_asr.commands.tune.sweep import (
    Sweeper,
    Trial,
    most_speeds,
    read_settings,
    sweep_beams,
    sweep_coordinates,
    sweep_grid,
    trial_rows,
    usual_settings,
)
from seq2seq_asr.config import FitConfig
from seq2seq_asr.console import exit_code_of
from seq2seq_asr.data.manifest import read_manifest, write_manifest
from seq2seq_asr.data.segmenting import SegmentConfig
from seq2seq_asr.data.tokenizer import Tokenizer
from seq2seq_asr.data.utterance import Utterance
from seq2seq_asr.errors import CheckpointError, ManifestError, UsageError
from seq2seq_asr.evaluation.intervals import Interval
from seq2seq_asr.evaluation.wer import ErrorCounts, word_errors
from seq2seq_asr.nn.model import ModelConfig, Seq2Seq
from seq2seq_asr.recognizer import Recognizer
from seq2seq_asr.recognizer.confidence import CALIBRATION, Calibration
from seq2seq_asr.recognizer.searcher import Searcher
from seq2seq_asr.recognizer.tuned import TUNED, Tuned
from seq2seq_asr.search.beam import BeamConfig
from seq2seq_asr.strict_yaml import from_mapping, load_yaml, to_yaml
from seq2seq_asr.training.criterion import WER
from seq2seq_asr.training.run_folder import RunFolder
from seq2seq_asr.vocabulary import EOS
from seq2seq_asr.whole_file import temporary_of

BEAMS = ("--beams", "1", "2", "4")


@pytest.fixture(scope="module")
def run(tones_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tuned") / "run"
    return shutil.copytree(tones_run, folder, ignore=shutil.ignore_patterns("decode_*", "plots"))


def call(main, *argv: object) -> int:
    return exit_code_of(main, [str(argument) for argument in argv])


@pytest.fixture(scope="module")
def printed(run: Path) -> str:
    """What a tuning printed; its files stand in the run folder."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        code = call(tune.main, "--run", run, "--beam", 2, "--sweep", "ctc_weight=0.1,0.5", "alpha=0.5,1", *BEAMS)
    assert code == 0
    return out.getvalue()


def test_the_best_is_the_lowest_of_all_that_was_printed(run: Path, printed: str) -> None:
    table = list(csv.DictReader((run / "tuned.csv").read_text().splitlines()))
    tuned = load_yaml(run / TUNED, Tuned)
    assert tuned.wer == pytest.approx(min(float(row["wer"]) for row in table)) and tuned.criterion == "wer"
    lowest = [row for row in table if float(row["wer"]) == min(float(one["wer"]) for one in table)]
    assert tuned.cer in [pytest.approx(float(row["cer"])) for row in lowest]
    assert tuned.search.beam == min(int(row["beam"]) for row in lowest)
    shown = [
        float(found) for found in re.findall(r"^ +(?:ctc_weight|alpha|beam) +[\d.]+ +\d+ +([\d.]+) ", printed, re.M)
    ]
    assert min(shown) == pytest.approx(100 * tuned.wer, abs=0.006)
    assert f"best: {100 * tuned.wer:.2f} % WER" in printed and (tuned.utterances, tuned.dev) == (12, "dev")
    section = printed.split("beam sweep")[1].splitlines()[2:5]
    assert [line.split()[:3] for line in section] == [["beam", str(beam), str(beam)] for beam in (1, 2, 4)]
    swept = {name: [row[name] for row in table if name in row["sweeps"].split()] for name in ("ctc_weight", "beam")}
    assert swept["ctc_weight"] == ["0.2", "0.1", "0.5"] and sorted(swept["beam"]) == ["1", "2", "4"]
    assert all((run / name).read_bytes()[:4] == b"\x89PNG" for name in ("tuned.png", "reliability.png"))


def test_decoding_starts_from_it_and_flags_override(
    run: Path, printed: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    tuned = load_yaml(run / TUNED, Tuned)
    assert call(decode.main, "--run", run, "--out", tmp_path / "a") == 0
    assert f"{run / TUNED}: the defaults are what was best on dev" in capsys.readouterr().err
    assert load_yaml(tmp_path / "a/decode.yaml", DecodeConfig).search == tuned.search
    assert call(decode.main, "--run", run, "--out", tmp_path / "b", "--beam", 3, "--ctc_weight", 0.35) == 0
    found = load_yaml(tmp_path / "b/decode.yaml", DecodeConfig).search
    assert (found.beam, found.ctc_weight, found.alpha) == (3, 0.35, tuned.search.alpha)
    capsys.readouterr()
    assert call(decode.main, "--run", run, "--out", tmp_path / "c", "--no_tuned") == 0
    assert load_yaml(tmp_path / "c/decode.yaml", DecodeConfig).search == BeamConfig()
    assert TUNED not in capsys.readouterr().err
    assert Recognizer.load(run).default_search == tuned.search
    with pytest.raises(SystemExit) as stop:
        decode.main(["--run", str(run), "--print_config"])
    assert stop.value.code == 0 and f"beam: {tuned.search.beam}\n" in capsys.readouterr().out


def test_decoding_says_by_what_and_with_what_it_was_best(
    tones_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    run = shutil.copytree(tones_run, tmp_path / "run", ignore=shutil.ignore_patterns("decode_*", "plots"))
    (words := tmp_path / "words").write_text("low\n")
    flags = ["--run", run, "--utterances", 3, "--criterion", "cer", "--hotwords", words, "--beams", 1, "--beam", 1]
    assert call(tune.main, *flags, "--sweep", "hotword_boost=0.5") == 0
    tuned = dataclasses.replace(load_yaml(run / TUNED, Tuned), wer=0.98, cer=0.06)
    assert tuned.hotwords == words
    (run / TUNED).write_text(to_yaml(tuned))
    for given, ending in (((), f"6.00 % CER with --hotwords {words}\n"), (("--hotwords", str(words)), "6.00 % CER\n")):
        capsys.readouterr()
        parse_for_run(["--run", str(run), *given])
        assert capsys.readouterr().err.endswith(f"the defaults are what was best on dev, {ending}")


def test_flags_are_checked_beside_what_was_tuned(run: Path, printed: str, tmp_path: Path) -> None:
    copy = shutil.copytree(run, tmp_path / "run")
    search = BeamConfig(beam=16, max_length_ratio=4.0)
    (copy / TUNED).write_text(to_yaml(dataclasses.replace(load_yaml(run / TUNED, Tuned), search=search)))
    flags = ["--run", str(copy), "--nbest", "10", "--min_length_ratio", "3"]
    assert parse_for_run(flags).search == dataclasses.replace(search, nbest=10, min_length_ratio=3.0)
    for wrong in ("--nbest 17", "--no_tuned", "--min_length_ratio 5", "--ctc_weight 2"):
        with pytest.raises(UsageError, match="must be "):
            parse_for_run([*flags, *wrong.split()])


def test_confidences_are_calibrated_from_then_on(run: Path, printed: str, tones_run: Path, tmp_path: Path) -> None:
    line = load_yaml(run / CALIBRATION, Calibration)
    assert f"{line.error_before:.4f} raw, {line.error_after:.4f} calibrated" in printed
    utterances = read_manifest(tones_run.parent / "test.jsonl")
    search = BeamConfig(ctc_weight=load_yaml(run / TUNED, Tuned).search.ctc_weight)
    found = Recognizer.load(run).transcribe(utterances, search)
    raw = Recognizer.load(tones_run).transcribe(utterances, search)
    assert [one.text for one in found] == [one.text for one in raw]
    assert line.words == sum(len(one.words) for one in Recognizer.load(run).transcribe(utterances))
    assert found != raw
    assert call(decode.main, "--run", run, "--out", tmp_path) == 0
    entries = [json.loads(entry) for entry in (tmp_path / "hyp.jsonl").read_text().splitlines()]
    assert all(0 <= word["confidence"] <= 1 for entry in entries for word in entry["words"])


def test_the_words_of_a_speaker_are_calibrated_without_him(sweeper: Sweeper) -> None:
    """Whose words are left out together: a speaker's, and where nobody is named an utterance's."""
    utterances = sweeper.encoded.utterances
    utterances[:2] = [dataclasses.replace(one, speaker=None) for one in utterances[:2]]
    raw, right, groups = collect(sweeper.recognizer.searcher, sweeper.encoded, BeamConfig(beam=1))
    words = {name: int((groups == name).sum()) for name in set(groups.tolist())}
    said = collections.Counter[str]()
    for one, found in zip(utterances, sweeper.recognizer.transcribe(utterances, BeamConfig(beam=1)), strict=True):
        said[one.speaker or one.id] += len(found.words)
    assert words == said and said.keys() >= {"s0", "s1", "s2", utterances[0].id}
    assert len(raw) == len(right) == said.total()


def test_other_weights_are_not_said_to_have_been_tuned(
    run: Path, printed: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    copy, line = shutil.copytree(run, tmp_path / "run"), load_yaml(run / CALIBRATION, Calibration)
    assert line.ctc_weight == load_yaml(run / TUNED, Tuned).search.ctc_weight
    assert line.weights == hashlib.sha256((copy / "best.ckpt").read_bytes()).hexdigest()
    contents = torch.load(copy / "best.ckpt", weights_only=True)
    torch.save(contents | {"note": "trained further"}, copy / "best.ckpt")
    assert call(decode.main, "--run", copy, "--out", tmp_path / "out") == 0
    said = capsys.readouterr().err
    assert f"{copy / TUNED}: tuned with other weights than those of best.ckpt" in said
    assert "the defaults are what was best" not in said and f"{copy / CALIBRATION}: tuned with other weights" in said
    assert load_yaml(tmp_path / "out/decode.yaml", DecodeConfig).search == load_yaml(run / TUNED, Tuned).search
    assert (
        Recognizer.load(copy).searcher.calibration is None
        and "decoding.yaml: tuned with other" in capsys.readouterr().err
    )
    Recognizer.load(run)
    assert "other weights" not in capsys.readouterr().err


def test_a_file_that_is_not_ours_is_refused(run: Path, printed: str, tmp_path: Path) -> None:
    copy = shutil.copytree(run, tmp_path / "run")
    text = (copy / TUNED).read_text()
    (copy / TUNED).write_text(text + "beams: 3\n")
    with pytest.raises(UsageError, match="beams"):
        decode.main(["--run", str(copy)])
    tokenizer = load_yaml(run / TUNED, Tuned).tokenizer
    (copy / TUNED).write_text(text.replace(tokenizer, "f" * 64))
    with pytest.raises(CheckpointError, match="another tokenizer"):
        decode.main(["--run", str(copy)])


def left_by(run: Path) -> dict[str, bytes]:
    return {name: (run / name).read_bytes() for name in (TUNED, CALIBRATION, "tuned.csv", "tuned.png")}


@pytest.mark.parametrize(
    ("flags", "code"), [(("--lm", "typo.ckpt"), 1), (("--sweep", "ctc_wieght=0.1"), 2), (("--ngram", "no.arpa"), 1)]
)
def test_a_tuning_that_cannot_begin_leaves_what_was_tuned_before(
    run: Path, printed: str, flags: tuple, code: int, capsys: pytest.CaptureFixture
) -> None:
    before = left_by(run)
    assert call(tune.main, "--run", run, *flags) == code
    assert left_by(run) == before and "tuning" not in capsys.readouterr().err


def test_texts_of_which_the_normaliser_leaves_nothing_are_no_set(run: Path, tmp_path: Path) -> None:
    """No error rate is over no words; one word is enough, and the others count as they do in `decode`."""
    folder, basic = RunFolder(run), Tokenizer(Tokenizer.load(run / "tokenizer.model").model, "basic")
    config = TuneConfig(run=run, manifest=tmp_path / "m.jsonl")
    silent = [
        dataclasses.replace(one, text="..." if place else "?!")
        for place, one in enumerate(read_manifest(load_yaml(folder.config, FitConfig).data.dev[0]))
    ]
    write_manifest(tmp_path / "m.jsonl", silent)
    with pytest.raises(UsageError, match="m: no utterance has a text to tune on"):
        find_set(config, folder, basic)
    write_manifest(tmp_path / "m.jsonl", [*silent[1:], dataclasses.replace(silent[0], text="low!")])
    assert len(find_set(config, folder, basic)[0]) == len(silent)


def test_an_interrupted_tuning_keeps_its_trials_and_what_was_tuned_before(
    run: Path, printed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy, measure, tried = shutil.copytree(run, tmp_path / "run"), Sweeper._measure, iter(range(9))

    def interrupted(self: Sweeper, search: BeamConfig) -> Trial:
        if next(tried) == 2:
            raise KeyboardInterrupt
        return measure(self, search)

    monkeypatch.setattr(Sweeper, "_measure", interrupted)
    (copy / TUNED).write_text("damaged: [")
    (copy / CALIBRATION).write_text("of: another version\n")
    assert call(tune.main, "--run", copy, "--beam", 1, "--utterances", 2, "--sweep", "alpha=0.5,0.6,0.7", *BEAMS) == 130
    assert (copy / TUNED).read_text() == "damaged: ["
    table = list(csv.DictReader((copy / "tuned.csv").read_text().splitlines()))
    assert [(row["alpha"], row["beam"], row["sweeps"]) for row in table] == [
        ("1.0", "1", "alpha"),
        ("0.5", "1", "alpha"),
    ]


def test_a_folder_that_cannot_be_written_is_noticed_before_the_sweep(
    run: Path, printed: str, capsys: pytest.CaptureFixture
) -> None:
    in_the_way = temporary_of(run / "tuned.csv")
    in_the_way.mkdir()
    before = left_by(run)
    assert call(tune.main, "--run", run) == 1
    said = capsys.readouterr().err
    in_the_way.rmdir()
    assert f"{run / 'tuned.csv'}: cannot be written" in said and "tuning" not in said and left_by(run) == before


@pytest.fixture
def sweeper(tones_run: Path, tmp_path: Path) -> Sweeper:
    recognizer, utterances = Recognizer.load(tones_run), read_manifest(tones_run.parent / "test.jsonl")
    encoded = encode_set(recognizer, utterances, tmp_path, batch_seconds=2.0, memory_mb=0.01, disk_mb=10.0)
    return Sweeper(recognizer, encoded, seed=0)


def test_a_trial_counts_what_decoding_counts(sweeper: Sweeper, tmp_path: Path) -> None:
    assert list(tmp_path.glob("*.pt")) and any(not isinstance(kept, Path) for _, kept in sweeper.encoded.batches)
    trial = sweeper.attempt(BeamConfig(beam=2), "beam")
    found = sweeper.recognizer.transcribe(sweeper.encoded.utterances, BeamConfig(beam=2))
    wrong = sum(one.text != utterance.text for one, utterance in zip(found, sweeper.encoded.utterances, strict=True))
    assert trial.words.reference_length == sum(len(one.text.split()) for one in sweeper.encoded.utterances)
    assert (trial.words.errors > 0) == (wrong > 0) and trial.real_time_factor > 0 and 0 <= trial.search_errors <= 1
    assert sweeper.attempt(BeamConfig(beam=2), "again") is trial


def test_long_recordings_are_cut_as_decoding_cuts_them(tones_run: Path, tmp_path: Path) -> None:
    """Trials and raw confidences are those of transcripts that `Recognizer` stitches, whatever else is in the set."""
    recognizer, utterances = Recognizer.load(tones_run), read_manifest(tones_run.parent / "test.jsonl")
    pause = np.zeros(4000, np.float32)
    samples = np.concatenate([part for one in utterances for part in (recognizer.reader(one), pause)])
    soundfile.write(tmp_path / "long.wav", samples, 8000)
    text = " ".join(one.text for one in utterances)
    long = Utterance(id="long", text=text, audio=tmp_path / "long.wav", duration=len(samples) / 8000, speaker="a")
    mixed, search = [utterances[0], long, utterances[1]], BeamConfig(beam=2, guards="off")
    cut = SegmentConfig(above=4.0, shortest=0.15, longest=1.5, pause=0.3, margin=0.05)
    limits: dict[str, Any] = {"batch_seconds": 2.0, "memory_mb": 10.0, "disk_mb": 10.0}
    encoded = encode_set(recognizer, mixed, tmp_path, **limits, segment=cut)
    found = recognizer.transcribe(mixed, search, segment=cut)
    assert max(one.duration for one in utterances) < cut.above and len(found[1].segments) > len(utterances)
    sweeper = Sweeper(recognizer, encoded, seed=0)
    trial = sweeper.attempt(search, "beam")
    assert trial.words == sum((word_errors(a.text, b.text) for a, b in zip(mixed, found, strict=True)), ErrorCounts())
    whole = Sweeper(recognizer, encode_set(recognizer, utterances[:2], tmp_path, **limits), seed=0)
    assert trial.search_errors == whole.attempt(search, "beam").search_errors
    raw, right, speakers = collect(recognizer.searcher, encoded, search)
    words = [word for one in found for word in one.words]
    assert raw.tolist() == pytest.approx([word.confidence for word in words], abs=1e-4)
    assert len(right) == len(words) and speakers.tolist().count("a") == len(found[1].words)
    alone = encode_set(recognizer, [long], tmp_path, **limits, segment=cut)
    assert math.isnan(Sweeper(recognizer, alone, seed=0).attempt(search, "beam").search_errors)


@torch.no_grad()
def test_the_search_errs_no_more_for_what_the_guards_make_of_it(sweeper: Sweeper) -> None:
    """A decoder that repeats itself is replaced by CTC, which says the same as ever, but thinks little of it."""
    model = sweeper.recognizer.model
    model.decoder.output.bias[5] += 10
    model.decoder.output.bias[EOS] -= 10
    assert model.ctc is not None
    for weight in model.ctc.parameters():
        weight.div_(100)
    searcher = Searcher(model, sweeper.recognizer.tokenizer)
    spoilt = Sweeper(Recognizer(searcher), sweeper.encoded, seed=0)
    off, replaced = (spoilt.attempt(BeamConfig(ctc_weight=0.0, guards=one), "guards") for one in ("off", "replace"))
    assert off.words.errors > 5 * replaced.words.errors
    assert off.search_errors == replaced.search_errors == 0


def test_speeds_are_swept_over_a_set_heard_once(tones_run: Path, tmp_path: Path) -> None:
    recognizer, utterances = Recognizer.load(tones_run), read_manifest(tones_run.parent / "test.jsonl")
    start = BeamConfig(beam=2)
    settings = read_settings(["speeds=1,5"], start)
    assert most_speeds(start, settings) == 5 and most_speeds(BeamConfig(speeds=7), settings) == 7
    limits: dict[str, Any] = {"batch_seconds": 2.0, "memory_mb": 0.1, "disk_mb": 10.0}
    encoded = encode_set(recognizer, utterances, tmp_path, **limits, speeds=5)
    assert list(tmp_path.glob("*.pt")) and any(not isinstance(kept, Path) for _, kept in encoded.batches)
    assert 0 < encoded.seconds(1) < encoded.seconds(5)
    sweeper = Sweeper(recognizer, encoded, seed=0)
    sweep_coordinates(sweeper, start, settings, rounds=1)
    assert sorted(one.speeds for one in sweeper.trials) == [1, 5]
    for search, trial in sweeper.trials.items():
        found = recognizer.transcribe(utterances, search)
        pairs = zip(utterances, found, strict=True)
        assert trial.words.errors == sum(word_errors(one.text, heard.text).errors for one, heard in pairs)


def test_a_trial_is_judged_by_the_criterion(sweeper: Sweeper) -> None:
    assert sweeper.criterion == WER
    other = Sweeper(sweeper.recognizer, sweeper.encoded, seed=0, criterion="cer")
    sweeper.references[0] += "est"
    other.references[0] += "est"
    by_words = sweeper.attempt(BeamConfig(beam=2), "beam")
    by_characters = other.attempt(BeamConfig(beam=2), "beam")
    assert (by_characters.words, by_characters.characters) == (by_words.words, by_words.characters)
    wer, cer = by_words.words.rate, by_words.characters.rate
    assert wer != cer and (by_words.rate, by_characters.rate) == (wer, cer)
    assert by_characters.characters.reference_length == sum(len(text) for text in other.references)
    assert f"{100 * cer:.2f} % CER" in described(by_characters) and " % WER" in described(by_words)
    words, length = by_words.words.reference_length, by_characters.characters.reference_length
    better = dataclasses.replace(
        by_characters,
        search=BeamConfig(beam=4),
        words=ErrorCounts(substitutions=words, reference_length=words),
        characters=ErrorCounts(reference_length=length),
    )
    other.trials[better.search] = better
    assert other.best() == better


def test_sweeps_end_at_the_lowest_they_saw(sweeper: Sweeper) -> None:
    settings = read_settings(["ctc_weight=0,0.7", "length_bonus=0,3"], BeamConfig(beam=2))
    walked = sweep_coordinates(sweeper, BeamConfig(beam=2), settings, rounds=2)
    seen = dict(sweeper.trials)
    assert seen[walked].words.errors == min(trial.words.errors for trial in seen.values())
    grid = sweep_grid(sweeper, BeamConfig(beam=2), settings)
    combined = {
        BeamConfig(beam=2, ctc_weight=weight, length_bonus=bonus) for weight in (0.0, 0.7) for bonus in (0.0, 3.0)
    }
    assert combined | {BeamConfig(beam=2)} <= set(sweeper.trials)
    tried = [sweeper.trials[one].words.errors for one in [*combined, BeamConfig(beam=2)]]
    assert sweeper.trials[grid].words.errors == min(tried)


COSTS: dict[str, dict[float, int]] = {
    "ctc_weight": {0.1: 2, 0.2: 5, 0.6: 4},
    "alpha": {0.5: 9, 0.8: 1, 1.0: 3},
    "beam": {1: 8, 2: 3, 4: 2},
}


@pytest.fixture
def supposed(sweeper: Sweeper, monkeypatch: pytest.MonkeyPatch) -> Sweeper:
    """Every setting costs its own errors, whatever the others are."""

    def measured(search: BeamConfig) -> Trial:
        errors = sum(found[getattr(search, name)] for name, found in COSTS.items())
        words = ErrorCounts(substitutions=errors, reference_length=100)
        characters = ErrorCounts(substitutions=errors, reference_length=400)
        return Trial(
            search=search,
            criterion=WER,
            words=words,
            characters=characters,
            interval=Interval(0.0, 1.0),
            real_time_factor=0.1,
            search_errors=0.0,
        )

    monkeypatch.setattr(sweeper, "_measure", measured)
    return sweeper


def test_a_sweep_shows_all_that_differs_in_its_setting_alone_by_value(supposed: Sweeper) -> None:
    """Each setting has its best beside where it stood, tried first or long before."""
    settings = read_settings(["ctc_weight=0.6,0.1", "alpha=0.8,0.5"], BeamConfig(beam=2))
    best = sweep_coordinates(supposed, BeamConfig(beam=2), settings, rounds=1)
    sweep_beams(supposed, best, (4, 1, 2))
    others = {"ctc_weight": 3 + 3, "alpha": 2 + 3, "beam": 2 + 1}
    for name, found in COSTS.items():
        shown = [(getattr(one.search, name), one.words.errors) for one in supposed.along(name)]
        assert shown == [(value, errors + others[name]) for value, errors in found.items()]
    panels = sweep_figure(supposed).axes
    ticks = {one.get_xlabel(): [tick.get_text() for tick in one.get_xticklabels()] for one in panels}
    assert ticks == {name: [str(value) for value in found] for name, found in COSTS.items()}
    counts = [sum(name in row["sweeps"].split() for row in trial_rows(supposed)) for name in COSTS]
    assert counts == [3, 3, 3]
    sweep_coordinates(supposed, best, settings, rounds=2)
    assert [one.search.ctc_weight for one in supposed.along("ctc_weight")] == [0.1, 0.6]


def test_a_grid_is_shown_through_its_best(supposed: Sweeper) -> None:
    settings = read_settings(["ctc_weight=0.6,0.1", "alpha=0.8,0.5"], BeamConfig(beam=2))
    best = sweep_grid(supposed, BeamConfig(beam=2), settings)
    assert [(one.search.ctc_weight, one.search.alpha) for one in supposed.along("alpha")] == [(0.1, 0.5), (0.1, 0.8)]
    assert [one.search.alpha for one in supposed.along("ctc_weight")] == [0.8, 0.8] and best.alpha == 0.8


def test_a_smaller_beam_may_cost_a_little(sweeper: Sweeper) -> None:
    base = sweeper.attempt(BeamConfig(beam=2), "beam")
    for beam, errors in ((1, 12), (2, 11), (4, 11), (8, 10), (16, 10)):
        words = ErrorCounts(substitutions=errors, reference_length=1000)
        trial = dataclasses.replace(base, search=BeamConfig(beam=beam), words=words)
        sweeper.trials[trial.search] = trial
    chosen = [sweeper.best(slack).search.beam for slack in (0.0, 0.00101, 0.00201, 1.0)]
    assert chosen == [8, 2, 1, 1]


def test_weights_that_say_nothing_are_not_swept(sweeper: Sweeper) -> None:
    names = [name for name, _ in usual_settings(sweeper.recognizer, sweeper.encoded, BeamConfig(beam=2))]
    assert names == ["ctc_weight", "coverage_weight", "length_bonus"]


def test_coverage_is_not_swept_without_attention(tones_run: Path, tmp_path: Path) -> None:
    settings = {"features": {"rate": 8000, "bins": 5}, "attention": {"kind": "none"}}
    tokenizer = Tokenizer.load(RunFolder(tones_run).tokenizer)
    recognizer = Recognizer(Searcher(Seq2Seq(from_mapping(ModelConfig, settings), len(tokenizer)), tokenizer))
    utterances = read_manifest(tones_run.parent / "test.jsonl")[:1]
    encoded = encode_set(recognizer, utterances, tmp_path, batch_seconds=2.0, memory_mb=10.0, disk_mb=0.0)
    names = [name for name, _ in usual_settings(recognizer, encoded, BeamConfig(beam=2, max_length_ratio=0.5))]
    assert names == ["ctc_weight", "length_bonus"]


def test_values_are_read_as_a_file_of_settings_has_them() -> None:
    given = ["guards=off,flag", "alpha=1,1e-1", "patience=null,4", "speeds=3"]
    found = dict(read_settings(given, BeamConfig()))
    assert found == {"guards": ("off", "flag"), "alpha": (1.0, 0.1), "patience": (None, 4), "speeds": (3,)}
    assert isinstance(found["alpha"][0], float)


@pytest.mark.parametrize(
    "wrong", ["beam=1,2", "ctc_weight", "ctc_weight=", "ctc=0.1", "ctc_weight=2", "alpha=x", "alpha={", "a.b=1"]
)
def test_settings_that_cannot_be_swept(wrong: str) -> None:
    with pytest.raises(UsageError):
        read_settings([wrong], BeamConfig())


def test_a_set_that_fits_nowhere_is_refused(sweeper: Sweeper, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="memory_mb"):
        encode_set(
            sweeper.recognizer, sweeper.encoded.utterances, tmp_path, batch_seconds=9.0, memory_mb=0.0, disk_mb=0.0
        )


def test_a_full_disk_is_told_in_one_line(
    sweeper: Sweeper, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is written to /dev/full meets a disk without room."""
    (full := tmp_path / "full").mkdir()
    utterances = sweeper.encoded.utterances
    for number in range(1, len(utterances) + 1):
        (full / f"{number}.pt").symlink_to("/dev/full")

    def encode(_: object) -> int:
        limits: dict[str, Any] = {"batch_seconds": 2.0, "memory_mb": 0.0, "disk_mb": 10.0}
        return len(encode_set(sweeper.recognizer, utterances, full, **limits, speeds=1).batches)

    assert exit_code_of(encode, []) == 1
    (line,) = [one for one in capsys.readouterr().err.splitlines() if one.startswith("error: ")]
    assert f"{full}/" in line and "TMPDIR" in line and "disk_mb" in line
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    with pytest.raises(CheckpointError, match=r"^no temporary folder can be made \(No such file or directory\)"):
        temporary_folder()


@pytest.mark.parametrize(
    "wrong",
    [
        {"beams": ()},
        {"beams": (0,)},
        {"rounds": 0},
        {"slack": -0.1},
        {"slack": 2.0},
        {"utterances": 0},
        {"run": Path("a"), "name": "a"},
    ],
)
def test_settings_that_cannot_be_used(wrong: dict) -> None:
    with pytest.raises(UsageError):
        TuneConfig(**wrong)


def test_an_ngram_model_takes_part_and_decoding_and_the_library_take_it_too(
    tones_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    run = shutil.copytree(tones_run, tmp_path / "run", ignore=shutil.ignore_patterns("decode_*", "plots"))
    texts = [one.text for one in read_manifest(tones_run.parent / "train.jsonl")]
    (tmp_path / "text.txt").write_text("\n".join(texts) + "\n")
    arpa = tmp_path / "words.arpa"
    assert call(fit_ngram.main, "--text", tmp_path / "text.txt", "--run", run, "--order", 2, "--out", arpa) == 0
    sweep = ("--sweep", "ngram_weight=0.0,0.4", "--beams", 2)
    assert call(tune.main, "--run", run, "--beam", 2, "--ngram", arpa, *sweep) == 0
    assert load_yaml(run / TUNED, Tuned).ngram == arpa
    assert call(decode.main, "--run", run, "--out", tmp_path / "out") == 0
    assert load_yaml(tmp_path / "out/decode.yaml", DecodeConfig).ngram == arpa
    tuned = dataclasses.replace(load_yaml(run / TUNED, Tuned), search=BeamConfig(beam=3, ngram_weight=0.5))
    (run / TUNED).write_text(to_yaml(tuned))
    utterances = read_manifest(tones_run.parent / "test.jsonl")[:2]
    for flags, scores in (((), {"attention", "ctc", "ngram"}), (("--no_tuned",), {"attention", "ctc"})):
        assert call(decode.main, "--run", run, "--out", tmp_path / f"out{len(flags)}", *flags) == 0
        line = json.loads((tmp_path / f"out{len(flags)}/hyp.jsonl").read_text().splitlines()[0])
        assert line["scores"].keys() == scores
    capsys.readouterr()
    loaded = Recognizer.load(run)
    assert loaded.default_search == tuned.search and capsys.readouterr().err == ""
    assert all("ngram" in one.scores for one in loaded.transcribe(utterances))
    assert Recognizer.load(run, tuned=False).searcher.ngram is None
    arpa.unlink()
    loaded = Recognizer.load(run)
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith("warning: searching by default") and str(arpa) in said
    assert loaded.default_search == BeamConfig() and loaded.searcher.ngram is None and loaded.tuned is None
    with pytest.raises(ManifestError, match=arpa.name):
        Recognizer.load(run, ngram=arpa)
