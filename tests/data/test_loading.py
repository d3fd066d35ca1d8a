from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from torch.utils.data import DataLoader

from seq2seq_asr.data.augment import SpeedPerturbConfig
from seq2seq_asr.data.batching import BatchingConfig
from seq2seq_asr.data.dataset import Batch, InputReader
from seq2seq_asr.data.loading import (
    DataConfig,
    evaluation_loader,
    read_split,
    spread_evenly,
    training_loader,
    within_limits,
)
from seq2seq_asr.data.manifest import write_manifest
from seq2seq_asr.data.tokenizer import Tokenizer, TokenizerConfig
from seq2seq_asr.data.utterance import Utterance
from seq2seq_asr.errors import ManifestError, UsageError

RATE = 8000


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> list[Utterance]:
    """Eleven utterances of noise."""
    folder, random = tmp_path_factory.mktemp("noise"), np.random.default_rng(0)
    utterances = []
    for index in range(11):
        samples = random.uniform(-0.5, 0.5, 400 + 53 * index)
        path = folder / f"{index}.wav"
        soundfile.write(path, samples, RATE)
        utterances.append(
            Utterance(id=f"u{index}", text="ab" * (1 + index % 3), duration=len(samples) / RATE, audio=path)
        )
    return utterances


@pytest.fixture(scope="module")
def tokenizer(corpus: list[Utterance]) -> Tokenizer:
    return Tokenizer.train((one.text for one in corpus), TokenizerConfig(kind="char", vocabulary_size=8))


def settings(speed: float = 1.0, workers: int = 0) -> DataConfig:
    return DataConfig(
        batching=BatchingConfig(batch_seconds=0.4, max_utterances=4),
        speed=SpeedPerturbConfig(probability=speed),
        workers=workers,
    )


def counted(batches: list[Batch]) -> list[str]:
    return sorted(name for one in batches for name, counts in zip(one.ids, one.counted, strict=True) if counts)


def equal(one: Batch, other: Batch) -> bool:
    return one.ids == other.ids and all(map(torch.equal, one[2:], other[2:]))


@pytest.mark.parametrize("world", [1, 2, 5])
@pytest.mark.parametrize("build", ["train", "evaluate"])
def test_loaders_of_all_ranks_give_each_utterance_once_in_equal_steps(corpus, tokenizer, world, build):
    def load(rank: int) -> DataLoader:
        if build == "train":
            return training_loader(corpus, tokenizer, settings(), InputReader(RATE), seed=3, rank=rank, world=world)
        return evaluation_loader(corpus, tokenizer, settings(), InputReader(RATE), rank=rank, world=world)

    ranks = [list(load(rank)) for rank in range(world)]
    assert len({len(batches) for batches in ranks}) == 1
    assert counted([one for batches in ranks for one in batches]) == sorted(one.id for one in corpus)


def test_workers_give_the_same_batches_as_none(corpus, tokenizer):
    def load(workers: int) -> list[Batch]:
        config = settings(workers=workers)
        loader = training_loader(corpus, tokenizer, config, InputReader(RATE, memory_mb=1.0), seed=3)
        return [*loader, *loader]

    alone, shared = load(0), load(2)
    assert len(alone) == len(shared)
    assert all(map(equal, alone, shared))


def test_a_training_loader_can_be_put_anywhere_in_an_epoch(corpus, tokenizer):
    def load(epoch: int, start: int) -> list[Batch]:
        loader = training_loader(corpus, tokenizer, settings(), InputReader(RATE), seed=3)
        loader.batch_sampler.seek(epoch, start)  # type: ignore[union-attr]
        return list(loader)

    whole, rest = load(1, 0), load(1, 2)
    assert len(rest) == len(whole) - 2 and all(map(equal, whole[2:], rest))


def test_speed_changes_training_only_and_only_when_asked(corpus, tokenizer):
    def lengths(loader: DataLoader) -> list[int]:
        return sorted(length for batch in loader for length in batch.lengths.tolist())

    plain = sorted(round(one.duration * RATE) for one in corpus)
    reader = InputReader(RATE)
    assert lengths(training_loader(corpus, tokenizer, settings(), reader, seed=0)) != plain
    assert lengths(training_loader(corpus, tokenizer, settings(speed=0.0), reader, seed=0)) == plain
    assert lengths(evaluation_loader(corpus, tokenizer, settings(), reader)) == plain


def test_a_split_joins_manifests_and_names_the_one_that_repeats_an_id(corpus, tmp_path):
    paths = [tmp_path / f"{name}.jsonl" for name in "abc"]
    for path, part in zip(paths, (corpus[:4], corpus[4:], corpus[3:4]), strict=True):
        write_manifest(path, part)
    assert read_split(paths[:2]) == corpus
    with pytest.raises(ManifestError, match=r"c\.jsonl:1: id 'u3' is also in .*a\.jsonl:4$"):
        read_split([paths[0], paths[2], paths[1]])


def test_a_kaldi_folder_too_is_named_with_its_line(corpus, tmp_path):
    manifest, folder = tmp_path / "a.jsonl", tmp_path / "kaldi"
    write_manifest(manifest, corpus)
    folder.mkdir()
    (folder / "text").write_text("x ah\nu3 oh\n")
    (folder / "wav.scp").write_text(f"u3 {corpus[3].audio}\nx {corpus[1].audio}\n")
    with pytest.raises(ManifestError, match=r"kaldi/wav\.scp:1: id 'u3' is also in .*a\.jsonl:4$"):
        read_split([manifest, folder])


def test_what_the_model_does_not_read_is_named_with_its_line(corpus, tmp_path):
    path, features = tmp_path / "mixed.jsonl", Utterance(id="f", text="a", duration=1.0, features=tmp_path / "f.npy")
    write_manifest(path, [*corpus[:2], features])
    for wanted, line in ((False, 3), (True, 1)):
        with pytest.raises(ManifestError, match=rf"mixed\.jsonl:{line}: this model reads .*features.kind"):
            read_split([path], features=wanted)
    assert len(read_split([path])) == 3


def test_utterances_outside_the_limits_are_left_out_and_counted(corpus, capsys):
    durations = sorted(one.duration for one in corpus)
    config = DataConfig(min_seconds=durations[2], max_seconds=durations[8])
    assert sorted(one.duration for one in within_limits(corpus, config)) == durations[2:9]
    told = capsys.readouterr()
    assert "4 of 11" in told.err and told.out == ""
    assert within_limits(corpus, DataConfig(min_seconds=0.0)) == corpus
    assert capsys.readouterr().err == ""
    with pytest.raises(ManifestError, match="no training utterance"):
        within_limits(corpus, DataConfig(min_seconds=5.0))


@pytest.mark.parametrize(
    ("named", "given"),
    [
        ("data.train and data.dev", {"train": (Path("a"),)}),
        ("data.train and data.dev", {"dev": (Path("a"),)}),
        ("data.workers", {"workers": -1}),
        ("data.memory_mb", {"memory_mb": float("inf")}),
        ("data.memory_mb", {"memory_mb": -1.0}),
        ("data.min_seconds", {"min_seconds": -1.0}),
        ("data.max_seconds", {"min_seconds": 2.0, "max_seconds": 1.0}),
    ],
)
def test_impossible_settings_are_named(named, given):
    with pytest.raises(UsageError, match=named):
        DataConfig(**given)


@pytest.mark.parametrize("count", [0, 1, 5, 11, 40])
def test_a_subset_is_fixed_and_spread(corpus: list[Utterance], count: int) -> None:
    subset = spread_evenly(corpus, count)
    places = [corpus.index(one) for one in subset]
    assert len(subset) == (len(corpus) if count in (0, 40) else count)
    assert places == sorted(set(places))
    gaps = [after - before for before, after in zip(places, places[1:], strict=False)]
    assert not gaps or max(gaps) - min(gaps) <= 1
    assert subset == spread_evenly(corpus, count)
