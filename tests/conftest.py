"""Shared by all tests: runs in a folder of their own, one torch thread, no Flower telemetry."""

import gc
import os
import signal

os.environ["FLWR_TELEMETRY_ENABLED"] = "0"
os.environ["FLWR_DISABLE_UPDATE_CHECK"] = "1"

import pytest
import torch
from hypothesis import settings

from privacy import memo

torch.set_num_threads(1)
gc.freeze()  # nor look through all of torch again and again: as the command line has it
gc.set_threshold(100_000, 50, 100)

# CI repeats its examples; HYPOTHESIS_PROFILE=default draws new ones.
settings.register_profile("repeatable", derandomize=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))

# They take a minute or more, much of it in waiting.
LONGEST = (
    "test_readme.py::test_the_story_in_order",
    "test_deployment.py::test_three_nodes_and_what_can_happen_to_them",
    "test_flower.py::test_the_whole_repository_is_a_flower_app",
    "test_flower.py::test_ray_writes_the_same_run",
    "test_sweep.py::test_killed_in_a_cell_it_goes_on_there",
    "test_supervision.py::test_whatever_end_it_takes_nothing_is_left",
)


def pytest_collection_modifyitems(items):
    """The longest come first: begun last, they would be waited for alone."""
    items.sort(key=lambda item: not item.nodeid.endswith(LONGEST))


@pytest.fixture(autouse=True)
def _interruptible():
    """Ctrl-C is Python's own in each test and what it starts: a job that a shell starts in the
    background ignores it, and a node's or Flower's handler may be left from the test before."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _unremembered(monkeypatch):
    """Each answer is its own: a test may have sabotaged what another recalls."""
    monkeypatch.setattr(memo, "MOST", 0)


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """A folder of runs, which $PRIVET_RUNS names."""
    folder = tmp_path / "runs"
    monkeypatch.setenv("PRIVET_RUNS", str(folder))
    return folder
