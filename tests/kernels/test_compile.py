"""The kernels compile for an H200, which needs no GPU, and spill nothing; the interpreter would not notice."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton")
ROOT = Path(__file__).parents[2]


@pytest.mark.nightly
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Triton's compiler is shipped for Linux")
def test_decoder_kernels(tmp_path):
    compiled = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    environment = compiled | {"PYTHONPATH": str(ROOT), "TRITON_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, "tools/decoder_kernel_resources.py", "--quick"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    uses = [json.loads(line) for line in done.stdout.splitlines()]
    assert len({use["kernel"] for use in uses}) == 14
    assert max(use["registers"] for use in uses) <= 255 and not any(use["spilled_bytes"] for use in uses)
