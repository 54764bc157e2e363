"""A plan and a run say by which engine gradients are found, and why by no faster one."""

import pytest
from typer.testing import CliRunner

from server.cli import app
from server.experiment.loading import load_experiment
from server.experiment.plans import gradients_of, plan

GRU = "onepass, not compiled: Recurrent has no kernel for records of [8, 8]"
CASES = {
    "perceptron": ([], "compiled"),
    "resnet8": (["model.name=resnet8", "model.width=4"], "compiled"),
    "cnn1d": (["model.name=cnn1d", "model.width=8", "model.kernel=3"], "compiled"),
    "gru": (["model.name=gru", "model.width=4"], GRU),
    "frozen": (["model.adapt=head"], "onepass, not compiled: Linear"),
    "asked": (["training.per_sample=onepass"], "onepass, as [training] per_sample says"),
}


@pytest.mark.parametrize("name", CASES)
def test_a_plan_says_by_which_engine(name: str) -> None:
    settings, told = CASES[name]
    experiment = load_experiment("tiny", settings)
    assert gradients_of(experiment).startswith(told)
    assert plan(experiment).facts["gradients"] == gradients_of(experiment)


def test_without_a_promise_nothing_is_said() -> None:
    assert "gradients" not in plan(load_experiment("tiny", ["budget.unit=none"])).facts


@pytest.mark.parametrize("name", ["perceptron", "frozen"])
def test_a_run_says_in_a_line_what_was_not_compiled(
    name: str, tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PRIVET_RUNS", str(tmp_path))
    few = ["federation.rounds=1", "federation.clients=1", "training.local_steps=1"]
    words = [word for setting in [*few, *CASES[name][0]] for word in ("-s", setting)]
    done = CliRunner().invoke(app, ["run", "tiny", *words])
    assert done.exit_code == 0, done.output
    told = [line for line in done.output.splitlines() if line.startswith("gradients: ")]
    assert len(told) == (name == "frozen")
    assert "".join(told).startswith("gradients: onepass, not compiled: Linear" * len(told))
