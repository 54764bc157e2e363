"""Every task trains through the private step that ships, each record's share within the clip."""

import numpy as np
import owned
import pytest
import torch

from clients.data.bounds import Column, Schema
from clients.data.settings import Data
from clients.models import Model
from clients.training.job import Job
from clients.training.losses import LOSSES
from clients.training.net import build
from clients.training.records import records
from clients.training.train import Round, evaluate, net_of, train
from privacy.dp.budget import Budget
from privacy.dp.ledger import Ledger

COLUMNS = {
    "age": Column(low=0.0, high=100.0),
    "ward": Column(values=("north", "south")),
}
TASKS = {
    "classes": (Schema(labels=("0", "1"), columns=COLUMNS), ["a"], 2),
    "labels": (Schema(columns=COLUMNS), ["a", "b"], 2),
    "number": (Schema(columns=COLUMNS, low=0.0, high=10.0), ["size"], 1),
    "itself": (Schema(columns=COLUMNS), [], 3),
}


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """What is to be learned follows from the age."""
    rng, rows = np.random.default_rng(0), ["age,ward,a,b,size"]
    for _ in range(300):
        age, ward = rng.integers(0, 100), rng.choice(["north", "south"])
        rows.append(f"{age},{ward},{int(age > 50)},{int(ward == 'south')},{age / 10}")
    return owned.write_table(tmp_path_factory.mktemp("t") / "t.csv", rows)


def job_of(task, table, **budget):
    schema, target, _ = TASKS[task]
    data = Data(
        name="file", path=str(table), schema=schema, task=task, target=target, test_share=0.3,
        nominal_records=210,
    )  # fmt: skip
    training = {"sample_rate": 0.3, "local_steps": 60, "learning_rate": 0.3}
    return Job.model_validate(
        {
            "data": data,
            "model": Model(hidden=(8,)),
            "training": training,
            "budget": Budget(**budget),
        }
    )


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("unit", ["none", "record"])
def test_what_follows_from_a_record_is_learned(table, task, unit):
    noise = {"noise_multiplier": 0.3, "epsilon": None} if unit == "record" else {}
    job = job_of(task, table, unit=unit, **noise)
    training, test = records(job.data, job.model)
    torch.manual_seed(0)
    from clients.data.sets import load

    form = load(job.data).form
    assert form.outputs == TASKS[task][2]
    net = net_of(build(job.model, form), training, job)
    everything = torch.arange(len(test))
    before, _ = evaluate(net, test, everything, task)
    train(net, training, torch.arange(len(training)), job, Round(1, 0, 0.3), Ledger())
    after, _ = evaluate(net, test, everything, task)
    assert after < 0.75 * before


@pytest.mark.parametrize("task", TASKS)
def test_a_loss_is_of_each_record_by_itself(table, task):
    job = job_of(task, table, unit="none")
    training, _ = records(job.data, job.model)
    chosen = torch.arange(20)
    inputs = training.inputs(chosen)
    y, outputs = training.targets(chosen, inputs), torch.randn(20, TASKS[task][2])
    whole = LOSSES[task](outputs, y)
    assert whole.shape == (20,)
    alone = [LOSSES[task](outputs[i : i + 1], y[i : i + 1])[0] for i in range(20)]
    assert torch.allclose(whole, torch.stack(alone))
