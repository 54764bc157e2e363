"""The same apps under Flower's own simulation: the same run directory, the same weights."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from privacy.errors import FederationFailed, SettingsError
from server.engines.launch import launch, resume
from server.engines.submission import flower_environment
from server.experiment.loading import load_experiment
from server.run.directory import list_runs

ROOT = Path(__file__).parents[3]
SETTINGS = ["federation.clients=2", "federation.rounds=3"]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="finds its processes in /proc")
def test_ray_writes_the_same_run(tmp_path):
    """Ray's actors and the in-process grid end in the same weights, records and ledgers."""
    ray = launch(load_experiment("tiny", [*SETTINGS, "federation.engine=ray"]), tmp_path / "ray")
    here = launch(load_experiment("tiny", SETTINGS), tmp_path / "here")
    assert [r.accuracy for r in ray.rounds] == [r.accuracy for r in here.rounds]
    assert all(np.array_equal(ray.weights(3)[k], v) for k, v in here.weights(3).items())
    assert ray.ledgers[1].entries == here.ledgers[1].entries
    assert np.array_equal(ray.manifest.owner, here.manifest.owner)
    mark = f"FLWR_HOME={tmp_path}".encode()
    assert not [p for p in Path("/proc").glob("[0-9]*") if mark in environment(p)]


def environment(process):
    try:
        return (process / "environ").read_bytes()
    except OSError:
        return b""


def test_the_whole_repository_is_a_flower_app(tmp_path):
    """`flwr run .` builds it, and finds both apps and every key of the run config."""
    done = subprocess.run(
        ["flwr", "build", "--app", str(ROOT)],
        cwd=tmp_path, env=flower_environment(tmp_path), capture_output=True, text=True,
        check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(list(tmp_path.glob("*.fab"))) == 1


def test_a_superlink_that_is_not_there_is_one_line(tmp_path):
    settings = [*SETTINGS, "federation.engine=superlink", "federation.address=127.0.0.1:9"]
    with pytest.raises(FederationFailed, match=r"127\.0\.0\.1:9 .*privet resume") as failed:
        launch(load_experiment("tiny", settings), tmp_path)
    assert "\n" not in str(failed.value)
    (run,) = list_runs(tmp_path)
    assert run.experiment.training.noise == "secure"
    assert run.experiment.data.partition == "nodes"
    assert run.experiment.data.classes == 10
    assert (run.manifest.owner == -1).all()
    with pytest.raises(FederationFailed, match="privet resume"):
        resume(run)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["federation.engine=rey"], "did you mean ray"),
        (["federation.address=hospital"], "must be host:port"),
        (["federation.address=hospital:9093"], "root_certificates"),
    ],
)
def test_an_engine_that_cannot_be_is_refused(settings, message):
    with pytest.raises(SettingsError, match=message):
        load_experiment("tiny", settings)


def test_the_superlink_needs_an_address(tmp_path):
    settings = [*SETTINGS, "federation.engine=superlink"]
    with pytest.raises(SettingsError, match="privet link"):
        launch(load_experiment("tiny", settings), tmp_path)
