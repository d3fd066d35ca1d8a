import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest
import tyro
import yaml
from hypothesis import given
from hypothesis import strategies as st

from seq2seq_asr.command_line import parse
from seq2seq_asr.console import exit_code_of
from seq2seq_asr.errors import UsageError
from seq2seq_asr.strict_yaml import load_yaml


@dataclass(frozen=True, kw_only=True)
class Encoder:
    """How frames become states."""

    units: int = 320
    """Units of one direction."""
    reductions: tuple[int, ...] = (2, 2)
    """Frames merged before each level."""
    drop_out: float = 0.1
    """Share of zeroed activations."""
    kind: Literal["lstm", "gru"] = "lstm"
    """Recurrent cell."""

    def __post_init__(self) -> None:
        if self.units % 2:
            raise UsageError(f"units must be even, got {self.units}")


@dataclass(frozen=True, kw_only=True)
class Model:
    """The recogniser."""

    encoder: Encoder = field(default_factory=lambda: Encoder(units=64))
    """Encoder."""
    decoder: Encoder = field(default_factory=Encoder)
    """Decoder."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """A program."""

    model: Model = field(default_factory=Model)
    """Model."""
    name: str = "run"
    """Name of the run."""
    resume: bool = False
    """Go on from the last checkpoint."""
    cache: bool = True
    """Keep features."""
    limit: int | None = 10
    """Most utterances."""
    folder: Path | None = None
    """Where results go."""
    audio: tyro.conf.Positional[tuple[Path, ...]] = ()
    """Audio files."""

    def __post_init__(self) -> None:
        if self.resume and self.name == "new":
            raise UsageError("resume and name: a new run cannot be resumed")


@dataclass(frozen=True, kw_only=True)
class Needy:
    """A program that needs a manifest."""

    manifest: Path
    """Utterances."""
    model: Model = field(default_factory=Model)
    """Model."""


def run(*argv, cls=Settings):
    return parse(cls, [str(argument) for argument in argv], "program", description="Does a thing.")


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("model:\n  encoder: {units: 6, drop_out: 1e-3}\nname: file\nlimit: null\n")
    return path


def test_defaults():
    # The default of `model.encoder` has 64 units; its class has 320.
    assert run() == Settings()


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        ("--model.encoder.units 256", Settings(model=Model(encoder=Encoder(units=256)))),
        ("--model.decoder.units=256", Settings(model=Model(decoder=Encoder(units=256)))),
        ("--model.decoder.reductions 2 3 4", Settings(model=Model(decoder=Encoder(reductions=(2, 3, 4))))),
        ("--model.decoder.drop_out 2e-3", Settings(model=Model(decoder=Encoder(drop_out=2e-3)))),
        ("--model.decoder.drop-out 0", Settings(model=Model(decoder=Encoder(drop_out=0.0)))),
        ("--model.decoder.kind gru", Settings(model=Model(decoder=Encoder(kind="gru")))),
        ("--resume", Settings(resume=True)),
        ("--no-resume", Settings()),
        ("--no-cache", Settings(cache=False)),
        ("--no_cache", Settings(cache=False)),
        ("--limit None", Settings(limit=None)),
        ("--folder a/b", Settings(folder=Path("a/b"))),
        ("a.wav b.wav", Settings(audio=(Path("a.wav"), Path("b.wav")))),
        ("--resume a.wav b.wav --name x", Settings(resume=True, name="x", audio=(Path("a.wav"), Path("b.wav")))),
    ],
)
def test_flags(argv, expected):
    assert run(*argv.split()) == expected


def test_the_file_overrides_defaults(file):
    expected = Settings(model=Model(encoder=Encoder(units=6, drop_out=1e-3)), name="file", limit=None)
    assert run("--config", file) == run(f"--config={file}") == load_yaml(file, Settings) == expected


@given(data=st.data())
def test_flags_override_the_file_whatever_their_order(data, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / "ordered.yaml"
    path.write_text("name: file\nmodel: {encoder: {units: 6, kind: gru}}\nlimit: 3\n")
    groups = data.draw(
        st.permutations([["--config", path], ["--name", "flag"], ["--model.encoder.units", 8], ["--resume"]])
    )
    config = run(*(argument for group in groups for argument in group))
    assert config == Settings(name="flag", resume=True, limit=3, model=Model(encoder=Encoder(units=8, kind="gru")))


def test_the_last_file_counts(file, tmp_path):
    other = tmp_path / "other.yaml"
    other.write_text("name: other\n")
    assert run("--config", file, "--config", other) == Settings(name="other")


@pytest.mark.parametrize("flag", ["--print_config", "--print-config"])
def test_print_config_prints_what_would_be_run(flag, file, capsys, tmp_path):
    argv = ["--config", file, "--model.decoder.units", "12", "--folder", "out"]
    with pytest.raises(SystemExit) as stop:
        run(*argv, flag)
    assert stop.value.code == 0
    printed, errors = capsys.readouterr()
    assert not errors
    resolved = tmp_path / "resolved.yaml"
    resolved.write_text(printed)
    assert run("--config", resolved) == run(*argv)
    assert yaml.safe_load(printed)["model"]["decoder"]["units"] == 12


def test_help_lists_every_field_with_its_description_and_default(file, capsys):
    with pytest.raises(SystemExit) as stop:
        run("--config", file, "--help")
    assert stop.value.code == 0
    text = capsys.readouterr().out
    words = " ".join(text.replace("│", " ").split())
    assert "Does a thing." in words
    for part in ("model.encoder", "model.decoder"):
        for flag in (
            "units INT Units of",
            "reductions [INT [INT ...]] Frames",
            "drop_out FLOAT Share",
            "kind {lstm,gru}",
        ):
            assert f"--{part}.{flag}" in words
    # The file's values are the defaults that flags would override.
    for shown in (
        "Name of the run. (default: file)",
        "Units of one direction. (default: 6)",
        "Units of one direction. (default: 320)",
        "--resume, --no_resume Go on from the last checkpoint. (default: False)",
        "--limit {None}|INT Most utterances. (default: None)",
        "--config {None}|PATH",
        "--print_config",
        "AUDIO",
        "Audio files.",
    ):
        assert shown in words


@pytest.mark.parametrize(
    ("argv", "named"),
    [
        (["--model.encoder.unitz", "3"], "--model.encoder.unitz"),
        (["--model.encoder.units", "x"], "--model.encoder.units"),
        (["--model.encoder.units", "2.5"], "--model.encoder.units"),
        (["--model.encoder.units"], "--model.encoder.units"),
        (["--model.encoder.kind", "rnn"], "--model.encoder.kind"),
        (["--model.encoder.reductions", "2", "x"], "--model.encoder.reductions"),
        (["--limit", "many"], "--limit"),
        (["--config"], "--config"),
    ],
)
def test_wrong_flags_end_with_code_2_and_are_named(argv, named, capsys):
    with pytest.raises(SystemExit) as stop:
        run(*argv)
    assert stop.value.code == 2
    printed, errors = capsys.readouterr()
    assert named in errors and not printed
    assert errors.startswith("error: ") and errors.count("\n") == 1 and not set(errors) & set("│╭╰─\x1b")


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        (["--model.encoder.units", "3"], "error: units must be even, got 3"),
        (["--resume", "--name", "new"], "error: resume and name: a new run cannot be resumed"),
        (["--config", "nowhere.yaml"], "error: nowhere.yaml: cannot be read (No such file or directory)"),
        (["--model.encoder.drop_out", "nan"], "error: --model.encoder.drop_out: expected a number, got nan"),
        (["--config", ""], "error: --config: expected a YAML file, got '.'"),
        (["--config="], "error: --config: expected a YAML file, got '.'"),
    ],
)
def test_refused_values_are_one_line_and_code_2(argv, line, capsys):
    def main(arguments):
        run(*arguments)
        return 0

    assert exit_code_of(main, argv) == 2
    assert capsys.readouterr() == ("", line + "\n")


def test_an_error_of_the_file_names_its_line(file):
    file.write_text("name: a\nmodel:\n  encoder:\n    units: 3\n")
    with pytest.raises(UsageError, match=r"config\.yaml:4: model\.encoder: units must be even, got 3"):
        run("--config", file)
    file.write_text("naem: a\n")
    with pytest.raises(UsageError, match=r'config\.yaml:1: naem: unknown key, did you mean "name"\?'):
        run("--config", file, "--name", "b")


def test_a_flag_may_mend_what_the_file_breaks(file):
    file.write_text("name: new\nresume: true\nmodel: {encoder: {units: 3}}\n")
    config = run("--config", file, "--name", "old", "--model.encoder.units", "4")
    assert config == Settings(name="old", resume=True, model=Model(encoder=Encoder(units=4)))


def test_a_required_field_may_come_from_file_or_flag(file, capsys):
    assert run("--manifest", "a", cls=Needy) == Needy(manifest=Path("a"))
    file.write_text("manifest: b\n")
    assert run("--config", file, cls=Needy) == Needy(manifest=Path("b"))
    assert run("--manifest", "a", "--config", file, cls=Needy) == Needy(manifest=Path("a"))
    with pytest.raises(SystemExit) as stop:
        run(cls=Needy)
    assert stop.value.code == 2
    assert "--manifest" in capsys.readouterr().err


def test_parsing_imports_nothing_heavy():
    code = "import sys, seq2seq_asr.command_line; print(*{'torch', 'numpy', 'pytorch_lightning'} & set(sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == ""
