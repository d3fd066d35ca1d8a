"""The benchmark of long recordings runs to its end, on a recording that is cut and on one that is not."""

import importlib
import json
import sys
from pathlib import Path

import pytest

TOOLS = Path(__file__).parents[2] / "tools"


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="memory is measured as Linux does")
@pytest.mark.parametrize(("minutes", "cut"), [(0.8, True), (0.1, False)])
def test_a_recording_is_decoded_whether_or_not_it_is_cut(
    tones_run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, minutes: float, cut: bool
) -> None:
    monkeypatch.syspath_prepend(str(TOOLS))
    for name in ("bench_common", "bench_long_audio"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    argv = ["--run", tones_run, "--split", "dev", "--minutes", minutes, "--beam", 1, "--threads", 1]
    monkeypatch.setattr(sys, "argv", ["bench_long_audio.py", *map(str, argv)])
    importlib.import_module("bench_long_audio").main()
    for name in ("bench_common", "bench_long_audio"):
        sys.modules.pop(name, None)
    found = json.loads(capsys.readouterr().out)
    assert (found["segments"] > 1) == cut and found["words"] > 5
    assert found["longest_s"] <= 20 if cut else found["longest_s"] == pytest.approx(found["seconds"], abs=0.1)
