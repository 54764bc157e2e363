"""`privet sweep --on`: cells on a cluster, whose part is played here.

`tests/acceptance/cluster.py` asks a real one.
"""

import subprocess
import sys
from types import SimpleNamespace

import pytest
from test_sweep import QUICK

from privacy.errors import RunError
from server.run import origin
from server.run.directory import Run
from server.sweep import cluster as room
from server.sweep.sweep import Sweep

GRID = ["sweep", "tiny", *QUICK, "--over", "model.hidden=[8],[16]", "--name", "grid"]
THERE = ["--on", "ray://cluster:10001"]


class Died(Exception):
    """What Ray raises of a worker that is lost too often."""


@pytest.fixture
def ray(monkeypatch, privet):
    """A cluster of this process: `asked` are the commands; those of `lost` lose their worker."""
    found = SimpleNamespace(asked=[], lost=set(), exceptions=SimpleNamespace(RayError=Died))

    def work(done):
        def begin(command, *others):
            found.asked.append(command)
            return lambda: done(command, *others)

        return SimpleNamespace(remote=begin)

    def get(promise):
        if len(found.asked) in found.lost:
            found.lost.clear()
            raise Died("the worker died\nof old age")
        return promise()

    def run(command, **_):
        assert command[:3] == [sys.executable, "-m", "server"]
        status, out, err = privet(*command[3:])
        return subprocess.CompletedProcess(command, status, out, err)

    found.init, found.get, found.remote = (lambda **_: None), get, lambda **_: work
    monkeypatch.setitem(sys.modules, "ray", found)
    monkeypatch.setattr(room, "subprocess", SimpleNamespace(run=run))
    return found


def told(folder):
    """What was found, by run: rounds' weights, ledgers and accuracies."""
    runs = Sweep.open(folder / "grid.sweep").runs
    return {
        run.path.name: (
            [(run.path / "rounds" / f"00{i}.safetensors").read_bytes() for i in (0, 1)],
            [record.accuracy for record in run.rounds],
            [(run.path / "experiment.toml").read_bytes(), run.leakage.keys()],
        )
        for run in runs
    }


def test_runs_are_those_of_one_machine_and_a_lost_worker_costs_its_cell(
    privet, ray, tmp_path, monkeypatch
):
    assert privet(*GRID, "--runs", str(tmp_path / "here"))[0] == 0
    there = tmp_path / "there"
    ray.lost = {2}  # both are asked for before the first is waited for
    status, out, err = privet(*GRID, *THERE, "--runs", str(there))
    assert (status, len(ray.asked)) == (1, 2)
    assert "on the cluster: the worker died" in err
    assert [cell.status for cell in Sweep.open(out.strip()).cells] == ["failed", "done"]
    status, _, err = privet(*GRID, *THERE, "--runs", str(there))
    assert (status, len(ray.asked)) == (0, 3), err
    assert told(there) == told(tmp_path / "here")
    for run in Sweep.open(there / "grid.sweep").runs:
        settings = (run.path / "experiment.toml").read_bytes()
        assert (run.path / origin.NAME).read_bytes() == origin.mark(settings)
    assert not list(there.glob(".*.part"))


def test_what_comes_is_written_only_as_the_run_that_was_asked_for(tmp_path, runs, ray, privet):
    run = Run.open(privet("run", "tiny", *QUICK)[1].strip())
    files = {
        f"{run.path.name}/{file.relative_to(run.path)}": file.read_bytes()
        for file in run.path.rglob("*")
        if file.is_file()
    }
    to, settings = Run(tmp_path / run.path.name), run.experiment
    name = run.path.name
    for odd in ("other/x", f"{name}/../../x", name, f"/{name}/x"):
        with pytest.raises(RunError, match="the cluster made"):
            room._write(files | {odd: b""}, settings, to)
    others = [
        settings.model_copy(update={"seed": settings.seed + 1}),
        settings.model_copy(update={"data": settings.data.model_copy(update={"path": "/etc"})}),
    ]
    for other in others:
        with pytest.raises(RunError, match="with other settings than its"):
            room._write(files, other, to)
    room.MOST_BYTES, kept = 10, room.MOST_BYTES
    try:
        with pytest.raises(RunError, match="more than 10 bytes"):
            room._write(files, settings, to)
    finally:
        room.MOST_BYTES = kept
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--on", "cluster:10001"], "--on cluster:10001: must be ray://HOST:PORT"),
        ([*THERE, "--charge", "geometric=2"], "nobody may look at the trials"),
    ],
)
def test_an_odd_place_is_refused(privet, runs, more, said):
    status, _, err = privet(*GRID, *more)
    assert status == 2
    assert said in err
    assert not runs.exists()
