"""What a sweep takes for done, of runs whose findings were damaged."""

import math

import pytest

from privacy.errors import RunError
from server.engines.launch import launch
from server.experiment.loading import load_experiment
from server.run.summary import measured
from server.sweep.objectives import OBJECTIVES, auc_of
from server.sweep.stages import STAGES, Order

ORDER = Order(attack=True, audit=True, chips=("eyeriss",), schemes={"ckks": 2})
ODD = (
    None, True, -1, 2.0, math.nan, "x", [], {}, [1], {"a": 1}, {"auc": 3}, {"auc": {"value": "1"}},
)  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    plan = ["federation.rounds=1", "data.limit=200", "model.activation=square"]
    return launch(load_experiment("tiny", plan), tmp_path_factory.mktemp("runs"), "mine")


@pytest.mark.parametrize("odd", ODD, ids=repr)
def test_damaged_findings_are_made_again(run, odd):
    run.keep("leakage.json", {"all_rounds": odd})
    run.keep("audit.json", {"passed": odd})
    run.keep("inference.json", {"ckks": odd, "boolean": {"images": odd}})
    for document in (odd, [odd], [{"chip": odd}]):
        run.save_costs(document)
        assert not STAGES["cost"].is_done(run, ORDER)
    assert auc_of(run) is None
    assert measured(run, "ckks") == {}
    assert not STAGES["attack"].is_done(run, ORDER)
    assert not STAGES["infer"].is_done(run, ORDER)
    with pytest.raises(RunError, match=r"leakage.json: .*; run: privet attack mine"):
        OBJECTIVES["leakage"].read(run)


CHECK = {"name": "noise", "passed": True, "measured": "1", "expected": "1", "meaning": "so"}
AUDIT = {"passed": True, "checks": [CHECK], "bounds": [], "steps": 3, "epsilon": 2.0}


@pytest.mark.parametrize(
    "odd",
    [
        {"passed": 1}, {"passed": False}, {"checks": []}, {"checks": None}, {"checks": [1]},
        {"checks": [CHECK | {"passed": False}]}, {"checks": [CHECK | {"passed": "yes"}]},
        {"steps": 0}, {"steps": "3"}, {"epsilon": None}, {"epsilon": -1}, {"epsilon": math.nan},
        {"bounds": {}}, {"bounds": [{"name": "x"}]}, {"not_examined": "x"},
    ],
    ids=repr,
)  # fmt: skip
def test_an_audit_that_is_not_whole_is_not_done(run, odd):
    """Whatever it says of having passed."""
    run.keep("audit.json", AUDIT)
    assert STAGES["audit"].is_done(run, ORDER)
    run.keep("audit.json", AUDIT | odd)
    assert not STAGES["audit"].is_done(run, ORDER)
    run.keep("audit.json", {"passed": True})
    assert not STAGES["audit"].is_done(run, ORDER)


def test_cost_of_a_damaged_file_is_whole_again(run):
    run.save_costs([1, {"chip": []}, {"chip": "mine"}])
    STAGES["cost"].do(run, ORDER, print)
    assert STAGES["cost"].is_done(run, ORDER)
    assert len(run.costs) == 2  # one that may be whole is kept
