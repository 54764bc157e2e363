"""`privet cost`: a run or a model on a chip, as a table and as JSON."""

import json

import pytest

from clients.chip import Workload, estimate, fixed, load_chip
from server.cost import cost_of_run
from server.cost.reports import workload_of
from server.cost.subjects import find_subject, subject_of
from server.engines.launch import launch
from server.experiment.loading import load_experiment
from server.run.directory import Run


def small(runs, *settings):
    experiment = load_experiment("tiny", ["federation.rounds=1", *settings])
    return launch(experiment, runs, "")


def test_a_ready_model(privet):
    status, out, _ = privet("cost", "convnet", "--chip", "eyeriss", "--json")
    (report,) = json.loads(out)
    assert status == 0
    cost = estimate(find_subject("convnet").network, load_chip("eyeriss"), Workload(), fixed(16), 1)
    assert report["inference"]["latency_s"] == cost.latency_s
    assert report["inference"]["energy_j"] == pytest.approx(cost.energy_j)
    assert report["step"]["memory"]["gradient_bytes"] == 4 * 32 * 26_010
    phases = {row["phase"] for row in report["step"]["rows"]}
    assert {
        "forward",
        "input gradient",
        "weight gradient",
        "norms",
        "clip",
        "noise",
        "update",
    } == phases


def test_a_run_reads_its_experiment(privet, runs):
    run = small(runs)
    status, out, _ = privet("cost", "latest", "--chip", "edgetpu", "--chip", "stm32h743", "--json")
    reports = json.loads(out)
    assert status == 0
    assert len(reports) == 2
    assert run.costs == reports
    assert json.loads((run.path / "cost.json").read_text()) == reports
    experiment = run.experiment
    assert workload_of(experiment) == Workload(
        "dp-sgd", "onepass", experiment.budget.clip, experiment.budget.noise_multiplier
    )
    owners = run.manifest.owner[~run.manifest.held_out]
    most = max((owners == client).sum() for client in range(4))
    for report in reports:
        expected = round(most * experiment.training.sample_rate)
        assert report["step"]["batch"] == expected
        assert report["round"]["steps"] == experiment.training.local_steps
        assert report["round"]["step"]["batch_99"] > expected
        assert report["round"]["upload_bytes"] == 4 * subject_of(experiment).network.parameters


def test_without_a_budget_a_device_runs_sgd(runs):
    run = small(runs, "budget.unit=none", "training.sample_rate=0.5")
    report = cost_of_run(run, load_chip("tpu"))
    assert {row.phase for row in report.step.rows} == {
        "forward",
        "input gradient",
        "weight gradient",
        "update",
    }
    assert report.round.latency_99_s == pytest.approx(report.round.latency_s)


def test_hooks_hold_every_records_gradient(runs):
    run = small(runs, "training.per_sample=hooks")
    report = cost_of_run(run, load_chip("tpu"))
    parameters = subject_of(run.experiment).network.parameters
    assert report.step.memory.gradient_bytes == 4 * report.step.batch * parameters


def test_tables_for_people(privet):
    status, out, _ = privet("cost", "mcunet-in4", "--chip", "stm32h743", "--batch", "2")
    assert status == 0
    assert "OUT OF MEMORY" in out
    assert "compute" in out


def test_what_is_wrong_is_said_in_one_line(privet):
    for arguments, said in (
        (("cost", "convnet", "--chip", "eyeris"), "did you mean eyeriss"),
        (("cost", "nothing"), "nothing"),
        (("cost", "convnet", "--batch", "0"), "batch"),
        (("cost", "convnet", "--batch", "-1"), "batch"),
        (("cost", "convnet", "--batch", "1.5"), "batch"),
        (("cost", "convnet", "--batch", "nan"), "batch"),
        (("cost", "convnet", "--batch", "1" + "0" * 30), "batch"),
    ):
        status, out, err = privet(*arguments)
        assert (status, out) == (2, "")
        assert said in err
        assert len(err.splitlines()) == 1


def test_the_largest_batch_is_priced_in_numbers(privet):
    status, out, _ = privet("cost", "convnet", "--batch", "1000000000", "--json")
    assert status == 0

    def refuse(word):
        raise AssertionError(f"{word} is no JSON")

    (report,) = json.loads(out, parse_constant=refuse)
    assert report["step"]["batch"] == 10**9
    assert not report["step"]["memory"]["fits"] or not report["step"]["memory"]["limit_bytes"]


def test_a_batch_of_a_run_is_its_own(privet, runs):
    small(runs)
    status, out, err = privet("cost", "latest", "--batch", "8")
    assert (status, out) == (2, "")
    assert "--batch: would change nothing" in err
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize("rate", ["1e-9", "1.0"])
@pytest.mark.parametrize("chip", ["stm32h743", "edgetpu"])
def test_the_rarest_and_the_fullest_batch_are_numbers(runs, rate, chip):
    noise = [
        "training.local_steps=1",
        "budget.noise_multiplier=20.0",
        "training.learning_rate=1e-6",
    ]
    run = small(runs, f"training.sample_rate={rate}", *noise)
    run.save_costs([cost_of_run(run, load_chip(chip)).as_dict()])
    (report,) = run.costs
    assert report["round"]["latency_99_s"] >= report["round"]["radio_s"] > 0


def test_a_run_without_costs_has_none(runs):
    assert Run(runs / "x").costs == []
