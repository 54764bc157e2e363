"""A run's curves in TensorBoard's and MLflow's own forms, read back by their own libraries."""

import sys

import pytest
from watched import ROUNDS, begin, grow

from server.run.directory import Run

WHY = "an extra that is not installed here"


@pytest.fixture
def run(runs):
    made = begin(runs, "one")
    grow(made, ROUNDS - 1)
    grow(made, 1, epsilon=float("inf"))
    return made


@pytest.mark.parametrize(
    ("name", "module"), [("tensorboard", "torch.utils.tensorboard.writer"), ("mlflow", "mlflow")]
)
def test_a_library_that_is_missing_is_one_line(run, privet, tmp_path, monkeypatch, name, module):
    monkeypatch.setitem(sys.modules, f"{module}.entities" if name == "mlflow" else module, None)
    there = tmp_path / "there"
    status, out, err = privet("export", "one", "--to", name, "-o", str(there))
    assert (status, out) == (2, "")
    assert err == (f"privet: --to {name}: {name} is not installed; pip install 'privet[{name}]'\n")
    assert not there.exists()


def test_tensorboard_reads_the_curves(run, privet, tmp_path):
    pytest.importorskip("tensorboard", reason=WHY)
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    there = tmp_path / "events"
    assert privet("export", "one", "--to", "tensorboard", "-o", str(there))[0] == 0
    found = EventAccumulator(str(there))
    found.Reload()
    rounds = Run.open(run.path).rounds
    told = found.Scalars("accuracy")
    assert [event.step for event in told] == [record.round for record in rounds]
    assert [event.value for event in told] == pytest.approx([r.accuracy for r in rounds])
    assert told[2].wall_time - told[0].wall_time == pytest.approx(3.0, abs=1e-3)
    assert [event.value for event in found.Scalars("failed")] == [1.0] * ROUNDS
    assert len(found.Scalars("epsilon")) == ROUNDS - 1  # what is infinite is on no curve
    status, _, err = privet("export", "one", "--to", "tensorboard", "-o", str(there))
    assert status == 2
    assert "is there already" in err


def test_mlflow_reads_the_curves(run, privet, tmp_path):
    pytest.importorskip("sqlalchemy", reason=WHY)
    tracking = pytest.importorskip("mlflow.tracking", reason=WHY)
    there = tmp_path / "store.db"
    for _ in range(2):  # a second run in the same store
        assert privet("export", "one", "--to", "mlflow", "-o", str(there))[0] == 0
    client = tracking.MlflowClient(tracking_uri=f"sqlite:///{there}")
    (experiment,) = (e for e in client.search_experiments() if e.name == "tiny")
    first, _ = client.search_runs([experiment.experiment_id])
    told = client.get_metric_history(first.info.run_id, "accuracy")
    rounds = Run.open(run.path).rounds
    assert [m.step for m in told] == [record.round for record in rounds]
    assert [m.value for m in told] == pytest.approx([r.accuracy for r in rounds])
    assert first.data.params["budget.epsilon"] == "8.0"
    assert first.info.run_name == "one"
