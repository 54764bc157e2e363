"""The same apps under Flower's own engine: `flwr run .` on Ray writes the same run."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from server.experiment import load_experiment
from server.launch import launch
from server.run import list_runs

ROOT = Path(__file__).parent.parent


@pytest.fixture
def flower(tmp_path, monkeypatch):
    """A Flower home of its own; the SuperLink that `flwr run` leaves behind is stopped."""
    environment = {
        **os.environ,
        "FLWR_HOME": str(tmp_path / "flower"),
        "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    }
    yield environment
    mark = f"FLWR_HOME={tmp_path / 'flower'}".encode()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if mark in (process / "environ").read_bytes().split(b"\0"):
                os.kill(int(process.name), signal.SIGKILL)
        except (OSError, ProcessLookupError):
            continue


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="finds its processes in /proc")
def test_flwr_run_writes_the_same_run(flower, tmp_path):
    """Ray's actors and the in-process grid end in the same weights, records and ledgers."""
    runs = tmp_path / "ray"
    config = f'runs="{runs}" set="federation.clients=2 federation.rounds=3"'
    done = subprocess.run(
        ["flwr", "run", ".", "local", "--run-config", config],
        cwd=ROOT, env=flower, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline:
        found = list_runs(runs)
        if found and len(found[0].rounds) == 3:
            break
        time.sleep(0.5)
    assert found, "no run directory came to be"
    settings = ["federation.clients=2", "federation.rounds=3"]
    here = launch(load_experiment("tiny", settings), tmp_path / "here")
    ray = found[0]
    assert [r.accuracy for r in ray.rounds] == [r.accuracy for r in here.rounds]
    assert all(np.array_equal(ray.weights(3)[k], v) for k, v in here.weights(3).items())
    assert ray.ledgers[1].entries == here.ledgers[1].entries
    assert np.array_equal(ray.manifest.owner, here.manifest.owner)
