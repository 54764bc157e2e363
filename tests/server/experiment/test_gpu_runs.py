"""`[training] device`: what is refused where there is no GPU, and what a run on one leaves."""

import numpy as np
import pytest
import torch
from elsewhere import pretend

from clients.training import gpu
from privacy.errors import SettingsError
from server.adversary import auditing
from server.experiment.effects import EFFECTS
from server.experiment.loading import load_experiment
from server.experiment.plans import device_of, plan
from server.run.directory import Run

LAST = load_experiment("tiny").federation.rounds
ASKED = "training.device=cuda"
NONE = "torch finds no CUDA device here"


@pytest.fixture
def without(monkeypatch):
    """Also where there is one."""
    monkeypatch.setattr(gpu, "lacking", lambda: NONE)


@pytest.fixture
def with_one(monkeypatch):
    pretend(monkeypatch, torch.device("cpu"))


def test_a_gpu_that_is_not_there_is_refused_in_one_line(privet, runs, tmp_path, without):
    told = f"[training] device = 'cuda': {NONE}; use device = 'cpu', or 'auto'"
    for command in ("run", "plan"):
        status, out, err = privet(command, "tiny", "-s", ASKED)
        assert (status, out, err.count("\n")) == (2, "", 1)
        assert f"-s {ASKED}: {told}" in err
    mine = tmp_path / "mine.toml"
    mine.write_text('[training]\ndevice = "cuda"\n[budget]\nepsilon = 3.0\n')
    status, out, err = privet("run", str(mine))
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert f"mine.toml: {told}" in err
    assert not runs.exists()


BOUND = {
    **{f"arithmetic.name={name}": name for name in (
        "fixed", "ternary", "binary", "stochastic", "spiking", "p-bits", "invertible",
    )},
    "training.per_sample=hooks": "hooks",
    "supernet.widths=[0.5]": "supernet",
    "federation.engine=ray": "ray",
}  # fmt: skip


@pytest.mark.parametrize("setting", BOUND)
@pytest.mark.usefixtures("with_one")
def test_what_a_gpu_cannot_do_is_refused_or_stays(setting):
    """With a word why."""
    with pytest.raises(SettingsError, match=r"\[training\] device = 'cuda': ") as error:
        load_experiment("tiny", [ASKED, setting])
    assert BOUND[setting] in str(error.value)
    assert len(str(error.value).splitlines()) == 1
    free = load_experiment("tiny", ["training.device=auto", setting])
    assert free.resolve().training.device == "cpu"
    told = device_of(free)
    assert told.startswith("cpu: [training] device = 'auto', and ")
    assert BOUND[setting] in told


def after(run: Run, number: int) -> np.ndarray:
    return np.concatenate([w.ravel() for w in run.weights(number).values()])


def test_auto_without_one_is_the_processor_to_the_last_bit(privet, without):
    _, path, err = privet("run", "tiny", "-s", "training.device=auto", "--name", "auto")
    assert f"device: cpu: [training] device = 'auto', and {NONE}" in err
    auto = Run.open(path.strip())
    assert auto.experiment.training.device == "cpu"
    _, path, err = privet("run", "tiny", "--name", "cpu")
    assert "device" not in err
    assert np.array_equal(after(auto, LAST), after(Run.open(path.strip()), LAST))


def test_a_run_on_one_says_so_and_is_audited_on_one(privet, monkeypatch):
    """And elsewhere it is read, and neither resumed nor audited."""
    _, path, _ = privet("run", "tiny", "--name", "cpu")
    here = Run.open(path.strip())
    with monkeypatch.context() as there:
        pretend(there, torch.device("cpu"))
        there.setitem(auditing.CALLS, "record", 160)
        found = plan(load_experiment("tiny", ["training.device=auto"])).facts
        assert found["device"] == "cuda: made up"
        assert "on a GPU" in found["gradients"]
        _, path, err = privet("run", "tiny", "-s", "training.device=auto", "--name", "gpu")
        assert "device: cuda: made up" in err
        run = Run.open(path.strip())
        assert run.experiment.training.device == "cuda"
        assert run.environment["gpu"] == "made up"
        assert "gpu" not in here.environment
        spent, at_home = ({c: one.to_json() for c, one in r.ledgers.items()} for r in (run, here))
        assert spent == at_home
        begun, cpu, other = after(here, 0), after(here, 1), after(run, 1)  # then other keys follow
        assert 0 < np.linalg.norm(other - cpu) < 2**-6 * np.linalg.norm(cpu - begun)
        status, out, _ = privet("audit", "gpu")
        assert status == 0
        assert "passed" in out
        assert "FAILED" not in out
    monkeypatch.setattr(gpu, "lacking", lambda: NONE)
    assert privet("show", "gpu")[0] == 0
    for command in ("audit", "resume"):
        status, _, err = privet(command, "gpu")
        assert (status, err.count("\n")) == (2, 1)
        assert f"experiment.toml: [training] device = 'cuda': {NONE}" in err


def test_shadows_of_such_a_run_are_trained_wherever(without):
    job = load_experiment("tiny").job
    asked = job.model_copy(update={"training": job.training.model_copy(update={"device": "cuda"})})
    assert gpu.chosen(gpu.where_there_is_one(asked)) == "cpu"
    with pytest.raises(SettingsError, match=NONE):
        gpu.chosen(asked)
    assert gpu.where_there_is_one(job) is job


def test_devices_of_their_own_choose_for_themselves(without):
    settings = ["federation.engine=superlink", "federation.address=127.0.0.1:9093"]
    for device in ("auto", "cuda"):
        asked = load_experiment("tiny", [*settings, f"training.device={device}"])
        assert asked.resolve().training.device == device
        assert device_of(asked) == f"{device}, on each device of its own"
    assert "training.device" not in EFFECTS
