import importlib.util
import os
import sys
import wave
from pathlib import Path

import pytest

from seq2seq_asr.data.corpora.espeak import SAMPLE_RATE, Espeak, Request
from seq2seq_asr.errors import AsrError


@pytest.fixture(scope="module")
def voice():
    with Espeak() as running:
        yield running


def speak(voice: Espeak, path: Path, text: str = "good morning", name: str = "en-us+f3", **settings) -> bytes:
    count = voice.speak(Request(text=text, voice=name, path=str(path), **settings))
    with wave.open(str(path)) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (SAMPLE_RATE, 1, 2)
        assert file.getnframes() == count
        return file.readframes(count)


def test_what_was_said_before_changes_nothing(voice, tmp_path) -> None:
    first = speak(voice, tmp_path / "a.wav")
    speak(voice, tmp_path / "b.wav", "something quite different", "de+klatt3")
    assert speak(voice, tmp_path / "c.wav") == first
    with Espeak() as another:
        assert speak(another, tmp_path / "d.wav") == first


@pytest.mark.parametrize(
    "change", [{"name": "en-029+f3"}, {"name": "en-us+m3"}, {"pitch": 80}, {"seed": 2}, {"text": "good evening"}]
)
def test_every_setting_is_heard(voice, tmp_path, change) -> None:
    assert speak(voice, tmp_path / "a.wav", **change) != speak(voice, tmp_path / "b.wav")


def test_speaking_faster_takes_less_time(voice, tmp_path) -> None:
    sentence = "please remind me to water the plants tomorrow morning"
    slow, fast = (len(speak(voice, tmp_path / "a.wav", sentence, rate=rate)) for rate in (120, 240))
    assert 0.35 * slow < fast < 0.75 * slow


def test_text_is_unicode(voice, tmp_path) -> None:
    said = {text: speak(voice, tmp_path / "a.wav", text, "de") for text in ("schon", "schön")}
    assert said["schon"] != said["schön"]


def test_errors_are_told_and_survived(voice, tmp_path) -> None:
    with pytest.raises(AsrError, match="no voice 'xx-nowhere'"):
        speak(voice, tmp_path / "a.wav", name="xx-nowhere")
    with pytest.raises(AsrError, match="No such file"):
        speak(voice, tmp_path / "missing" / "a.wav")
    assert speak(voice, tmp_path / "a.wav")


def test_missing_package_is_one_clear_line(monkeypatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(AsrError, match="pip install espeakng-loader"):
        Espeak()


def test_an_ended_process_is_an_error(tmp_path) -> None:
    voice = Espeak()
    voice.close()
    voice.close()
    with pytest.raises(AsrError, match="ended"):
        speak(voice, tmp_path / "a.wav")


def test_the_library_stays_out_of_this_process(voice, tmp_path) -> None:
    speak(voice, tmp_path / "a.wav")
    assert "espeakng_loader" not in sys.modules
    maps = Path("/proc/self/maps")
    if maps.exists():
        assert "libespeak-ng" not in maps.read_text()


def test_closing_leaves_no_process() -> None:
    voice = Espeak()
    voice.close()
    with pytest.raises(ProcessLookupError):
        os.kill(voice._process.pid, 0)
