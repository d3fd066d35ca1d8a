"""What every entry point shares: exit codes, signals, standard streams and one-line errors."""

import contextlib
import faulthandler
import io
import os
import signal
import sys
from collections.abc import Callable
from typing import Any, NoReturn, TextIO

from seq2seq_asr.errors import AsrError

INTERRUPTED = 130
TERMINATED = 143
Progress = Callable[[str, int, int], None]
"""Told what is done, how much of it (of recordings: seconds), and how much there is."""


class OutputError(Exception):
    """Results cannot be written on standard output; the text says why, the cause is the system's error."""


class Terminated(BaseException):
    """Raised in the main thread on SIGTERM or SIGHUP, so that ``finally`` blocks run before the process ends."""


class Interrupted(BaseException):
    """SIGINT, after work was saved; unlike ``KeyboardInterrupt``, libraries let it pass."""


def _raise_terminated(signum: int, frame: object) -> NoReturn:
    raise Terminated


def run_entry_point(main: Callable[[list[str]], int]) -> NoReturn:
    """Run ``main(argv)`` and exit: 0 ok, 1 failed, 2 usage, 130 interrupted, 143 terminated.

    Args:
        main: Takes the arguments after the program's name and returns an exit code.
    """
    signal.signal(signal.SIGTERM, _raise_terminated)
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # as it is under nohup
        signal.signal(signal.SIGHUP, _raise_terminated)
    sys.stdout, sys.stderr = _standard(sys.stdout, ResultStream), _standard(sys.stderr, ProgressStream)
    _handle_signals_on_a_stack_apart()
    sys.exit(exit_code_of(main, sys.argv[1:]))


class ResultStream(io.TextIOWrapper):
    """Standard output; where it cannot be written, an error of its own tells this from every other file."""

    def write(self, text: str) -> int:
        """Write; raises `OutputError`."""
        try:
            return super().write(text)
        except OSError as error:
            raise OutputError(error.strerror) from error

    def flush(self) -> None:
        """Write what is still buffered; raises `OutputError`."""
        try:
            super().flush()
        except OSError as error:
            raise OutputError(error.strerror) from error


class ProgressStream(io.TextIOWrapper):
    """Standard error; no work ends because nobody can read how it goes."""

    def write(self, text: str) -> int:
        """Write if possible."""
        with contextlib.suppress(OSError):
            super().write(text)
        return len(text)

    def flush(self) -> None:
        """Write what is still buffered if possible."""
        with contextlib.suppress(OSError):
            super().flush()


def _standard(stream: Any, kind: type[ResultStream] | type[ProgressStream]) -> Any:
    """A standard stream as one of ours; what its encoding lacks is printed as its code, for no transcript is lost then.

    One that is closed becomes one that leads nowhere; one that was replaced, by a notebook or a test, stays.
    """
    if stream is None:
        return open(os.devnull, "w")
    if stream not in (sys.__stdout__, sys.__stderr__):
        return stream
    how = {"line_buffering": stream.line_buffering, "write_through": stream.write_through}
    return kind(stream.buffer, stream.encoding, "backslashreplace", "\n", **how)


def _handle_signals_on_a_stack_apart() -> None:
    """Keep handlers off the main thread's stack, which may be none when they come (see `nn.quiet_threads`).

    `faulthandler` allocates the other stack. It also tells where Python was if the process should crash.
    """
    if sys.__stderr__ is not None and not faulthandler.is_enabled():
        faulthandler.enable(sys.__stderr__)


def exit_code_of(main: Callable[[list[str]], int], argv: list[str]) -> int:
    """The exit code of ``main(argv)``, with the error, if any, told in one line on stderr."""
    code = 0
    try:
        code = _exit_code(main, argv)
        sys.stdout.flush()  # what cannot be written shows here, not after the exit code is set
    except OutputError as error:
        _discard(sys.stdout)
        if not isinstance(error.__cause__, BrokenPipeError):  # whose reader has what he wanted
            say(f"error: standard output: cannot be written ({error})")
            code = code or 1
    return code


def _exit_code(main: Callable[[list[str]], int], argv: list[str]) -> int:
    try:
        return main(argv)
    except SystemExit:  # after --help
        sys.stdout.flush()
        raise
    except AsrError as error:
        say("error: " + " ".join(str(error).splitlines()))
        return error.exit_code
    except (KeyboardInterrupt, Interrupted) as stop:
        say(str(stop) or "interrupted")
        return INTERRUPTED
    except Terminated as stop:
        say(str(stop) or "terminated")
        return TERMINATED


def _discard(stream: TextIO) -> None:
    """Send what is still buffered nowhere: Python flushes it at exit, and would fail again."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())


def say(message: str) -> None:
    """Print one line of progress or error on stderr; stdout is kept for results."""
    print(message, file=sys.stderr, flush=True)
