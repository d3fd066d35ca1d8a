from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from seq2seq_asr.errors import UsageError
from seq2seq_asr.strict_yaml import MAX_FILE_BYTES, apply, from_mapping, load_yaml, read_overrides, to_mapping, to_yaml


@dataclass(frozen=True, kw_only=True)
class Encoder:
    units: int = 320
    reductions: tuple[int, ...] = (2, 2)
    dropout: float = 0.1
    kind: Literal["lstm", "gru", "off", "2"] = "lstm"

    def __post_init__(self) -> None:
        if self.units < 1:
            raise UsageError(f"units must be positive, got {self.units}")


@dataclass(frozen=True, kw_only=True)
class Model:
    encoder: Encoder = field(default_factory=Encoder)
    spare: Encoder | None = None


@dataclass(frozen=True, kw_only=True)
class Settings:
    model: Model = field(default_factory=lambda: Model(encoder=Encoder(units=7)))
    name: str = "run"
    folder: Path = Path("here")
    limit: float | None = None
    resume: bool = False
    window: tuple[int, float] = (1, 0.5)
    sets: tuple[Path, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Needy:
    manifest: Path


FLOATS = st.floats(allow_nan=False)
ENCODERS = st.builds(
    Encoder,
    units=st.integers(min_value=1),
    reductions=st.lists(st.integers()).map(tuple),
    dropout=FLOATS,
    kind=st.sampled_from(["lstm", "gru", "off", "2"]),
)
PATHS = st.text(st.characters(exclude_characters="\0"), max_size=10).map(Path)
SETTINGS = st.builds(
    Settings,
    model=st.builds(Model, encoder=ENCODERS, spare=st.none() | ENCODERS),
    name=st.one_of(
        st.text(),
        st.sampled_from(["1e-3", "on", "null", "~", "12", "2026-01-01", "<<", "=", ".inf", "a\x85b", "\u2028"]),
    ),
    folder=PATHS,
    limit=st.none() | FLOATS,
    resume=st.booleans(),
    window=st.tuples(st.integers(), FLOATS),
    sets=st.lists(PATHS).map(tuple),
)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return tmp_path_factory.mktemp("yaml") / "config.yaml"


def load(file, text, cls=Settings):
    file.write_text(text, encoding="utf-8")
    return load_yaml(file, cls)


@given(config=SETTINGS)
def test_round_trip_through_yaml(config, file):
    assert load(file, to_yaml(config)) == config


@given(config=SETTINGS)
def test_round_trip_through_a_mapping(config):
    mapping = to_mapping(config)
    assert from_mapping(Settings, mapping) == config
    # Plain values only: what a checkpoint may hold, and what any YAML reader understands.
    assert yaml.safe_load(yaml.safe_dump(mapping)) == mapping


@given(number=st.floats(allow_nan=False, allow_infinity=False))
def test_every_spelling_of_a_number(number, file):
    for spelling in (repr(number), f"{number:.17e}", f"{number:.16E}"):
        assert load(file, f"dropout: {spelling}", Encoder).dropout == float(spelling)


@pytest.mark.parametrize(
    ("text", "value"), [("1e-3", 1e-3), ("2E5", 2e5), (".5", 0.5), ("3", 3.0), ("-1.", -1.0), (".inf", float("inf"))]
)
def test_numbers_that_yaml_would_misread(text, value, file):
    dropout = load(file, f"dropout: {text}", Encoder).dropout
    assert dropout == value and isinstance(dropout, float)


def test_an_empty_file_changes_nothing(file):
    assert load(file, "") == Settings()
    assert load(file, "# nothing\n") == Settings()


def test_a_nested_file_changes_only_what_it_names(file):
    config = load(file, "model:\n  encoder: {dropout: 0}\nlimit: null\nsets: [a, b/c]\n")
    # The default of `model` is an encoder of 7 units, not the 320 of the class.
    assert config.model.encoder == Encoder(units=7, dropout=0.0)
    assert config == Settings(model=config.model, sets=(Path("a"), Path("b/c")))


def test_base_gives_the_values_that_the_file_leaves(file):
    base = Settings(name="base", limit=2.0, model=Model(encoder=Encoder(units=9, kind="gru"), spare=Encoder(units=3)))
    file.write_text("model: {encoder: {units: 10}, spare: {dropout: 1}}\nlimit: null", encoding="utf-8")
    config = apply(Settings, read_overrides(file, Settings), base)
    expected = Model(encoder=Encoder(units=10, kind="gru"), spare=Encoder(units=3, dropout=1.0))
    assert config == Settings(name="base", limit=None, model=expected)


def test_an_optional_config_starts_from_its_class(file):
    assert load(file, "model: {spare: {units: 5}}").model.spare == Encoder(units=5)
    assert load(file, "model: {spare: ~}").model.spare is None


def test_a_choice_is_read_as_written(file):
    assert load(file, "kind: off", Encoder).kind == "off"
    assert load(file, "kind: 2", Encoder).kind == "2"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model:\n  encoder:\n    unitz: 3", '3: model.encoder.unitz: unknown key, did you mean "units"?'),
        ("zzz: 3", "1: zzz: unknown key (known: model, name, "),
        ("name: a\nname: b", "2: name: given twice"),
        ("\nmodel: {encoder: {units: 0}}", "2: model.encoder: units must be positive, got 0"),
        ("model: {encoder: {units: 3.0}}", "1: model.encoder.units: expected an integer, got '3.0'"),
        ("model: {encoder: {units: '3'}}", "expected an integer, got '3'"),
        ("model: {encoder: {units: true}}", "expected an integer, got 'true'"),
        ("model: {encoder: {units: 010}}", "expected an integer"),
        ("model: {encoder: {units: 1:30}}", "expected an integer"),
        ("model: {encoder: {units: }}", "expected an integer, got nothing"),
        ("model: {encoder: {dropout: .nan}}", "expected a number"),
        ("model: {encoder: {dropout: 1e999}}", "expected a number"),
        ("model: {encoder: {dropout: '0.1'}}", "expected a number"),
        ("model: {encoder: {kind: lstmm}}", "model.encoder.kind: expected one of lstm, gru, off, 2, got 'lstmm'"),
        ("model: {encoder: {reductions: 2}}", "model.encoder.reductions: expected a list, got '2'"),
        ("model: {encoder: {reductions: [2,\n x]}}", "2: model.encoder.reductions[1]: expected an integer"),
        ("model: {encoder: null}", "model.encoder: expected a mapping of settings, got nothing"),
        ("model: 3", "1: model: expected a mapping of settings, got '3'"),
        ("window: [1]", "window: expected a list of 2, got 1"),
        ("name: 3", "name: expected text, got '3' (write it in quotes)"),
        ("name: no", "name: expected text, got 'no' (write it in quotes)"),
        ("name: null", "name: expected text, got nothing"),
        ("name: [a]", "name: expected text, got a list"),
        ("resume: 1", "resume: expected true or false, got '1'"),
        ("resume: yes", "resume: expected true or false, got 'yes'"),
        ("- a", "1: expected a mapping of settings, got a list"),
        ("? [a]\n: 3", "unknown key"),
        ("<<: {name: b}", "<<: unknown key"),
        ("a: [", "expected"),
        ("a: 1\n--- \nb: 2", "expected a single document"),
        ('name: "\\U7fffffff"', ""),
        ("name: \0", ""),
        ("[" * 3000, ""),
    ],
)
def test_one_clear_line_an_error(text, message, file):
    with pytest.raises(UsageError) as caught:
        load(file, text)
    line = str(caught.value)
    assert line.startswith(f"{file}:") and message in line and "\n" not in line


@pytest.mark.parametrize(
    "text",
    [
        "name: !!python/object/apply:os.system ['touch TARGET']",
        "!!python/object/apply:os.system ['touch TARGET']",
        "model: !mine {encoder: {units: 3}}",
        "model: {encoder: {reductions: !!python/tuple [1, 2]}}",
    ],
)
def test_tags_are_refused_and_run_nothing(text, file, tmp_path):
    target = tmp_path / "touched"
    with pytest.raises(UsageError, match="tag .* is not allowed"):
        load(file, text.replace("TARGET", str(target)))
    assert not target.exists()


# Whole lines that mean something to the reader, so that random files get past its first check.
LINES = st.sampled_from(
    r"""model:
  encoder:
    units: 3
    kind: gru
name: &a x
limit: *a
sets: [a]
? b
- 1
%YAML 9
name: !!int x
resume: on
window: [1, 1e-3]
---
...
model: &m {spare: *m}
"\x
{
]
!<
<<: *a""".splitlines()
)


@given(text=st.one_of(st.lists(LINES, max_size=8).map("\n".join), st.text(), st.text("[]{}:,&*!|>'\"%@`-? \nab1.~#")))
def test_only_usage_errors_escape_from_text(text, file):
    try:
        assert isinstance(load(file, text), Settings)
    except UsageError as error:
        assert "\n" not in str(error)


@given(content=st.binary(max_size=60))
def test_only_usage_errors_escape_from_bytes(content, file):
    file.write_bytes(content)
    try:
        load_yaml(file, Settings)
    except UsageError as error:
        assert str(file) in str(error) and "\n" not in str(error)


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just(object()) | st.just(b"x"),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["model", "encoder", "units", "name"]), inner),
)


@given(mapping=st.dictionaries(st.sampled_from(["model", "name", "limit", "sets", "window"]), PLAIN))
def test_only_usage_errors_escape_from_a_mapping(mapping):
    try:
        assert isinstance(from_mapping(Settings, mapping), Settings)
    except UsageError as error:
        assert "\n" not in str(error)


def test_a_mapping_that_holds_itself_is_refused():
    loop: dict = {}
    loop["model"] = loop
    with pytest.raises(UsageError, match="model"):
        from_mapping(Settings, loop)


def test_aliases_cannot_blow_up(file):
    levels = ["l0: &l0 [x, x]", *(f"l{i}: &l{i} [*l{i - 1}, *l{i - 1}]" for i in range(1, 40)), "name: *l39"]
    with pytest.raises(UsageError, match="unknown key"):
        load(file, "\n".join(levels))


def test_a_required_field_must_come_from_somewhere(file):
    with pytest.raises(UsageError, match="manifest: is required"):
        load(file, "", Needy)
    assert load(file, "manifest: a", Needy) == Needy(manifest=Path("a"))
    file.write_text("", encoding="utf-8")
    assert apply(Needy, read_overrides(file, Needy), Needy(manifest=Path("b"))) == Needy(manifest=Path("b"))


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(UsageError, match="missing.yaml: cannot be read"):
        load_yaml(tmp_path / "missing.yaml", Settings)
    with pytest.raises(UsageError, match="cannot be read"):
        load_yaml(tmp_path, Settings)
    large = tmp_path / "large.yaml"
    large.write_bytes(b" " * (MAX_FILE_BYTES + 1))
    with pytest.raises(UsageError, match="larger"):
        load_yaml(large, Settings)
