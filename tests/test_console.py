import os
import signal
import subprocess
import sys
from pathlib import Path
from textwrap import indent
from typing import Any

import pytest

from seq2seq_asr.console import INTERRUPTED, TERMINATED, Interrupted, Terminated, exit_code_of, run_entry_point, say
from seq2seq_asr.errors import (
    AsrError,
    AudioError,
    CheckpointError,
    ManifestError,
    TokenizerError,
    TrainingError,
    UsageError,
)

FAILURES = (AsrError, AudioError, CheckpointError, ManifestError, TokenizerError, TrainingError)


def failing(error: BaseException):
    def main(argv: list[str]) -> int:
        raise error

    return main


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        *((kind("file x: why"), 1, "error: file x: why\n") for kind in FAILURES),
        (UsageError("flag --x: why"), 2, "error: flag --x: why\n"),
        (AudioError("a\nb.wav: why\r\nmore"), 1, "error: a b.wav: why more\n"),
        (KeyboardInterrupt(), INTERRUPTED, "interrupted\n"),
        (Interrupted(), INTERRUPTED, "interrupted\n"),
        (Terminated(), TERMINATED, "terminated\n"),
    ],
)
def test_an_error_is_one_line_on_stderr_and_an_exit_code(error, code, told, capsys):
    assert exit_code_of(failing(error), []) == code
    assert capsys.readouterr() == ("", told)


@pytest.mark.parametrize("code", [0, 1, 2])
def test_the_code_of_main_is_the_exit_code_and_main_gets_the_arguments(code, capsys):
    seen = []

    def main(argv: list[str]) -> int:
        seen.extend(argv)
        return code

    assert exit_code_of(main, ["--a", "b"]) == code and seen == ["--a", "b"]
    assert capsys.readouterr() == ("", "")


def test_a_fault_of_the_program_keeps_its_traceback_and_an_exit_stays_one():
    with pytest.raises(ZeroDivisionError):
        exit_code_of(failing(ZeroDivisionError()), [])
    with pytest.raises(SystemExit, match="2"):
        exit_code_of(failing(SystemExit(2)), [])


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 143), (signal.SIGINT, 130)])
def test_signals_end_the_program_after_its_cleaning_up(number, code, monkeypatch, capsys):
    cleaned = []

    def main(argv: list[str]) -> int:
        try:
            signal.raise_signal(number)
        finally:
            cleaned.append(argv)
        return 0

    monkeypatch.setattr(sys, "argv", ["program", "a", "b"])
    before = {one: signal.getsignal(one) for one in (signal.SIGTERM, signal.SIGHUP)}
    try:
        with pytest.raises(SystemExit) as caught:
            run_entry_point(main)
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
    assert caught.value.code == code and cleaned == [["a", "b"]]
    assert capsys.readouterr().err.count("\n") == 1


def test_nohup_outlives_its_terminal():
    script = (
        "import signal\nfrom seq2seq_asr.console import run_entry_point\n"
        "signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
        "run_entry_point(lambda argv: signal.raise_signal(signal.SIGHUP) or 0)"
    )
    assert subprocess.run([sys.executable, "-c", script], cwd=Path(__file__).parents[1], timeout=60).returncode == 0


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("lines", [1, 10_000])
def test_a_reader_that_stops_reading_is_no_error(lines, unbuffered):
    script = (
        "from seq2seq_asr.console import run_entry_point\n"
        f"run_entry_point(lambda argv: [print('x' * 40) for _ in range({lines})] and 0)"
    )
    reader, writer = os.pipe()
    os.close(reader)
    command, root = [sys.executable, "-c", script], Path(__file__).parents[1]
    environment = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    result = subprocess.run(
        command, stdout=writer, stderr=subprocess.PIPE, cwd=root, env=environment, text=True, timeout=60
    )
    os.close(writer)
    assert (result.returncode, result.stderr) == (0, "")


def ending(main: str, **streams: Any) -> subprocess.CompletedProcess[str]:
    """How a program with these lines for its main ends, buffered as it is by default."""
    script = f"import os\nfrom seq2seq_asr.console import run_entry_point, say\ndef main(argv):\n{indent(main, '    ')}"
    command, root = [sys.executable, "-c", f"{script}\nrun_entry_point(main)"], Path(__file__).parents[1]
    environment = {**os.environ, "PYTHONUNBUFFERED": "", "FORCE_COLOR": "1"}  # which makes bars of whatever stderr is
    return subprocess.run(command, cwd=root, env=environment, text=True, timeout=60, **streams)


WORK = """from seq2seq_asr.commands.progress import ProgressLine
with ProgressLine() as progress:
    for step in range(300):
        say(f"step {step}" + 60 * ".")
        progress("working", step, 300)
print("all steps")
return 0"""


@pytest.mark.parametrize("stderr", ["left", "full"])
def test_work_goes_on_when_nobody_reads_how_it_goes(stderr: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with open("/dev/full", "w") as full:
        result = ending(WORK, stdout=subprocess.PIPE, stderr=writer if stderr == "left" else full)
    os.close(writer)
    assert (result.returncode, result.stdout) == (0, "all steps\n")


def test_a_pipe_that_breaks_elsewhere_is_a_failure() -> None:
    broken = "reader, writer = os.pipe()\nos.close(reader)\nprint('half')\nreturn os.write(writer, b'x')"
    result = ending(broken, capture_output=True)
    assert (result.returncode, result.stdout) == (1, "half\n") and "BrokenPipeError" in result.stderr


@pytest.mark.parametrize(
    "main", ["print('x')\nreturn 0", "print('x' * 9999)\nreturn 0", "print('x')\nraise SystemExit(0)"]
)
def test_results_that_cannot_be_written_are_one_line(main: str) -> None:
    with open("/dev/full", "w") as full:
        result = ending(main, stdout=full, stderr=subprocess.PIPE)
    assert result.returncode == 1
    assert result.stderr == "error: standard output: cannot be written (No space left on device)\n"


def test_an_error_is_told_where_its_results_cannot_be_written() -> None:
    with open("/dev/full", "w") as full:
        unusable = "from seq2seq_asr.errors import UsageError\nprint('x')\nraise UsageError('flag --x: why')"
        result = ending(unusable, stdout=full, stderr=subprocess.PIPE)
    assert result.returncode == 2 and result.stderr.startswith("error: flag --x: why\nerror: standard output: ")


def test_closed_streams_are_no_error() -> None:
    shell = (
        f"{sys.executable} -c 'from seq2seq_asr.console import *; run_entry_point(lambda _: print(1) or say(2) or 0)'"
    )
    closed = subprocess.run(["sh", "-c", f"{shell} >&- 2>&-"], cwd=Path(__file__).parents[1], timeout=60)
    assert closed.returncode == 0


@pytest.mark.parametrize("encoding", ["latin-1", "ascii", "utf-8"])
def test_what_the_terminal_has_no_letter_for_is_printed_as_its_code(encoding):
    script = (
        "from seq2seq_asr.console import run_entry_point, say\n"
        "run_entry_point(lambda argv: [print('1.3 – 3.5'), print('\\udcff'), say('–')] and 0)"
    )
    command, root = [sys.executable, "-c", script], Path(__file__).parents[1]
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    result = subprocess.run(command, capture_output=True, cwd=root, env=environment, timeout=60)
    dash = "–".encode() if encoding == "utf-8" else b"\\u2013"
    assert (result.returncode, result.stderr) == (0, dash + b"\n")
    assert result.stdout == b"1.3 " + dash + b" 3.5\n\\udcff\n"


def test_progress_goes_to_stderr(capsys):
    say("step 1")
    assert capsys.readouterr() == ("", "step 1\n")
