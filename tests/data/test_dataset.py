from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from seq2seq_asr.data.augment import SpeedPerturbConfig
from seq2seq_asr.data.batching import Item
from seq2seq_asr.data.dataset import Example, InputReader, SpeechDataset, collate
from seq2seq_asr.data.sources import read_source
from seq2seq_asr.data.tokenizer import Tokenizer, TokenizerConfig
from seq2seq_asr.data.utterance import Utterance
from seq2seq_asr.errors import AudioError
from seq2seq_asr.vocabulary import BLANK

RATE = 8000
TEXTS = ("one two", "Two", "one one one", "two one")


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.train(TEXTS, TokenizerConfig(kind="char", vocabulary_size=20, normaliser="basic"))


@pytest.fixture
def spoken(tmp_path: Path) -> list[Utterance]:
    """Noise of 0.1 to 0.4 s in 16-bit files."""
    utterances = []
    for index, text in enumerate(TEXTS):
        samples = np.random.uniform(-1, 1, RATE * (index + 1) // 10)
        path = tmp_path / f"{index}.wav"
        soundfile.write(path, samples, RATE, subtype="PCM_16")
        utterances.append(Utterance(id=f"u{index}", text=text, duration=len(samples) / RATE, audio=path))
    return utterances


@pytest.fixture
def computed(tmp_path: Path) -> list[Utterance]:
    """Arrays of features."""
    utterances = []
    for index, text in enumerate(TEXTS):
        path = tmp_path / f"{index}.npy"
        np.save(path, np.random.randn(10 + index, 5).astype(np.float32))
        utterances.append(Utterance(id=f"f{index}", text=text, duration=(10 + index) / 100, features=path))
    return utterances


def test_sixteen_bit_audio_and_features_reach_the_model_unchanged(spoken, computed):
    for utterance in spoken:
        expected = soundfile.read(utterance.audio, dtype="float32")[0]
        np.testing.assert_array_equal(InputReader(RATE)(utterance), expected)
    for utterance in computed:
        np.testing.assert_array_equal(InputReader(RATE, 5)(utterance), np.load(utterance.features))


def test_audio_beyond_full_scale_is_made_softer_as_a_whole_wherever_it_comes_from(tmp_path):
    path, loud = tmp_path / "loud.wav", np.array([1.5, -3.0, 0.75, 0.3], dtype=np.float32)
    soundfile.write(path, loud, RATE, subtype="FLOAT")
    reader, utterance = InputReader(RATE), Utterance(id="x", text="x", duration=4 / RATE, audio=path)
    found = [reader(utterance), *(read_source(source, reader) for source in (path, utterance, loud))]
    for samples in found:
        np.testing.assert_allclose(samples, loud / 3, atol=1 / 32768)
        np.testing.assert_array_equal(samples, found[0])


@pytest.mark.parametrize("corpus", ["spoken", "computed"])
def test_what_is_kept_in_memory_equals_the_file_and_fits_the_room(corpus, request):
    utterances = request.getfixturevalue(corpus)
    size = 5 if corpus == "computed" else None
    plain, roomy = InputReader(RATE, size), InputReader(RATE, size, memory_mb=1.0)
    sizes = [InputReader(RATE, size, memory_mb=1.0)._read(one).nbytes for one in utterances]
    tight = InputReader(RATE, size, memory_mb=sum(sizes[:2]) / 2**20)
    expected = [plain(one) for one in utterances]
    for _ in range(2):
        for reader in (roomy, tight, plain):
            for utterance, array in zip(utterances, expected, strict=True):
                result = reader(utterance)
                assert result.dtype == np.float32
                np.testing.assert_array_equal(result, array)
    assert (len(plain.kept), len(tight.kept), len(roomy.kept)) == (0, 2, len(utterances))
    assert tight.room >= 0
    for utterance in utterances:
        (utterance.audio or utterance.features).unlink()
    for utterance, array in zip(utterances, expected, strict=True):
        np.testing.assert_array_equal(roomy(utterance), array)
    with pytest.raises(AudioError):
        tight(utterances[-1])


def test_two_parts_of_one_recording_are_kept_apart(spoken):
    reader, whole = InputReader(RATE, memory_mb=1.0), spoken[3]
    half = replace(whole, id="half", duration=0.2)
    later = replace(whole, id="later", offset=0.1, duration=0.2)
    for _ in range(2):
        samples = reader(whole)
        np.testing.assert_array_equal(reader(half), samples[: RATE // 5])
        np.testing.assert_array_equal(reader(later), samples[RATE // 10 : 3 * RATE // 10])


def test_what_the_model_does_not_read_is_named(spoken, computed):
    with pytest.raises(
        AudioError, match=r"^f0: this model reads audio \(model.features.kind fbank\), not precomputed f"
    ):
        InputReader(RATE)(computed[0])
    with pytest.raises(
        AudioError, match=r"^u0: this model reads precomputed features \(model.features.kind p.*, not audio"
    ):
        InputReader(RATE, 5)(spoken[0])


def test_audio_too_short_for_a_frame_is_named(spoken):
    with pytest.raises(AudioError, match=r"0\.wav: too short"):
        InputReader(RATE, smallest=RATE // 10 + 1)(spoken[0])
    assert len(InputReader(RATE, smallest=RATE // 10)(spoken[0])) == RATE // 10


@pytest.mark.parametrize("corpus", ["spoken", "computed"])
def test_randomness_depends_on_seed_epoch_and_id_alone(corpus, request, tokenizer):
    utterances = request.getfixturevalue(corpus)
    speed = SpeedPerturbConfig(factors=tuple(np.linspace(0.8, 1.25, 10).tolist()), probability=1.0)

    def lengths(given: list[Utterance], seed: int, epoch: int, memory_mb: float = 0.0) -> dict[str, int]:
        reader = InputReader(RATE, 5 if corpus == "computed" else None, memory_mb)
        dataset = SpeechDataset(given, tokenizer, reader, speed=speed, seed=seed)
        examples = [dataset[Item(place, epoch)] for place in range(len(given))]
        return {example.id: len(example.inputs) for example in examples}

    drawn = lengths(utterances, 0, 0)
    assert lengths(utterances[::-1], 0, 0) == drawn, "the order changed what was drawn"
    assert lengths(utterances[:1], 0, 0, memory_mb=1.0)[utterances[0].id] == drawn[utterances[0].id]
    assert any(lengths(utterances, 0, epoch) != drawn for epoch in (1, 2))
    assert any(lengths(utterances, seed, 0) != drawn for seed in (1, 2))


def test_without_augmentation_an_example_is_the_utterance(spoken, tokenizer):
    dataset = SpeechDataset(spoken, tokenizer, InputReader(RATE))
    assert len(dataset) == len(spoken)
    example = dataset[Item(1, 3, counted=False)]
    assert (example.id, example.text, example.counted) == ("u1", "two", False)
    assert tokenizer.decode(example.tokens.tolist()) == "two"
    np.testing.assert_array_equal(example.inputs.numpy(), InputReader(RATE)(spoken[1]))


def test_no_speed_makes_an_utterance_too_short_for_the_model(spoken, tokenizer):
    smallest = RATE // 10 - 10
    reader, speed = InputReader(RATE, smallest=smallest), SpeedPerturbConfig(factors=(2.0,), probability=1.0)
    examples = SpeechDataset(spoken, tokenizer, reader, speed=speed)
    assert len(examples[Item(0, 0)].inputs) == RATE // 10
    assert len(examples[Item(1, 0)].inputs) == RATE // 10


def test_changing_a_batch_leaves_the_memory_as_it_is(computed, tokenizer):
    dataset = SpeechDataset(computed, tokenizer, InputReader(RATE, 5, memory_mb=1.0))
    for _ in range(2):
        batch = collate([dataset[Item(0, 0)]])
        np.testing.assert_array_equal(batch.inputs[0].numpy(), np.load(computed[0].features))
        batch.inputs.zero_()


@pytest.mark.parametrize("shape", [(), (3,)])
def test_collating_pads_with_zeros_and_blanks(shape):
    sizes, counts = [4, 7, 1], [2, 0, 3]
    examples = [
        Example(f"u{i}", "x" * i, torch.randn(size, *shape), torch.arange(4, 4 + count), i != 1)
        for i, (size, count) in enumerate(zip(sizes, counts, strict=True))
    ]
    batch = collate(examples)
    assert batch.ids == ("u0", "u1", "u2") and batch.texts == ("", "x", "xx")
    assert batch.inputs.shape == (3, 7, *shape) and batch.tokens.shape == (3, 3)
    assert batch.lengths.tolist() == sizes and batch.token_lengths.tolist() == counts
    assert batch.counted.tolist() == [1.0, 0.0, 1.0]
    for i, example in enumerate(examples):
        assert torch.equal(batch.inputs[i, : sizes[i]], example.inputs) and (batch.inputs[i, sizes[i] :] == 0).all()
        assert torch.equal(batch.tokens[i, : counts[i]], example.tokens)
        assert (batch.tokens[i, counts[i] :] == BLANK).all()
