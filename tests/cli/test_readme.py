"""The commands of README.md and docs/ do what they say: on a corpus of tones, with a model that trains in a second."""

import functools
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import types
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import soundfile

from seq2seq_asr import (
    compare,
    decode,
    doctor,
    export,
    fit,
    fit_lm,
    fit_ngram,
    prepare,
    probe_gradients,
    significance,
    tune,
)
from seq2seq_asr.config import FitConfig
from seq2seq_asr.fit import parse_fit
from seq2seq_asr.strict_yaml import to_mapping

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
PAGES = "\n".join([README, *(path.read_text() for path in sorted((ROOT / "docs").glob("*.md")))])
AUDIO = re.compile(r"[\w./-]+\.(?:wav|flac|mp3|ogg)\b")
# The model of tones_run, so that it can be a starting point, and one epoch without anything that costs time.
TINY = """
    --data.connect.train 0 --data.connect.dev 0 --data.connect.test 0 --data.workers 0 --trainer.validation_utterances 2
    --tokenizer.kind char --tokenizer.vocabulary_size 64 --tokenizer.no_byte_fallback
    --model.features.kind fbank --model.features.rate 8000 --model.features.bins 16 --model.features.deltas 0
    --model.encoder.cell gru --model.encoder.units 32 --model.encoder.reductions 2 2 --model.encoder.no_layer_norm
    --model.attention.kind location --model.attention.size 16 --model.attention.filters 2 --model.attention.width 5
    --model.decoder.units 48 --model.decoder.layers 1 --model.decoder.embedding 8
    --trainer.epochs 1 --trainer.devices 1 --trainer.num_nodes 1 --trainer.accelerator cpu --trainer.precision 32-true
    --trainer.no_progress --logging.wandb off --logging.examples 0
""".split()
# The same for a classifier, which has neither tokenizer nor decoder.
TINY_CLASSIFIER = """
    --data.workers 0 --model.features.kind fbank --model.features.rate 8000 --model.features.bins 16
    --model.encoder.units 8 --trainer.epochs 1 --trainer.devices 1 --trainer.num_nodes 1 --trainer.accelerator cpu
    --trainer.precision 32-true --trainer.no_progress --logging.wandb off
""".split()


def blocks(language: str) -> list[str]:
    """The fenced blocks of one language."""
    return re.findall(rf"^```(?:{language})\n(.*?)^```", PAGES, re.MULTILINE | re.DOTALL)


def commands() -> list[list[str]]:
    """The commands of all shell blocks, cut at pipes and redirections."""
    lines = "\n".join(blocks("bash|sh|shell|console")).replace("\\\n", " ").splitlines()
    words = [shlex.split(line.removeprefix("$ "), comments=True) for line in lines]
    ends = [
        next((i for i, word in enumerate(line) if word in ("|", ">", "&&", "2>", ";")), len(line)) for line in words
    ]
    return [line[:end] for line, end in zip(words, ends, strict=True) if line]


def modules() -> list[list[str]]:
    """Our entry points with their arguments: ``[fit, --name, mine]``."""
    found = []
    for words in commands():
        for place, word in enumerate(words):
            if word.startswith("seq2seq_asr.") and words[place - 1] == "-m":
                found.append([word.removeprefix("seq2seq_asr."), *words[place + 1 :]])
    return found


def of(name: str) -> list[list[str]]:
    """The distinct arguments with which the pages call an entry point."""
    return [list(words) for words in dict.fromkeys(tuple(words[1:]) for words in modules() if words[0] == name)]


def wants(argv: Sequence[str], flag: str) -> bool:
    return any(word.split("=")[0].replace("-", "_") == flag.replace("-", "_") for word in argv)


@pytest.fixture
def place(tones_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with the configs and, under every name the pages use, a run and audio."""
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    for name in set(re.findall(r"\bcheckpoints/([\w-]+)", PAGES)):
        (tmp_path / "checkpoints").mkdir(exist_ok=True)
        shutil.copytree(tones_run, tmp_path / "checkpoints" / name)
    samples, rate = soundfile.read(tones_run.parent / "test-3.wav")
    for name in {*AUDIO.findall("\n".join(blocks("python"))), *AUDIO.findall(" ".join(map(" ".join, commands())))}:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(tmp_path / name, samples, rate)
    rows = (tones_run.parent / "test.jsonl").read_text().replace('"test-', f'"{tones_run.parent}/test-').splitlines()
    for name, some in (("train", rows[:6]), ("dev", rows[6:9]), ("test", rows[9:])):
        (tmp_path / f"{name}.jsonl").write_text("\n".join(some) + "\n")
    words = " ".join(json.loads(row)["text"] for row in rows).split()
    (tmp_path / "corpus.txt").write_text("\n".join(words) + "\n")
    (tmp_path / "names.txt").write_text(words[0] + "\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_readme_opens_with_the_two_commands() -> None:
    assert [words[:2] for words in commands()][:2] == [["make", "fit"], ["make", "test"]]


def test_every_link_leads_somewhere() -> None:
    """To a file of the repository, and to a heading of it."""
    for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        for target, anchor in re.findall(r"\]\((?!https?:)([^)#]*)#?([^)]*)\)", page.read_text()):
            file = page.parent / target if target else page
            assert file.exists(), f"{page.name}: {target}"
            if anchor:
                headings = re.findall(r"^#+ (.+)$", file.read_text(), re.MULTILINE)
                assert anchor in [re.sub(r"[^\w -]", "", one).lower().replace(" ", "-") for one in headings], (
                    f"{page.name}: {anchor}"
                )


def test_every_entry_point_is_known() -> None:
    known = {
        *("fit", "decode", "prepare", "doctor", "export", "fit_lm", "fit_ngram"),
        *("compare", "probe_gradients", "significance", "tune"),
    }
    assert {words[0] for words in modules()} <= known, "a new entry point needs a test here"
    assert of("fit") and of("decode")


def test_every_tool_exists_and_has_the_flags_that_it_is_called_with() -> None:
    calls = re.findall(r"python\s+(tools/\w+\.py)((?:\s+[-\w\"\[][\w\"./-]*)*)", PAGES)
    assert {path for path, _ in calls} >= {"tools/check_gpu.py", "tools/bench_gpu.py", "tools/kernel_resources.py"}
    shared = "".join(path.read_text() for path in (ROOT / "tools").glob("*_common.py"))
    for path, words in calls:
        source = (ROOT / path).read_text() + shared
        assert [flag for flag in re.findall(r"--\w+", words) if f'"{flag}"' not in source] == [], path


def test_the_rows_of_the_speed_table_name_measurements_that_there_are() -> None:
    """By the words that `tools/bench_gpu.py` looks for in their names."""
    section = (ROOT / "docs" / "speed.md").read_text()
    sources = "".join(path.read_text() for path in (ROOT / "tools" / "gpu_benches").glob("*.py"))
    named = [one.strip('"') for one in re.findall(r'`--only ("[^"]+"|\w+)`', section)]
    assert len(named) == section.count("not measured |") == 7
    assert [one for one in named if one.replace("beam 8", "beam {") not in sources] == []


def settings_of(values: dict[str, Any], before: str = "") -> Iterator[str]:
    """Names of all settings and of their groups, with dots."""
    for name, value in values.items():
        yield before + name
        if isinstance(value, dict):
            yield from settings_of(value, f"{before}{name}.")


def test_every_setting_of_fit_that_is_named_exists() -> None:
    known = {*settings_of(to_mapping(parse_fit([])))}
    named = set(re.findall(r"--((?:\w+\.)+\w+)", PAGES))
    for group, others in re.findall(r"`--((?:\w+\.)+)\w[^`]*`((?:,? (?:or )?`\.[\w.]+`)+)", PAGES):  # `--a.b`, `.c`
        named |= {group + name for name in re.findall(r"`\.([\w.]+)`", others)}
    plain = {re.sub(r"\bno_", "", name) for name in named if not name.startswith(("segment.", "search."))}
    assert len(plain) > 40 and sorted(plain - known) == []


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
def test_every_make_target_exists() -> None:
    for words in commands():
        if words[0] == "make":
            planned = subprocess.run(["make", "-n", *words[1:]], cwd=ROOT, capture_output=True, text=True, check=False)
            assert planned.returncode == 0, planned.stderr


def test_every_file_that_a_command_names_is_there() -> None:
    named = [word for words in commands() for word in words if re.match(r"(configs|tools|tests|docs)/", word)]
    assert [name for name in named if not (ROOT / name).exists()] == []


@functools.cache
def parsed(argv: tuple[str, ...]) -> FitConfig:
    """The settings of a training, without looking for what it would resume."""
    return parse_fit([word for word in argv if word != "--resume"])


def classifies(argv: Sequence[str]) -> bool:
    """Whether a command trains a classifier."""
    return parsed(tuple(argv)).model.task == "classify"


def tiny(argv: Sequence[str]) -> list[str]:
    """Flags that make a training small."""
    return TINY_CLASSIFIER if classifies(argv) else TINY


def small_splits(place: Path, tones_run: Path) -> list[str]:
    """Flags that give four utterances for every split."""
    small = place / "small.jsonl"
    rows = (tones_run.parent / "test.jsonl").read_text().replace('"test-', f'"{tones_run.parent}/test-').splitlines()
    small.write_text("\n".join(rows[:4]) + "\n")
    return [word for split in ("train", "dev", "test") for word in (f"--data.{split}", str(small))]


@pytest.mark.parametrize("argv", of("fit"), ids=" ".join)
def test_fit(argv: list[str], place: Path, tones_run: Path, call: Callable[..., Any], draw_no_curves: None) -> None:
    for reader in ("--help", "--print_config"):
        if wants(argv, reader):
            assert call(fit.main, *argv).code == 0
            return
    extra = [] if wants(argv, "--resume") else [*small_splits(place, tones_run), *tiny(argv)]
    result = call(fit.main, *argv, *extra)
    assert result.code == 0, result.err
    assert "next: python -m seq2seq_asr.decode --run checkpoints/" in result.out


@pytest.mark.parametrize("argv", of("decode"), ids=" ".join)
def test_decode(argv: list[str], place: Path, tones_run: Path, call: Callable[..., Any]) -> None:
    extra = ["--manifest", str(tones_run.parent / "test.jsonl")] if wants(argv, "--manifest") else []
    for training in of("fit"):
        name = parsed(tuple(training)).name
        if f"checkpoints/{name}" in argv and classifies(training):  # what `place` has under its name is a recogniser
            shutil.rmtree(place / "checkpoints" / name)
            small = [*training, *small_splits(place, tones_run), *TINY_CLASSIFIER]
            assert call(fit.main, *small, "--name", name).code == 0
    if wants(argv, "--lm"):
        assert call(fit_lm.main, *of("fit_lm")[0]).code == 0
    if wants(argv, "--ngram"):
        assert call(fit_ngram.main, *of("fit_ngram")[0]).code == 0
    result = call(decode.main, *argv, *extra)
    assert result.code == 0 and result.out, result.err


@pytest.mark.parametrize("argv", of("compare"), ids=" ".join)
def test_compare(argv: list[str], place: Path, tones_run: Path, call: Callable[..., Any]) -> None:
    """Planned on the corpus of tones; what training and report do has tests of its own."""
    manifest = tones_run.parent / "test.jsonl"
    settings = [f"data.{split} = [{manifest}]" for split in ("train", "dev", "test")]
    settings += [f"data.connect.{split} = 0" for split in ("train", "dev", "test")]
    settings += ["data.batching.max_utterances = 2"]
    if not any("classify" in word for word in argv):  # a classifier has no tokenizer
        settings += ["tokenizer.kind = char", "tokenizer.vocabulary_size = 64"]
    result = call(compare.main, *argv, "--dry_run", "--settings", *settings)
    assert result.code == 0, result.err
    assert all("parameters" in line and "3 seeds" in line for line in result.out.splitlines()) and result.out


@pytest.mark.parametrize("argv", of("doctor"), ids=" ".join)
def test_doctor(argv: list[str], place: Path, call: Callable[..., Any]) -> None:
    result = call(doctor.main, *argv)
    assert "utterances" in result.out and (place / "doctor.json").is_file(), result.err


@pytest.mark.parametrize("argv", [argv for argv in of("export") if "onnx" not in argv], ids=" ".join)
def test_export(argv: list[str], place: Path, call: Callable[..., Any]) -> None:
    result = call(export.main, *argv)
    assert result.code == 0 and (place / argv[argv.index("--out") + 1] / "model.safetensors").is_file(), result.err


@pytest.mark.nightly  # test_onnx.py runs the same flags every time: a recording takes twenty seconds of a core
@pytest.mark.parametrize("argv", [argv for argv in of("export") if "onnx" in argv], ids=" ".join)
def test_export_to_onnx(argv: list[str], place: Path) -> None:
    """In a process of its own: torch's exporter records no checks of shapes."""
    command = [sys.executable, "-m", "seq2seq_asr.export", *argv]
    subprocess.run(command, check=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert (place / argv[argv.index("--out") + 1] / "encoder.onnx").is_file()


@pytest.mark.parametrize("argv", of("probe_gradients"), ids=" ".join)
def test_probe_gradients(argv: list[str], place: Path, tones_run: Path, call: Callable[..., Any]) -> None:
    extra = [] if wants(argv, "--manifest") else ["--manifest", str(tones_run.parent / "test.jsonl")]
    result = call(probe_gradients.main, *argv, *extra)
    assert result.code == 0 and "the gradient falls to" in result.out, result.err
    assert (place / argv[argv.index("--run") + 1] / "gradients" / "gradients.png").is_file()


@pytest.mark.parametrize("argv", of("tune"), ids=" ".join)
def test_tune(argv: list[str], place: Path, call: Callable[..., Any]) -> None:
    result = call(tune.main, *argv)
    run = argv[argv.index("--run") + 1]
    assert result.code == 0 and (place / run / "decoding.yaml").is_file(), result.err
    assert call(decode.main, "--run", run).code == 0


@pytest.mark.parametrize("argv", of("significance"), ids=" ".join)
def test_significance(argv: list[str], place: Path, tones_run: Path, call: Callable[..., Any]) -> None:
    """Of two searches, since all runs of the place are one."""
    folders = [word for word in argv if word.startswith("checkpoints/")]
    for beam, folder in enumerate(folders, start=1):
        flags = ["--run", Path(folder).parent, "--out", folder, "--beam", beam, "--ctc_weight", 0, "--guards", "off"]
        assert call(decode.main, *flags, "--manifest", tones_run.parent / "test.jsonl").code == 0
    result = call(significance.main, *argv)
    assert result.code == 0 and len(folders) > 1, result.err
    assert "12 utterances of 3 speakers" in result.out and "second – first" in result.out


@pytest.mark.parametrize("argv", of("prepare"), ids=" ".join)
def test_prepare(argv: list[str], call: Callable[..., Any]) -> None:
    """Its arguments are accepted; what it then does has tests of its own."""
    made: list[object] = []

    def make(*arguments: object, **_: object) -> dict[str, Path]:
        made.append(arguments)
        return {}

    importer = types.SimpleNamespace(import_module=lambda _: types.SimpleNamespace(prepare=make))
    with (
        mock.patch.object(prepare, "importlib", importer),
        mock.patch.object(prepare, "make_connected", make),
        mock.patch.object(prepare, "make_spoken", make),
    ):
        result = call(prepare.main, *argv)
    assert result.code == 0 and (made or wants(argv, "--help")), result.err


@pytest.mark.parametrize("block", blocks("python"), ids=lambda block: block.strip().splitlines()[0])
def test_python(block: str, place: Path, capsys: pytest.CaptureFixture) -> None:
    with mock.patch.dict(os.environ):
        exec(compile(block, "README.md", "exec"), {})
    assert capsys.readouterr().out
