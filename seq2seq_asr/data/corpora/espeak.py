"""eSpeak NG in a process of its own: repeatable synthetic speech.

eSpeak NG is GPL-3, so its library is never loaded into the caller's process. `Espeak` starts
``python -m seq2seq_asr.data.corpora.espeak`` and talks to it in lines of JSON, one answer for each request, in order:

    server: {"sample_rate": 22050}                                        once, when the library is loaded
    client: {"text": …, "voice": "en-us+f3", "rate": 170, "pitch": 50, "range": 50,
             "seed": 1, "path": "/tmp/a.wav"}
    server: {"samples": 31044}                                            `path` is now a 16-bit mono WAV file
    server: {"error": "no voice 'xx'"}                                    instead of either, when it went wrong

The server ends when its input does. Left to itself eSpeak NG says the same text differently each time (its generators
and filters keep their state), so every request is served by a fork of the freshly initialised process, seeded.
"""

import ctypes
import importlib.util
import json
import os
import subprocess
import sys
import wave
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from seq2seq_asr.errors import AsrError

SAMPLE_RATE = 22050
"""Samples a second of what eSpeak NG writes (Hz)."""

_SYNCHRONOUS, _DONT_EXIT, _UTF8 = 2, 0x8000, 1
_PARAMETERS = {"rate": 1, "pitch": 3, "range": 4}
_VOLUME, _LOUDNESS = 2, 60  # of 200; several variants are clipped at 100
_LONGEST_DATA_PATH = 150
_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


@dataclass(frozen=True, kw_only=True)
class Request:
    """One sentence to be spoken."""

    text: str
    """What to say."""
    voice: str
    """An eSpeak NG voice, with a variant after a plus sign: ``en-us+f3``."""
    path: str
    """The WAV file to write."""
    rate: int = 175
    """Words a minute."""
    pitch: int = 50
    """Base pitch, 0 to 99; the voice gives the Hz."""
    range: int = 50
    """How much the pitch moves, 0 to 99."""
    seed: int = 1
    """Seed of eSpeak's own random numbers; the same request gives the same samples."""


class Espeak:
    """A running eSpeak NG process, used in a ``with`` statement. Not shared between threads: start one for each."""

    def __init__(self) -> None:
        """Start the process.

        Raises:
            AsrError: espeakng-loader is not installed, the system cannot fork, or the library does not load.
        """
        if importlib.util.find_spec("espeakng_loader") is None:
            raise AsrError("speaking needs eSpeak NG: pip install espeakng-loader")
        if not hasattr(os, "fork"):
            raise AsrError("speaking needs a system that can fork (Linux, macOS)")
        root = str(Path(__file__).resolve().parents[3])
        paths = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
        self._process = subprocess.Popen(
            [sys.executable, "-m", "seq2seq_asr.data.corpora.espeak"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            env={**os.environ, "PYTHONPATH": paths},
            start_new_session=True,  # Ctrl-C is for the caller, who then closes our input
        )
        try:
            self._answer()
        except BaseException:
            self.close()
            raise

    def speak(self, request: Request) -> int:
        """Write the WAV file of a request and return its number of samples at `SAMPLE_RATE`.

        Raises:
            AsrError: An unknown voice, a file that cannot be written, or the process has ended.
        """
        try:
            print(json.dumps(asdict(request)), file=self._process.stdin, flush=True)
        except (BrokenPipeError, ValueError) as error:
            raise AsrError("eSpeak NG: the process has ended") from error
        return int(self._answer()["samples"])

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        answer: dict[str, Any] = json.loads(line) if line.endswith("\n") else {"error": "the process has ended"}
        if "error" in answer:
            raise AsrError(f"eSpeak NG: {answer['error']}")
        return answer

    def close(self) -> None:
        """End the process; harmless when it has ended."""
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            try:
                pipe.close()
            except BrokenPipeError:
                pass
        self._process.wait()

    def __enter__(self) -> "Espeak":
        """The running process itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """End the process."""
        self.close()


def _load() -> ctypes.CDLL:
    import espeakng_loader

    data = espeakng_loader.get_data_path()
    if len(os.fsencode(data)) > _LONGEST_DATA_PATH:  # it copies the path into a buffer of 160 bytes
        raise OSError(f"its data lies too deep for it: {data}")
    library = ctypes.CDLL(espeakng_loader.get_library_path())
    rate = library.espeak_Initialize(_SYNCHRONOUS, 0, os.fsencode(data), _DONT_EXIT)
    if rate != SAMPLE_RATE:
        raise OSError(f"initialising gave {rate} Hz, not {SAMPLE_RATE}: {data}")
    return library


def _synthesise(library: ctypes.CDLL, request: Request) -> bytes:
    """The 16-bit samples of a request, in the machine's byte order."""
    pieces: list[bytes] = []

    @_Callback
    def keep(samples: Any, count: int, events: int | None) -> int:
        if samples and count > 0:
            pieces.append(ctypes.string_at(samples, 2 * count))
        return 0

    library.espeak_SetSynthCallback(keep)
    if library.espeak_SetVoiceByName(request.voice.encode()) != 0:
        raise ValueError(f"no voice {request.voice!r}")
    library.espeak_SetParameter(_VOLUME, _LOUDNESS, 0)
    for name, number in _PARAMETERS.items():
        library.espeak_SetParameter(number, getattr(request, name), 0)
    library.espeak_ng_SetRandSeed(ctypes.c_long(request.seed))
    text = request.text.encode() + b"\0"
    if library.espeak_Synth(text, ctypes.c_size_t(len(text)), 0, 1, 0, _UTF8, None, None) != 0 or not pieces:
        raise ValueError(f"cannot say {request.text!r}")
    return b"".join(pieces)


def _serve_one(library: ctypes.CDLL, request: Request) -> dict[str, Any]:
    try:
        samples = _synthesise(library, request)
        with wave.open(request.path, "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(SAMPLE_RATE)
            file.writeframes(samples)
    except (OSError, ValueError) as error:
        return {"error": str(error)}
    return {"samples": len(samples) // 2}


def _serve_in_fork(library: ctypes.CDLL, line: str) -> None:
    child = os.fork()
    if child == 0:
        answer = json.dumps(_serve_one(library, Request(**json.loads(line))))
        os.write(1, answer.encode() + b"\n")
        os._exit(0)
    if os.waitpid(child, 0)[1] != 0:
        os.write(1, b'{"error": "synthesis crashed"}\n')


def main() -> None:
    """Serve requests from standard input until it ends."""
    try:
        library = _load()
    except (OSError, ImportError) as error:
        print(json.dumps({"error": str(error)}), flush=True)
        return
    print(json.dumps({"sample_rate": SAMPLE_RATE}), flush=True)
    for line in sys.stdin:
        _serve_in_fork(library, line)


if __name__ == "__main__":
    main()
