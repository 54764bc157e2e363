"""Shared by all tests: runs in a folder of their own, one torch thread, no Flower telemetry."""

import os
import signal

os.environ["FLWR_TELEMETRY_ENABLED"] = "0"
os.environ["FLWR_DISABLE_UPDATE_CHECK"] = "1"

import pytest
import torch
from hypothesis import settings

torch.set_num_threads(1)
# A job that a shell starts in the background ignores Ctrl-C, and so would what it starts.
signal.signal(signal.SIGINT, signal.default_int_handler)

# CI repeats its examples; HYPOTHESIS_PROFILE=default draws new ones.
settings.register_profile("repeatable", derandomize=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """A folder of runs, which $PRIVET_RUNS names."""
    folder = tmp_path / "runs"
    monkeypatch.setenv("PRIVET_RUNS", str(folder))
    return folder
