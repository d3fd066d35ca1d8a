"""What every test runs under: checked shapes, one thread, fixed seeds, no network."""

import os

# Before the first import of torch: pytest-xdist runs one process a core, and a child process of a test inherits these.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("WANDB_MODE", "offline")
os.environ.setdefault("WANDB_SILENT", "true")

import random

import hypothesis
import jaxtyping
import numpy as np
import pytest
import torch

# Before the first import of the package: checks the shape and type of every argument and result while tests run.
jaxtyping.install_import_hook("seq2seq_asr", "beartype.beartype")

torch.set_num_threads(1)

# A wall-clock limit would fail on a busy machine, and a database would carry failures from one checkout to the next.
hypothesis.settings.register_profile(
    "repeatable",
    deadline=None,
    database=None,
    derandomize=True,
    print_blob=True,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
# HYPOTHESIS_PROFILE=explore looks for new examples on every run.
hypothesis.settings.register_profile("explore", hypothesis.settings.get_profile("repeatable"), derandomize=False)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))


@pytest.fixture(autouse=True)
def seed() -> int:
    """Start every test from the same random state, in whatever order and worker it runs."""
    value = 1234
    random.seed(value)
    np.random.seed(value)
    torch.manual_seed(value)
    return value
