"""The library: typed transcripts in order, the same alone and in any company, and clear errors."""

import dataclasses
import pickle
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from seq2seq_asr import Recognizer
from seq2seq_asr.data.batching import BatchingConfig
from seq2seq_asr.data.manifest import read_manifest
from seq2seq_asr.data.sources import Source
from seq2seq_asr.data.tokenizer import Tokenizer, TokenizerConfig
from seq2seq_asr.data.utterance import Utterance
from seq2seq_asr.errors import AsrError, AudioError, CheckpointError, TokenizerError, UsageError
from seq2seq_asr.nn.device import full_precision
from seq2seq_asr.nn.stepping import Stepping
from seq2seq_asr.recognizer import Transcript
from seq2seq_asr.recognizer.scoring import EnsembleModel
from seq2seq_asr.recognizer.searcher import Searcher
from seq2seq_asr.search.attention import AttentionScorer
from seq2seq_asr.search.beam import BeamConfig
from seq2seq_asr.search.greedy import greedy_search
from seq2seq_asr.search.replay import Places

SEARCHES = [
    BeamConfig(beam=1, ctc_weight=0.0),
    BeamConfig(beam=4, ctc_weight=0.0),
    BeamConfig(beam=4, nbest=3),
    BeamConfig(beam=4, speeds=5),
]


@pytest.fixture
def run(tones_run: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    ignored = shutil.ignore_patterns("decode_*", "plots")
    return shutil.copytree(tones_run, tmp_path / "run", ignore=ignored)


def audio_of(utterance: Utterance) -> Path:
    assert utterance.audio is not None
    return utterance.audio


def same(one: Transcript, other: Transcript) -> bool:
    """Equal but for the id and for rounding."""
    figures = np.allclose([one.score, one.log_prob], [other.score, other.log_prob], atol=1e-4)
    rest = dataclasses.replace(one, id="", score=0.0, log_prob=0.0, scores={}, nbest=()) == dataclasses.replace(
        other, id="", score=0.0, log_prob=0.0, scores={}, nbest=()
    )
    nbest = len(one.nbest) == len(other.nbest) and all(map(same, one.nbest, other.nbest))
    return bool(figures) and rest and nbest


def test_it_recognises_and_answers_in_order(recognizer: Recognizer, utterances: list[Utterance]) -> None:
    found = recognizer.transcribe(utterances)
    assert [one.id for one in found] == [one.id for one in utterances]
    right = sum(one.text == utterance.text for one, utterance in zip(found, utterances, strict=True))
    assert right >= len(utterances) / 2, "the toy was not learnt: the other tests would show nothing"


@pytest.mark.parametrize(
    "search", SEARCHES, ids=lambda search: f"beam{search.beam}-ctc{search.ctc_weight}-{search.speeds}"
)
def test_a_transcript_does_not_depend_on_its_company(
    recognizer: Recognizer, utterances: list[Utterance], search: BeamConfig
) -> None:
    utterances = utterances[:6]  # of one to four words
    alone = [recognizer.transcribe([one], search)[0] for one in utterances]
    assert all(map(same, recognizer.transcribe(utterances, search), alone))
    assert all(map(same, recognizer.transcribe(utterances[::-1], search), alone[::-1]))
    for places, results in recognizer.stream(utterances, search, BatchingConfig(max_utterances=2)):
        for place, result in zip(places, results, strict=True):
            assert len(places) <= 2 and isinstance(result, Transcript) and same(result, alone[place])


def test_a_transcript_tells_scores_and_times(recognizer: Recognizer, utterances: list[Utterance]) -> None:
    for utterance, found in zip(utterances, recognizer.transcribe(utterances, SEARCHES[2]), strict=True):
        assert found.text == recognizer.tokenizer.decode([recognizer.tokenizer.encode(found.text)][0])
        assert "".join(found.pieces).replace("▁", " ").strip() == found.text
        assert len(found.times) == len(found.pieces) and found.ended
        assert all(0 < time < utterance.duration + recognizer.model.frame_shift for time in found.times)
        assert found.scores.keys() == {"attention", "ctc"} and found.scores["attention"] == found.log_prob < 0
        assert 1 <= len(found.nbest) <= 3 and found.nbest[0] == dataclasses.replace(found, nbest=())
        assert [one.score for one in found.nbest] == sorted((one.score for one in found.nbest), reverse=True)


def test_one_beam_without_ctc_is_greedy_search(recognizer: Recognizer, utterances: list[Utterance]) -> None:
    for utterance, found in zip(utterances, recognizer.transcribe(utterances, SEARCHES[0]), strict=True):
        samples = torch.from_numpy(recognizer.reader(utterance))[None]
        with torch.inference_mode():
            encoded = recognizer.model.encode(samples, torch.tensor([samples.shape[1]]))
            scorer = AttentionScorer(recognizer.model.decoder, recognizer.model.memory(encoded))
            (greedy,) = greedy_search(scorer, encoded.lengths)
        assert recognizer.tokenizer.decode(greedy.tokens) == found.text
        assert found.log_prob == pytest.approx(greedy.log_prob, abs=1e-4)


def test_warming_up_is_a_search_as_it_will_be(recognizer: Recognizer, monkeypatch: pytest.MonkeyPatch) -> None:
    searched: list[tuple[int, list[int], BeamConfig]] = []

    def noted(self, hearings, search, find=Searcher.hypotheses) -> list:
        searched.append((len(hearings), hearings[0].lengths.tolist(), search))
        return find(self, hearings, search)

    monkeypatch.setattr(Searcher, "hypotheses", noted)
    for given in (BeamConfig(beam=3, speeds=3), None):
        searched.clear()
        recognizer.warm_up(given)
        speeds, lengths, search = searched[0]
        assert len(lengths) == 1 and lengths[0] > 0 and search == (given or recognizer.default_search)
        assert speeds == search.speeds


def test_files_samples_and_utterances_are_alike(recognizer: Recognizer, utterances: list[Utterance]) -> None:
    paths = [audio_of(one) for one in utterances]
    samples = [soundfile.read(path)[0] for path in paths]  # float64
    expected = recognizer.transcribe(utterances)
    mixed = [str(paths[0]), paths[1], samples[2], samples[3].astype(np.float32), *utterances[4:]]
    found = recognizer.transcribe(mixed)
    assert all(map(same, found, expected))
    assert [one.id for one in found[:4]] == [str(paths[0]), str(paths[1]), "2", "3"]


@pytest.mark.parametrize("suffix", ["flac", "ogg", "mp3", "wav"])
def test_any_format_rate_and_channels(
    recognizer: Recognizer, utterances: list[Utterance], suffix: str, tmp_path: Path
) -> None:
    chosen = utterances[3]
    samples, rate = soundfile.read(audio_of(chosen))
    # Upsampled by two with a filter that is flat where the tones are.
    double = np.fft.irfft(np.pad(np.fft.rfft(samples), (0, len(samples) // 2)), 2 * len(samples)) * 2
    path = tmp_path / f"a.{suffix}"
    soundfile.write(path, np.stack([double, double], axis=1), 2 * rate)
    assert recognizer.transcribe([path])[0].text == recognizer.transcribe([chosen])[0].text


def test_much_longer_audio_leaves_the_others_as_they_are(recognizer: Recognizer, utterances: list[Utterance]) -> None:
    samples = [soundfile.read(audio_of(one), dtype="float32")[0] for one in utterances]
    long = np.concatenate(samples * 3)
    assert len(long) > 15 * max(map(len, samples))
    search = BeamConfig(beam=2, max_length_ratio=0.5)
    found = recognizer.transcribe([samples[0], long, samples[1]], search)
    assert all(map(same, (found[0], found[2]), recognizer.transcribe(samples[:2], search)))


def test_a_cut_transcript_says_so(recognizer: Recognizer, utterances: list[Utterance]) -> None:
    found = recognizer.transcribe(utterances[3:4], BeamConfig(beam=2, max_length_ratio=0.01))
    assert not found[0].ended and len(found[0].pieces) == 1


def test_nothing_to_transcribe(recognizer: Recognizer) -> None:
    assert recognizer.transcribe([]) == []


def test_one_source_alone_is_refused(recognizer: Recognizer, utterances: list[Utterance]) -> None:
    with pytest.raises(UsageError, match="takes a list"):
        recognizer.transcribe("a.flac")


def test_one_hot_word_alone_is_refused(tones_run: Path) -> None:
    with pytest.raises(UsageError, match="^hotwords takes a list, even for a single one$"):
        Recognizer.load(tones_run, device="cpu", hotwords="anna")


@pytest.mark.parametrize(
    ("samples", "why"),
    [
        (np.zeros(4000, np.float32), "silent"),
        (np.zeros(0, np.float32), "too short"),
        (np.ones(100, np.float32), "too short"),
        (np.full(4000, np.nan), "NaN"),
        (np.linspace(-9e3, 9e3, 4000), "samples reach 9000 where full scale is 1"),
        (np.linspace(-9e3, 9e3, 50 * 8000), "samples reach 9000 where full scale is 1"),
        (np.ones((4000, 2), np.float32), "expected floating-point"),
        (np.ones((1, 4000), np.float32), "too short"),
        (np.arange(4000, dtype=np.int16), "expected floating-point"),
    ],
)
def test_samples_that_cannot_be_used(recognizer: Recognizer, samples: np.ndarray, why: str) -> None:
    with pytest.raises(AudioError, match=why):
        recognizer.transcribe([samples])


def test_what_cannot_be_read_does_not_take_others_along(
    recognizer: Recognizer, utterances: list[Utterance], tmp_path: Path
) -> None:
    (tmp_path / "text.wav").write_text("no audio")
    missing = dataclasses.replace(utterances[0], id="missing", audio=tmp_path / "missing.wav")
    features = dataclasses.replace(utterances[0], id="features", audio=None, features=tmp_path / "a.npy")
    sources: list[Source] = [
        tmp_path / "no.wav",
        utterances[0],
        missing,
        tmp_path / "text.wav",
        features,
        utterances[1],
    ]
    found: dict[int, Transcript | AsrError] = {}
    for places, results in recognizer.stream(sources, BeamConfig()):
        found |= dict(zip(places, results, strict=True))
    assert sorted(found) == list(range(6))
    assert [place for place in found if isinstance(found[place], AudioError)] == [0, 3, 2, 4]
    assert "features: this model reads audio (model.features.kind fbank), not precomputed features" in str(found[4])
    expected = recognizer.transcribe(utterances[:2])
    for place, transcript in ((1, expected[0]), (5, expected[1])):
        one = found[place]
        assert isinstance(one, Transcript) and same(one, transcript)
    with pytest.raises(AudioError, match=r"no\.wav"):
        recognizer.transcribe(sources)


def test_what_does_not_fit_the_memory_is_decoded_in_parts(
    recognizer: Recognizer, utterances: list[Utterance], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected, decode = recognizer.transcribe(utterances), recognizer._decode
    too_long = max(utterances, key=lambda one: one.duration)
    sizes = []

    def small_memory(inputs, search):
        sizes.append(len(inputs))
        if len(inputs) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        if any(id == too_long.id for id, _ in inputs):
            raise RuntimeError("[enforce fail at alloc_cpu.cpp:117] . DefaultCPUAllocator: can't allocate memory")
        return decode(inputs, search)

    monkeypatch.setattr(recognizer, "_decode", small_memory)
    ((places, results),) = recognizer.stream(utterances, BeamConfig())
    assert max(sizes) == len(utterances)
    for place, result in zip(places, results, strict=True):
        if utterances[place] is too_long:
            assert isinstance(result, AudioError) and "too long for the memory of the cpu" in str(result)
        else:
            assert isinstance(result, Transcript) and same(result, expected[place])
    monkeypatch.setattr(recognizer, "_decode", lambda *_: [][0])
    with pytest.raises(IndexError):
        recognizer.transcribe(utterances)


def test_precision_is_full_and_put_back() -> None:
    rnn: Any = torch.backends.cudnn.rnn
    before = rnn.fp32_precision
    with pytest.raises(KeyError), full_precision():
        assert rnn.fp32_precision == "ieee"
        raise KeyError
    assert rnn.fp32_precision == before


def test_weights_that_are_not_numbers_give_an_empty_transcript(tones_run: Path, utterances: list[Utterance]) -> None:
    broken = Recognizer.load(tones_run)
    with torch.no_grad():
        next(broken.model.parameters()).fill_(float("nan"))
    found = broken.transcribe(utterances[:1])[0]
    assert found.text == "" and not found.ended and found.score == -np.inf


def test_best_falls_back_to_last_and_config_yaml_is_not_needed_intact(run: Path, utterances: list[Utterance]) -> None:
    expected = Recognizer.load(run, checkpoint="last").transcribe(utterances[:2])
    (run / "best.ckpt").unlink()
    (run / "config.yaml").write_text("{garbage")
    assert Recognizer.load(str(run)).transcribe(utterances[:2]) == expected


def test_kernels_that_a_training_required_are_not_required_of_whoever_decodes(
    run: Path, utterances: list[Utterance]
) -> None:
    expected = Recognizer.load(run).transcribe(utterances[:2])
    contents = torch.load(run / "best.ckpt", weights_only=True)
    contents["seq2seq_asr"]["config"]["model"]["kernels"] = "require"
    torch.save(contents, run / "best.ckpt")
    found = Recognizer.load(run)
    assert found.model.config.kernels == "auto" and found.transcribe(utterances[:2]) == expected


class Bomb:
    """Runs code when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return Path.touch, (self.path,)


def test_nothing_is_ever_unpickled(run: Path, tmp_path: Path) -> None:
    trace = tmp_path / "executed"
    contents = torch.load(run / "best.ckpt", weights_only=True)
    for content in (Bomb(trace), {**contents, "extra": Bomb(trace)}):
        torch.save(content, run / "best.ckpt")
        with pytest.raises(CheckpointError, match=r"best\.ckpt: damaged, or not a checkpoint"):
            Recognizer.load(run)
    (run / "best.ckpt").write_bytes(pickle.dumps(Bomb(trace)))
    with pytest.raises(CheckpointError):
        Recognizer.load(run)
    assert not trace.exists()


def test_checkpoints_that_are_not_ours(run: Path) -> None:
    path, contents = run / "best.ckpt", torch.load(run / "best.ckpt", weights_only=True)
    record = contents["seq2seq_asr"]
    other = {**record, "config": {**record["config"], "model": {"encoder": {"unitz": 3}}}}
    wider = {**record, "config": {**record["config"], "model": {"encoder": {"units": 8}}}}
    for changed, why in (
        ({"state_dict": {}}, "not a checkpoint of seq2seq_asr"),
        ({**contents, "seq2seq_asr": {**record, "format": 99}}, "not a checkpoint of seq2seq_asr"),
        ({**contents, "seq2seq_asr": {**record, "config": None}}, "its model cannot be built"),
        ({**contents, "seq2seq_asr": other}, "its model cannot be built.*unitz"),
        ({**contents, "seq2seq_asr": wider}, "weights do not fit"),
        (
            {**contents, "seq2seq_asr": {**record, "tokenizer": "0" * 64}},
            "not the tokenizer best.ckpt was trained with",
        ),
    ):
        torch.save(changed, path)
        with pytest.raises(CheckpointError, match=why):
            Recognizer.load(run)
    path.write_bytes((run / "last.ckpt").read_bytes()[:5000])
    with pytest.raises(CheckpointError, match=r"best.ckpt: damaged.*; --checkpoint last takes .*last\.ckpt$"):
        Recognizer.load(run)
    assert Recognizer.load(run, checkpoint="last")


def test_tokenizers_that_do_not_belong(run: Path) -> None:
    Tokenizer.train(["other words"], TokenizerConfig(kind="char")).save(run / "tokenizer.model")
    with pytest.raises(CheckpointError, match="not the tokenizer"):
        Recognizer.load(run)
    (run / "tokenizer.model").write_bytes(b"garbage")
    with pytest.raises(TokenizerError, match=r"tokenizer\.model"):
        Recognizer.load(run)


def test_folders_that_are_no_run(run: Path) -> None:
    with pytest.raises(CheckpointError, match="no such run folder"):
        Recognizer.load(run / "nowhere")
    for name, why in (("*.ckpt", "no checkpoint"), ("config.yaml", "config.yaml is missing")):
        for path in run.glob(name):
            path.unlink()
        with pytest.raises(CheckpointError, match=why):
            Recognizer.load(run)


def test_there_must_be_such_a_device(tones_run: Path) -> None:
    with pytest.raises(UsageError, match="device"):
        Recognizer.load(tones_run, device="abacus")
    if not torch.cuda.is_available():
        with pytest.raises(UsageError, match="no GPU"):
            Recognizer.load(tones_run, device="cuda")


def test_importing_and_loading_import_nothing_they_do_not_need(tones_run: Path) -> None:
    code = (
        "import sys, seq2seq_asr; assert 'torch' not in sys.modules\n"
        "from seq2seq_asr import Recognizer; Recognizer.load(sys.argv[1]); import seq2seq_asr.kernels.plan\n"
        "heavy = {'lightning_fabric', 'wandb', 'matplotlib', 'torchaudio', 'torch._dynamo', 'triton'}\n"
        "print(*heavy & set(sys.modules))"
    )
    command = [sys.executable, "-c", code, str(tones_run)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout.strip()) == (0, ""), result.stderr


def test_rounded_up_shapes_and_steps_in_places_change_nothing(tones_run: Path) -> None:
    """As on a GPU, where a shape's steps are recorded; here they are not, but all else is done."""
    plain, other = Recognizer.load(tones_run), Recognizer.load(tones_run)
    other.searcher.places = Places()
    other.searcher.members = (EnsembleModel(other.model, Stepping(other.model.decoder)),)
    utterances = read_manifest(tones_run.parent / "test.jsonl")
    for search in (BeamConfig(), BeamConfig(beam=3, nbest=2, ctc_weight=0.0)):
        for one, wanted in zip(other.transcribe(utterances, search), plain.transcribe(utterances, search), strict=True):
            assert one.text == wanted.text and one.score == pytest.approx(wanted.score, abs=1e-4)
            assert [word.start for word in one.words] == [word.start for word in wanted.words]
