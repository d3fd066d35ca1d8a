"""The command: one line a split on stdout, progress on stderr, exit codes, and help that imports no torch."""

import importlib
import subprocess
import sys

import numpy as np
import pytest
import soundfile

from seq2seq_asr.console import exit_code_of
from seq2seq_asr.prepare import CORPORA, main


@pytest.fixture
def digits(tmp_path):
    """A tiny FSDD: two digits, takes 3 to 6."""
    for digit in (1, 2):
        for take in range(3, 7):
            path = tmp_path / f"raw/recordings/{digit}_theo_{take}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, np.linspace(-0.5, 0.5, 4000), 8000)
    return tmp_path


def prepare(*argv) -> int:
    return exit_code_of(main, [str(argument) for argument in argv])


def test_a_corpus_gives_a_line_a_split(digits, capsys):
    out = digits / "out"
    assert prepare("fsdd", "--raw", digits / "raw", "--out", out) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"train: {out / 'train.jsonl'}, 4 utterances, 0.00 h",
        f"test: {out / 'test.jsonl'}, 4 utterances, 0.00 h",
    ]


def test_a_manifest_of_something_else_stays(digits, capsys):
    """Of another corpus in the same folder, or edited since; nothing is written then. The same may be written again."""
    out = digits / "out"
    assert prepare("fsdd", "--raw", digits / "raw", "--out", out) == 0
    train = (out / "train.jsonl").read_bytes()
    assert prepare("fsdd", "--raw", digits / "raw", "--out", out) == 0 and (out / "train.jsonl").read_bytes() == train
    (out / "train.jsonl").unlink()
    (out / "test.jsonl").write_text('{"mine": 1}\n')
    capsys.readouterr()
    assert prepare("fsdd", "--raw", digits / "raw", "--out", out) == 2
    assert f"error: {out / 'test.jsonl'}: holds something else" in capsys.readouterr().err
    assert [path.name for path in out.iterdir()] == ["test.jsonl"]
    assert (out / "test.jsonl").read_text() == '{"mine": 1}\n'


def test_connected_is_made_with_its_flags(digits, capsys):
    prepare("fsdd", "--raw", digits / "raw", "--out", digits / "words")
    capsys.readouterr()
    argv = ["connected", "--source", digits / "words/train.jsonl", "--out", digits / "strings"]
    assert prepare(*argv, "--count", 3, "--min-words", 3, "--max-words", 3) == 0
    captured = capsys.readouterr()
    assert captured.out.startswith(f"connected: {digits / 'strings/manifest.jsonl'}, 3 utterances, ")
    assert "3 of 3 made" in captured.err


def test_input_errors_are_one_line_and_exit_codes_tell_them_apart(digits, capsys):
    assert prepare("fsdd", "--raw", digits / "missing", "--out", digits / "out") == 2
    assert prepare("timit", "--raw", digits / "raw", "--out", digits / "out") == 1
    assert prepare("connected", "--source", digits / "no.jsonl", "--out", digits / "out") == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert [line.split(":")[0] for line in captured.err.splitlines()] == ["error"] * 3


def test_settings_that_cannot_be_used_exit_with_two(digits):
    assert prepare("connected", "--source", digits / "a.jsonl", "--out", digits / "out", "--count", 0) == 2


@pytest.mark.parametrize(
    "argv", [[], ["no_such_corpus"], ["fsdd"], ["fsdd", "--raw", "x"], ["os", "--raw", "x", "--out", "y"]]
)
def test_usage_errors_exit_with_two(argv, capsys):
    with pytest.raises(SystemExit) as caught:
        main(argv)
    printed, errors = capsys.readouterr()
    assert caught.value.code == 2 and not printed
    assert errors.startswith("error: ") and errors.count("\n") == 1


def test_help_lists_every_corpus(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["--help"])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    assert all(name in text for name in [*CORPORA, "connected", "spoken"])


@pytest.mark.parametrize("name", CORPORA)
def test_every_corpus_has_its_file(name):
    assert callable(importlib.import_module(f"seq2seq_asr.data.corpora.{name}").prepare)


def test_spoken_has_its_flags(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["spoken", "--help"])
    assert caught.value.code == 0
    assert "--out" in capsys.readouterr().out


def test_the_command_runs_as_a_module_without_torch(tmp_path):
    code = (
        "import sys; from seq2seq_asr.prepare import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0
    command = [
        sys.executable,
        "-m",
        "seq2seq_asr.prepare",
        "an4",
        "--raw",
        str(tmp_path / "no"),
        "--out",
        str(tmp_path),
    ]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout) == (2, "")
    assert run.stderr.startswith("error: raw: no such folder")
