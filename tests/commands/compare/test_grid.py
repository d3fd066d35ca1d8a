"""Grids: every combination once, under its own name; impossible ones are refused with their name."""

from pathlib import Path

import pytest

from seq2seq_asr.commands.compare.config import CompareConfig
from seq2seq_asr.commands.compare.grid import Run, expand, parse_axis, runs_of
from seq2seq_asr.commands.fit.targets import with_settings_that_hold
from seq2seq_asr.compare import check_folders_differ, leading_files, main, parse_compare
from seq2seq_asr.data.tokenizer import Tokenizer, TokenizerConfig
from seq2seq_asr.errors import UsageError
from seq2seq_asr.strict_yaml import override

ROOT = Path(__file__).parents[3]
SPOKEN = ROOT / "configs" / "spoken.yaml"
CELLS = "model.encoder.cell + model.decoder.cell = elman, gru"
KINDS = "model.attention.kind = none, location"


def compare(*axes: str, configs: tuple[Path, ...] = (SPOKEN,), **settings: object) -> CompareConfig:
    return CompareConfig(configs=configs, axes=axes, **settings)  # type: ignore[arg-type]


def test_every_combination_has_its_settings() -> None:
    systems = expand(compare(CELLS, KINDS, settings=("trainer.epochs = 3",)))
    assert [one.name for one in systems] == ["elman_none", "elman_location", "gru_none", "gru_location"]
    for one in systems:
        cell, kind = one.name.split("_")
        assert (one.config.model.encoder.cell, one.config.model.decoder.cell) == (cell, cell)
        assert one.config.model.attention.kind == kind and one.config.trainer.epochs == 3
        assert one.place == {"encoder.cell": cell, "attention.kind": kind}
        assert one.config.logging.wandb == "off"


def test_true_and_false_are_named_after_their_setting() -> None:
    systems = expand(compare("model.features.pitch = false, true", KINDS))
    assert [one.name for one in systems] == ["no_pitch_none", "no_pitch_location", "pitch_none", "pitch_location"]
    assert [one.config.model.features.pitch for one in systems] == [False, False, True, True]
    assert systems[2].place == {"features.pitch": "true", "attention.kind": "none"}


def test_axes_of_one_ending_keep_apart() -> None:
    ends = "regularisation.zoneout"
    systems = expand(compare(*[f"model.{part}.{ends} = 0.0, 0.1" for part in ("encoder", "decoder")]))
    for one in systems:
        model = one.config.model
        chosen = (model.encoder.regularisation.zoneout, model.decoder.regularisation.zoneout)
        assert one.place == {f"encoder.{ends}": str(chosen[0]), f"decoder.{ends}": str(chosen[1])}


def test_configs_are_systems_of_their_own(tmp_path: Path) -> None:
    for name, units in (("small", 8), ("large", 32)):
        (tmp_path / f"{name}.yaml").write_text(f"model: {{encoder: {{units: {units}}}}}\n")
    files = (tmp_path / "small.yaml", tmp_path / "large.yaml")
    systems = expand(compare(configs=files))
    assert [(one.name, one.config.model.encoder.units) for one in systems] == [("small", 8), ("large", 32)]
    crossed = expand(compare(KINDS, configs=files))
    assert [one.name for one in crossed] == ["small_none", "small_location", "large_none", "large_location"]
    assert crossed[0].place == {"config": "small", "attention.kind": "none"}


def test_runs_are_all_systems_with_all_seeds() -> None:
    systems = expand(compare(CELLS, KINDS, name="grid", seeds=(4, 7)))
    runs = runs_of(systems, (4, 7))
    assert len({run.name for run in runs}) == 8
    assert [run.seed for run in runs] == [4] * 4 + [7] * 4, "all systems of a seed come before the next seed"
    assert runs[5].name == "elman_location_seed7" and runs[5].config.seed == 7
    assert runs[5].path == Path("checkpoints/grid/elman_location_seed7")


def test_a_list_is_one_value() -> None:
    axis = parse_axis("model.encoder.reductions = [2, 2], [4]")
    assert axis.values == ("[2, 2]", "[4]")
    systems = expand(compare("model.encoder.reductions = [2, 2], [4]"))
    assert [one.config.model.encoder.reductions for one in systems] == [(2, 2), (4,)]
    assert [one.name for one in systems] == ["2-2", "4"]


@pytest.mark.parametrize(
    ("axes", "told"),
    [
        (["model.encoder.cell"], "not of the form"),
        (["model.encoder.cell = elman, elman"], "names something twice"),
        (["model.encoder.cell = elman,"], "not of the form"),
        (["model.encoder.cel = elman, gru"], 'system elman: model.encoder.cel: unknown key, did you mean "cell"'),
        (["model.encoder.cell = elman, grue"], "system grue: model.encoder.cell: expected one of"),
        (["model.attention.kind = none, location", "model.attention.heads = 1, 2"], "system none_2: .*attention.heads"),
        (["seed = 1, 2"], "seed: is set by the comparison itself"),
        ([KINDS, KINDS], "model.attention.kind: is given twice"),
        (["model.encoder.cell = gru"], "a comparison takes two systems"),
        (["model.encoder.reductions = [2], 2"], "system 2: model.encoder.reductions: expected a list"),
    ],
)
def test_what_is_impossible_is_refused_by_name(axes: list[str], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        expand(compare(*axes))


def test_two_systems_of_the_same_settings_are_refused(tmp_path: Path) -> None:
    """The tokenizer that is kept has settings of its own, so that what the axis gives is not used."""
    (tmp_path / "config.yaml").write_text("tokenizer: {vocabulary_size: 60}\n")
    for needed in ("tokenizer.model", "last.ckpt"):
        (tmp_path / needed).touch()
    axis = "tokenizer.vocabulary_size = 40, 80"
    kept = (f"init_from = {tmp_path}", "keep_tokenizer = true")
    assert [one.config.tokenizer.vocabulary_size for one in expand(compare(axis, settings=kept[:1]))] == [40, 80]
    with pytest.raises(UsageError, match="systems 40 and 80: would be trained with the same settings"):
        expand(compare(axis, settings=kept))
    copy = tmp_path / "copy.yaml"
    copy.write_bytes(SPOKEN.read_bytes())
    with pytest.raises(UsageError, match="systems spoken_gru and copy_gru"):
        expand(compare("model.encoder.cell = gru, lstm", configs=(SPOKEN, copy)))


def test_a_plan_tells_of_a_tokenizer_what_its_runs_will_tell(tmp_path: Path) -> None:
    """Otherwise each run, once trained, would count as one of other settings."""
    Tokenizer.train(["a b", "b c"], TokenizerConfig(kind="char", normaliser="basic")).save(tmp_path / "own.model")
    given = (f"tokenizer.model = {tmp_path / 'own.model'}",)
    for one in expand(compare(CELLS, settings=given)):
        run = Run(system=one.name, seed=1, config=one.config)
        told = with_settings_that_hold(run.config, Tokenizer.load(tmp_path / "own.model"))
        assert run.config == told and (told.tokenizer.normaliser, told.tokenizer.vocabulary_size) == ("basic", 8)
    with pytest.raises(UsageError, match="would be trained with the same settings"):
        expand(compare("tokenizer.vocabulary_size = 40, 80", settings=given))


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ({"seeds": ()}, "seeds"),
        ({"seeds": (1, 1)}, "seeds"),
        ({"match": "time"}, "minutes"),
        ({"minutes": 3.0}, "minutes"),
        ({"parameters": 10}, "parameters"),
        ({"name": "a/b"}, "name"),
    ],
)
def test_a_comparison_refuses_what_contradicts_itself(flags: dict, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        compare(KINDS, **flags)


@pytest.mark.parametrize("path", sorted((ROOT / "configs" / "compare").glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_comparisons_expand(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    config = parse_compare(["--config", str(path), "--jobs", "2"])
    assert config.name == path.stem and config.jobs == 2 and path.read_text().startswith("# ")
    assert len(expand(config)) > 1 and config.seeds == (1, 2, 3)


def test_files_come_before_flags() -> None:
    assert leading_files(["a.yaml", "b.yaml", "--jobs", "2"]) == ["a.yaml", "b.yaml"]
    assert leading_files(["--jobs", "2"]) == []


def test_two_comparisons_never_share_a_folder(tmp_path: Path) -> None:
    files = [str(ROOT / "configs/compare" / f"{name}.yaml") for name in ("classify_words", "classify_digits")]
    check_folders_differ([(Path(file), parse_compare(["--config", file])) for file in files])
    with pytest.raises(UsageError, match="classify_words.yaml and .*classify_digits.yaml would both write to"):
        main([*files, "--name", "one", "--checkpoints", str(tmp_path)])
    assert list(tmp_path.iterdir()) == []


def test_settings_in_dotted_form_are_as_strict_as_a_file() -> None:
    config = expand(compare(KINDS))[0].config
    assert override(config, {"logging.wandb": "off", "trainer.epochs": "7"}).trainer.epochs == 7
    assert override(config, {}) == config
    for name, text in (("trainer", "3"), ("trainer.epochs", "1.5"), ("trainer.epochs", "[1"), ("a.b", "1")):
        with pytest.raises(UsageError, match=name.split(".")[0]):
            override(config, {name: text})
