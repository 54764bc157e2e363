"""The audit under each task: green for what ships, red for each way of breaking it."""

from dataclasses import replace

import owned
import pytest
import sabotaged as s
import torch

from attacks.audit import sensitivity
from attacks.audit.claim import NotApplicable
from attacks.audit.verdict import CHECKS, Evidence
from privacy.errors import ModelError
from server.adversary import auditing
from server.adversary.auditing import audit_of, claim_of
from server.experiment.loading import load_experiment

CALLS = 40  # of the step, for canaries
NEW = ("labels", "number", "itself")  # classes have tests of their own


def experiment_of(folder, task, *assignments):
    """Of a table, that asks for little."""
    asked = load_experiment("tiny", ["model.hidden=[8]", *assignments])
    return asked.model_copy(update={"data": owned.stays(folder, task)}).resolve()


@pytest.fixture(autouse=True)
def few_canaries(monkeypatch):
    monkeypatch.setattr(auditing, "CALLS", {"record": CALLS, "client": CALLS})


@pytest.mark.parametrize(
    ("task", "assignments"),
    [
        ("labels", ()),
        ("number", ("training.per_sample=hooks", "training.momentum=0.9")),
        ("itself", ("training.noise=secure", "training.per_sample=onepass")),
        ("number", ("arithmetic.name=fixed", "arithmetic.rounding=stochastic")),
        ("itself", ("strategy.name=fedprox", "strategy.proximal_mu=0.1")),
        ("labels", ("budget.unit=client",)),
        ("number", ("budget.unit=client",)),
        ("itself", ("budget.unit=client",)),
    ],
    ids=lambda value: value if isinstance(value, str) else "-".join(value) or "plain",
)
def test_what_ships_is_green(tmp_path, task, assignments):
    experiment = experiment_of(tmp_path, task, *assignments)
    done = audit_of(experiment, None, seed=3)
    assert {c.name: c.measured for c in done.checks if not c.passed} == {}
    assert {"noise law", "sensitivity", "public divisor", "canaries"} <= {
        check.name for check in done.checks
    }
    assert not [line for line in done.not_examined if "not applicable" in line]


@pytest.mark.parametrize("task", owned.TASKS)
def test_nothing_is_heard_of_quiet_records(tmp_path, task):
    """But noise alone, in every weight, also where a round has many steps."""
    evidence = Evidence(claim_of(experiment_of(tmp_path, task)), 0)
    for quiet in evidence.noise.silence.quiet.values():
        assert all(bool(which.all()) for which in quiet.values())


def alarms(check, experiment):
    """Names of what fails of one kind of check."""
    found = CHECKS[check](Evidence(claim_of(experiment), 0))
    assert found
    return {one.name for one in found if not one.passed}


def one_record_taken_twice(monkeypatch):
    """The first of each piece."""
    add = s.Program.add_clipped_sum

    def again(self, x, y, clip, total, loss):
        add(self, x[:1], y[:1], clip, total, loss)
        return add(self, x, y, clip, total, loss)

    monkeypatch.setattr(s.Program, "add_clipped_sum", again)


def clip_doubled_for_one(monkeypatch):
    """The last of each piece."""
    add = s.Program.add_clipped_sum

    def wider(self, x, y, clip, total, loss):
        if len(x) > 1:
            add(self, x[:-1], y[:-1], clip, total, loss)
        return add(self, x[-1:], y[-1:], 2 * clip, total, loss)

    monkeypatch.setattr(s.Program, "add_clipped_sum", wider)


SABOTAGES = {
    s.half_the_noise: "noise deviation",
    s.same_noise_each_step: "noise deviation",
    s.uniform_noise: "noise law",
    s.noise_in_floating_point: "noise grid",
    s.same_noise_each_round: "noise repetition",
    s.same_noise_for_other_records: "noise repetition",
    s.same_noise_for_other_weights: "noise repetition",
    s.key_of_63_bits: "key width",
    s.clip_after_averaging: "sensitivity",
    s.one_layer_unclipped: "sensitivity",
    one_record_taken_twice: "sensitivity",
    clip_doubled_for_one: "sensitivity",
    s.sum_divided_by_the_own_number: "public divisor",
    s.batches_shuffled: "sampling",
    s.steps_uncharged: "charging",
}


@pytest.mark.parametrize("task", NEW)
@pytest.mark.parametrize("sabotage", SABOTAGES, ids=lambda s: s.__name__)
def test_sabotage_is_caught(tmp_path, sabotage, task, monkeypatch):
    experiment = experiment_of(tmp_path, task)
    sabotage(monkeypatch)
    assert alarms(SABOTAGES[sabotage], experiment) == {SABOTAGES[sabotage]}


ONE_PASS = (s.first_record_unclipped, s.one_layer_unclipped, s.batch_taken_twice)


@pytest.mark.parametrize("task", NEW)
@pytest.mark.parametrize("sabotage", ONE_PASS, ids=lambda s: s.__name__)
def test_sabotage_of_one_pass_is_caught(tmp_path, sabotage, task, monkeypatch):
    experiment = experiment_of(tmp_path, task, "training.per_sample=onepass")
    sabotage(monkeypatch)
    assert alarms("sensitivity", experiment) == {"sensitivity"}


@pytest.mark.parametrize("task", NEW)
def test_no_noise_is_proven_by_canaries(tmp_path, task, monkeypatch):
    """In a linear model: a record of few numbers has room for too few in the run's own."""
    claim = claim_of(experiment_of(tmp_path, task, "budget.epsilon=1"))
    planted = Evidence(claim, 0).planted
    assert planted.where == "a linear model"
    assert planted.proves_too_much().passed
    s.no_noise(monkeypatch)
    assert not Evidence(claim, 0).planted.proves_too_much().passed


# ---- what cannot be made


def test_a_record_that_reaches_no_clip_is_told(tmp_path, monkeypatch):
    """Or a step that does not clip would pass."""
    monkeypatch.setattr(sensitivity, "EXPONENTS", ())
    claim = claim_of(experiment_of(tmp_path, "number", "budget.clip=1e6"))
    check, note = CHECKS["sensitivity"](Evidence(claim, 0))
    assert check.passed
    assert isinstance(note, NotApplicable)
    assert str(note).startswith("sensitivity of what is clipped: not applicable: no record")


def test_a_device_that_takes_no_record_is_no_pass(tmp_path):
    def refuse(*_):
        raise ModelError("not today")

    claim = replace(claim_of(experiment_of(tmp_path, "number")), device=refuse)
    (check,) = CHECKS["sensitivity"](Evidence(claim, 0))
    assert not check.passed
    assert "nothing was heard" in check.measured


@pytest.mark.parametrize("check", ["noise grid", "noise repetition", "key width"])
def test_a_model_that_is_never_silent_is_told(tmp_path, check):
    """Here each record moves every weight, whatever it holds."""
    claim = claim_of(experiment_of(tmp_path, "number"))

    def loud(model, x, y, asked):
        claim.device(model, x, y, asked)
        with torch.no_grad():
            for p in model.parameters():
                p.sub_(asked.learning_rate)

    (found,) = CHECKS[check](Evidence(replace(claim, device=loud), 0))
    assert "not applicable: there is no weight" in str(found)
