"""What every entry point shares: exit codes, signals and one-line errors."""

import faulthandler
import io
import os
import signal
import sys
from collections.abc import Callable
from typing import NoReturn

from seq2seq_asr.errors import AsrError

INTERRUPTED = 130
TERMINATED = 143


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
    _escape_what_cannot_be_printed()
    _handle_signals_on_a_stack_apart()
    sys.exit(exit_code_of(main, sys.argv[1:]))


def _escape_what_cannot_be_printed() -> None:
    """Where the terminal's encoding lacks a letter, print its code: no transcript is worth less than its look."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _handle_signals_on_a_stack_apart() -> None:
    """Keep handlers off the main thread's stack, which may be none when they come (see `nn.quiet_threads`).

    `faulthandler` allocates the other stack. It also tells where Python was if the process should crash.
    """
    if sys.__stderr__ is not None and not faulthandler.is_enabled():
        faulthandler.enable(sys.__stderr__)


def exit_code_of(main: Callable[[list[str]], int], argv: list[str]) -> int:
    """The exit code of ``main(argv)``, with the error, if any, told in one line on stderr."""
    try:
        code = main(argv)
        sys.stdout.flush()  # a pipe that its reader has closed shows here, not after the exit code is set
        return code
    except AsrError as error:
        say("error: " + " ".join(str(error).splitlines()))
        return error.exit_code
    except BrokenPipeError:
        _discard_output()
        return 0
    except (KeyboardInterrupt, Interrupted) as stop:
        say(str(stop) or "interrupted")
        return INTERRUPTED
    except Terminated as stop:
        say(str(stop) or "terminated")
        return TERMINATED


def _discard_output() -> None:
    """Send what is still buffered nowhere: Python flushes it at exit, and would fail on the closed pipe again."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(nowhere, stream.fileno())


def say(message: str) -> None:
    """Print one line of progress or error on stderr; stdout is kept for results."""
    print(message, file=sys.stderr, flush=True)
