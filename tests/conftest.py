"""Shared by all tests: runs in a folder of their own, one torch thread, no Flower telemetry."""

import os
import signal

os.environ["FLWR_TELEMETRY_ENABLED"] = "0"
os.environ["FLWR_DISABLE_UPDATE_CHECK"] = "1"

import pytest
import torch
from hypothesis import settings

from privacy.dp.accounting import memo

torch.set_num_threads(1)

# CI repeats its examples; HYPOTHESIS_PROFILE=default draws new ones.
settings.register_profile("repeatable", derandomize=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))


@pytest.fixture(autouse=True)
def _interruptible():
    """Ctrl-C is Python's own in each test and what it starts: a job that a shell starts in the
    background ignores it, and a node's or Flower's handler may be left from the test before."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _unremembered(monkeypatch):
    """Each epsilon is the accountant's own: a test may have sabotaged what another recalls."""
    monkeypatch.setattr(memo, "MOST", 0)


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """A folder of runs, which $PRIVET_RUNS names."""
    folder = tmp_path / "runs"
    monkeypatch.setenv("PRIVET_RUNS", str(folder))
    return folder
